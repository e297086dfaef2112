use std::time::Duration;

use tempfile::TempDir;

use super::*;

fn config(text: &str) -> (TempDir, ConfigFile) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.json");
    fs::write(&path, text).expect("written");
    let file = ConfigFile::load(&path).expect("loaded");
    (dir, file)
}

fn read(dir: &TempDir) -> Value {
    let text = fs::read(dir.path().join("config.json")).expect("there");
    serde_json::from_slice(&text).expect("JSON")
}

/// A credential program that keeps one entry in a file beside it.
fn program(dir: &TempDir, script: &str) -> Program {
    let path = dir.path().join("docker-credential-test");
    let text = format!("#!/bin/sh\nd=$(dirname \"$0\")\n{script}\n");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    // Another thread's fork may still hold the file open for writing: it goes away by itself.
    while Command::new(&path).arg("nothing").status().is_err_and(|e| e.raw_os_error() == Some(26)) {
        std::thread::yield_now();
    }
    Program::at(&path, Duration::from_secs(20))
}

use std::process::Command;

#[test]
fn entries_are_found_by_server_and_by_host() {
    let auth = base64::engine::general_purpose::STANDARD.encode("me:pa:ss\0");
    let (_dir, file) = config(&format!(
        r#"{{"auths":{{"{HUB}":{{"auth":"{auth}"}},"https://r.example/v2/":{{"auth":"{auth}"}},
            "t.example":{{"identitytoken":"refresh"}},"empty.example":{{}},"bad.example":{{"auth":"*"}}}}}}"#
    ));
    let hub = file.for_reference(&Reference::parse("busybox").expect("valid"));
    let hub = hub.expect("read").expect("known");
    assert_eq!((hub.username.as_str(), hub.password.as_str()), ("me", "pa:ss"));
    assert_eq!(file.get("r.example").expect("read").expect("known").username, "me");
    assert_eq!(file.get("t.example").expect("read").expect("known").identity_token, "refresh");
    assert_eq!(file.get("r.example:5000").expect("read"), None);
    assert_eq!(file.get("empty.example").expect("read"), None);
    assert!(matches!(file.get("bad.example"), Err(StoreError::Auth { .. })));
    let (all, failures) = file.all();
    assert_eq!((all.len(), failures.len()), (3, 1));
}

#[test]
fn storing_keeps_what_it_does_not_know() {
    let (dir, mut file) =
        config(r#"{"psFormat":"x","auths":{"a":{"auth":"YTpi"}},"new":{"k":[1]}}"#);
    let kept = file.store("r.example", &Credentials::basic("me", "secret")).expect("stored");
    assert_eq!(kept, Kept::File(dir.path().join("config.json")));
    let value = read(&dir);
    assert_eq!(value["psFormat"], "x");
    assert_eq!(value["new"]["k"][0], 1);
    assert_eq!(value["auths"]["a"]["auth"], "YTpi");
    let mode = fs::metadata(dir.path().join("config.json")).expect("there").mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    let file = ConfigFile::load(dir.path().join("config.json")).expect("loaded");
    let found = file.get("r.example").expect("read").expect("known");
    assert_eq!((found.username.as_str(), found.password.as_str()), ("me", "secret"));
}

#[test]
fn erasing_forgets_every_spelling() {
    let (dir, mut file) =
        config(r#"{"auths":{"https://r.example/v1/":{"auth":"YTpi"},"b":{"auth":"YTpi"}}}"#);
    assert!(file.erase("r.example").expect("erased"));
    assert!(!file.erase("r.example").expect("nothing"));
    assert_eq!(read(&dir)["auths"].as_object().expect("an object").len(), 1);
}

#[test]
fn a_missing_file_appears_in_a_private_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("deep/docker/config.json");
    let mut file = ConfigFile::load(&path).expect("empty");
    file.store("r", &Credentials::basic("a", "b")).expect("stored");
    assert_eq!(fs::metadata(path.parent().expect("one")).expect("there").mode() & 0o777, 0o700);
    assert!(ConfigFile::load(dir.path()).is_err());
    fs::write(&path, "[]").expect("written");
    assert!(matches!(ConfigFile::load(&path), Err(StoreError::Json { .. })));
}

#[test]
fn a_link_to_the_file_stays_a_link() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("real"), "{}").expect("written");
    let link = dir.path().join("config.json");
    std::os::unix::fs::symlink("real", &link).expect("linked");
    ConfigFile::load(&link)
        .and_then(|mut file| file.store("r", &Credentials::basic("a", "b")))
        .expect("stored");
    assert!(fs::symlink_metadata(&link).expect("there").file_type().is_symlink());
    assert!(fs::read_to_string(dir.path().join("real")).expect("there").contains("auths"));
}

