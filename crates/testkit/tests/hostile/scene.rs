//! A daemon that is attacked, and what must be true of it afterwards.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use testkit::engine::encode;
use testkit::{Daemon, Engine, Response, Value, unique};

/// The most that a layer may unpack to in these tests.
pub(crate) const LIMIT: &str = "32m";

/// A daemon, and a directory outside that nothing may change.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) engine: Engine,
    /// A name that no honest file has.
    pub(crate) mark: String,
    victim: PathBuf,
    before: u64,
}

impl Scene {
    pub(crate) fn start() -> Self {
        let arguments = ["--max-layer-size", LIMIT, "--max-download-attempts", "1"];
        let daemon = Daemon::isopod_with(&arguments);
        let engine = daemon.engine();
        let mark = unique("escaped");
        let victim = Path::new("/tmp").join(unique("isopod-victim"));
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("file"), "untouched").unwrap();
        let before = peak(&daemon);
        Self { daemon, engine, mark, victim, before }
    }

    /// The directory outside, as a path without a slash before it.
    pub(crate) fn victim(&self) -> &str {
        self.victim.to_str().unwrap().trim_start_matches('/')
    }

    /// Pulls; `Err` is what the engine said.
    pub(crate) fn pull(&self, host: &str, name: &str) -> Result<(), String> {
        let path = format!("/images/create?fromImage={}", encode(&format!("{host}/{name}")));
        said(&self.engine.act(&path))
    }

    /// Pulls from where nothing comes for longer than a test would wait otherwise.
    pub(crate) fn pull_slowly(&self, host: &str, name: &str) -> Result<(), String> {
        let path = format!("/v1.41/images/create?fromImage={}", encode(&format!("{host}/{name}")));
        let mut stream = self.engine.client().connect();
        stream.set_read_timeout(None).unwrap();
        let head = "Host: d\r\nContent-Length: 0\r\nConnection: close";
        stream.write_all(format!("POST {path} HTTP/1.1\r\n{head}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        match answer.contains("\"error\"") || !answer.starts_with("HTTP/1.1 200") {
            true => Err(answer),
            false => Ok(()),
        }
    }

    /// Loads an archive; `Err` is what the engine said.
    pub(crate) fn load(&self, tar: &[u8]) -> Result<(), String> {
        said(&self.engine.upload("/images/load?quiet=1", tar))
    }

    /// Imports the tar of a file system; `Err` is what the engine said.
    pub(crate) fn import(&self, tar: &[u8]) -> Result<(), String> {
        said(&self.engine.upload("/images/create?fromSrc=-&repo=imported&tag=1", tar))
    }

    /// Removes every image.
    pub(crate) fn remove_images(&self) {
        for image in self.images() {
            let id = image["Id"].as_str().unwrap();
            let answer = self.engine.delete(&format!("/images/{id}?force=1"));
            assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
        }
    }

    fn images(&self) -> Vec<Value> {
        self.engine.get("/images/json?all=1").expect(200).json().as_array().unwrap().clone()
    }

    /// Nothing was written outside.
    #[track_caller]
    pub(crate) fn nothing_outside(&self, what: &str) {
        let names: Vec<_> =
            fs::read_dir(&self.victim).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "{what}");
        let file = self.victim.join("file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "untouched", "{what}");
        let (folder, file) = (self.victim.metadata().unwrap(), file.metadata().unwrap());
        assert_eq!((folder.mode() & 0o7777, folder.uid()), (0o755, 0), "{what}");
        assert_eq!((file.mode() & 0o7777, file.uid(), file.nlink()), (0o644, 0, 1), "{what}");
        for place in ["/", "/tmp", "/etc", "/root", "."] {
            assert!(!Path::new(place).join(&self.mark).exists(), "{what}: {place}/{}", self.mark);
        }
        let data = self.daemon.folder().join("data");
        let layers = data.join("layers");
        for found in below(self.daemon.folder()) {
            let named = found.file_name().is_some_and(|name| name.to_string_lossy() == self.mark);
            assert!(!named || found.starts_with(&layers), "{what}: {}", found.display());
        }
    }

    /// No image, no layer, no blob, and a store that finds nothing wrong with itself. What
    /// interrupted downloads have brought may stay for the next try.
    #[track_caller]
    pub(crate) fn nothing_left(&self, what: &str) {
        self.nothing_outside(what);
        assert_eq!(self.images(), Vec::<Value>::new(), "{what}");
        let found = check(&self.engine, false);
        assert!(found.is_empty(), "{what}: {found:#?}");
        let data = self.daemon.folder().join("data");
        let left: Vec<PathBuf> = ["layers", "content/blobs/sha256"]
            .iter()
            .flat_map(|place| fs::read_dir(data.join(place)).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                // What every store has, and what is on its way.
                !matches!(name.as_str(), "init" | "empty") && !name.starts_with('.')
            })
            .collect();
        assert!(left.is_empty(), "{what}: {left:#?}");
    }

    /// The daemon has not used more memory than it may.
    #[track_caller]
    pub(crate) fn memory_is_bounded(&self, what: &str) {
        let used = peak(&self.daemon).saturating_sub(self.before);
        println!("{what}: {} MiB more", used >> 20);
        assert!(used < 192 << 20, "{what}: {} MiB more", used >> 20);
    }

    /// The end: all of the above, and nothing left after the daemon either.
    #[track_caller]
    pub(crate) fn end(self, what: &str) {
        self.nothing_left(what);
        self.memory_is_bounded(what);
        let Self { daemon, victim, .. } = self;
        daemon.stop().unwrap();
        fs::remove_dir_all(victim).unwrap();
    }
}

/// The most memory that a daemon has ever had, in bytes.
fn peak(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Every file below a directory; symlinks are not followed.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(below(&entry.path()));
        }
        all.push(entry.path());
    }
    all
}

/// Whether a stream ended well.
fn said(answer: &Response) -> Result<(), String> {
    if answer.status >= 400 {
        return Err(answer.message());
    }
    for line in answer.text().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        if let Some(error) = line["error"].as_str() {
            return Err(error.to_owned());
        }
    }
    Ok(())
}

/// What the store finds wrong with itself.
pub(crate) fn check(engine: &Engine, repair: bool) -> Vec<Value> {
    let path = format!("/system/check{}", if repair { "?repair=1" } else { "" });
    let answer = engine.act(&path).expect(200);
    let lines: Vec<Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["type"], "report", "{}", answer.text());
    lines.into_iter().filter(|line| line["type"] == "found").collect()
}
