//! Registries and images that mean harm, against the daemon: each is refused in words that say what
//! is wrong, nothing is written outside of the store, nothing stays in it, and the daemon lives on
//! in bounded memory. Ours only: dockerd does not claim all of this.

mod archives;
mod poison;
mod pulls;
mod scene;
mod server;
mod slow;
mod tars;

use scene::Scene;

/// What must come of a hostile case.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It is refused, and these words are in the error.
    Refused(&'static str),
    /// It may be taken, for it does no harm.
    Harmless,
    /// Either, as things happen to come.
    Perhaps(&'static str),
}

impl Verdict {
    /// Compares with what came of it; gives what is wrong.
    pub(crate) fn complaint(&self, what: &str, outcome: &Result<(), String>) -> Option<String> {
        match (self, outcome) {
            (Self::Harmless | Self::Perhaps(_), Ok(())) => None,
            (Self::Refused(words) | Self::Perhaps(words), Err(error)) if error.contains(words) => {
                None
            }
            _ => Some(format!("{what}: {outcome:?}, not {self:?}")),
        }
    }
}

/// Shows all complaints at once.
#[track_caller]
pub(crate) fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The daemon still does what it is for.
pub(crate) fn still_works(scene: &Scene) {
    let busybox = testkit::image::busybox(&["busybox:latest"]);
    scene.load(&busybox.tar).unwrap();
    assert_eq!(scene.engine.sh("echo alive", testkit::json!({})), "alive\n");
    scene.remove_images();
}