#[test]
fn programs_keep_give_and_forget() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = program(
        &dir,
        r#"case $1 in
        store) cat >"$d/kept" ;;
        get) if [ -e "$d/kept" ]; then cat "$d/kept"; else echo "credentials not found in native keychain"; exit 1; fi ;;
        erase) rm -f "$d/kept" ;;
        list) echo '{"r.example":"me"}' ;;
        esac"#,
    );
    assert_eq!(program.get("r.example").expect("asked"), None);
    program.store("r.example", &Credentials::basic("me", "s")).expect("stored");
    let found = program.get("r.example").expect("asked").expect("known");
    assert_eq!((found.username.as_str(), found.password.as_str()), ("me", "s"));
    let token = Credentials { identity_token: "t".into(), ..Credentials::basic("me", "") };
    program.store("r.example", &token).expect("stored");
    let found = program.get("r.example").expect("asked").expect("known");
    assert_eq!((found.username.as_str(), found.identity_token.as_str()), ("", "t"));
    program.erase("r.example").expect("erased");
    assert_eq!(program.get("r.example").expect("asked"), None);
    assert_eq!(program.list().expect("listed").len(), 1);
}

#[test]
fn programs_that_misbehave_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let failing = program(&dir, "cat >/dev/null; echo locked; exit 3");
    let error = failing.get("r").expect_err("it fails").to_string();
    assert!(error.contains("out: `locked`"), "{error}");
    let endless = program(&dir, "[ $1 = nothing ] || exec yes");
    assert!(matches!(endless.get("r"), Err(ProgramError::Failed { .. })));
    let stuck = program(&dir, "[ $1 = nothing ] || exec sleep 600");
    let stuck = Program::at(&dir.path().join(stuck.file()), Duration::from_millis(200));
    assert!(matches!(stuck.get("r"), Err(ProgramError::Timeout { .. })));
    let absent = Program::at(&dir.path().join("absent"), Duration::from_secs(1));
    assert!(matches!(absent.get("r"), Err(ProgramError::Start { .. })));
    assert!(matches!(Program::named("../evil"), Err(ProgramError::Name(_))));
    assert!(matches!(Program::named(""), Err(ProgramError::Name(_))));
}

#[test]
fn a_program_named_by_the_file_is_asked() {
    let (_dir, file) = config(
        r#"{"credsStore":"isopod-absent","credHelpers":{"own.example":"isopod-other"},"auths":{}}"#,
    );
    let error = file.get("r.example").expect_err("there is no such program").to_string();
    assert!(error.contains("docker-credential-isopod-absent"), "{error}");
    let error = file.get("own.example").expect_err("there is no such program").to_string();
    assert!(error.contains("docker-credential-isopod-other"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn what_is_kept_is_found(name in "[^:\\x00]{1,30}", secret in "[^\\x00]{1,30}") {
        let (_dir, mut file) = config("{}");
        file.store("r.example", &Credentials::basic(&name, &secret)).expect("stored");
        let file = ConfigFile::load(&file.path).expect("loaded");
        let found = file.get("r.example").expect("read").expect("known");
        proptest::prop_assert_eq!((found.username, found.password), (name, secret));
    }
}

#[test]
fn servers_have_one_name() {
    assert_eq!(server_of("docker.io"), HUB);
    assert_eq!(server_of("r.example:5000"), "r.example:5000");
    assert_eq!(host_of(HUB), "index.docker.io");
    assert_eq!(host_of("r.example:5000"), "r.example:5000");
}
