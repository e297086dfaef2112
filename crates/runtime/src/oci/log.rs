//! `--log` and `--log-format`: where podman, conmon and containerd read what went wrong.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::time;

/// A log file, in logrus' formats.
#[derive(Debug, Default)]
pub(crate) struct Log {
    file: Option<File>,
    /// One JSON object a line rather than text.
    pub json: bool,
    /// Accepted for compatibility; there is nothing more to say.
    pub debug: bool,
}

impl Log {
    /// Appends to this file from now on.
    pub(crate) fn to_file(&mut self, path: &Path) {
        self.file = File::options().append(true).create(true).open(path).ok();
    }

    /// Why the command failed.
    pub(crate) fn error(&mut self, text: &str) {
        self.line("error", text);
    }

    /// What was left out.
    pub(crate) fn warning(&mut self, text: &str) {
        if self.file.is_none() {
            eprintln!("isopod oci: warning: {text}");
        }
        self.line("warning", text);
    }

    fn line(&mut self, level: &str, text: &str) {
        let Some(file) = &mut self.file else { return };
        let time = time::now();
        let line = match self.json {
            true => json!({"level": level, "msg": text, "time": time}).to_string(),
            false => format!("time={time:?} level={level} msg={text:?}"),
        };
        // A log that cannot be written is no reason to fail, nor can it be told anywhere.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}
