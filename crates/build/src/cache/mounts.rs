//! Directories that `RUN --mount=type=cache` keeps from one build to the next.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sys::fs::Mode;

use super::{Cache, MOUNTS};
use crate::dockerfile::Sharing;
use crate::error::{Error, Step};

/// How often a build that waits for a directory looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Who uses which directory.
#[derive(Debug, Default)]
pub(super) struct InUse {
    /// How many use it, or -1 when one has it alone.
    users: Mutex<HashMap<String, isize>>,
    freed: Condvar,
}

/// The use of a directory; it ends with this.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    uses: &'a InUse,
    name: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut users = self.uses.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.name) {
            *count -= 1;
            if *count <= 0 {
                users.remove(&self.name);
            }
        }
        drop(users);
        self.uses.freed.notify_all();
    }
}

impl InUse {
    pub(super) fn is_used(&self, name: &str) -> bool {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// For itself alone, if nobody has it.
    pub(super) fn try_claim(&self, name: &str) -> Option<Claim<'_>> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.contains_key(name) {
            return None;
        }
        users.insert(name.to_owned(), -1);
        Some(Claim { uses: self, name: name.to_owned() })
    }

    /// Together with others, if nobody has it alone.
    fn try_share(&self, name: &str) -> Option<Claim<'_>> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.entry(name.to_owned()).or_default();
        if *count < 0 {
            return None;
        }
        *count += 1;
        Some(Claim { uses: self, name: name.to_owned() })
    }

    fn wait(&self) {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        // Poisoned or not, the caller looks again.
        drop(self.freed.wait_timeout(users, LOOK));
    }
}

/// A directory that is kept between builds, while it is used.
#[derive(Debug)]
pub struct CacheMount<'a> {
    path: PathBuf,
    new: bool,
    _claim: Claim<'a>,
}

impl CacheMount<'_> {
    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Nobody has used it before: it is empty and has the attributes that were asked for.
    pub fn is_new(&self) -> bool {
        self.new
    }
}

impl Cache {
    /// The file that says what a directory is for.
    pub(super) fn mount_label(name: &str) -> PathBuf {
        Path::new(MOUNTS).join(format!("{name}.label"))
    }

    /// The directory of an id. `None` when `cancelled` says so while it waits for another build.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn mount(
        &self,
        id: &str,
        sharing: Sharing,
        (mode, uid, gid): (u32, u32, u32),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<CacheMount<'_>>, Error> {
        let mut number = 0;
        let claim = loop {
            // A directory that somebody else has is not this one's.
            let name = hex(&format!("{id}\0{number}"));
            let claimed = match sharing {
                Sharing::Shared => self.mounts.try_share(&name),
                Sharing::Private | Sharing::Locked => self.mounts.try_claim(&name),
            };
            match (claimed, sharing) {
                (Some(claim), _) => break claim,
                (None, Sharing::Private) => number += 1,
                (None, _) if cancelled() => return Ok(None),
                (None, _) => self.mounts.wait(),
            }
        };
        let relative = Path::new(MOUNTS).join(&claim.name);
        let made = self.dir.mkdir(&relative, Mode::from_raw_mode(mode & 0o7777));
        let new = match made {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error).step("create a cache mount"),
        };
        if new {
            self.dir.chown(&relative, uid, gid).step("create a cache mount")?;
            // The umask has had its say.
            self.dir
                .chmod(&relative, Mode::from_raw_mode(mode & 0o7777))
                .step("create a cache mount")?;
            let label =
                self.dir.create_file(Self::mount_label(&claim.name), Mode::from_raw_mode(0o600));
            // The label is for people.
            drop(label.and_then(|mut file| std::io::Write::write_all(&mut file, id.as_bytes())));
        }
        let path = self.path.join(relative);
        Ok(Some(CacheMount { path, new, _claim: claim }))
    }
}

fn hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
