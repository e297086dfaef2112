//! Our command line on images, registries and builds, against our engine and Debian's registry.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::engine::isopod_binary;
use testkit::registry::{Options, Registry};
use testkit::{Engine, Output, Value, unique};

/// The command line with a configuration of its own, where the engine's network is.
struct Cli {
    engine: Engine,
    folder: tempfile::TempDir,
}

impl Cli {
    fn new() -> Self {
        Self { engine: Engine::isopod(), folder: tempfile::tempdir().unwrap() }
    }

    fn registry(&self, more: &str) -> Registry {
        Registry::start(&Options {
            netns: self.engine.netns.as_deref(),
            more,
            ..Options::default()
        })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self) -> Command {
        let mut command = match &self.engine.netns {
            Some(netns) => {
                let mut command = self.engine.prepared(Path::new("nsenter"));
                command.arg(format!("--net={}", netns.display())).arg("--").arg(isopod_binary());
                command
            }
            None => self.engine.prepared(&isopod_binary()),
        };
        command.env("DOCKER_CONFIG", self.folder.path().join("config"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.feed(arguments, b"")
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).success()
    }

    fn feed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Who does not read its input may have ended.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Output {
            code: i64::from(output.status.code().unwrap_or(-1)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }
}

/// Removes names when the test ends.
struct Names<'a>(&'a Cli, Vec<String>);

impl Drop for Names<'_> {
    fn drop(&mut self) {
        for name in &self.1 {
            drop(self.0.run(&["rmi", "-f", name]));
        }
    }
}

#[test]
fn privileged_cli_images_go_to_a_registry_and_come_back() {
    let cli = Cli::new();
    let registry = cli.registry("");
    let name = format!("{}/{}", registry.host(), unique("cli"));
    let tagged = format!("{name}:1");
    let _gone = Names(&cli, vec![tagged.clone(), format!("{name}:2")]);
    let _ = cli.ok(&["tag", "busybox", &tagged]);
    let pushed = cli.ok(&["push", &tagged]);
    assert!(pushed.contains(&format!("The push refers to repository [{name}]")), "{pushed}");
    let digest = pushed.split("digest: ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(digest.starts_with("sha256:"), "{pushed}");
    let _ = cli.ok(&["rmi", &tagged]);
    let pulled = cli.ok(&["pull", &tagged]);
    assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
    assert!(pulled.ends_with(&tagged), "{pulled}");
    assert_eq!(cli.ok(&["pull", "-q", &tagged]), tagged);
    let digests = cli.ok(&["images", "--digests", "--format", "{{.Tag}} {{.Digest}}", &name]);
    assert_eq!(digests, format!("1 {digest}"));
    let by_digest = format!("{name}@{digest}");
    assert!(cli.ok(&["pull", &by_digest]).contains("Image is up to date"), "by digest");
    let _ = cli.ok(&["tag", &tagged, &format!("{name}:2")]);
    assert!(cli.ok(&["push", "-a", &name]).contains("2: digest: "));
    let _ = cli.ok(&["rmi", &tagged, &format!("{name}:2")]);
    assert!(cli.ok(&["pull", "-a", &name]).ends_with(&name));
    assert_eq!(cli.ok(&["images", "--format", "{{.Tag}}", &name]).lines().count(), 2);
    let missing = cli.run(&["pull", &format!("{name}:none")]);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("manifest unknown"), "{missing:?}");
    let conflict = cli.run(&["pull", "-a", &tagged]);
    assert!(conflict.stderr.contains("tag can't be used with --all-tags/-a"), "{conflict:?}");
}

/// `secret` as bcrypt.
const PASSWORDS: &str = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

