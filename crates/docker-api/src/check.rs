//! `POST /system/check` (Isopod's own): verifying everything that the image store has.
//!
//! With `repair=1` what can be repaired is. The answer is a stream of [`CheckLine`]s; the last one is
//! [`CheckLine::Report`] or [`CheckLine::Failed`].

use serde::{Deserialize, Serialize};

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type", content = "name")]
pub enum CheckSubject {
    /// An image, by its id.
    Image(String),
    /// A layer, by the digest of its tar.
    Layer(String),
    /// A blob that was kept: a compressed layer or a manifest.
    Blob(String),
    /// A file below the data root that is none of the store's.
    File(String),
}

/// What became of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type", content = "detail")]
pub enum CheckOutcome {
    /// It was only reported; this could be done about it.
    Reported(String),
    /// It is as it should be again; how.
    Repaired(String),
    /// Nothing could bring these images back: they are gone.
    Dropped(Vec<String>),
    /// It is gone, and nobody needed it.
    Removed,
    /// Nothing can be done about it.
    Hopeless(String),
    /// Repairing it failed.
    Failed(String),
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckProblem {
    /// What it is about.
    pub subject: CheckSubject,
    /// What is wrong with it, a phrase.
    pub fault: String,
    /// Images that suffer: names, or the id of one without.
    #[serde(default)]
    pub images: Vec<String>,
    /// Containers that suffer, by id.
    #[serde(default)]
    pub containers: Vec<String>,
    /// What became of it.
    pub outcome: CheckOutcome,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum CheckLine {
    /// This is checked now.
    Checking {
        /// What.
        subject: CheckSubject,
        /// Bytes that have been checked before.
        done: u64,
        /// Bytes to check altogether.
        total: u64,
    },
    /// Something is wrong.
    Found(CheckProblem),
    /// The end.
    Report {
        /// Images that were checked.
        images: u64,
        /// Layers that were checked.
        layers: u64,
        /// Blobs that were checked, documents among them.
        blobs: u64,
        /// Bytes of all those.
        bytes: u64,
        /// How much is, or was, wrong.
        problems: u64,
        /// Of that, what is not wrong any more.
        solved: u64,
    },
    /// It could not be looked at.
    Failed {
        /// Why.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_by_their_type() {
        let line = r#"{"type":"found","subject":{"type":"layer","name":"sha256:1"},"fault":"gone",
            "images":["x:1"],"containers":[],"outcome":{"type":"repaired","detail":"from its blob"}}"#;
        let CheckLine::Found(problem) = serde_json::from_str(line).expect("a line") else {
            panic!("something else")
        };
        assert_eq!(problem.subject, CheckSubject::Layer("sha256:1".to_owned()));
        assert_eq!(problem.outcome, CheckOutcome::Repaired("from its blob".to_owned()));
        let removed = r#"{"type":"removed"}"#;
        assert_eq!(
            serde_json::from_str::<CheckOutcome>(removed).expect("one"),
            CheckOutcome::Removed
        );
    }
}
