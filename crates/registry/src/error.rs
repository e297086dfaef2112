//! Refusals: what a client is told when it cannot have what it asked for.

use std::io;

use hyper::StatusCode;
use serde_json::{Value, json};
use types::digest::Digest;

use crate::manifest::InvalidManifest;
use crate::name::InvalidName;
use crate::storage::StorageError;

/// Why a request is not answered as asked. The words are those of the reference registry where
/// it has some, because clients show or parse them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing is served at this path.
    #[error("page not found")]
    NoRoute,
    /// The path is served, but not for this method.
    #[error("The operation is unsupported.")]
    Method,
    /// The server was told not to change anything.
    #[error("the registry is read-only")]
    ReadOnly,
    /// The server was told to keep everything.
    #[error("deleting is not enabled: start the registry without --no-delete")]
    NoDelete,
    /// A cache takes its content from its upstream only.
    #[error("the registry is a pull-through cache: push to the registry behind it")]
    Cache,
    /// The repository's name does not follow the grammar.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Not a tag.
    #[error("invalid tag {0:?}")]
    Tag(String),
    /// No digest, or one of an algorithm that is not served.
    #[error("invalid digest: {0}")]
    Digest(String),
    /// The bytes have another digest than promised.
    #[error("provided digest did not match uploaded content")]
    DigestMismatch,
    /// The repository has nothing.
    #[error("repository name not known to registry")]
    NameUnknown(String),
    /// No such blob in the repository.
    #[error("blob unknown to registry")]
    BlobUnknown(String),
    /// No such upload in the repository.
    #[error("blob upload unknown to registry")]
    UploadUnknown,
    /// A piece of an upload does not follow on what is there.
    #[error("the piece does not begin where the upload ends, at byte {at}")]
    OutOfOrder {
        /// Where the next piece must begin.
        at: u64,
        /// The upload's address.
        location: String,
    },
    /// Another request writes to this upload.
    #[error("another request is writing to this upload")]
    UploadBusy,
    /// The request's body ended early.
    #[error("the body ended early: {0}")]
    BodyCut(#[source] hyper::Error),
    /// The request's body stopped coming.
    #[error("nothing came for {0} s")]
    BodySlow(u64),
    /// The body has another length than its headers say.
    #[error("provided length did not match content length")]
    Size,
    /// A header of the request makes no sense.
    #[error("invalid header {0}")]
    Header(&'static str),
    /// The manifest is larger than a manifest may be.
    #[error("manifest is larger than {0} bytes")]
    ManifestTooLarge(usize),
    /// The manifest cannot be taken.
    #[error("manifest invalid: {0}")]
    Manifest(#[from] InvalidManifest),
    /// The manifest refers to what is not in the repository.
    #[error("blob unknown to registry")]
    ManifestBlobUnknown(Vec<Digest>),
    /// The manifest gives a blob another size than it has.
    #[error("manifest invalid: {digest} has {found} bytes and not {said}")]
    ManifestBlobSize {
        /// Which blob.
        digest: Digest,
        /// What the manifest says.
        said: u64,
        /// What is there.
        found: u64,
    },
    /// No such manifest in the repository.
    #[error("manifest unknown")]
    ManifestUnknown(String),
    /// A page of no or of negative length.
    #[error("invalid number of results requested")]
    PageSize,
    /// The client has to say who it is.
    #[error("authentication required")]
    Unauthorized {
        /// The `WWW-Authenticate` header.
        challenge: String,
    },
    /// The range is not within the blob.
    #[error("the range is not within the {size} bytes of the blob")]
    Range {
        /// The blob's size in bytes.
        size: u64,
    },
    /// The storage failed.
    #[error("{0}")]
    Storage(#[source] StorageError),
    /// The registry behind the cache failed.
    #[error("the upstream registry failed: {0}")]
    Upstream(#[source] distribution::Error),
    /// A thread of the server ended badly.
    #[error("the request was dropped")]
    Dropped,
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Mismatch => Self::DigestMismatch,
            error => Self::Storage(error),
        }
    }
}

impl Error {
    /// The status and the code that clients look for.
    pub(crate) fn kind(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::NoRoute => (S::NOT_FOUND, "NOT_FOUND"),
            Self::Method | Self::ReadOnly | Self::NoDelete | Self::Cache => {
                (S::METHOD_NOT_ALLOWED, "UNSUPPORTED")
            }
            Self::Name(_) => (S::BAD_REQUEST, "NAME_INVALID"),
            Self::Tag(_) => (S::BAD_REQUEST, "TAG_INVALID"),
            Self::Digest(_) | Self::DigestMismatch => (S::BAD_REQUEST, "DIGEST_INVALID"),
            Self::NameUnknown(_) => (S::NOT_FOUND, "NAME_UNKNOWN"),
            Self::BlobUnknown(_) => (S::NOT_FOUND, "BLOB_UNKNOWN"),
            Self::UploadUnknown => (S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            Self::OutOfOrder { .. } => (S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            Self::UploadBusy => (S::CONFLICT, "BLOB_UPLOAD_INVALID"),
            Self::BodyCut(_) | Self::Header(_) => (S::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            Self::BodySlow(_) => (S::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID"),
            Self::Size => (S::BAD_REQUEST, "SIZE_INVALID"),
            Self::ManifestTooLarge(_) => (S::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID"),
            Self::Manifest(_) | Self::ManifestBlobSize { .. } => {
                (S::BAD_REQUEST, "MANIFEST_INVALID")
            }
            // The code of the specification for this is MANIFEST_BLOB_UNKNOWN.
            Self::ManifestBlobUnknown(_) => (S::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
            Self::ManifestUnknown(_) => (S::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Self::PageSize => (S::BAD_REQUEST, "PAGINATION_NUMBER_INVALID"),
            Self::Unauthorized { .. } => (S::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::Range { .. } => (S::RANGE_NOT_SATISFIABLE, "RANGE_INVALID"),
            Self::Storage(error) => storage_kind(error),
            Self::Upstream(error) => upstream_kind(error),
            Self::Dropped => (S::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        }
    }

    /// What a program may want to know beside the message.
    fn detail(&self) -> Value {
        match self {
            Self::Name(error) => json!({ "name": error.name() }),
            Self::NameUnknown(name) => json!({ "name": name }),
            Self::Tag(tag) => json!({ "tag": tag }),
            Self::BlobUnknown(digest) => json!({ "digest": digest }),
            Self::ManifestUnknown(reference) => json!({ "reference": reference }),
            Self::OutOfOrder { at, .. } => json!({ "offset": at }),
            _ => Value::Null,
        }
    }

    /// The body: one error, or one for each thing that is missing.
    pub(crate) fn body(&self) -> Value {
        let (_, code) = self.kind();
        let message = match self {
            // What went wrong inside is for the log; paths are nobody else's business.
            Self::Storage(error) if storage_kind(error).0.is_server_error() => {
                "the registry's storage failed".to_owned()
            }
            error => error.to_string(),
        };
        let one = |detail: Value| json!({ "code": code, "message": message, "detail": detail });
        let errors = match self {
            Self::ManifestBlobUnknown(missing) => {
                missing.iter().map(|digest| one(json!({ "digest": digest }))).collect()
            }
            _ => vec![one(self.detail())],
        };
        json!({ "errors": errors })
    }
}

/// A full disk is told apart, for a client may try again when somebody has made room.
fn storage_kind(error: &StorageError) -> (StatusCode, &'static str) {
    match error.io().map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            (StatusCode::INSUFFICIENT_STORAGE, "UNKNOWN")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
    }
}

/// The client of a cache is told what the registry behind it said, but not that *it* should log
/// in: the credentials for upstream are the cache's. Docker Hub also says so of what is not there.
fn upstream_kind(error: &distribution::Error) -> (StatusCode, &'static str) {
    use types::ErrorKind as K;
    match (error.refusal().map(|refusal| refusal.status), error.kind()) {
        (Some(404), _) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        (Some(429), _) => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        (_, K::Unauthorized | K::Forbidden) => (StatusCode::FORBIDDEN, "DENIED"),
        _ => (StatusCode::BAD_GATEWAY, "UNAVAILABLE"),
    }
}
