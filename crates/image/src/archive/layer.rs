//! An overlay's upper directory as a layer's tar, for whoever cannot be shown the directory.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sys::entry;
use sys::fs::{FileType, Root};

use super::{Guarded, IdMap};
use crate::error::Result;
use crate::layer::{OPAQUE_NAME, WHITEOUT};
use crate::overlay;
use crate::tarball::Header;
use crate::tree::{self, TreeWriter};

/// Writes what an upper directory has, with what it hides of the directory `below` as OCI images
/// say it: `.wh.NAME` for a name, `.wh..wh..opq` for everything in a directory.
///
/// # Errors
/// [`Error::Output`](crate::Error::Output), [`Error::Io`](crate::Error::Io).
pub fn layer(upper: BorrowedFd<'_>, below: BorrowedFd<'_>, output: &mut dyn Write) -> Result<()> {
    let below = super::open_root(below)?;
    let ids = IdMap::default();
    let mut output = Guarded { output, failed: false };
    let mut writer = TreeWriter::new(&mut output, &ids);
    let done = tree::walk(upper, &mut |found| {
        let mtime = found.stat.st_mtime;
        let mark = |writer: &mut TreeWriter<'_, _>, name: &[u8]| {
            writer.tar.header(&Header { name, mode: 0o600, mtime, ..Header::default() })
        };
        if overlay::is_whiteout(found.stat) {
            let at = found.path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            let name = [&found.path[..at], WHITEOUT, &found.path[at..]].concat();
            mark(&mut writer, &name)?;
            return Ok(false);
        }
        writer.append(found, found.path)?;
        let is_dir = found.kind() == FileType::Directory;
        // The kernel marks every new directory; the mark means nothing where nothing is below.
        if is_dir && overlay::is_opaque(found.dir, found.name)? && is_directory(&below, found.path)
        {
            mark(&mut writer, &[found.path, b"/", OPAQUE_NAME].concat())?;
        }
        Ok(is_dir)
    })
    .and_then(|()| writer.tar.end());
    output.explain(done)
}

fn is_directory(root: &Root, path: &[u8]) -> bool {
    root.lstat(Path::new(OsStr::from_bytes(path)))
        .is_ok_and(|stat| entry::kind(&stat) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::tarball::TarReader;

    #[test]
    fn privileged_what_is_hidden_is_said_as_in_images() {
        let place = tempfile::tempdir().expect("directory");
        let path = |name: &str| place.path().join(name);
        for directory in ["upper/new", "upper/over", "below/over", "below/gone"] {
            std::fs::create_dir_all(path(directory)).expect("made");
        }
        std::fs::write(path("upper/new/f"), "f").expect("written");
        let upper = Root::open_host(path("upper")).expect("opens");
        let below = Root::open_host(path("below")).expect("opens");
        for name in ["new", "over"] {
            overlay::set_opaque(&upper, OsStr::new(name)).expect("marked");
        }
        overlay::make_whiteout(&upper, OsStr::new("gone")).expect("made");
        let mut tar = Vec::new();
        layer(upper.as_fd(), below.as_fd(), &mut tar).expect("written");
        let mut reader = TarReader::new(&tar[..]);
        let mut names = Vec::new();
        while let Some(entry) = reader.next().expect("valid") {
            names.push(String::from_utf8_lossy(&entry.name).into_owned());
        }
        assert_eq!(names, [".wh.gone", "new/", "new/f", "over/", "over/.wh..wh..opq"]);
    }
}
