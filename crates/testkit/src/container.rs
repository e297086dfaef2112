//! A container that a test made, and that is gone when the test ends.

use crate::engine::Engine;
use crate::frames::{self, Streams};
use serde_json::{Value, json};

/// What a program said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status.
    pub code: i64,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
}

impl Output {
    /// What a program said and how it ended.
    #[must_use]
    pub fn new(code: i64, stdout: &[u8], stderr: &[u8]) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { code, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Insists on status 0; returns standard output without its last line end.
    #[must_use]
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout.trim_end_matches(['\n', '\r']).to_owned()
    }
}

/// A container; removed by force when dropped.
#[derive(Debug)]
pub struct Container {
    engine: Engine,
    /// The full id.
    pub id: String,
    /// The name without a slash.
    pub name: String,
}

impl Container {
    /// One that was made by other means than [`Engine::create`].
    #[must_use]
    pub fn new(engine: &Engine, id: String, name: &str) -> Self {
        Self { engine: engine.clone(), id, name: name.to_owned() }
    }

    /// `/containers/{id}` with `rest` behind it.
    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        format!("/containers/{}{rest}", self.id)
    }

    /// Starts it.
    #[track_caller]
    pub fn start(&self) {
        let _ = self.engine.act(&self.path("/start")).expect(204);
    }

    /// Stops it, with so many seconds of patience.
    #[track_caller]
    pub fn stop(&self, seconds: u32) {
        let _ = self.engine.act(&self.path(&format!("/stop?t={seconds}"))).ok();
    }

    /// Sends a signal.
    #[track_caller]
    pub fn kill(&self, signal: &str) {
        let _ = self.engine.act(&self.path(&format!("/kill?signal={signal}"))).expect(204);
    }

    /// Waits until it is not running; returns its exit status.
    #[track_caller]
    pub fn wait(&self) -> i64 {
        let answer = self.engine.act(&self.path("/wait")).expect(200);
        answer.json()["StatusCode"].as_i64().expect("a StatusCode")
    }

    /// `docker inspect`.
    #[must_use]
    #[track_caller]
    pub fn inspect(&self) -> Value {
        self.engine.get(&self.path("/json")).expect(200).json()
    }

    /// `State.Status`.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> String {
        self.inspect()["State"]["Status"].as_str().expect("a Status").to_owned()
    }

    /// Everything it logged (without a terminal).
    #[must_use]
    #[track_caller]
    pub fn logs(&self) -> Streams {
        self.logs_with("stdout=1&stderr=1")
    }

    /// What `/logs` gives for a query (without a terminal).
    #[must_use]
    #[track_caller]
    pub fn logs_with(&self, query: &str) -> Streams {
        let answer = self.engine.get(&self.path(&format!("/logs?{query}"))).expect(200);
        frames::split(&answer.body[..])
    }

    /// Runs a command inside and waits for it.
    #[must_use]
    #[track_caller]
    pub fn exec(&self, command: &[&str]) -> Output {
        self.exec_with(json!({ "Cmd": command }))
    }

    /// Runs a shell script inside, insists that it succeeds, and returns its output.
    #[must_use]
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.exec(&["sh", "-c", script]).success()
    }

    /// Runs whatever the exec configuration says, with output attached, and waits for it.
    #[must_use]
    #[track_caller]
    pub fn exec_with(&self, config: Value) -> Output {
        let tty = config["Tty"] == json!(true);
        let id = self.exec_create(config);
        let start = json!({ "Detach": false, "Tty": tty });
        let stream = self.engine.hijack(&format!("/exec/{id}/start"), true, &start);
        let streams = if tty {
            Streams { stdout: stream.read_all(), stderr: Vec::new() }
        } else {
            frames::split(stream)
        };
        let code = crate::eventually("exec has an exit status", crate::http::PATIENCE, || {
            self.engine.get(&format!("/exec/{id}/json")).expect(200).json()["ExitCode"].as_i64()
        });
        Output::new(code, &streams.stdout, &streams.stderr)
    }

    /// Creates an exec with output attached; returns its id.
    #[must_use]
    #[track_caller]
    pub fn exec_create(&self, mut config: Value) -> String {
        for stream in ["AttachStdout", "AttachStderr"] {
            if config[stream].is_null() {
                config[stream] = json!(true);
            }
        }
        let answer = self.engine.post(&self.path("/exec"), &config).expect(201);
        answer.json()["Id"].as_str().expect("an Id").to_owned()
    }

    /// Removes it by force now.
    #[track_caller]
    pub fn remove(self) {
        let _ = self.engine.delete(&self.path("?force=1&v=1")).ok();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // A test that is failing already must not hang or panic here as well.
        if self.engine.client().answers() {
            let _ = self.engine.delete(&self.path("?force=1&v=1"));
        }
    }
}
