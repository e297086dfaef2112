//! `login` and what follows from it, against a scripted daemon.

mod scripted;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use docker_api::registry::AuthConfig;
use scripted::{Daemon, Request, text};

/// A daemon whose registry takes one password, and the requests that it had.
fn daemon(token: &'static str) -> (Daemon, Arc<Mutex<Vec<Request>>>) {
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let log = Arc::clone(&seen);
    let daemon = Daemon::new(move |request, line| {
        log.lock().expect("unpoisoned").push(request.clone());
        if request.target == "/auth" {
            let who: AuthConfig = serde_json::from_slice(&request.body).expect("JSON");
            if who.password == "secret" || who.identitytoken == "token" {
                let answer = format!(r#"{{"Status":"Login Succeeded","IdentityToken":"{token}"}}"#);
                line.answer("200 OK", &answer);
            } else {
                line.answer("401 Unauthorized", r#"{"message":"401 Unauthorized"}"#);
            }
        } else if request.target.starts_with("/images/search") {
            line.answer(
                "200 OK",
                r#"[{"name":"a/low","star_count":1,"description":"few"},{"name":"high","star_count":90,"is_official":true}]"#,
            );
        } else {
            line.answer("200 OK", r#"{"status":"done"}"#);
        }
    });
    (daemon, seen)
}

fn feed(daemon: &Daemon, args: &[&str], input: &str) -> Output {
    let mut command = daemon.program(args);
    command.env("PATH", path(daemon)).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    // Who does not read its input may have ended.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("ended")
}

/// Where programs that keep credentials are found.
fn path(daemon: &Daemon) -> String {
    format!("{}:/usr/bin:/bin", daemon.directory.path().display())
}

fn config(daemon: &Daemon) -> String {
    fs::read_to_string(daemon.directory.path().join("config/config.json")).unwrap_or_default()
}

/// Who a request said we are.
fn who(request: &Request) -> AuthConfig {
    let header = request.head.lines().find_map(|line| line.strip_prefix("x-registry-auth:"));
    let header = header.expect("credentials").trim();
    let bytes = base64::engine::general_purpose::URL_SAFE.decode(header).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn who_logs_in_is_known_afterwards() {
    let (daemon, seen) = daemon("");
    let line = ["login", "-u", "me", "--password-stdin", "reg.example:5000"];
    let wrong = feed(&daemon, &line, "wrong\n");
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(text(&wrong.stderr), "Error response from daemon: 401 Unauthorized\n");
    assert_eq!(config(&daemon), "", "what is refused is not kept");
    let right = feed(&daemon, &line, "secret\r\n");
    assert_eq!(text(&right.stdout), "Login Succeeded\n");
    assert!(text(&right.stderr).contains("stored unencrypted in"), "{}", text(&right.stderr));
    let kept: serde_json::Value = serde_json::from_str(&config(&daemon)).expect("JSON");
    assert_eq!(kept["auths"]["reg.example:5000"]["auth"], "bWU6c2VjcmV0");
    assert!(feed(&daemon, &["pull", "-q", "reg.example:5000/a"], "").status.success());
    assert!(feed(&daemon, &["push", "-q", "reg.example:5000/a:1"], "").status.success());
    assert!(feed(&daemon, &["pull", "-q", "other.example/a"], "").status.success());
    let requests: Vec<Request> = seen.lock().expect("unpoisoned").clone();
    let to = |part: &str| requests.iter().find(|r| r.target.contains(part)).expect("asked");
    assert_eq!(who(to("fromImage=reg.example")).username, "me");
    assert_eq!(who(to("/reg.example:5000/a/push?tag=1")).password, "secret");
    assert_eq!(who(to("fromImage=other.example")), AuthConfig::default());
    let again = feed(&daemon, &["login", "reg.example:5000"], "");
    assert_eq!(
        text(&again.stdout),
        "Authenticating with existing credentials...\nLogin Succeeded\n"
    );
    let out = feed(&daemon, &["logout", "reg.example:5000"], "");
    assert_eq!(text(&out.stdout), "Removing login credentials for reg.example:5000\n");
    assert!(!config(&daemon).contains("reg.example"), "{}", config(&daemon));
    let twice = feed(&daemon, &["logout", "reg.example:5000"], "");
    assert_eq!(text(&twice.stderr), "Not logged in to reg.example:5000\n");
}

#[test]
fn tokens_are_kept_instead_of_passwords_and_with_a_program_if_there_is_one() {
    let (daemon, _) = daemon("token");
    let line = ["login", "-u", "me", "-p", "secret", "reg.example"];
    let output = feed(&daemon, &line, "");
    assert!(text(&output.stderr).starts_with("WARNING! Using --password via the CLI is insecure."));
    assert!(config(&daemon).contains("\"identitytoken\": \"token\""), "{}", config(&daemon));
    assert!(!config(&daemon).contains("c2VjcmV0"), "no password: {}", config(&daemon));
    assert!(!text(&output.stderr).contains("unencrypted"), "a token can be taken back");
    // A program that keeps what it gets beside itself.
    let program = daemon.directory.path().join("docker-credential-keep");
    let kept = daemon.directory.path().join("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat > {0} ;;\nget) if [ -s {0} ]; then cat {0}; else echo 'credentials not found in native keychain'; exit 1; fi ;;\nerase) rm -f {0} ;;\nlist) echo '{{}}' ;;\nesac\n",
        kept.display()
    );
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
    let place = daemon.directory.path().join("config/config.json");
    fs::write(&place, r#"{"credsStore":"keep","psFormat":"table {{.ID}}"}"#).expect("written");
    let output = feed(&daemon, &line, "");
    assert_eq!(text(&output.stdout), "Login Succeeded\n", "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("unencrypted"), "{}", text(&output.stderr));
    let said: serde_json::Value =
        serde_json::from_slice(&fs::read(&kept).expect("kept")).expect("JSON");
    assert_eq!(
        (said["ServerURL"].as_str(), said["Secret"].as_str()),
        (Some("reg.example"), Some("token"))
    );
    assert!(!config(&daemon).contains("token") && config(&daemon).contains("psFormat"));
    let again = feed(&daemon, &["login", "reg.example"], "");
    assert!(text(&again.stdout).contains("existing credentials"), "{}", text(&again.stderr));
    assert!(feed(&daemon, &["logout", "reg.example"], "").status.success());
    assert!(!kept.exists());
}

#[test]
fn a_program_that_is_not_there_is_named_once() {
    let (daemon, _) = daemon("");
    let place = daemon.directory.path().join("config");
    fs::create_dir(&place).expect("made");
    fs::write(place.join("config.json"), r#"{"credsStore":"lost"}"#).expect("written");
    let words = "error getting credentials - err: exec: \"docker-credential-lost\": \
                 executable file not found in $PATH\n";
    for args in
        [&["login", "-u", "me", "--password-stdin", "reg.example"][..], &["logout", "reg.example"]]
    {
        let output = feed(&daemon, args, "secret\n");
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), words));
    }
    let output = feed(&daemon, &["pull", "-q", "reg.example/a"], "");
    assert_eq!(text(&output.stderr), format!("WARNING: {words}"));
}

#[test]
fn what_is_missing_for_a_login_is_said() {
    let (daemon, seen) = daemon("");
    for (args, words) in [
        (&["login", "--password-stdin"][..], "Must provide --username with --password-stdin"),
        (&["login", "-u", "me"], "Cannot perform an interactive login from a non TTY device"),
        (
            &["login", "-u", "me", "-p", "x", "--password-stdin"],
            "--password and --password-stdin are mutually exclusive",
        ),
    ] {
        let output = feed(&daemon, args, "");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
    assert!(seen.lock().expect("unpoisoned").is_empty());
}

#[test]
fn a_search_shows_what_people_like_first() {
    let (daemon, seen) = daemon("");
    let line = ["search", "--filter", "stars=1", "--limit", "5", "word"];
    let output = feed(&daemon, &line, "");
    assert_eq!(
        text(&output.stdout),
        "NAME      DESCRIPTION   STARS     OFFICIAL\nhigh                    90        [OK]\na/low     few           1         \n"
    );
    let request = seen.lock().expect("unpoisoned")[0].clone();
    assert!(request.target.starts_with("/images/search?term=word&limit=5&filters="));
    let output = feed(&daemon, &["search", "--format", "{{.Name}}", "word"], "");
    assert_eq!(text(&output.stdout), "high\na/low\n");
}
