//! The container's first process.

use oci_spec::runtime::{
    Box as ConsoleSize, BoxBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, User,
};
use types::Error;
use types::capability::CapabilitySet;
use types::resources::Ulimit;

use super::security::{self, Options};
use super::{Surroundings, users};
use crate::record::Record;

/// The search path of containers whose image sets none.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) fn make(
    record: &Record,
    around: &Surroundings<'_>,
    security: &Options,
    capabilities: &CapabilitySet,
) -> Result<Process, Error> {
    let config = &record.config;
    let mut process = Process::default();
    let cwd = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
    let no_new_privileges = security.no_new_privileges.unwrap_or(around.config.no_new_privileges);
    process
        .set_terminal(Some(config.tty))
        .set_console_size(console_size(record.host.console_size))
        .set_user(user(&around.user))
        .set_args(Some(record.command()))
        .set_env(Some(environment(record, &around.user, &around.links)))
        .set_cwd(cwd.into())
        .set_capabilities(Some(security::capabilities(
            *capabilities,
            around.user.uid != 0,
            record.host.privileged,
        )?))
        .set_rlimits(Some(rlimits(&around.config.ulimits, &record.host.resources.ulimits)?))
        .set_no_new_privileges(Some(no_new_privileges))
        .set_apparmor_profile(security.apparmor.clone())
        .set_selinux_label(security.process_label.clone())
        .set_oom_score_adj((record.host.oom_score_adj != 0).then_some(record.host.oom_score_adj));
    Ok(process)
}

pub(crate) fn console_size([rows, cols]: [u32; 2]) -> Option<ConsoleSize> {
    let size = BoxBuilder::default().height(u64::from(rows)).width(u64::from(cols)).build();
    size.ok().filter(|_| rows > 0 || cols > 0)
}

pub(crate) fn user(resolved: &users::User) -> User {
    let mut user = User::default();
    user.set_uid(resolved.uid)
        .set_gid(resolved.gid)
        .set_additional_gids(Some(resolved.groups.clone()));
    user
}

/// The environment: Docker's own variables, then the user's over them.
fn environment(record: &Record, user: &users::User, links: &[String]) -> Vec<String> {
    let mut first = vec![PATH.to_owned(), format!("HOSTNAME={}", record.config.hostname)];
    if record.config.tty {
        first.push("TERM=xterm".to_owned());
    }
    let first = overlay(first, links);
    with_home(overlay(first, &record.config.env), user)
}

/// Sets `HOME` from the user database unless it is set, or not known here.
pub(crate) fn with_home(mut environment: Vec<String>, user: &users::User) -> Vec<String> {
    if !user.home.is_empty() && !environment.iter().any(|variable| variable.starts_with("HOME=")) {
        environment.push(format!("HOME={}", user.home));
    }
    environment
}

/// Puts variables over others; one without a value removes.
pub(crate) fn overlay(mut base: Vec<String>, over: &[String]) -> Vec<String> {
    for variable in over {
        let (key, has_value) = match variable.split_once('=') {
            Some((key, _)) => (key, true),
            None => (variable.as_str(), false),
        };
        let place =
            base.iter().position(|old| old.split_once('=').is_some_and(|(name, _)| name == key));
        match (place, has_value) {
            (Some(at), true) => base[at].clone_from(variable),
            (Some(at), false) => drop(base.remove(at)),
            (None, true) => base.push(variable.clone()),
            (None, false) => {}
        }
    }
    base
}

/// The kernel's name of a limit that users call `nofile`.
pub(crate) fn rlimit_name(name: &str) -> Option<PosixRlimitType> {
    use PosixRlimitType as Limit;
    Some(match name {
        "core" => Limit::RlimitCore,
        "cpu" => Limit::RlimitCpu,
        "data" => Limit::RlimitData,
        "fsize" => Limit::RlimitFsize,
        "locks" => Limit::RlimitLocks,
        "memlock" => Limit::RlimitMemlock,
        "msgqueue" => Limit::RlimitMsgqueue,
        "nice" => Limit::RlimitNice,
        "nofile" => Limit::RlimitNofile,
        "nproc" => Limit::RlimitNproc,
        "rss" => Limit::RlimitRss,
        "rtprio" => Limit::RlimitRtprio,
        "rttime" => Limit::RlimitRttime,
        "sigpending" => Limit::RlimitSigpending,
        "stack" => Limit::RlimitStack,
        _ => return None,
    })
}

/// The daemon's limits, and the container's over them.
pub(crate) fn rlimits(defaults: &[Ulimit], own: &[Ulimit]) -> Result<Vec<PosixRlimit>, Error> {
    let inherited =
        defaults.iter().filter(|limit| !own.iter().any(|other| other.name == limit.name));
    own.iter().chain(inherited).map(rlimit).collect()
}

fn rlimit(limit: &Ulimit) -> Result<PosixRlimit, Error> {
    let kind = rlimit_name(&limit.name)
        .ok_or_else(|| Error::invalid(format!("invalid ulimit type: {}", limit.name)))?;
    // -1 is RLIM_INFINITY, which is all ones.
    let value = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    PosixRlimitBuilder::default()
        .typ(kind)
        .soft(value(limit.soft))
        .hard(value(limit.hard))
        .build()
        .map_err(|error| Error::invalid(format!("invalid ulimit {}: {error}", limit.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_replace_and_remove() {
        let base = vec!["A=1".to_owned(), "B=2".to_owned()];
        let over = ["B=3".to_owned(), "A".to_owned(), "C=4=5".to_owned(), "D".to_owned()];
        assert_eq!(overlay(base, &over), ["B=3", "C=4=5"]);
    }
}
