//! Which ids a bind mount shows, so that what a container writes belongs to whoever owns the source.
//!
//! The container's user and the owner of the source become one; nobody else changes. Where ids are
//! remapped this is done unasked, but never for the host's root: remapping is there to keep the
//! container's root from being root anywhere.

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};

use crate::record::IdRange;

/// Maps of user and group ids: what is on disk, what the kernel takes it for.
pub(super) type Ids = (Vec<LinuxIdMapping>, Vec<LinuxIdMapping>);

/// Decides by what was asked, the remapping, the container's user and group (as it sees them), and
/// the owner and group of the source. `None`: ids are as they are.
pub(super) fn ids(
    asked: Option<bool>,
    remapped: Option<IdRange>,
    user: (u32, u32),
    owner: (u32, u32),
) -> Option<Ids> {
    let wanted = asked.unwrap_or(remapped.is_some() && owner.0 != 0);
    if !wanted {
        return None;
    }
    let one = |owner: u32, user: u32, base: u32, count: u32| -> Option<Vec<(u32, u32, u32)>> {
        let seen = base.checked_add(user).filter(|_| user < count)?;
        // It is somebody of the container already.
        let inside = remapped.is_some() && owner >= base && owner - base < count;
        Some(if inside { vec![(base, base, count)] } else { swap(owner, seen, base, count) })
    };
    let range = remapped.unwrap_or(IdRange { uid: 0, gid: 0, count: u32::MAX });
    let uids = one(owner.0, user.0, range.uid, range.count)?;
    let gids = one(owner.1, user.1, range.gid, range.count)?;
    let same = |map: &[(u32, u32, u32)]| map.iter().all(|(disk, seen, _)| disk == seen);
    if same(&uids) && same(&gids) {
        return None;
    }
    Some((lines(uids), lines(gids)))
}

/// The ids from `base` on as they are, but `owner` is shown as `seen`.
fn swap(owner: u32, seen: u32, base: u32, count: u32) -> Vec<(u32, u32, u32)> {
    if owner == seen {
        return vec![(base, base, count)];
    }
    let end = u64::from(base) + u64::from(count);
    let mut map = vec![(owner, seen, 1)];
    let mut at = u64::from(base);
    let mut cuts = [u64::from(owner), u64::from(seen)];
    cuts.sort_unstable();
    for cut in cuts.into_iter().chain([end]) {
        if cut > at && cut <= end {
            map.extend(line(at, cut));
        }
        at = at.max(cut + 1);
    }
    map
}

fn line(from: u64, to: u64) -> Option<(u32, u32, u32)> {
    let first = u32::try_from(from).ok()?;
    Some((first, first, u32::try_from(to - from).ok()?))
}

fn lines(map: Vec<(u32, u32, u32)>) -> Vec<LinuxIdMapping> {
    let one = |(disk, seen, count): (u32, u32, u32)| {
        LinuxIdMappingBuilder::default().container_id(disk).host_id(seen).size(count).build().ok()
    };
    map.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: IdRange = IdRange { uid: 1000, gid: 2000, count: 100 };

    fn triples(map: &[LinuxIdMapping]) -> Vec<(u32, u32, u32)> {
        map.iter().map(|m| (m.container_id(), m.host_id(), m.size())).collect()
    }

    #[test]
    fn the_owner_and_the_containers_user_become_one() {
        let (uids, gids) = ids(Some(true), None, (0, 0), (1000, 0)).expect("mapped");
        assert_eq!(triples(&uids), [(1000, 0, 1), (1, 1, 999), (1001, 1001, u32::MAX - 1001)]);
        assert_eq!(triples(&gids), [(0, 0, u32::MAX)]);
        let (uids, gids) = ids(None, Some(RANGE), (5, 0), (7, 8)).expect("mapped");
        assert_eq!(triples(&uids), [(7, 1005, 1), (1000, 1000, 5), (1006, 1006, 94)]);
        assert_eq!(triples(&gids), [(8, 2000, 1), (2001, 2001, 99)]);
    }

    #[test]
    fn nothing_changes_unasked_for_root_or_where_it_fits_already() {
        assert_eq!(ids(None, None, (0, 0), (7, 7)), None);
        assert_eq!(ids(None, Some(RANGE), (0, 0), (0, 0)), None);
        assert_eq!(ids(Some(false), Some(RANGE), (0, 0), (7, 7)), None);
        assert_eq!(ids(Some(true), None, (0, 0), (0, 0)), None);
        assert_eq!(ids(None, Some(RANGE), (0, 0), (1050, 2050)), None);
        // A user that the container does not have.
        assert_eq!(ids(None, Some(RANGE), (500, 0), (7, 7)), None);
        assert!(ids(Some(true), Some(RANGE), (0, 0), (0, 0)).is_some());
    }
}
