//! The ids that containers' ids are remapped to.

use std::os::fd::OwnedFd;

use types::Error;

use crate::record::IdRange;

/// The range of ids that `--userns-remap` names, and a user namespace that maps so.
pub(crate) fn remap(asked: Option<&str>) -> Result<(Option<IdRange>, Option<OwnedFd>), Error> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok((None, None)) };
    let (user, group) = asked.split_once(':').unwrap_or((asked, asked));
    let name =
        |name: &str| if name == "default" { "dockremap".to_owned() } else { name.to_owned() };
    let (uid, uids) = subordinate("/etc/subuid", &name(user))?;
    let (gid, gids) = subordinate("/etc/subgid", &name(group))?;
    let range = IdRange { uid, gid, count: uids.min(gids) };
    let map = |host: u32| sys::process::IdMap { inside: 0, outside: host, size: range.count };
    let namespace = sys::process::user_namespace(&[map(uid)], &[map(gid)])
        .map_err(|error| Error::system(format!("cannot make a user namespace: {error}")))?;
    Ok((Some(range), Some(namespace)))
}

/// The first range of a user in subuid(5) or subgid(5).
fn subordinate(path: &str, user: &str) -> Result<(u32, u32), Error> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == user && count > 0).then_some((first, count))
    });
    found.ok_or_else(|| {
        Error::invalid(format!(
            "no ids to remap to: {path} has no range for '{user}'; add a line such as \
             '{user}:100000:65536'"
        ))
    })
}
