//! The OCI command line as conmon and containerd use it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture;

/// A bundle and a state directory.
struct Bundle {
    dir: tempfile::TempDir,
    id: String,
}

/// The example program `oci`, which cargo puts beside the tests' directory.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/oci");
    assert!(path.exists(), "{} is missing: cargo build --examples", path.display());
    path
}

impl Bundle {
    fn new(args: &[&str], change: impl FnOnce(&mut Value)) -> Bundle {
        let dir = tempfile::tempdir().unwrap();
        fixture::rootfs(dir.path());
        let id = format!("isopod-oci-{}", std::process::id());
        let mut spec = fixture::spec(args);
        spec["linux"]["cgroupsPath"] = json!(format!("/isopod-test/{id}"));
        change(&mut spec);
        std::fs::write(dir.path().join("config.json"), spec.to_string()).unwrap();
        Bundle { dir, id }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("--root").arg(self.path("state")).arg("--log").arg(self.path("log"));
        command.args(["--log-format", "json"]).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {err}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    /// `create`, with the container's output into a file.
    fn create(&self) {
        let bundle = self.dir.path().to_str().unwrap();
        let pid_file = self.path("pid");
        let out = File::create(self.path("out")).unwrap();
        let status = self
            .command(&[
                "create",
                "--bundle",
                bundle,
                "--pid-file",
                pid_file.to_str().unwrap(),
                &self.id,
            ])
            .stdout(out)
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn out(&self) -> String {
        std::fs::read_to_string(self.path("out")).unwrap()
    }

    fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.ok(&["state", &self.id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn await_status(&self, wanted: &str) {
        let begun = Instant::now();
        while self.status() != wanted {
            assert!(begun.elapsed() < Duration::from_secs(10), "{} not {wanted}", self.status());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.run(&["delete", "--force", &self.id]);
        for dir in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(dir.path().join("isopod-test"));
        }
    }
}

#[test]
fn privileged_oci_life() {
    let b = Bundle::new(&["sh", "-c", "echo started; exec sleep 100"], |_| {});
    b.create();
    assert_eq!(b.status(), "created");
    assert_eq!(b.out(), "");
    let pid: i32 = std::fs::read_to_string(b.path("pid")).unwrap().parse().unwrap();
    let state: Value = serde_json::from_str(&b.ok(&["state", &b.id])).unwrap();
    assert_eq!(state["pid"], pid);
    assert_eq!(state["bundle"], json!(b.dir.path()));
    b.ok(&["start", &b.id]);
    assert_eq!(b.status(), "running");
    assert!(b.fails(&["start", &b.id]).contains("already running"));
    assert!(b.fails(&["delete", &b.id]).contains("that is not stopped: running"));
    let pids: Vec<i32> = serde_json::from_str(&b.ok(&["ps", "--format", "json", &b.id])).unwrap();
    assert_eq!(pids, [pid]);
    assert!(b.ok(&["ps", &b.id]).lines().count() == 2);
    b.ok(&["pause", &b.id]);
    assert_eq!(b.status(), "paused");
    assert!(b.fails(&["exec", &b.id, "true"]).contains("paused"));
    b.ok(&["resume", &b.id]);
    b.ok(&["update", "--pids-limit", "77", "--memory", "64m", &b.id]);
    let limit = format!("/sys/fs/cgroup/pids/isopod-test/{}/pids.max", b.id);
    if Path::new(&limit).exists() {
        assert_eq!(std::fs::read_to_string(limit).unwrap(), "77\n");
    }
    let list: Vec<Value> = serde_json::from_str(&b.ok(&["list", "--format=json"])).unwrap();
    assert_eq!(list[0]["id"], json!(b.id));
    assert_eq!(b.ok(&["list", "-q"]), format!("{}\n", b.id));
    b.ok(&["kill", &b.id, "KILL"]);
    b.await_status("stopped");
    assert!(b.fails(&["kill", &b.id, "9"]).contains("container not running"));
    b.ok(&["delete", &b.id]);
    assert!(b.fails(&["state", &b.id]).contains("does not exist"));
    assert!(b.fails(&["delete", &b.id]).contains("does not exist"));
    b.ok(&["delete", "--force", &b.id]);
    assert_eq!(b.out(), "started\n");
    assert!(!Path::new(&format!("/sys/fs/cgroup/pids/isopod-test/{}", b.id)).exists());
}

#[test]
fn privileged_oci_run_and_errors() {
    let b = Bundle::new(&["sh", "-c", "echo out; exit 6"], |_| {});
    let bundle = b.dir.path().to_str().unwrap().to_owned();
    let output = b.run(&["run", "-b", &bundle, &b.id]);
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(output.stdout, b"out\n");
    assert!(b.fails(&["state", &b.id]).contains("does not exist"));

    let b = Bundle::new(&["nonesuch"], |_| {});
    let bundle = b.dir.path().to_str().unwrap().to_owned();
    let want = "create failed: unable to start container process: \
                exec: \"nonesuch\": executable file not found in $PATH";
    assert!(b.fails(&["create", "-b", &bundle, &b.id]).contains(want));
    let log = std::fs::read_to_string(b.path("log")).unwrap();
    let line: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["msg"], want);
    assert_eq!(std::fs::read_dir(b.path("state")).unwrap().count(), 0, "nothing is left");
    assert!(!Path::new(&format!("/sys/fs/cgroup/pids/isopod-test/{}", b.id)).exists());
    assert!(b.fails(&["create", "-b", &bundle, "../evil"]).contains("invalid container id"));
    assert!(b.fails(&["frobnicate"]).contains("unknown command"));
}

#[test]
fn privileged_oci_two_of_one_id() {
    let b = Bundle::new(&["sleep", "100"], |_| {});
    b.create();
    let bundle = b.dir.path().to_str().unwrap().to_owned();
    let error = b.fails(&["create", "-b", &bundle, &b.id]);
    assert!(error.contains("container with id exists"), "{error}");
    assert_eq!(b.status(), "created");
    // A created container can be deleted as it is.
    b.ok(&["delete", &b.id]);
}

#[test]
fn privileged_oci_exec() {
    let b = Bundle::new(&["sleep", "100"], |_| {});
    b.create();
    b.ok(&["start", &b.id]);
    let script = "echo $X $PWD; id -u; exit 5";
    let output =
        b.run(&["exec", "-e", "X=y", "--cwd", "/tmp", "--user", "7:8", &b.id, "sh", "-c", script]);
    assert_eq!(output.stdout, b"y /tmp\n7\n");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(b.run(&["exec", &b.id, "nonesuch"]).status.code(), Some(127));
    assert_eq!(b.run(&["exec", &b.id, "/etc/passwd"]).status.code(), Some(126));
    // As conmon does it: a process in a file, detached, with a pid file.
    let mut process = fixture::spec(&["sleep", "50"])["process"].clone();
    process["env"].as_array_mut().unwrap().push(json!("P=q"));
    std::fs::write(b.path("process.json"), process.to_string()).unwrap();
    let (file, pid_file) = (b.path("process.json"), b.path("exec.pid"));
    let (file, pid_file) = (file.to_str().unwrap(), pid_file.to_str().unwrap());
    let status = b
        .command(&["exec", "--detach", "--process", file, "--pid-file", pid_file, &b.id])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let pid = std::fs::read_to_string(pid_file).unwrap();
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(String::from_utf8_lossy(&environ).contains("P=q"));
}

#[test]
fn privileged_oci_console_socket() {
    let b = Bundle::new(&["sh", "-c", "read x; echo got $x; tty"], |spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["consoleSize"] = json!({"height": 10, "width": 20});
    });
    let bundle = b.dir.path().to_str().unwrap().to_owned();
    assert!(b.fails(&["create", "-b", &bundle, &b.id]).contains("console socket"));
    let path = b.path("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let accept = std::thread::spawn(move || listener.accept().unwrap().0);
    b.ok(&["create", "-b", &bundle, "--console-socket", path.to_str().unwrap(), &b.id]);
    let (_, mut fds) =
        sys::socket::recv(OwnedFd::from(accept.join().unwrap()), &mut [0u8; 64]).unwrap();
    let mut console = File::from(fds.pop().unwrap());
    b.ok(&["start", &b.id]);
    console.write_all(b"word\n").unwrap();
    let mut text = Vec::new();
    let _ = console.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("got word\r\n/dev/pts/0"), "{text}");
    b.await_status("stopped");
}

#[test]
fn privileged_oci_exec_error_after_the_gate() {
    use std::os::unix::fs::PermissionsExt;
    let b = Bundle::new(&["/script"], |_| {});
    let script = b.path("rootfs/script");
    std::fs::write(&script, "#!/no/such/shell\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    b.create();
    let error = b.fails(&["start", &b.id]);
    assert!(error.contains("exec /script: no such file or directory"), "{error}");
    b.await_status("stopped");
}

#[test]
fn privileged_oci_preserved_descriptors() {
    let b = Bundle::new(&["sh", "-c", "cat <&3"], |_| {});
    let bundle = b.dir.path().to_str().unwrap().to_owned();
    std::fs::write(b.path("input"), "through\n").unwrap();
    let script = format!("exec 3<{}; exec \"$@\"", b.path("input").display());
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(program())
        .arg("--root")
        .arg(b.path("state"))
        .args(["run", "--preserve-fds", "1", "-b", &bundle, &b.id])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"through\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        b.fails(&["run", "--preserve-fds", "9", "-b", &bundle, &b.id]).contains("preserved-fd")
    );
}

#[test]
fn oci_features_spec_version() {
    let b = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| Command::new(program()).args(args).output().unwrap();
    let features: Value = serde_json::from_slice(&run(&["features"]).stdout).unwrap();
    assert!(features["mountOptions"].as_array().unwrap().len() > 40);
    assert!(String::from_utf8_lossy(&run(&["--version"]).stdout).contains("spec: 1."));
    let path = b.path().to_str().unwrap();
    assert!(run(&["spec", "--bundle", path]).status.success());
    assert!(!run(&["spec", "--bundle", path]).status.success());
    let spec: Value =
        serde_json::from_slice(&std::fs::read(b.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(spec["process"]["args"][0], "sh");
}
