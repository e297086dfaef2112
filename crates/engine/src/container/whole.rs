//! Machines that boot a disk of their own: containers in everything but what is in them. What
//! speaks to somebody inside is refused, and their disks have snapshots.

use std::sync::Arc;

use disk::Snapshot;
use types::container::{ContainerConfig, HostConfig, WholeMachine};
use types::{ContainerId, Error};

use super::{Container, validate};
use crate::spec::machine::ISOLATION;
use crate::{Engine, blocking, from_disk, to_the_end};

/// Seconds that such a machine has to switch itself off: a whole system is to be shut down.
const STOP_TIMEOUT: i64 = 60;

/// Bytes of a name in the Domain Name System.
const LONGEST_LABEL: usize = 63;

/// Bytes that a machine can be told: they are kept with it, shown in `inspect`, and written into a
/// disk at every start.
const MOST_USER_DATA: usize = 256 << 10;
const MOST_SSH_KEYS: usize = 64 << 10;

/// Bytes of /dev/shm that clients may name although they mean nothing by it.
const USUAL_SHM: i64 = 64 << 20;

/// Signals that mean something to such a machine: its power button, and the plug.
const SIGNALS: [i32; 5] = [2, 3, 9, 15, 30];

/// Fills in what such a machine is, and refuses what it cannot be. Does nothing to others.
///
/// # Errors
/// What has no meaning for a machine with a system of its own.
pub(super) fn complete(
    name: &str,
    config: &mut ContainerConfig,
    host: &mut HostConfig,
) -> Result<(), Error> {
    let Some(machine) = &host.machine else { return Ok(()) };
    if machine.disk.is_empty() {
        return Err(Error::invalid("a machine needs a disk: name an image or a snapshot"));
    }
    let command = config.cmd.is_some() || config.entrypoint.is_some();
    let process =
        !config.user.is_empty() || !config.working_dir.is_empty() || !config.env.is_empty();
    let mounts = !host.binds.is_empty()
        || !host.mounts.is_empty()
        || !host.tmpfs.is_empty()
        || !host.volumes_from.is_empty()
        || !config.volumes.is_empty();
    for (asked, what) in [
        (command, "a command"),
        (process, "a user, a working directory or an environment"),
        (mounts, "mounts and volumes"),
        (!host.secrets.is_empty() || !host.configs.is_empty(), "secrets and configs"),
        (config.healthcheck.is_some(), "a health check"),
        (!config.domainname.is_empty(), "a domain name"),
        (!host.cap_add.is_empty() || !host.cap_drop.is_empty(), "capabilities"),
        (!host.security_opt.is_empty(), "options of security"),
        (!host.sysctls.is_empty(), "parameters of the kernel"),
        (!host.group_add.is_empty(), "groups"),
        (!matches!(host.shm_size, 0 | USUAL_SHM), "a size of /dev/shm"),
        (!host.resources.ulimits.is_empty(), "limits of processes (ulimits)"),
        (host.resources.pids_limit.is_some_and(|limit| limit > 0), "a number of processes"),
        (host.privileged, "more privileges"),
        (host.readonly_rootfs, "a read-only root"),
        (host.init.is_some(), "an init"),
        (!host.links.is_empty() || !host.extra_hosts.is_empty(), "links and lines of /etc/hosts"),
        (host.isolation == "process", "--isolation process"),
        (!config.image.is_empty() && config.image != machine.disk, "an image"),
    ] {
        if asked {
            return Err(Error::invalid(format!(
                "{what} cannot be given to a machine that boots a disk of its own"
            )));
        }
    }
    check_told(machine)?;
    if !config.stop_signal.is_empty() && !SIGNALS.contains(&validate::signal(&config.stop_signal)?)
    {
        return Err(Error::invalid(format!(
            "{} cannot be the stop signal of a machine that boots a disk of its own: SIGTERM, SIGINT, \
             SIGQUIT and SIGPWR press its power button, and SIGKILL ends it",
            config.stop_signal
        )));
    }
    config.image.clone_from(&machine.disk);
    if config.hostname.is_empty() {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let label: String = name.chars().map(plain).take(LONGEST_LABEL).collect();
        // A label ends as it begins: with a letter or a digit.
        label.trim_end_matches('-').clone_into(&mut config.hostname);
    }
    // Its console is a terminal that always stands open.
    (config.tty, config.open_stdin, config.stdin_once) = (true, true, false);
    config.stop_timeout.get_or_insert(STOP_TIMEOUT);
    ISOLATION.clone_into(&mut host.isolation);
    Ok(())
}

