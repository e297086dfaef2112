//! Files that are only in memory, as mounts: secrets, scripts, scratch space.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use sys::fs::{Mode, Root};
use sys::mount::{self, FsContext};

const NAME: &str = "content";

/// A file with this content, attached nowhere.
pub(super) fn file(content: &[u8], (uid, gid, mode): (u32, u32, u32)) -> io::Result<OwnedFd> {
    let context = FsContext::open("tmpfs")?;
    context.string("mode", "0700")?;
    // Room for the content and the pages that tmpfs needs beside it.
    context.string("size", (content.len() + (64 << 10)).to_string())?;
    let root = Root::from(context.mount(0)?);
    let mut file = root.create_file(NAME, Mode::from_raw_mode(0o600))?;
    file.write_all(content)?;
    sys::entry::chown_fd(&file, uid, gid)?;
    sys::entry::chmod_fd(&file, mode)?;
    drop(file);
    sys::foreign::part(root.into_fd(), NAME)
}

/// An empty directory of at most so many bytes.
pub(super) fn directory(size: Option<u64>) -> io::Result<OwnedFd> {
    let context = FsContext::open("tmpfs")?;
    context.string("mode", "1777")?;
    if let Some(size) = size {
        context.string("size", size.to_string())?;
    }
    context.mount(mount::NOSUID | mount::NODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileged_a_secret_is_a_file_of_its_own() {
        let tree = file(b"hush", (7, 8, 0o440)).expect("a file");
        let mut text = String::new();
        let mut open = std::fs::File::open(sys::fs::proc_fd_path(&tree)).expect("opened");
        io::Read::read_to_string(&mut open, &mut text).expect("read");
        assert_eq!(text, "hush");
        let stat = sys::entry::stat_fd(&tree).expect("looked at");
        assert_eq!((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777), (7, 8, 0o440));
    }
}
