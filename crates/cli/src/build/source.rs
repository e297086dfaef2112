//! Where a build's files come from: a directory, an archive or a Dockerfile on standard input, a
//! URL.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::options::words;

/// Dockerfiles longer than this are something else.
const LONGEST: u64 = 16 << 20;

/// A context as the arguments name it.
pub(super) enum Source {
    /// The daemon fetches it.
    Remote(String),
    /// An archive, of which some bytes have been read already.
    Archive(Box<dyn Read + Send>),
    /// Nothing but a Dockerfile.
    Dockerfile(Vec<u8>),
    /// A directory of this machine.
    Directory(Directory),
}

/// A directory and the files that say how it is used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directory {
    /// The directory.
    pub(super) path: PathBuf,
    /// Its Dockerfile.
    pub(super) dockerfile: Dockerfile,
    /// What its `.dockerignore` says: the text, and the file's path below the directory, if it
    /// is there.
    pub(super) ignore: Option<Ignore>,
}

/// A Dockerfile.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dockerfile {
    /// It is in the directory, at this path.
    Inside(PathBuf),
    /// It is elsewhere.
    Text(Vec<u8>),
}

/// Rules of what stays out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ignore {
    pub(super) text: Vec<u8>,
    pub(super) inside: Option<PathBuf>,
}

/// Whether a context is the daemon's to fetch.
pub(super) fn is_remote(text: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "github.com/", "git@"]
        .iter()
        .any(|start| text.starts_with(start))
}

/// Finds the context.
///
/// # Errors
/// What is not there, in words that say what to do.
pub(super) fn find(context: &str, file: &str) -> anyhow::Result<Source> {
    if context == "-" && file == "-" {
        anyhow::bail!("invalid argument: can't use stdin for both build context and dockerfile");
    }
    if is_remote(context) {
        if file == "-" {
            anyhow::bail!(
                "a Dockerfile from standard input needs a directory as context, not a URL"
            );
        }
        return Ok(Source::Remote(context.to_owned()));
    }
    if context == "-" {
        return from_stdin(Box::new(io::stdin()));
    }
    let path = fs::canonicalize(context).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!(
            "unable to prepare context: path \"{context}\" not found{}",
            if context == "prune" { "; for the cache, use isopod builder prune" } else { "" }
        ),
        _ => anyhow::anyhow!("unable to prepare context: {context}: {}", words::reason(&error)),
    })?;
    if !path.is_dir() {
        anyhow::bail!(
            "unable to prepare context: {context} is not a directory; use -f for the Dockerfile, or - and a redirection for an archive"
        );
    }
    let (dockerfile, specific) = dockerfile(&path, file)?;
    let ignore = match specific {
        Some(ignore) => Some(ignore),
        None => ignore(&path.join(".dockerignore"), &path)?,
    };
    Ok(Source::Directory(Directory { path, dockerfile, ignore }))
}

/// The Dockerfile, and the rules that belong to it alone: `<Dockerfile>.dockerignore`.
fn dockerfile(directory: &Path, file: &str) -> anyhow::Result<(Dockerfile, Option<Ignore>)> {
    if file == "-" {
        return Ok((Dockerfile::Text(whole(io::stdin(), "standard input")?), None));
    }
    let path = match file {
        "" => ["Dockerfile", "dockerfile"]
            .iter()
            .map(|name| directory.join(name))
            .find(|path| path.exists())
            .unwrap_or_else(|| directory.join("Dockerfile")),
        file => PathBuf::from(file),
    };
    let real = fs::canonicalize(&path).map_err(|error| {
        let remedy = if file.is_empty() { "; use -f to name another" } else { "" };
        anyhow::anyhow!(
            "failed to read dockerfile: open {}: {}{remedy}",
            path.display(),
            words::reason(&error)
        )
    })?;
    let own = PathBuf::from(format!("{}.dockerignore", path.display()));
    let ignore = ignore(&own, directory)?;
    if let Ok(inside) = real.strip_prefix(directory) {
        return Ok((Dockerfile::Inside(inside.to_owned()), ignore));
    }
    let opened = fs::File::open(&real).with_context(|| format!("open {}", path.display()))?;
    Ok((Dockerfile::Text(whole(opened, &path.display().to_string())?), ignore))
}

fn ignore(path: &Path, directory: &Path) -> anyhow::Result<Option<Ignore>> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("open {}", path.display()))?,
    };
    let text = whole(file, &path.display().to_string())?;
    let inside = fs::canonicalize(path)
        .ok()
        .and_then(|real| real.strip_prefix(directory).map(Path::to_owned).ok());
    Ok(Some(Ignore { text, inside }))
}