#[test]
fn privileged_cli_logins_are_kept_and_used() {
    let cli = Cli::new();
    let file = cli.path("passwords");
    fs::write(&file, PASSWORDS).unwrap();
    let registry = cli.registry(&format!("auth:\n  htpasswd: {{realm: here, path: '{file}'}}\n"));
    let host = registry.host();
    let name = format!("{host}/{}:1", unique("cli"));
    let _gone = Names(&cli, vec![name.clone()]);
    let _ = cli.ok(&["tag", "busybox", &name]);
    assert_ne!(cli.run(&["push", &name]).code, 0, "nobody may push");
    let wrong = cli.feed(&["login", "-u", "me", "--password-stdin", &host], b"wrong\n");
    assert!(wrong.code == 1 && wrong.stderr.contains("401"), "{wrong:?}");
    let terminal = cli.run(&["login", "-u", "me", &host]);
    assert!(terminal.stderr.contains("non TTY device"), "{terminal:?}");
    let lacking = cli.run(&["login", "--password-stdin", &host]);
    assert!(lacking.stderr.contains("Must provide --username"), "{lacking:?}");
    let right = cli.feed(&["login", "-u", "me", "--password-stdin", &host], b"secret\n");
    assert_eq!(right.stdout, "Login Succeeded\n", "{right:?}");
    assert!(right.stderr.contains("stored unencrypted"), "{right:?}");
    assert!(cli.ok(&["login", &host]).contains("existing credentials"));
    assert!(cli.ok(&["push", &name]).contains("1: digest: "));
    let _ = cli.ok(&["rmi", &name]);
    // `run` pulls what it lacks, as whom we are.
    let ran = cli.ok(&["run", "--rm", "--network", "none", &name, "echo", "ran"]);
    assert_eq!(ran, "ran");
    let _ = cli.ok(&["rmi", &name]);
    let built = cli.feed(&["build", "-"], format!("FROM {name}\n").as_bytes());
    assert_eq!(built.code, 0, "{built:?}");
    assert!(cli.ok(&["logout", &host]).contains("Removing login credentials"));
    let _ = cli.run(&["rmi", &name]);
    assert_ne!(cli.run(&["pull", &name]).code, 0, "we are nobody again");
}

