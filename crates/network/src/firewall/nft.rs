//! Runs the `nft` command.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock;
use crate::error::{Error, Result};

/// Where distributions put it, for daemons that were started with a short `$PATH`.
const USUAL_PLACES: [&str; 3] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];

/// Process ids that are remembered: more than can be on their way as notices at one time.
const REMEMBERED: usize = 256;

/// Runs `nft` and remembers which changes were its own.
#[derive(Debug, Default)]
pub(super) struct Nft {
    own: Mutex<VecDeque<u32>>,
    last: Mutex<Option<Instant>>,
}

impl Nft {
    /// Has commands carried out, all or none.
    pub(super) fn run(&self, commands: &str) -> Result<()> {
        let mut child = start()?;
        // It can only commit what it has read, so its id is known before any notice of it.
        {
            let mut own = lock(&self.own);
            own.push_back(child.id());
            if own.len() > REMEMBERED {
                own.pop_front();
            }
        }
        let fed = match child.stdin.take() {
            Some(mut input) => input.write_all(commands.as_bytes()),
            None => Ok(()),
        };
        let output = child.wait_with_output().map_err(Error::NftRun)?;
        *lock(&self.last) = Some(Instant::now());
        if output.status.success() {
            return fed.map_err(Error::NftRun);
        }
        Err(Error::NftRefused(complaint(&String::from_utf8_lossy(&output.stderr))))
    }

    /// Time since the end of the last run.
    pub(super) fn quiet_for(&self) -> Duration {
        lock(&self.last).map_or(Duration::MAX, |at| at.elapsed())
    }

    /// Whether a process was one of ours, by the id that it has in our namespace of processes: the
    /// kernel names `nft`'s socket so.
    pub(super) fn ran_as(&self, pid: u32) -> bool {
        lock(&self.own).contains(&pid)
    }
}

fn start() -> Result<Child> {
    let spawn = |program: &Path| {
        // One that outlived a killed daemon would write what the next one may not want.
        sys::process::bind(&mut Command::new(program))
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    let places = std::iter::once("nft").chain(USUAL_PLACES);
    for place in places {
        match spawn(Path::new(place)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::NftRun(e)),
            Ok(child) => return Ok(child),
        }
    }
    Err(Error::NftMissing)
}

/// The first complaint, without the lines that repeat and underline the input.
fn complaint(stderr: &str) -> String {
    let line = stderr.lines().find(|l| l.contains("Error")).or_else(|| stderr.lines().next());
    let line = line.unwrap_or("it said nothing");
    line.split_once("Error: ").map_or(line, |(_, rest)| rest).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_one_line() {
        let stderr =
            "/dev/stdin:1:18-24: Error: No such file or directory\nadd element x\n   ^^^\n";
        assert_eq!(complaint(stderr), "No such file or directory");
        assert_eq!(complaint("odd\n"), "odd");
        assert_eq!(complaint(""), "it said nothing");
    }
}