/// Refuses more than a machine can be told.
fn check_told(machine: &WholeMachine) -> Result<(), Error> {
    let keys = machine.ssh_keys.iter().map(String::len).sum();
    for (what, bytes, most) in [
        ("the user data of a machine", machine.user_data.len(), MOST_USER_DATA),
        ("the public keys of a machine", keys, MOST_SSH_KEYS),
    ] {
        if bytes > most {
            return Err(Error::invalid(format!(
                "{what} can have {} KiB at most, and these have {bytes} bytes: have cloud-init fetch \
                 the rest from where the machine can reach it",
                most >> 10
            )));
        }
    }
    Ok(())
}

impl Container {
    /// Refuses what somebody inside would have to do.
    ///
    /// # Errors
    /// Always, for a machine that boots a disk of its own.
    pub(crate) fn refuse_whole(&self, what: &str) -> Result<(), Error> {
        let record = self.record();
        if record.host.machine.is_none() {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "{} boots a disk of its own, and nobody in it takes orders: {what} is not possible; use \
             its console (isopod vm attach) or its network",
            record.name
        )))
    }
}

impl Engine {
    /// Makes the disk of such a machine, in its directory.
    pub(crate) fn make_disk(&self, id: &ContainerId, host: &HostConfig) -> Result<(), Error> {
        let Some(machine) = &host.machine else { return Ok(()) };
        let directory = self.config.container_dir(id.as_str());
        disk::create(&self.disks, &directory, &machine.disk, machine.disk_size)
            .map(drop)
            .map_err(from_disk)
    }

