//! Git repositories as contexts, checked out by the host's own `git`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use build::worker::GitRemote;
use types::Error;

/// How often a running `git` is looked after.
const LOOK: Duration = Duration::from_millis(20);

/// Bytes of its words that are told.
const WORDS: usize = 4 << 10;

/// Checks out what `remote` names into an empty directory; returns the commit. Nothing of the
/// host's or the user's configuration has a say, and nothing but networks and directories is
/// fetched from: no `ext::`, no hooks.
pub(super) fn check_out(
    remote: &GitRemote,
    into: &Path,
    cancelled: &dyn Fn() -> bool,
) -> Result<String, Error> {
    for word in [&remote.url, &remote.reference] {
        if word.starts_with('-') || word.contains(['\0', '\n']) {
            return Err(Error::invalid(format!("invalid git address: {word:?}")));
        }
    }
    let git = |arguments: &[&str]| run(arguments, into, cancelled);
    git(&["init", "--quiet"])?;
    git(&["remote", "add", "origin", &remote.url])?;
    let reference = if remote.reference.is_empty() { "HEAD" } else { &remote.reference };
    let shallow = ["fetch", "--quiet", "--depth", "1", "--no-tags", "origin", reference];
    if git(&shallow).is_err() {
        // Not every server gives single commits, or part of a history.
        git(&["fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"])?;
        if remote.reference.is_empty() {
            git(&["remote", "set-head", "origin", "--auto"])?;
        }
        let remote_branch = format!("origin/{reference}");
        let found = [reference, &remote_branch]
            .into_iter()
            .find(|name| git(&["rev-parse", "--verify", "--quiet", name]).is_ok());
        let Some(found) = found else {
            return Err(Error::invalid(format!("{} has no {reference}", remote.url)));
        };
        git(&["checkout", "--quiet", "--detach", found])?;
    } else {
        git(&["checkout", "--quiet", "--detach", "FETCH_HEAD"])?;
    }
    git(&["submodule", "update", "--init", "--recursive", "--depth", "1"])?;
    Ok(git(&["rev-parse", "HEAD"])?.trim().to_owned())
}

/// Removes git's own files from what was checked out.
pub(super) fn forget_history(tree: &Path) -> Result<(), Error> {
    let root = sys::fs::Root::open_host(tree);
    root.and_then(|root| root.remove_all(".git"))
        .map_err(|error| Error::system(format!("cannot tidy a git repository: {error}")))
}

fn run(arguments: &[&str], into: &Path, cancelled: &dyn Fn() -> bool) -> Result<String, Error> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_implemented("git contexts need the git command on the daemon's host")
        }
        _ => Error::system(format!("cannot run git: {error}")),
    };
    let mut command = Command::new("git");
    command
        .args(["-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never"])
        .args(["-c", "advice.detachedHead=false", "-c", "core.fsmonitor=false"])
        .args(arguments)
        .current_dir(into)
        .env_clear()
        .envs(std::env::vars_os().filter(|(key, _)| {
            let key = key.to_string_lossy().to_ascii_lowercase();
            key == "path" || key.ends_with("_proxy")
        }))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_PROTOCOL_FROM_USER", "0")
        .env("GIT_ASKPASS", "true")
        .env("HOME", into)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().map_err(failed)?;
    let child = wait(child, cancelled)?;
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let words: String = words.trim().chars().take(WORDS).collect();
        let what = arguments.first().copied().unwrap_or_default();
        return Err(Error::invalid(format!("git {what} failed: {words}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for the end, or brings it about when nobody wants it any more. `--quiet` says so little
/// that it fits into the pipes.
fn wait(mut child: Child, cancelled: &dyn Fn() -> bool) -> Result<Child, Error> {
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return Ok(child),
            Ok(None) if cancelled() => {
                // It may have ended just now.
                drop(child.kill());
                drop(child.wait());
                return Err(Error::system("the build was cancelled"));
            }
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => return Err(Error::system(format!("cannot wait for git: {error}"))),
        }
    }
}
