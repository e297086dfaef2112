//! The command lines: Docker's own against both engines, ours against our engine with the same
//! words and the same answers.

use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::engine::isopod_binary;
use testkit::{Engine, Output, eventually, json, unique};

const SOON: Duration = Duration::from_secs(15);

/// A command line and the engine it talks to.
struct Cli {
    engine: Engine,
    program: PathBuf,
}

impl Cli {
    fn run(&self, arguments: &[&str]) -> Output {
        self.engine.command(&self.program, arguments)
    }

    /// Runs with some input; returns what it said.
    fn feed(&self, arguments: &[&str], input: &[u8]) -> Output {
        use std::io::Write;
        use std::process::Stdio;
        let mut command = self.engine.prepared(&self.program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        Output {
            code: i64::from(output.status.code().unwrap_or(-1)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Removes a container by name when the test ends.
struct Named<'a>(&'a Cli, String);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(&["rm", "-fv", &self.1]);
    }
}

macro_rules! command_lines {
    ($( fn $name:ident($cli:ident) $body:block )*) => {
        mod bodies {
            use super::*;
            $( pub(super) fn $name($cli: &Cli) $body )*
        }
        mod docker_on_dockerd {
            use super::*;
            $( #[test] fn $name() { bodies::$name(&Cli { engine: Engine::dockerd(), program: "docker".into() }); } )*
        }
        mod docker_on_isopod {
            use super::*;
            $( #[test] fn $name() { bodies::$name(&Cli { engine: Engine::isopod(), program: "docker".into() }); } )*
        }
        mod isopod_on_isopod {
            use super::*;
            $( #[test] fn $name() { bodies::$name(&Cli { engine: Engine::isopod(), program: isopod_binary() }); } )*
        }
    };
}

command_lines! {
    fn privileged_cli_run(cli) {
        assert_eq!(cli.run(&["run", "--rm", "busybox", "echo", "hello"]).success(), "hello");
        let output = cli.run(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo e >&2; exit 9"]);
        assert_eq!((output.code, output.stderr.as_str()), (9, "e\n"));
        let output = cli.feed(&["run", "--rm", "-i", "busybox", "wc", "-c"], b"12345");
        assert_eq!(output.success().trim(), "5");
        let output = cli.run(&["run", "--rm", "--network", "none", "busybox", "no-such-program"]);
        assert_eq!(output.code, 127, "{output:?}");
        assert!(output.stderr.contains("executable file not found in $PATH"), "{output:?}");
        let output = cli.run(&["run", "--rm", "--network", "none", "busybox", "/etc/passwd"]);
        assert_eq!(output.code, 126, "{output:?}");
        let output = cli.run(&["run", "--rm", "--no-such-flag", "busybox"]);
        assert_eq!(output.code, 125, "{output:?}");
        assert!(output.stderr.contains("no-such-flag"), "{output:?}");
    }

    fn privileged_cli_run_options(cli) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("env"), "FROM=file\n# comment\nPLAIN=x y\n").unwrap();
        let output = cli.run(&["run", "--rm", "--network", "none", "--env-file", &path("env"), "-e", "OWN=1", "-w", "/tmp", "-u", "app", "-h", "hosty", "--label", "a=b", "--cidfile", &path("cid"),
            "--add-host", "some:1.2.3.4", "--entrypoint", "sh", "--tmpfs", "/t:size=1m", "--shm-size", "2m", "--ulimit", "nofile=64:128", "-v", &format!("{}:/v", folder.path().display()), "--read-only",
            "--memory", "64m", "--cpus", "1.5", "--pids-limit", "50", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--init", "--stop-timeout", "1", "--mount", "type=tmpfs,dst=/m", "busybox", "-c",
            "echo $FROM $PLAIN $OWN; pwd; id -u; hostname; ulimit -n; ls /v/env; df -k /dev/shm | tail -1 | awk '{print $2}'; touch /x 2>&1 | tail -1; grep CapBnd /proc/self/status | cut -f2"]).success();
        assert_eq!(output, "file x y 1\n/tmp\n1000\nhosty\n64\n/v/env\n2048\ntouch: /x: Read-only file system\n0000000000000000");
        assert_eq!(std::fs::read_to_string(path("cid")).unwrap().len(), 64);
    }

    fn privileged_cli_does_without_a_damaged_configuration(cli) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), "{bad").unwrap();
        let config = folder.path().display().to_string();
        let output = cli.run(&["--config", &config, "ps"]);
        assert!(output.stdout.starts_with("CONTAINER ID"), "{output:?}");
        assert_eq!(output.code, 0);
        assert!(output.stderr.starts_with("WARNING: Error ") && output.stderr.contains(&config), "{output:?}");
        assert_eq!(output.stderr.trim().lines().count(), 1, "{output:?}");
    }

    fn privileged_cli_life(cli) {
        let name = unique("cli");
        let _gone = Named(cli, name.clone());
        let id = cli.run(&["run", "-d", "--name", &name, "--network", "none", "--init", "busybox", "sh", "-c", "echo started; sleep 1000"]).success();
        assert_eq!(id.len(), 64);
        let listed = cli.run(&["ps", "--no-trunc", "-q", "-f", &format!("name={name}")]).success();
        assert_eq!(listed, id);
        let table = cli.run(&["ps", "-f", &format!("name={name}")]).success();
        let head: Vec<&str> = table.lines().next().unwrap().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        assert_eq!(head, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
        assert!(table.contains("\"sh -c 'echo started…\"") && table.contains("Up "), "{table}");
        let line = cli.run(&["ps", "-f", &format!("name={name}"), "--format", "{{.Names}}|{{.Image}}|{{.State}}|{{.ID}}"]).success();
        assert_eq!(line, format!("{name}|busybox|running|{}", &id[..12]));
        let line = cli.run(&["ps", "-f", &format!("name={name}"), "--format", "json"]).success();
        assert_eq!(serde_json::from_str::<testkit::Value>(&line).unwrap()["Names"], name);
        assert_eq!(cli.run(&["exec", &name, "echo", "in"]).success(), "in");
        assert_eq!(cli.run(&["exec", &name, "sh", "-c", "exit 42"]).code, 42);
        assert_eq!(cli.feed(&["exec", "-i", &name, "cat"], b"piped").success(), "piped");
        assert_eq!(cli.run(&["exec", "-u", "app", "-w", "/tmp", "-e", "A=b", &name, "sh", "-c", "id -u; pwd; echo $A"]).success(), "1000\n/tmp\nb");
        eventually("logged", SOON, || (cli.run(&["logs", &name]).success() == "started").then_some(()));
        assert_eq!(cli.run(&["inspect", "-f", "{{.State.Status}} {{.Config.Image}} {{json .Config.Cmd}}", &name]).success(), "running busybox [\"sh\",\"-c\",\"echo started; sleep 1000\"]");
        let whole: testkit::Value = serde_json::from_str(&cli.run(&["inspect", &name]).success()).unwrap();
        assert_eq!(whole[0]["Id"], id);
        assert!(cli.run(&["top", &name]).success().contains("sleep 1000"));
        assert!(cli.run(&["stats", "--no-stream", &name]).success().contains(&name));
        assert_eq!(cli.run(&["pause", &name]).success(), name);
        assert!(cli.run(&["ps", "-f", &format!("name={name}")]).success().contains("(Paused)"));
        assert_eq!(cli.run(&["unpause", &name]).success(), name);
        assert_eq!(cli.run(&["update", "--memory", "64m", "--memory-swap", "64m", &name]).success().trim(), name);
        let other = unique("cli-renamed");
        let _ = cli.run(&["rename", &name, &other]).success();
        let _ = cli.run(&["rename", &other, &name]).success();
        assert_eq!(cli.run(&["restart", "-t", "1", &name]).success(), name);
        assert_eq!(cli.run(&["kill", "-s", "TERM", &name]).success(), name);
        assert_eq!(cli.run(&["wait", &name]).success(), "143");
        assert_eq!(cli.run(&["start", &name]).success(), name);
        assert_eq!(cli.run(&["stop", "-t", "5", &name]).success(), name);
        assert!(cli.run(&["ps", "-a", "-f", &format!("name={name}")]).success().contains("Exited (143)"));
        let refused = cli.run(&["exec", &name, "true"]);
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains("is not running"), "{refused:?}");
        assert_eq!(cli.run(&["rm", &name]).success(), name);
        let missing = cli.run(&["rm", &name]);
        assert!(missing.stderr.contains("No such container"), "{missing:?}");
    }

    fn privileged_cli_attach_and_detached_start(cli) {
        let name = unique("cli");
        let _gone = Named(cli, name.clone());
        let _ = cli.run(&["create", "--name", &name, "-i", "--network", "none", "busybox", "sh", "-c", "cat; exit 5"]).success();
        let output = cli.feed(&["start", "-a", "-i", &name], b"through\n");
        assert_eq!((output.code, output.stdout.as_str()), (5, "through\n"), "{output:?}");
    }

    fn privileged_cli_files(cli) {
        let name = unique("cli");
        let _gone = Named(cli, name.clone());
        let _ = cli.run(&["run", "--name", &name, "--network", "none", "busybox", "sh", "-c", "echo kept > /kept"]).success();
        assert!(cli.run(&["diff", &name]).success().contains("A /kept"));
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("kept").display().to_string();
        assert_eq!(cli.run(&["cp", &format!("{name}:/kept"), &out]).code, 0);
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "kept\n");
        assert_eq!(cli.run(&["cp", &out, &format!("{name}:/tmp/again")]).code, 0);
        let tar = folder.path().join("all.tar").display().to_string();
        let _ = cli.run(&["export", "-o", &tar, &name]).success();
        let tag = unique("cli-image");
        let _ = cli.run(&["commit", "-m", "why", "-c", "CMD [\"cat\", \"/kept\"]", &name, &tag]).success();
        assert_eq!(cli.run(&["run", "--rm", "--network", "none", &tag]).success(), "kept");
        assert!(cli.run(&["images", &tag]).success().contains(&tag));
        assert!(cli.run(&["history", &tag]).success().contains("why"));
        let saved = folder.path().join("saved.tar").display().to_string();
        let _ = cli.run(&["save", "-o", &saved, &tag]).success();
        let _ = cli.run(&["tag", &tag, &format!("{tag}:second")]).success();
        let _ = cli.run(&["rmi", &format!("{tag}:second"), &tag]).success();
        assert!(cli.run(&["load", "-i", &saved]).success().contains(&format!("Loaded image: {tag}:latest")));
        let _ = cli.run(&["rmi", &tag]).success();
        let id = cli.run(&["import", "-c", "CMD [\"cat\", \"/kept\"]", &tar, &tag]).success();
        assert!(id.contains("sha256:"), "{id}");
        assert_eq!(cli.run(&["run", "--rm", "--network", "none", &tag]).success(), "kept");
        let _ = cli.run(&["rmi", &tag]).success();
        assert_ne!(cli.run(&["image", "inspect", &tag]).code, 0);
    }