    /// Keeps the disk of a machine that does not run under a name, from which others can begin.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it runs or the name is taken.
    pub async fn snapshot(&self, reference: &str, name: &str) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        let (engine, name) = (self.clone(), name.to_owned());
        to_the_end(async move {
            container.known().await?;
            let _operation = container.operation.lock().await;
            let record = container.record().clone();
            if record.host.machine.is_none() {
                return Err(Error::invalid(format!(
                    "{} is no machine with a disk of its own: isopod commit makes an image of it",
                    record.name
                )));
            }
            if record.state.status.is_active() || container.live().is_some() {
                return Err(Error::conflict(format!(
                    "{} runs, and its disk changes: stop it first",
                    record.name
                )));
            }
            let directory = engine.config.container_dir(record.id.as_str());
            let (disks, wanted) = (Arc::clone(&engine.disks), name.clone());
            blocking(move || disks.make(&directory, &wanted).map_err(from_disk)).await?;
            engine.tell_container(&container, "snapshot", &[("snapshot", &name)]);
            Ok(())
        })
        .await
    }

    /// The snapshots of disks, by name, without those that cannot be read.
    ///
    /// # Errors
    /// Those of the files.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>, Error> {
        let disks = Arc::clone(&self.disks);
        let (found, unreadable) = blocking(move || disks.list().map_err(from_disk)).await?;
        for error in unreadable {
            tracing::warn!("a snapshot is left out: {error}");
        }
        Ok(found)
    }

    /// Removes a snapshot; machines that began from it keep what they have.
    ///
    /// # Errors
    /// Not found; those of the files.
    pub async fn remove_snapshot(&self, name: &str) -> Result<(), Error> {
        let (disks, name) = (Arc::clone(&self.disks), name.to_owned());
        blocking(move || disks.remove(&name).map_err(from_disk)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        change: impl FnOnce(&mut ContainerConfig, &mut HostConfig),
    ) -> Result<ContainerConfig, String> {
        let machine = WholeMachine { disk: "/d.img".to_owned(), ..WholeMachine::default() };
        let mut host = HostConfig { machine: Some(machine), ..HostConfig::default() };
        let mut config = ContainerConfig::default();
        change(&mut config, &mut host);
        complete("my_web.1", &mut config, &mut host).map(|()| config).map_err(|error| error.message)
    }

    #[test]
    fn a_machine_has_a_console_a_name_and_time_to_stop() {
        let config = asked(|_, _| {}).expect("good");
        assert_eq!((config.tty, config.open_stdin), (true, true));
        assert_eq!(config.hostname, "my-web-1");
        assert_eq!(config.image, "/d.img");
        assert_eq!(config.stop_timeout, Some(60));
        let config = asked(|config, _| config.stop_timeout = Some(5)).expect("good");
        assert_eq!(config.stop_timeout, Some(5));
        let machine = WholeMachine { disk: "/d.img".to_owned(), ..WholeMachine::default() };
        let mut host = HostConfig { machine: Some(machine), ..HostConfig::default() };
        for (name, wanted) in [("web_", "web"), ("web._", "web"), ("a_b", "a-b")] {
            let mut config = ContainerConfig::default();
            complete(name, &mut config, &mut host).expect("good");
            assert_eq!(config.hostname, wanted);
        }
    }

    #[test]
    fn what_means_a_process_is_refused() {
        let refused =
            |change: fn(&mut ContainerConfig, &mut HostConfig)| asked(change).expect_err("refused");
        assert!(refused(|config, _| config.env.push("A=1".into())).contains("environment"));
        assert!(refused(|_, host| host.binds.push("/a:/b".into())).contains("mounts"));
        assert!(refused(|_, host| host.privileged = true).contains("privileges"));
        assert!(refused(|_, host| host.machine = Some(WholeMachine::default())).contains("disk"));
        assert!(
            refused(|config, _| config.cmd = Some(vec!["x".to_owned()].into())).contains("command")
        );
        assert!(refused(|_, host| host.isolation = "process".into()).contains("isolation"));
        assert!(refused(|_, host| host.cap_add.push("ALL".into())).contains("capabilities"));
        assert!(refused(|_, host| host.security_opt.push("x".into())).contains("security"));
        assert!(refused(|_, host| host.shm_size = 1 << 20).contains("/dev/shm"));
        let pids = |host: &mut HostConfig| host.resources.pids_limit = Some(5);
        assert!(asked(|_, host| pids(host)).expect_err("refused").contains("processes"));
        assert!(asked(|_, host| host.resources.pids_limit = Some(-1)).is_ok());
    }

    #[test]
    fn a_machine_knows_few_signals_and_is_told_no_novels() {
        let signal = |name: &str| asked(|config, _| config.stop_signal = name.into());
        for known in ["SIGTERM", "INT", "3", "SIGPWR", "KILL"] {
            assert!(signal(known).is_ok(), "{known}");
        }
        assert!(signal("SIGUSR1").expect_err("refused").contains("power button"));
        let told = |user_data: usize, keys: usize| {
            asked(|_, host| {
                let machine = host.machine.as_mut().expect("machine");
                machine.user_data = "x".repeat(user_data);
                machine.ssh_keys = vec!["k".repeat(1 << 10); keys];
            })
        };
        assert!(told(256 << 10, 64).is_ok());
        assert!(told((256 << 10) + 1, 0).expect_err("too much").contains("256 KiB"));
        assert!(told(0, 65).expect_err("too much").contains("64 KiB"));
    }
}
