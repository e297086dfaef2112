//! What a pull or a push tells of itself.

/// One thing that happened. Layers are named by the beginning of a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferStep {
    /// A line on its own.
    Line(String),
    /// A line about a tag.
    Tag {
        /// The tag or digest.
        tag: String,
        /// The line.
        text: String,
    },
    /// A layer has come further.
    Layer {
        /// Twelve digits of its digest.
        id: String,
        /// How far.
        state: LayerState,
    },
    /// A root file system is on its way.
    Importing {
        /// Bytes that came.
        done: u64,
        /// Bytes in all; 0 when nobody knows.
        total: u64,
    },
    /// A tag is in the registry.
    Pushed {
        /// The tag.
        tag: String,
        /// The manifest's digest.
        digest: types::digest::Digest,
        /// The manifest's size in bytes.
        size: u64,
    },
}

/// How far a layer has come. Bytes are those of the compressed form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// It is here already.
    AlreadyExists,
    /// It is to be pulled.
    Wanted,
    /// It waits for others.
    Waiting,
    /// It is on its way.
    Downloading {
        /// Bytes that came.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// All of it is here and is being checked.
    Verifying,
    /// It is what it should be.
    Downloaded,
    /// It is being unpacked.
    Extracting {
        /// Bytes unpacked.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// It is unpacked.
    Pulled,
    /// It is to be pushed.
    Preparing,
    /// The registry has it.
    Present,
    /// The registry has it in this repository, and lent it.
    Mounted(String),
    /// It is on its way out.
    Pushing {
        /// Bytes sent.
        done: u64,
        /// Bytes in all; 0 when nobody knows yet.
        total: u64,
    },
    /// The registry has it now.
    Pushed,
}
