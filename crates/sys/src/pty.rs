//! Pseudo terminals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// Opens a new pseudo terminal of the devpts instance that `ptmx` (an open directory of a devpts
/// mount) shows; returns its master, unlocked.
///
/// # Errors
/// `ENOENT` when the directory is no devpts, `ENOSPC` when out of terminals.
pub fn open_in(devpts: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(devpts, "ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    Ok(master)
}

/// The slave end of a master, wherever the devpts is mounted (`TIOCGPTPEER`, 4.13).
///
/// # Errors
/// `EIO` when the devpts instance has gone.
pub fn peer(master: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    Ok(rustix::pty::ioctl_tiocgptpeer(master, flags)?)
}

/// Sets the window size; rows and columns in characters.
///
/// # Errors
/// `ENOTTY` when it is no terminal.
pub fn resize(terminal: impl AsFd, rows: u16, cols: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Rows and columns of a terminal.
///
/// # Errors
/// `ENOTTY` when it is no terminal.
pub fn size(terminal: impl AsFd) -> io::Result<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(terminal)?;
    Ok((size.ws_row, size.ws_col))
}

/// Makes a terminal the controlling one of the caller, which must be a session leader.
///
/// # Errors
/// `EPERM` when it belongs to another session.
pub fn make_controlling(slave: impl AsFd) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(slave)?)
}

/// The number of a terminal: its slave is called so in its devpts.
///
/// # Errors
/// `ENOTTY` when it is no master.
pub fn number(master: impl AsFd) -> io::Result<u32> {
    let name = rustix::pty::ptsname(master, Vec::new())?;
    let digits = name.to_bytes().rsplit(|b| *b == b'/').next().unwrap_or_default();
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Makes the caller the leader of a process group of its own and, where `terminal` is the
/// controlling one, brings that to the foreground. SIGTTOU must be blocked or ignored.
///
/// # Errors
/// `ENOTTY` when it is no terminal, `EPERM`.
pub fn lead_foreground(terminal: impl AsFd) -> io::Result<()> {
    rustix::process::setpgid(None, None)?;
    Ok(rustix::termios::tcsetpgrp(terminal, rustix::process::getpid())?)
}

/// A terminal in raw mode (every byte as it is typed, no echo, no signals), until this is dropped.
#[derive(Debug)]
pub struct Raw<F: AsFd> {
    terminal: F,
    before: rustix::termios::Termios,
}

impl<F: AsFd> Raw<F> {
    /// Makes the terminal raw.
    ///
    /// # Errors
    /// `ENOTTY` when it is none.
    pub fn new(terminal: F) -> io::Result<Raw<F>> {
        let before = rustix::termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        let when = rustix::termios::OptionalActions::Now;
        rustix::termios::tcsetattr(&terminal, when, &raw)?;
        Ok(Raw { terminal, before })
    }
}

impl<F: AsFd> Drop for Raw<F> {
    fn drop(&mut self) {
        let when = rustix::termios::OptionalActions::Now;
        let _ = rustix::termios::tcsetattr(&self.terminal, when, &self.before);
    }
}
