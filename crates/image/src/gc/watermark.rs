//! How full the disk may get before images are removed on their own.

use std::collections::BTreeSet;

use types::digest::Digest;
use types::time::Timestamp;

use crate::catalog::Catalog;
use crate::error::{Error, Result, Step};
use crate::model::{ContainerUse, Pruned};
use crate::remove::RemoveOptions;
use crate::store::{State, Store};

/// When to collect, in percent of the file system. Off unless set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Collecting begins when the file system is fuller than this.
    pub high_percent: u8,
    /// And ends when it is no fuller than this.
    pub low_percent: u8,
}

/// An image that no container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: Digest,
    /// When it was last of use to anybody, as far as is known.
    pub(super) last_used: Timestamp,
    /// No tag names it.
    pub(super) dangling: bool,
    /// Compressed layers of it are kept.
    pub(super) blobs: bool,
}

/// Something that makes room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Removes an image with all its names.
    Image(Digest),
    /// Removes the kept blobs of an image; the image stays.
    Blobs(Digest),
}

impl Watermarks {
    /// Bytes to free, given what the file system has and what of it is left.
    pub fn excess(&self, total: u64, available: u64) -> Option<u64> {
        let used = total.saturating_sub(available);
        let part = |percent: u8| (u128::from(total) * u128::from(percent.min(100)) / 100) as u64;
        let low = part(self.low_percent.min(self.high_percent));
        (used > part(self.high_percent)).then(|| used - low)
    }
}

/// What goes, in order: images without a name, then compressed copies of layers that are here
/// unpacked as well, then images; of each kind those first that were used longest ago.
pub(super) fn order(mut candidates: Vec<Candidate>) -> Vec<Room> {
    candidates.sort_by(|a, b| a.last_used.cmp(&b.last_used).then(a.id.cmp(&b.id)));
    let ids = |keep: &dyn Fn(&&Candidate) -> bool| -> Vec<Digest> {
        candidates.iter().filter(keep).map(|candidate| candidate.id.clone()).collect()
    };
    let dangling = ids(&|candidate| candidate.dangling).into_iter().map(Room::Image);
    let blobs = ids(&|candidate| !candidate.dangling && candidate.blobs).into_iter();
    let named = ids(&|candidate| !candidate.dangling).into_iter().map(Room::Image);
    dangling.chain(blobs.map(Room::Blobs)).chain(named).collect()
}

/// The images that no container uses.
fn candidates(catalog: &Catalog, users: &[ContainerUse]) -> Vec<Candidate> {
    let used = |id: &Digest| users.iter().any(|user| user.image == *id);
    let mut out = Vec::new();
    for (id, record) in catalog.images.iter().filter(|(id, _)| !used(id)) {
        out.push(Candidate {
            id: id.clone(),
            last_used: record.last_used.max(record.last_tag_time),
            dangling: catalog.familiar_names(id).0.is_empty(),
            blobs: record.sources.iter().any(|source| !source.blobs.is_empty()),
        });
    }
    out
}

impl Store {
    /// Makes room when the file system is fuller than the high mark: first what nobody refers to,
    /// then, until it is no fuller than the low mark, images that no container uses. `users` are
    /// the containers there are.
    ///
    /// # Errors
    /// [`Error::Io`]; never [`Error::InUse`].
    pub fn collect_to(&self, marks: Watermarks, users: &[ContainerUse]) -> Result<Pruned> {
        let (total, available) =
            sys::entry::space(self.layers.dir()).step("measure the file system")?;
        match marks.excess(total, available) {
            Some(wanted) => self.free(wanted, users),
            None => Ok(Pruned::default()),
        }
    }

    /// As [`Store::collect_to`], for this many bytes.
    pub(crate) fn free(&self, wanted: u64, users: &[ContainerUse]) -> Result<Pruned> {
        let mut pruned = Pruned { reclaimed: self.collect_garbage()?.bytes, ..Pruned::default() };
        let candidates = candidates(&self.state().catalog, users);
        for room in order(candidates) {
            if pruned.reclaimed >= wanted {
                break;
            }
            match room {
                Room::Image(id) => self.make_room(&id, users, &mut pruned)?,
                Room::Blobs(id) => pruned.reclaimed += self.drop_blobs(&id)?,
            }
        }
        Ok(pruned)
    }

    fn make_room(&self, id: &Digest, users: &[ContainerUse], pruned: &mut Pruned) -> Result<()> {
        let options = RemoveOptions { force: true, no_prune: false };
        match self.remove_counting(id.as_str(), options, users) {
            Ok((removed, freed)) => {
                pruned.reclaimed += freed;
                pruned.removed.extend(removed);
                Ok(())
            }
            // Used or removed meanwhile, or the parent of one that stays.
            Err(Error::InUse(_) | Error::NoSuchImage(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the compressed layers of an image; returns their bytes.
    fn drop_blobs(&self, id: &Digest) -> Result<u64> {
        let blobs = {
            let state = self.state();
            let record = state.catalog.images.get(id);
            record
                .into_iter()
                .flat_map(|record| &record.sources)
                .flat_map(|s| &s.blobs)
                .cloned()
                .collect()
        };
        Ok(self.drop_copies(&blobs)?.iter().map(|(_, size)| size).sum())
    }

    /// Removes the compressed layers of all images, kept when the store still kept such.
    pub(super) fn drop_all_blobs(&self) -> Result<Vec<(Digest, u64)>> {
        let blobs: BTreeSet<Digest> = {
            let state = self.state();
            let sources = state.catalog.images.values().flat_map(|record| &record.sources);
            sources.flat_map(|source| &source.blobs).cloned().collect()
        };
        self.drop_copies(&blobs)
    }

    fn drop_copies(&self, blobs: &BTreeSet<Digest>) -> Result<Vec<(Digest, u64)>> {
        let may_go = |state: &State, blob: &&Digest| {
            !state.is_held(blob) && !state.catalog.images.contains_key(*blob)
        };
        self.detach_blobs(|state| {
            blobs.iter().filter(|blob| may_go(state, blob)).cloned().collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collecting_begins_above_the_high_mark_and_aims_at_the_low_one() {
        let marks = Watermarks { high_percent: 85, low_percent: 80 };
        assert_eq!(marks.excess(1000, 500), None);
        assert_eq!(marks.excess(1000, 150), None, "exactly at the mark");
        assert_eq!(marks.excess(1000, 149), Some(51));
        assert_eq!(marks.excess(1000, 0), Some(200));
        assert_eq!(marks.excess(0, 0), None);
        let odd = Watermarks { high_percent: 10, low_percent: 90 };
        assert_eq!(odd.excess(1000, 800), Some(100), "the low mark is never above the high one");
        assert_eq!(marks.excess(u64::MAX, 0), Some(u64::MAX - u64::MAX / 100 * 80 - 12));
    }

    #[test]
    fn nameless_images_go_first_then_blobs_then_the_old_ones() {
        let id = |byte: u8| Digest::from_sha256([byte; 32]);
        let candidate = |byte: u8, at: i64, dangling, blobs| Candidate {
            id: id(byte),
            last_used: Timestamp(at),
            dangling,
            blobs,
        };
        let given = vec![
            candidate(1, 10, false, true),
            candidate(2, 5, false, false),
            candidate(3, 20, true, true),
            candidate(4, 3, false, true),
        ];
        let expected = vec![
            Room::Image(id(3)),
            Room::Blobs(id(4)),
            Room::Blobs(id(1)),
            Room::Image(id(4)),
            Room::Image(id(2)),
            Room::Image(id(1)),
        ];
        assert_eq!(order(given), expected);
    }
}
