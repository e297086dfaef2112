//! Users and groups by name, as `/etc/passwd` and `/etc/group` have them.

use crate::Error;

/// The user that a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// All of its groups, sorted.
    pub groups: Vec<u32>,
    /// Its home directory.
    pub home: String,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

/// Group name, id and members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

/// A name as a number, if it is one.
fn number(name: &str) -> Result<Option<u32>, Error> {
    match name.parse::<i64>() {
        Ok(number) => {
            match i32::try_from(number).ok().and_then(|number| u32::try_from(number).ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(Error::invalid("uids and gids must be in range 0-2147483647")),
            }
        }
        Err(_) => Ok(None),
    }
}

/// Looks `user[:group]` and further groups up. Names win over numbers, as in runc.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for a name that is not there.
pub fn find(passwd: &str, group: &str, wanted: &str, extra: &[String]) -> Result<User, Error> {
    let (user, main_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, group),
        None => (wanted, ""),
    };
    let user = if user.is_empty() { "0" } else { user };
    let named = accounts(passwd).find(|account| account.name == user);
    let uid = if named.is_some() { None } else { number(user)? };
    let account =
        named.or_else(|| uid.and_then(|uid| accounts(passwd).find(|found| found.uid == uid)));
    let (uid, gid, home, name) = match (account, uid) {
        (Some(account), _) => (account.uid, account.gid, account.home, account.name),
        (None, Some(uid)) => (uid, 0, "", ""),
        (None, None) => {
            return Err(Error::invalid(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    };
    let group_id = |name: &str| {
        let found = groups(group).find(|(other, _, _)| *other == name).map(|(_, gid, _)| gid);
        found.map_or_else(|| number(name), |gid| Ok(Some(gid)))?.ok_or_else(|| {
            Error::invalid(format!(
                "unable to find group {name}: no matching entries in group file"
            ))
        })
    };
    let mut supplementary = Vec::new();
    let gid = if main_group.is_empty() {
        if !name.is_empty() {
            let member = |(_, _, members): &(&str, u32, &str)| {
                members.split(',').any(|member| member == name)
            };
            supplementary.extend(groups(group).filter(member).map(|(_, gid, _)| gid));
        }
        gid
    } else {
        group_id(main_group)?
    };
    for name in extra {
        supplementary.push(group_id(name)?);
    }
    // The first group is among the supplementary ones, as Docker has it since CVE-2022-36109.
    supplementary.push(gid);
    supplementary.sort_unstable();
    supplementary.dedup();
    let home = if home.is_empty() { "/" } else { home };
    Ok(User { uid, gid, groups: supplementary, home: home.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\nwheel:x:10:root,web\n";

    fn found(user: &str, extra: &[&str]) -> Result<User, Error> {
        let extra: Vec<_> = extra.iter().map(|&name| name.to_owned()).collect();
        find(PASSWD, GROUP, user, &extra)
    }

    #[test]
    fn names_and_numbers_are_found() {
        let root = found("", &[]).expect("root");
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
        assert_eq!(root.groups, [0, 10]);
        let web = found("web", &["www"]).expect("web");
        assert_eq!((web.uid, web.gid, web.groups.as_slice()), (33, 33, &[10, 33][..]));
        let grouped = found("33:wheel", &[]).expect("33");
        assert_eq!((grouped.uid, grouped.gid, grouped.home.as_str()), (33, 10, "/srv"));
        let stranger = found("1234", &[]).expect("a number needs no entry");
        assert_eq!((stranger.uid, stranger.gid, stranger.home.as_str()), (1234, 0, "/"));
    }

    #[test]
    fn strangers_by_name_and_numbers_out_of_range_are_refused() {
        for (bad, why) in [
            ("nobody", "unable to find user nobody: no matching entries in passwd file"),
            ("web:none", "unable to find group none: no matching entries in group file"),
            ("-1", "uids and gids must be in range 0-2147483647"),
            ("4294967296", "uids and gids must be in range 0-2147483647"),
            ("web:2147483648", "uids and gids must be in range 0-2147483647"),
        ] {
            assert_eq!(found(bad, &[]).expect_err(bad).message, why);
        }
    }
}
