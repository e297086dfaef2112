//! The first request: what makes this machine another one than all that were cloned from the same
//! template. And how it becomes one of those again.

use std::io;
use std::path::Path;

use proto::guest::{Boot, FILES, SHARES, VERSION, from_hex};
use sys::fs::OFlags;
use sys::mount::mount_legacy;
use types::Error;

use crate::agent::{Agent, Machine};
use crate::devices::{self, Kind};
use crate::interfaces;
use crate::names::Names;
use crate::root::RootFs;

const NODEV: u32 = 4;

impl Agent {
    pub(crate) fn boot(&mut self, boot: &Boot) -> Result<(), Error> {
        if self.root.is_some() {
            return Err(Error::conflict("the machine has been booted"));
        }
        if boot.version != VERSION {
            return Err(Error::system(format!(
                "the machine's agent has version {VERSION}, its monitor {}",
                boot.version
            )));
        }
        if let Machine::Borrowed(directory) = &self.machine {
            self.root = Some(RootFs::borrowed(directory.clone()));
            return Ok(());
        }
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Error::system(format!("the machine's {what}: {error}"))
        };
        // First of all, before anything can ask for a random number.
        entropy(&boot.entropy).map_err(|error| failed("entropy cannot be added", &error))?;
        sys::machine::set_clock(boot.clock.0)
            .map_err(|error| failed("clock cannot be set", &error))?;
        sys::machine::set_hostname(&boot.hostname)
            .map_err(|error| failed("name cannot be set", &error))?;
        let root = RootFs::open(boot.layers, boot.writable)
            .map_err(|error| Error::system(format!("the machine's file system: {error}")))?;
        self.root = Some(root);
        interfaces::configure(&boot.interfaces)
            .map_err(|error| failed("network cannot be set up", &error))?;
        let new = |tag: &&String| !self.shares.contains(*tag);
        let new: Vec<String> = boot.shares.iter().filter(new).cloned().collect();
        if let (Machine::Own(modules), false) = (&self.machine, new.is_empty()) {
            modules.load_share().map_err(|error| failed("modules cannot be loaded", &error))?;
            devices::bind_all(Kind::Share)
                .map_err(|error| failed("shares cannot be bound", &error))?;
        }
        for tag in new {
            mount_share(&tag).map_err(|error| failed("share cannot be mounted", &error))?;
            self.shares.push(tag);
        }
        if boot.names {
            let names = Names::listen();
            self.names = Some(names.map_err(|error| failed("names cannot be answered", &error))?);
        }
        Ok(())
    }

    /// Is as it was before [`Agent::boot`], for other disks, cards and a container that counts. Shares
    /// stay where they are: nobody has looked at what is in them.
    pub(crate) fn forget(&mut self) -> Result<(), Error> {
        let still = |what: &str| Error::conflict(format!("the machine cannot forget {what}"));
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Error::system(format!("the machine cannot forget its {what}: {error}"))
        };
        if !self.execs.is_empty() || !self.jobs.is_empty() {
            return Err(still("what runs in it"));
        }
        match self.container.take() {
            Some(container) if !container.has_ended() => {
                self.container = Some(container);
                return Err(still("a container that has not ended"));
            }
            Some(container) => container.cgroup.remove().map_err(|errors| {
                let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
                failed("container", &all.join("; "))
            })?,
            None => {}
        }
        self.names = None;
        if let Some(root) = self.root.take() {
            root.leave().map_err(|error| failed("disks", &error))?;
        }
        match std::fs::remove_dir_all(FILES) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("files", &error)),
            _ => Ok(()),
        }?;
        devices::unbind_all(Kind::Network).map_err(|error| failed("network", &error))
    }
}

fn entropy(digits: &str) -> io::Result<()> {
    let bytes = from_hex(digits).ok_or(io::ErrorKind::InvalidData)?;
    let random = sys::fs::open_host("/dev/urandom", OFlags::WRONLY | OFlags::CLOEXEC)?;
    sys::machine::add_entropy(random, &bytes)
}

/// That one cannot be written to is the host's affair.
fn mount_share(tag: &str) -> io::Result<()> {
    if tag.is_empty() || tag.contains('/') || tag.starts_with('.') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let place = Path::new(SHARES).join(tag);
    std::fs::create_dir_all(&place)?;
    mount_legacy(tag, &place, "virtiofs", NODEV, "")
}
