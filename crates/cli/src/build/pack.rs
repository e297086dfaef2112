//! A directory as the tar that a build gets, without what its `.dockerignore` leaves out.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use build::ignore::{Patterns, Verdict};

/// What goes into the tar.
pub(super) struct Pack {
    /// The directory.
    pub(super) root: PathBuf,
    /// What stays out.
    pub(super) rules: Patterns,
    /// Files that go in whatever the rules say: paths below the directory.
    pub(super) always: Vec<PathBuf>,
    /// Files that are not in the directory, by the name they get. They replace what is there.
    pub(super) extra: Vec<(String, Vec<u8>)>,
}

/// Why it could not be packed, with the path.
fn at(path: &Path, error: &io::Error) -> io::Error {
    let reason = crate::options::words::reason(error);
    io::Error::new(error.kind(), format!("{}: {reason}", path.display()))
}

impl Pack {
    /// Writes the tar.
    ///
    /// # Errors
    /// What cannot be read, and a writer that fails.
    pub(super) fn write(&self, out: impl Write) -> io::Result<()> {
        let mut builder = tar::Builder::new(out);
        for (name, bytes) in &self.extra {
            add(&mut builder, name, bytes)?;
        }
        self.directory(&mut builder, Path::new(""), &Verdict::default())?;
        builder.into_inner()?.flush()
    }

    /// Adds what is in a directory, in the order of the names, so that the same files always
    /// make the same tar.
    fn directory<W: Write>(
        &self,
        builder: &mut tar::Builder<W>,
        below: &Path,
        known: &Verdict,
    ) -> io::Result<()> {
        let path = self.root.join(below);
        let entries = fs::read_dir(&path).map_err(|error| at(&path, &error))?;
        let mut names: Vec<_> = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()
            .map_err(|error| at(&path, &error))?;
        names.sort();
        for name in names {
            let inner = below.join(&name);
            if self.extra.iter().any(|(extra, _)| Path::new(extra) == inner) {
                continue;
            }
            self.entry(builder, &inner, known)?;
        }
        Ok(())
    }

    fn entry<W: Write>(
        &self,
        builder: &mut tar::Builder<W>,
        below: &Path,
        parent: &Verdict,
    ) -> io::Result<()> {
        let path = self.root.join(below);
        let name = below.to_string_lossy();
        let verdict = self.rules.below(parent, &name);
        let wanted = !verdict.excluded || self.always.iter().any(|always| always == below);
        let metadata = match fs::symlink_metadata(&path) {
            // Somebody removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| at(&path, &error))?,
        };
        let kind = metadata.file_type();
        if kind.is_dir() {
            let holds = self.always.iter().any(|always| always.starts_with(below));
            if !wanted && !holds && self.rules.excludes_all_below(&name, &verdict) {
                return Ok(());
            }
            if wanted {
                let mut header = header(&metadata);
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                builder.append_data(&mut header, below.join(""), io::empty())?;
            }
            return self.directory(builder, below, &verdict);
        }
        if !wanted || kind.is_socket() {
            return Ok(());
        }
        let mut header = header(&metadata);
        if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(|error| at(&path, &error))?;
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            return builder.append_link(&mut header, below, target);
        }
        if !kind.is_file() {
            header.set_size(0);
            header.set_entry_type(if kind.is_fifo() {
                tar::EntryType::Fifo
            } else if kind.is_char_device() {
                tar::EntryType::Char
            } else {
                tar::EntryType::Block
            });
            header.set_device_major(rustix::fs::major(metadata.rdev()))?;
            header.set_device_minor(rustix::fs::minor(metadata.rdev()))?;
            return builder.append_data(&mut header, below, io::empty());
        }
        self.file(builder, below, &path, header)
    }

    fn file<W: Write>(
        &self,
        builder: &mut tar::Builder<W>,
        below: &Path,
        path: &Path,
        mut header: tar::Header,
    ) -> io::Result<()> {
        let file = File::open(path).map_err(|error| at(path, &error))?;
        let size = file.metadata().map_err(|error| at(path, &error))?.len();
        let mut capability = [0_u8; 64];
        if let Ok(length) = rustix::fs::fgetxattr(&file, "security.capability", &mut capability[..])
        {
            let value = &capability[..length];
            builder.append_pax_extensions([("SCHILY.xattr.security.capability", value)])?;
        }
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(size);
        // The size in the header is a promise: a file that grows meanwhile is cut, one that
        // shrinks is filled up, as the archive could not be read on otherwise.
        let padded = file.chain(io::repeat(0)).take(size);
        builder.append_data(&mut header, below, padded)
    }
}

/// Adds a file that is in no directory.
pub(super) fn add<W: Write>(
    builder: &mut tar::Builder<W>,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, name, bytes)
}

/// What is kept of a file: mode and time. It belongs to root, whoever sends it.
fn header(metadata: &fs::Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(metadata.mode() & 0o7777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn packed(files: &[&str], rules: &str, always: &[&str], extra: &[&str]) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        for name in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(&path, name).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o754)).expect("set");
        }
        symlink("nowhere", directory.path().join("link")).expect("made");
        let pack = Pack {
            root: directory.path().to_owned(),
            rules: Patterns::parse(rules).expect("rules"),
            always: always.iter().map(PathBuf::from).collect(),
            extra: extra.iter().map(|name| ((*name).to_owned(), b"extra".to_vec())).collect(),
        };
        let mut bytes = Vec::new();
        pack.write(&mut bytes).expect("written");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut names = Vec::new();
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a path").to_string_lossy().into_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            let header = entry.header();
            assert_eq!((header.uid().expect("uid"), header.gid().expect("gid")), (0, 0));
            if text == "extra" {
                names.push(format!("{name}!"));
                continue;
            }
            if header.entry_type().is_file() {
                assert_eq!((text.as_str(), header.mode().expect("mode")), (name.as_str(), 0o754));
            }
            names.push(name);
        }
        names
    }

    #[test]
    fn everything_goes_in_by_name() {
        let files = ["b/x", "Dockerfile", "b/a"];
        assert_eq!(packed(&files, "", &[], &[]), ["Dockerfile", "b/", "b/a", "b/x", "link"]);
    }

    #[test]
    fn what_is_ignored_stays_out_unless_it_is_needed() {
        let files =
            ["Dockerfile", ".dockerignore", "src/a", "src/b.o", "node/x/y", "keep/this/one"];
        let rules = "**\n!src\n**/*.o\n!keep/this";
        assert_eq!(
            packed(&files, rules, &["Dockerfile", ".dockerignore"], &[]),
            [".dockerignore", "Dockerfile", "keep/this/", "keep/this/one", "src/", "src/a"]
        );
        assert_eq!(packed(&files, "*", &["src/b.o"], &[]), ["src/b.o"]);
    }

    #[test]
    fn what_is_added_replaces_what_is_there() {
        let files = ["Dockerfile", ".dockerignore"];
        assert_eq!(
            packed(&files, "link", &[], &[".dockerignore", ".dockerfile.1"]),
            [".dockerignore!", ".dockerfile.1!", "Dockerfile"]
        );
    }
}
