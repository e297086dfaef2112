//! Who brings which blob.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use types::digest::Digest;

/// Blobs that are being brought.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    taken: Mutex<BTreeSet<Digest>>,
    given_back: Condvar,
}

/// The right to bring a blob; given back when dropped.
pub(crate) struct Claim<'a> {
    claims: &'a Claims,
    digest: Digest,
}

impl Claims {
    fn taken(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else brings the blob.
    pub(crate) fn claim(&self, digest: &Digest) -> Claim<'_> {
        let mut taken = self.taken();
        while !taken.insert(digest.clone()) {
            taken = self.given_back.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        Claim { claims: self, digest: digest.clone() }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.taken().remove(&self.digest);
        self.claims.given_back.notify_all();
    }
}