    fn privileged_cli_system(cli) {
        let version = cli.run(&["version"]).success();
        assert!(version.contains("Client") && version.contains("Server") && version.contains("API version"), "{version}");
        assert!(cli.run(&["info"]).success().contains("Server Version"));
        assert!(cli.run(&["system", "df"]).success().contains("RECLAIMABLE"));
        let name = unique("cli");
        let _ = cli.run(&["run", "--rm", "--name", &name, "--network", "none", "busybox", "true"]).success();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let later = (now + 1).to_string();
        let until = cli.run(&["events", "--since", "1m", "--until", &later, "--filter", &format!("container={name}"), "--format", "{{.Action}}"]).success();
        let actions: Vec<&str> = until.lines().collect();
        assert!(actions.starts_with(&["create"]) && actions.contains(&"start") && actions.contains(&"die") && actions.ends_with(&["destroy"]), "{actions:?}");
        assert!(!cli.run(&["nonsense"]).stderr.is_empty());
        assert_ne!(cli.run(&["nonsense"]).code, 0);
        assert!(cli.run(&["run", "--help"]).success().contains("--rm"));
    }

    fn privileged_cli_terminals(cli) {
        // `script` gives the command line a terminal of its own.
        let line = format!("{} run --rm -it --network none busybox sh -c 'tty; stty size; echo done'", cli.program.display());
        let mut command = cli.engine.prepared(Path::new("script"));
        let output = command.args(["-qec", &line, "/dev/null"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("/dev/pts/0") || text.contains("/dev/console"), "{text:?}");
        assert!(text.contains("done\r\n"), "{text:?}");
        let output = cli.run(&["run", "--rm", "-t", "--network", "none", "busybox", "tty"]);
        assert!(output.stdout.ends_with("\r\n"), "{output:?}");
        let refused = cli.run(&["run", "--rm", "-it", "--network", "none", "busybox", "true"]);
        assert!(refused.code != 0 && refused.stderr.contains("not a TTY"), "{refused:?}");
    }
}

#[test]
fn privileged_cli_without_a_daemon_says_how_to_start_one() {
    let output = std::process::Command::new(isopod_binary())
        .args(["ps"])
        .env("DOCKER_HOST", "unix:///tmp/no-isopod-here.sock")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("isopod daemon"), "{text}");
}

