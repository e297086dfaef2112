//! Execs of the engine's own: probes, whose output and status are collected.

use std::sync::Arc;

use proto::control::{Attach, Exec as ExecOrder, Request};
use proto::launch::Asked;
use tokio::io::AsyncReadExt;
use types::Error;

use super::ExecConfig;
use crate::Engine;
use crate::container::Container;
use crate::container::attach::stream;
use crate::container::start::machine::exec_user;
use crate::link::Link;

impl Engine {
    /// Runs a probe and collects its output.
    pub(crate) async fn probe(
        &self,
        container: &Arc<Container>,
        cmd: Vec<String>,
        limit: usize,
    ) -> Result<Probe, Error> {
        let live = container.running()?;
        let config = ExecConfig { cmd, ..ExecConfig::default() };
        let process = self.exec_process(container, &config, [0, 0])?;
        let exec = self.new_exec(container, config)?;
        let mut done = exec.done.subscribe();
        // From here on it is cleaned up after, whatever happens.
        let mut guard = ProbeGuard {
            engine: self.clone(),
            container: Arc::clone(container),
            link: Arc::clone(&live.link),
            id: exec.id.clone(),
            finished: false,
        };
        let (mut ours, theirs) = stream()?;
        let order = ExecOrder {
            id: exec.id.clone(),
            process,
            attach: Attach { stdin: false, stdout: true, stderr: true },
            privileged: false,
            asked: Asked::default(),
            user: exec_user(&container.record(), "", false),
        };
        self.begin_exec(container, &exec)?;
        if let Err(error) = live.link.ask(Request::Exec(Box::new(order)), Some(theirs)).await {
            guard.finished = true;
            return Err(error);
        }
        let mut frames = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(count) = ours.read(&mut chunk).await {
            if count == 0 {
                break;
            }
            // What is over the limit is read and thrown away, so that the probe can go on.
            if frames.len() < 4 * limit {
                frames.extend_from_slice(&chunk[..count]);
            }
        }
        let code = done.wait_for(Option::is_some).await.ok().and_then(|code| *code);
        guard.finished = true;
        Ok(Probe { code: code.unwrap_or(-1), output: unframe(&frames, limit) })
    }
}

/// What a probe said.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) code: i32,
    pub(crate) output: String,
}

/// Kills a probe that nobody waits for any more.
struct ProbeGuard {
    engine: Engine,
    container: Arc<Container>,
    link: Arc<Link>,
    id: String,
    finished: bool,
}

impl Drop for ProbeGuard {
    fn drop(&mut self) {
        let id = std::mem::take(&mut self.id);
        self.engine.drop_exec(&self.container, &id);
        if !self.finished {
            let link = Arc::clone(&self.link);
            tokio::spawn(async move {
                // It may just have ended by itself.
                drop(link.ask(Request::SignalExec { exec: id, signal: 9 }, None).await);
            });
        }
    }
}

/// The bytes of a multiplexed stream, at most `limit`.
fn unframe(mut frames: &[u8], limit: usize) -> String {
    let mut bytes = Vec::new();
    while let Some((head, rest)) = frames.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let body = &rest[..length.min(rest.len())];
        bytes.extend_from_slice(body);
        frames = &rest[body.len()..];
    }
    bytes.truncate(limit);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_apart() {
        let mut frames = vec![1, 0, 0, 0, 0, 0, 0, 2];
        frames.extend(b"ok");
        frames.extend([2, 0, 0, 0, 0, 0, 0, 3]);
        frames.extend(b"not");
        assert_eq!(unframe(&frames, 100), "oknot");
        assert_eq!(unframe(&frames, 3), "okn");
        assert_eq!(unframe(&frames[..9], 100), "o", "a cut stream is no reason to panic");
    }
}
