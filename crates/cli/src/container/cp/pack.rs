//! Making an archive of a path of this machine.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use docker_api::client::Body;

use crate::pipe::Outlet;

use super::{Place, Route, asserts_directory};

/// A path of this machine that is to be copied.
pub(super) struct Source {
    pub(super) place: Place,
    path: PathBuf,
}

/// Looks at the path.
///
/// # Errors
/// It is not there, or says that it is a directory and is none.
pub(super) fn source(local: &str, follow: bool) -> io::Result<Source> {
    let path = PathBuf::from(local);
    // A trailing slash follows a link by itself.
    let metadata = if follow || asserts_directory(local) {
        fs::metadata(&path)?
    } else {
        fs::symlink_metadata(&path)?
    };
    if asserts_directory(local) && !metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    let full = std::path::absolute(&path)?;
    let mut shown = full.to_string_lossy().into_owned();
    if (local == "." || local.ends_with("/.")) && !shown.ends_with("/.") {
        shown.push_str("/.");
    }
    let path = if follow { fs::canonicalize(&path)? } else { full };
    Ok(Source { place: Place { path: shown, exists: true, is_dir: metadata.is_dir() }, path })
}

/// The archive as the body of a request, and how many bytes of files went into it. A thread
/// makes it while it is sent.
pub(super) fn body(source: Source, route: Route) -> (Body, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let body = crate::pipe::written_by(Arc::default(), move |out| {
        let mut builder = tar::Builder::new(out);
        builder.mode(tar::HeaderMode::Complete);
        add(&mut builder, &source.path, &PathBuf::from(&route.to), &counted)?;
        builder.finish()
    });
    (body, count)
}

/// Adds a path and all below it. What cannot be archived (sockets) is left out, as tar(1) does.
fn add(
    builder: &mut tar::Builder<&mut Outlet>,
    path: &Path,
    name: &Path,
    count: &AtomicU64,
) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    if kind.is_socket() {
        return Ok(());
    }
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&metadata);
    if kind.is_symlink() {
        let target = fs::read_link(path)?;
        return builder.append_link(&mut header, name, target);
    }
    if kind.is_dir() {
        header.set_size(0);
        builder.append_data(&mut header, name.join(""), io::empty())?;
        let mut entries: Vec<_> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            add(builder, &entry.path(), &name.join(entry.file_name()), count)?;
        }
        return Ok(());
    }
    if !kind.is_file() {
        header.set_size(0);
        return builder.append_data(&mut header, name, io::empty());
    }
    // The size in the header is a promise: a file that grows meanwhile is cut, one that shrinks
    // is filled up, as the archive could not be read on otherwise.
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    header.set_size(size);
    count.fetch_add(size, Ordering::Relaxed);
    let padded = io::Read::take(io::Read::chain(file, io::repeat(0)), size);
    builder.append_data(&mut header, name, padded)
}