#[test]
fn privileged_cli_lists_for_several_platforms_are_made_and_pushed() {
    let cli = Cli::new();
    let registry = cli.registry("");
    let host = registry.host();
    let (one, other) = (format!("{host}/one:1"), format!("{host}/other:1"));
    let list = format!("{host}/all:1");
    let _gone = Names(&cli, vec![one.clone(), other.clone(), list.clone()]);
    for name in [&one, &other] {
        let text = format!("FROM busybox\nLABEL name={name}\n");
        let built = cli.feed(&["build", "-q", "-t", name, "-"], text.as_bytes());
        assert_eq!(built.code, 0, "{built:?}");
        let _ = cli.ok(&["push", "-q", name]);
    }
    let made = cli.ok(&["manifest", "create", &list, &one, &other]);
    assert_eq!(made, format!("Created manifest list {list}"));
    let again = cli.run(&["manifest", "create", &list, &one]);
    assert!(again.stderr.contains("--amend"), "{again:?}");
    let _ = cli.ok(&["manifest", "annotate", "--arch", "arm64", "--variant", "v8", &list, &other]);
    let local = cli.json(&["manifest", "inspect", &list]);
    assert_eq!(local["manifests"].as_array().unwrap().len(), 2);
    let verbose = cli.json(&["manifest", "inspect", "-v", &list, &other]);
    assert_eq!(verbose["Descriptor"]["platform"]["variant"], "v8");
    let pushed = cli.ok(&["manifest", "push", "-p", &list]);
    assert!(pushed.lines().last().unwrap().starts_with("sha256:"), "{pushed}");
    // Now it is the registry's word.
    let known = cli.json(&["manifest", "inspect", &list]);
    let platforms: Vec<&str> = known["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["platform"]["architecture"].as_str().unwrap())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    let pulled = cli.ok(&["pull", &list]);
    assert!(pulled.contains(pushed.lines().last().unwrap()), "{pulled}");
    let wanted = cli.ok(&["image", "inspect", "-f", "{{index .Config.Labels \"name\"}}", &list]);
    assert_eq!(wanted, one, "of this platform");
    let missing = cli.run(&["manifest", "rm", &list]);
    assert!(missing.stderr.contains("No such manifest"), "{missing:?}");
}

#[test]
fn privileged_cli_builds_as_people_expect() {
    let cli = Cli::new();
    let tag = unique("cli-build");
    let _gone = Names(&cli, vec![tag.clone()]);
    let context = cli.path("context");
    fs::create_dir_all(format!("{context}/sub")).unwrap();
    fs::write(format!("{context}/Dockerfile"), "FROM busybox AS base\nARG WHO=nobody\nCOPY . /src\nRUN echo hello $WHO && ls /src/sub\nFROM base AS last\nRUN --mount=type=secret,id=token cat /run/secrets/token > /length; wc -c < /length > /count; rm /length\nCMD [\"cat\", \"/count\"]\n").unwrap();
    fs::write(format!("{context}/sub/kept"), "1").unwrap();
    fs::write(format!("{context}/sub/left.o"), "2").unwrap();
    fs::write(format!("{context}/.dockerignore"), "**/*.o\n").unwrap();
    fs::write(cli.path("token"), "12345").unwrap();
    let secret = format!("id=token,src={}", cli.path("token"));
    let ids = cli.path("id");
    let line = [
        "build",
        "-t",
        &tag,
        "--build-arg",
        "WHO=you",
        "--secret",
        &secret,
        "--iidfile",
        &ids,
        "--network",
        "none",
        &context,
    ];
    let output = cli.run(&line);
    assert_eq!(output.code, 0, "{output:?}");
    for part in ["[internal]", "RUN echo hello", "hello you", "kept", " DONE "] {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
    assert!(!output.stderr.contains("left.o"), "{}", output.stderr);
    let id = fs::read_to_string(&ids).unwrap();
    assert_eq!(cli.ok(&["image", "inspect", "-f", "{{.Id}}", &tag]), id);
    assert_eq!(cli.ok(&["run", "--rm", "--network", "none", &tag]), "5");
    let again = cli.run(&line);
    assert!(again.stderr.contains("CACHED"), "{}", again.stderr);
    let mut quiet = line.to_vec();
    quiet.insert(1, "-q");
    assert_eq!(cli.ok(&quiet), id);
    // Files of a stage, on this machine.
    let out = cli.path("out");
    let text = "FROM scratch\nCOPY sub /\n";
    let output = cli.feed(&["build", "-f", "-", "-o", &out, &context], text.as_bytes());
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(fs::read_to_string(format!("{out}/kept")).unwrap(), "1");
    // A failure names the line and shows the output.
    let text = "FROM busybox\nRUN echo before && exit 3\n";
    let output = cli.feed(&["build", "--network", "none", "-f", "-", &context], text.as_bytes());
    assert_ne!(output.code, 0);
    for part in ["before", ">>> RUN echo before", "ERROR: "] {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
    let output = cli.feed(&["build", "-f", "-", &context], b"FROM busybox\nRUM x\n");
    assert!(output.stderr.contains("unknown instruction: RUM"), "{output:?}");
    assert!(output.stderr.contains(":2"), "{output:?}");
}

#[test]
fn privileged_cli_shows_what_images_are_made_of() {
    let cli = Cli::new();
    let tag = unique("cli-tree");
    let _gone = Names(&cli, vec![tag.clone()]);
    let text = format!("FROM busybox\nRUN echo {tag} > /made\n");
    let built = cli.feed(&["build", "-q", "--network", "none", "-t", &tag, "-"], text.as_bytes());
    assert_eq!(built.code, 0, "{built:?}");
    let tree = cli.ok(&["image", "ls", "--tree", &tag]);
    let lines: Vec<&str> = tree.lines().collect();
    assert_eq!(lines.len(), 3, "{tree}");
    assert!(lines[2].starts_with("└─ ") && lines[2].contains(&format!("{tag}:latest")), "{tree}");
    let documents = cli.json(&["image", "inspect", "--oci", &tag]);
    let layers = documents[0]["config"]["rootfs"]["diff_ids"].as_array().unwrap().len();
    assert_eq!(layers, 2, "{documents}");
    let archive = cli.path("image.tar");
    let _ = cli.ok(&["save", "-o", &archive, &tag]);
    let id = cli.ok(&["image", "inspect", "-f", "{{.Id}}", &tag]);
    let _ = cli.ok(&["rmi", &tag]);
    let piped = cli.feed(&["load", "-q"], &fs::read(&archive).unwrap());
    assert_eq!(piped.success(), format!("Loaded image: {tag}:latest"));
    assert_eq!(cli.ok(&["image", "inspect", "-f", "{{.Id}}", &tag]), id);
    let checked = cli.ok(&["system", "check"]);
    assert!(checked.contains("Everything is as it should be."), "{checked}");
    // The record of this build only: other tests build on the same engine.
    let _ = cli.ok(&["rmi", &tag]);
    let df = cli.engine.get("/system/df").expect(200).json();
    let mut records = df["BuildCache"].as_array().unwrap().iter();
    let ours = |record: &&Value| record["Description"].as_str().unwrap().contains(&tag);
    let record = records.find(ours).unwrap()["ID"].as_str().unwrap();
    let pruned = cli.ok(&["builder", "prune", "-f", "--filter", &format!("id={record}")]);
    assert!(pruned.contains(record) && !pruned.contains("space: 0B"), "{pruned}");
}
