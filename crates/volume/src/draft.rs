//! A volume that is being made: nobody sees it until it is whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sys::entry;
use sys::fs::Root;

use crate::error::{Result, Step};
use crate::model::Volume;
use crate::name::random_name;

pub(crate) const RECORD: &str = "volume.json";
pub(crate) const DATA: &str = "_data";

/// A volume that has no name yet. Dropped, it is gone with its files; a crash leaves it to the sweep
/// when the volumes are opened.
#[derive(Debug)]
pub struct Draft {
    /// Where the volumes are.
    volumes: PathBuf,
    /// Its directory there.
    temporary: String,
    data: OwnedFd,
}

impl Draft {
    pub(crate) fn new(volumes: &Path) -> Result<Self> {
        let temporary = format!(".new-{}", &random_name()?[..16]);
        let make = || -> io::Result<OwnedFd> {
            let new = volumes.join(&temporary);
            fs::DirBuilder::new().mode(0o711).create(&new)?;
            fs::DirBuilder::new().mode(0o755).create(new.join(DATA))?;
            // The umask may have taken bits away that a container's other users need.
            fs::set_permissions(&new, fs::Permissions::from_mode(0o711))?;
            fs::set_permissions(new.join(DATA), fs::Permissions::from_mode(0o755))?;
            Ok(File::open(new.join(DATA))?.into())
        };
        let data = make().step("create volume")?;
        Ok(Self { volumes: volumes.to_owned(), temporary, data })
    }

    /// The directory of its files.
    pub fn data(&self) -> BorrowedFd<'_> {
        self.data.as_fd()
    }

    pub(crate) fn write_record(&self, volume: &Volume) -> io::Result<()> {
        let new = self.volumes.join(&self.temporary);
        let mut record = File::create(new.join(RECORD))?;
        record.write_all(&serde_json::to_vec(volume)?)?;
        record.sync_all()?;
        entry::fsync(File::open(&new)?)
    }

    /// Gives it its name, in one step. What has the name already changes places with it: dropping
    /// what comes back removes that.
    pub(crate) fn take_place(self, name: &str, replace: bool) -> io::Result<Self> {
        let volumes = Root::open_host(&self.volumes)?;
        if replace {
            volumes.exchange(&self.temporary, name)?;
        } else {
            volumes.rename_noreplace(&self.temporary, name)?;
        }
        entry::fsync(File::open(&self.volumes)?)?;
        Ok(self)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Ok(volumes) = Root::open_host(&self.volumes) {
            // What stays is swept at the next start.
            let _ = volumes.remove_all(&self.temporary);
        }
    }
}
