//! The container's terminal.

use std::os::fd::{AsFd, OwnedFd};

use sys::fs::{Mode, OFlags, Root};

use super::DIR_MODE;
use crate::error::{Context, Error, Result, Step};

/// Magic number of devpts.
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// A pseudo terminal of the container's own devpts.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// For the caller.
    pub master: OwnedFd,
    /// For the process.
    pub slave: OwnedFd,
    /// The directory of the devpts.
    devpts: OwnedFd,
}

/// Opens a terminal of `rows` and `cols` characters in the devpts on `dev/pts` of the root.
pub(crate) fn open_terminal(root: &Root, (rows, cols): (u16, u16)) -> Result<Terminal> {
    let devpts = root
        .open_dir("dev/pts")
        .context(Step::Console, || "cannot open /dev/pts for the terminal")?;
    if sys::fs::fs_magic(&devpts).unwrap_or(0) != DEVPTS_SUPER_MAGIC {
        return Err(Error::because(
            Step::Console,
            "cannot open a terminal: no devpts is mounted on /dev/pts in the container",
        ));
    }
    let open = || {
        let master = sys::pty::open_in(&devpts)?;
        let slave = sys::pty::peer(&master)?;
        if rows != 0 || cols != 0 {
            sys::pty::resize(&master, rows, cols)?;
        }
        Ok((master, slave))
    };
    let (master, slave) = open().context(Step::Console, || "cannot open a terminal")?;
    Ok(Terminal { master, slave, devpts })
}

impl Terminal {
    /// Shows the terminal as `/dev/console`.
    pub(super) fn bind_console(&self, root: &Root) -> Result<()> {
        let bind = || {
            let number = sys::pty::number(&self.master)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            let name = number.to_string();
            let node = sys::entry::open(self.devpts.as_fd(), name.as_ref(), flags)?;
            let tree = sys::mount::clone_tree(node, false)?;
            let dir_mode = Mode::from_raw_mode(DIR_MODE);
            let target = root.touch_all("dev/console", Mode::from_raw_mode(0o666), dir_mode)?;
            sys::mount::attach(tree, target)
        };
        bind().context(Step::Console, || "cannot mount the terminal on /dev/console")
    }
}
