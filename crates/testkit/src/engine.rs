//! An engine that is running somewhere, as its clients see it.

use crate::container::{Container, Output};
use crate::http::{Client, Hijacked, Open, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whose engine it is. Tests ask only where the two are known to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Debian's dockerd, 20.10 on Debian 12.
    Dockerd,
    /// Ours.
    Isopod,
}

/// Where a running engine can be reached and where it keeps things.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Engine {
    /// Whose it is.
    pub kind: Kind,
    /// Its API socket.
    pub socket: PathBuf,
    /// The network namespace it lives in; the host's when absent.
    pub netns: Option<PathBuf>,
    /// Its `--data-root`.
    pub data_root: PathBuf,
    /// Its `--exec-root`.
    pub exec_root: PathBuf,
}

/// The API version that both sides of the comparison speak.
pub const VERSION: &str = "/v1.41";

impl Engine {
    /// The dockerd that was started for this test run.
    #[must_use]
    #[track_caller]
    pub fn dockerd() -> Self {
        Self::shared("ISOPOD_TEST_DOCKERD")
    }

    /// The `isopod daemon` that was started for this test run.
    #[must_use]
    #[track_caller]
    pub fn isopod() -> Self {
        Self::shared("ISOPOD_TEST_ISOPOD")
    }

    #[track_caller]
    fn shared(variable: &str) -> Self {
        let text = std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is not set: run the suite with `cargo nextest run` as root, whose setup script starts the engines")
        });
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }

    /// Whether this is the rival.
    #[must_use]
    pub fn is_dockerd(&self) -> bool {
        self.kind == Kind::Dockerd
    }

    /// The raw client.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// `GET` below the version prefix.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.client().request("GET", &format!("{VERSION}{path}"), &[], &[])
    }

    /// `POST` with JSON below the version prefix; `Null` sends no body.
    #[must_use]
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        let path = format!("{VERSION}{path}");
        if body.is_null() {
            return self.client().request("POST", &path, &[], &[]);
        }
        let headers = [("Content-Type", "application/json")];
        self.client().request("POST", &path, &headers, body.to_string().as_bytes())
    }

    /// `POST` with nothing.
    #[must_use]
    #[track_caller]
    pub fn act(&self, path: &str) -> Response {
        self.post(path, &Value::Null)
    }

    /// `DELETE` below the version prefix.
    #[must_use]
    #[track_caller]
    pub fn delete(&self, path: &str) -> Response {
        self.client().request("DELETE", &format!("{VERSION}{path}"), &[], &[])
    }

    /// `PUT` of a tar below the version prefix.
    #[must_use]
    #[track_caller]
    pub fn put(&self, path: &str, body: &[u8]) -> Response {
        let headers = [("Content-Type", "application/x-tar")];
        self.client().request("PUT", &format!("{VERSION}{path}"), &headers, body)
    }

    /// `POST` of a tar below the version prefix.
    #[must_use]
    #[track_caller]
    pub fn upload(&self, path: &str, body: &[u8]) -> Response {
        let headers = [("Content-Type", "application/x-tar")];
        self.client().request("POST", &format!("{VERSION}{path}"), &headers, body)
    }

    /// A `GET` whose answer is read as it comes.
    #[must_use]
    #[track_caller]
    pub fn stream(&self, path: &str) -> Open {
        self.client().open("GET", &format!("{VERSION}{path}"), &[], &[])
    }

    /// A hijacked `POST` below the version prefix.
    #[track_caller]
    pub fn hijack(&self, path: &str, upgrade: bool, body: &Value) -> Hijacked {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = format!("{VERSION}{path}");
        match self.client().hijack(&path, upgrade, body.as_bytes()) {
            Ok(stream) => stream,
            Err(answer) => panic!("{} answered {}: {}", answer.asked, answer.status, answer.text()),
        }
    }

    /// Creates a container from the busybox image, without a network unless `config` names one.
    #[must_use]
    #[track_caller]
    pub fn create(&self, config: Value) -> Container {
        let name = crate::unique("t");
        self.create_named(&name, config)
    }

    /// The same with a name.
    #[must_use]
    #[track_caller]
    pub fn create_named(&self, name: &str, config: Value) -> Container {
        let config = with_defaults(config);
        let answer = self.post(&format!("/containers/create?name={name}"), &config).expect(201);
        let id = answer.json()["Id"].as_str().expect("an Id").to_owned();
        Container::new(self, id, name)
    }

    /// Creates and starts a container that sleeps.
    #[must_use]
    #[track_caller]
    pub fn sleeper(&self, mut config: Value) -> Container {
        if config["Cmd"].is_null() {
            // Not PID 1 alone: it would ignore the signals that have no handler.
            config["Cmd"] =
                json!(["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"]);
        }
        let container = self.create(config);
        container.start();
        container
    }

    /// Creates, starts, waits for and removes a container; returns what it said.
    #[must_use]
    #[track_caller]
    pub fn run(&self, config: Value) -> Output {
        let container = self.create(config);
        container.start();
        let code = container.wait();
        let logs = container.logs();
        Output::new(code, &logs.stdout, &logs.stderr)
    }

    /// Runs a shell script in a container and insists that it succeeds; returns its output.
    #[must_use]
    #[track_caller]
    pub fn sh(&self, script: &str, mut config: Value) -> String {
        config["Cmd"] = json!(["sh", "-c", script]);
        let output = self.run(config);
        assert_eq!(output.code, 0, "{script}: {output:?}");
        output.stdout
    }

    /// Whether a container answers to `id`.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.get(&format!("/containers/{id}/json")).status == 200
    }

    /// Runs Docker's own command line against this engine.
    #[must_use]
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> Output {
        self.command(Path::new("docker"), arguments)
    }

    /// Runs our command line against this engine.
    #[must_use]
    #[track_caller]
    pub fn isopod_cli(&self, arguments: &[&str]) -> Output {
        self.command(&isopod_binary(), arguments)
    }

    /// Runs a Docker-compatible command line against this engine.
    #[must_use]
    #[track_caller]
    pub fn command(&self, program: &Path, arguments: &[&str]) -> Output {
        let output = self.prepared(program).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let code = output.status.code().map_or(-1, i64::from);
        Output::new(code, &output.stdout, &output.stderr)
    }

    /// A command whose environment points at this engine.
    #[must_use]
    pub fn prepared(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env_remove("DOCKER_CONTEXT")
            .env("DOCKER_CONFIG", self.exec_root.join("no-cli-config"))
            .stdin(std::process::Stdio::null());
        command
    }

    /// Does `work` where the engine's host network is.
    pub fn on_its_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.netns {
            Some(path) => crate::netns::inside(path, work),
            None => work(),
        }
    }
}

fn with_defaults(mut config: Value) -> Value {
    if config["Image"].is_null() {
        config["Image"] = json!("busybox");
    }
    if config["HostConfig"]["NetworkMode"].is_null() {
        config["HostConfig"]["NetworkMode"] = json!("none");
    }
    config
}

/// A `filters` query parameter.
#[must_use]
pub fn filters(value: &Value) -> String {
    format!("filters={}", encode(&value.to_string()))
}

/// Percent-encodes all but unreserved characters.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The program under test: `ISOPOD_BINARY`, or the one cargo built beside this test.
#[must_use]
pub fn isopod_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ISOPOD_BINARY") {
        return path.into();
    }
    target_dir().join("isopod")
}

/// The directory of this build's programs: `target/debug` or its like.
#[must_use]
pub fn target_dir() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    let folder = own.parent().expect("a program is in a directory");
    if folder.ends_with("deps") {
        folder.parent().expect("deps is in a directory").to_owned()
    } else {
        folder.to_owned()
    }
}