fn whole(from: impl Read, what: &str) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(LONGEST + 1).read_to_end(&mut text).with_context(|| what.to_owned())?;
    anyhow::ensure!(text.len() as u64 <= LONGEST, "{what}: is too long for a Dockerfile");
    Ok(text)
}

/// An archive, or else a Dockerfile.
fn from_stdin(mut from: Box<dyn Read + Send>) -> anyhow::Result<Source> {
    let mut head = Vec::new();
    from.by_ref().take(512).read_to_end(&mut head).context("standard input")?;
    anyhow::ensure!(
        !head.is_empty(),
        "standard input is empty: redirect a Dockerfile or an archive to it"
    );
    let archive = is_archive(&head);
    let from = io::Cursor::new(head).chain(from);
    if archive {
        return Ok(Source::Archive(Box::new(from)));
    }
    whole(from, "standard input").map(Source::Dockerfile)
}

/// Whether it begins as a tar does, compressed or not.
fn is_archive(head: &[u8]) -> bool {
    const COMPRESSED: &[&[u8]] = &[b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    if COMPRESSED.iter().any(|magic| head.starts_with(magic)) {
        return true;
    }
    // Archives older than `ustar` have no magic, but a sum of their header's bytes.
    let Ok(block) = <&[u8; 512]>::try_from(head) else { return false };
    let header = tar::Header::from_byte_slice(block);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte }))
        .sum();
    header.cksum().is_ok_and(|wanted| wanted == sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(path, text).expect("written");
        }
        directory
    }

    fn found(context: &Path, file: &str) -> Directory {
        match find(&context.to_string_lossy(), file) {
            Ok(Source::Directory(directory)) => directory,
            Ok(_) => panic!("another kind of context"),
            Err(error) => panic!("{error:#}"),
        }
    }

    #[test]
    fn a_dockerfile_may_stand_anywhere() {
        let at =
            directory(&[("Dockerfile", "FROM a"), ("sub/Other", "FROM b"), (".dockerignore", "x")]);
        let plain = found(at.path(), "");
        assert_eq!(plain.dockerfile, Dockerfile::Inside("Dockerfile".into()));
        let ignore = plain.ignore.expect("rules");
        assert_eq!(
            (ignore.text.as_slice(), ignore.inside),
            (&b"x"[..], Some(".dockerignore".into()))
        );
        let other = found(at.path(), &at.path().join("sub/Other").to_string_lossy());
        assert_eq!(other.dockerfile, Dockerfile::Inside("sub/Other".into()));
        let elsewhere = directory(&[("Far", "FROM c"), ("Far.dockerignore", "y")]);
        let far = found(at.path(), &elsewhere.path().join("Far").to_string_lossy());
        assert_eq!(far.dockerfile, Dockerfile::Text(b"FROM c".to_vec()));
        assert_eq!(far.ignore, Some(Ignore { text: b"y".to_vec(), inside: None }));
    }

    #[test]
    fn what_is_missing_is_named() {
        let at = directory(&[]);
        let text = at.path().to_string_lossy().into_owned();
        let error = |context: &str, file: &str| match find(context, file) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("found"),
        };
        assert_eq!(
            error(&text, ""),
            format!(
                "failed to read dockerfile: open {text}/Dockerfile: no such file or directory; use -f to name another"
            )
        );
        assert_eq!(error("/no/such", ""), "unable to prepare context: path \"/no/such\" not found");
        assert!(error("-", "-").contains("stdin for both"));
        assert!(matches!(find("https://x/y.git#main", ""), Ok(Source::Remote(_))));
    }

    #[test]
    fn archives_are_told_from_dockerfiles() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_old();
        header.set_size(1);
        builder.append_data(&mut header, "Dockerfile", &b"x"[..]).expect("added");
        let bytes = builder.into_inner().expect("whole");
        let read = |bytes: Vec<u8>| from_stdin(Box::new(io::Cursor::new(bytes)));
        let Ok(Source::Archive(mut again)) = read(bytes.clone()) else { panic!("an archive") };
        let mut whole = Vec::new();
        again.read_to_end(&mut whole).expect("read");
        assert_eq!(whole, bytes);
        assert!(matches!(read(b"\x1f\x8b\x08".to_vec()), Ok(Source::Archive(_))));
        let text = b"FROM scratch\n".repeat(100);
        assert!(matches!(read(text.clone()), Ok(Source::Dockerfile(same)) if same == text));
        assert!(read(Vec::new()).is_err());
    }
}