#[test]
fn privileged_cli_knows_contexts() {
    let engine = Engine::isopod();
    let folder = tempfile::tempdir().unwrap();
    let id = testkit::image::digest(b"own").trim_start_matches("sha256:").to_owned();
    let meta = folder.path().join("contexts/meta").join(&id);
    std::fs::create_dir_all(&meta).unwrap();
    let host = format!("unix://{}", engine.socket.display());
    let text = json!({"Name": "own", "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": false}}});
    std::fs::write(meta.join("meta.json"), text.to_string()).unwrap();
    for arguments in [&["--context", "own", "ps"][..], &["ps"]] {
        let mut command = std::process::Command::new(isopod_binary());
        command.env_remove("DOCKER_HOST").env("DOCKER_CONFIG", folder.path());
        if arguments.len() == 1 {
            command.env("DOCKER_CONTEXT", "own");
        }
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("CONTAINER ID"));
    }
}

#[test]
fn privileged_cli_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let output = std::process::Command::new(isopod_binary())
            .args(["completion", shell])
            .output()
            .unwrap();
        let script = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && script.contains("__complete"), "{shell}: {script}");
    }
}

#[test]
fn privileged_cli_a_directory_as_root() {
    let engine = Engine::isopod();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    std::fs::copy("/bin/busybox", folder.path().join("bin/sh")).unwrap();
    let root = folder.path().display().to_string();
    let output = engine.isopod_cli(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--rootfs",
        &root,
        "/bin/sh",
        "-c",
        "echo from a directory",
    ]);
    assert_eq!(output.success(), "from a directory");
}
