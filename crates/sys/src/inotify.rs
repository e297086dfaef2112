//! Being told that files change.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, Reader};
pub use rustix::fs::inotify::{ReadFlags, WatchFlags};

/// Watches on files and directories, non-blocking.
#[derive(Debug)]
pub struct Inotify {
    fd: OwnedFd,
}

/// Something happened to what a watch is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which watch; -1 when the queue overflowed and events were lost.
    pub watch: i32,
    /// What.
    pub what: ReadFlags,
    /// The name in the watched directory, if it is one.
    pub name: Option<OsString>,
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Inotify {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// `EMFILE` also when the user has too many of these (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)? })
    }

    /// Watches a path; returns the watch's number. A second watch on the same file replaces the
    /// first and has its number.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`; `ENOSPC` means `fs.inotify.max_user_watches`.
    pub fn watch(&self, path: impl AsRef<Path>, what: WatchFlags) -> io::Result<i32> {
        Ok(inotify::add_watch(&self.fd, path.as_ref(), what)?)
    }

    /// Takes every event that has come and hands it on.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub fn drain(&self, mut each: impl FnMut(Event)) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.fd, &mut space);
        loop {
            match reader.next() {
                Ok(event) => each(Event {
                    watch: event.wd(),
                    what: event.events(),
                    name: event
                        .file_name()
                        .map(|name| std::ffi::OsStr::from_bytes(name.to_bytes()).to_owned()),
                }),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_in_a_directory_is_told_by_name() {
        let dir = std::env::temp_dir().join(format!("isopod-inotify-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("directory");
        let inotify = Inotify::new().expect("inotify");
        let watch = inotify.watch(&dir, WatchFlags::CREATE).expect("watches");
        std::fs::write(dir.join("new"), "").expect("writes");
        let mut events = Vec::new();
        inotify.drain(|event| events.push(event)).expect("drains");
        std::fs::remove_dir_all(&dir).expect("removes");
        let new = Event { watch, what: ReadFlags::CREATE, name: Some("new".into()) };
        assert_eq!(events, [new]);
    }
}
