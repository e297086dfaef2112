//! `tmpcopyup`: a tmpfs begins with what the image has in its place.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use sys::fs::{FileType, Mode, Node, OFlags, Root, WalkEntry};

/// Copies the tree at `from` into the detached mount `to`, owners, modes, times and links included.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let from = Root::from(from.try_clone()?);
    let to = Root::from(to.try_clone()?);
    from.walk("/", &mut |entry| copy_one(entry, &from, &to))?;
    let top = sys::fs::stat_fd(&from)?;
    to.chown("/", top.st_uid, top.st_gid)
}

fn copy_one(entry: &WalkEntry<'_>, from: &Root, to: &Root) -> io::Result<()> {
    let mode = Mode::from_raw_mode(entry.stat.st_mode & 0o7777);
    let path = entry.path;
    match entry.kind() {
        FileType::Directory => to.mkdir(path, mode)?,
        FileType::RegularFile => {
            let mut source = File::from(entry.open(OFlags::RDONLY)?);
            io::copy(&mut source, &mut to.create_file(path, mode)?)?;
        }
        FileType::Symlink => to.symlink(entry.read_link()?, path)?,
        FileType::Fifo => to.mknod(path, Node::Fifo, mode)?,
        FileType::Socket => to.mknod(path, Node::Socket, mode)?,
        FileType::CharacterDevice => to.mknod(path, Node::Char(entry.stat.st_rdev), mode)?,
        FileType::BlockDevice => to.mknod(path, Node::Block(entry.stat.st_rdev), mode)?,
        FileType::Unknown => return Ok(()),
    }
    to.chown(path, entry.stat.st_uid, entry.stat.st_gid)?;
    if entry.kind() != FileType::Symlink {
        // Again: chown drops the set-id bits, and the umask has had its say.
        to.chmod(path, mode)?;
    }
    for (name, value) in from.xattrs(path).unwrap_or_default() {
        // tmpfs takes security.* and trusted.* always, user.* since 6.6.
        let _ = to.set_xattr(path, name, &value);
    }
    Ok(())
}
