//! `--log` and `--log-format`: where podman, conmon and containerd read what went wrong.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::time;

/// A log file, in logrus' formats.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Opened for each line: an open log would be among the descriptors that are passed on.
    file: Option<PathBuf>,
    /// One JSON object a line rather than text.
    pub json: bool,
    /// Without a file, show warnings on stderr.
    pub debug: bool,
}

impl Log {
    /// Appends to this file from now on.
    pub(crate) fn append_to(&mut self, path: &Path) {
        self.file = Some(path.to_owned());
    }

    /// Why the command failed.
    pub(crate) fn error(&self, text: &str) {
        self.line("error", text);
    }

    /// What was left out.
    pub(crate) fn warning(&self, text: &str) {
        // Our stderr is often the process's own: not without having been asked.
        if self.file.is_none() && self.debug {
            eprintln!("isopod oci: warning: {text}");
        }
        self.line("warning", text);
    }

    fn line(&self, level: &str, text: &str) {
        let Some(path) = &self.file else { return };
        let time = time::now();
        let line = match self.json {
            true => json!({"level": level, "msg": text, "time": time}).to_string(),
            false => format!("time={time:?} level={level} msg={text:?}"),
        };
        // A log that cannot be written is no reason to fail, nor can it be told anywhere.
        let file = File::options().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    }
}
