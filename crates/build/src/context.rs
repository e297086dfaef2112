//! A build's context: the files that `COPY` and `ADD` see, and the Dockerfile.

use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use image::archive::{IdMap, PutOptions, is_tar, put};
use sys::fs::{FileType, Root};

use crate::cache::{Cache, Temporary};
use crate::copy::{dot, inside};
use crate::error::{Error, Result, Step};
use crate::ignore::{Patterns, Verdict};
use crate::request::Request;
use crate::worker::{GitRemote, Worker};

/// The longest Dockerfile.
const MAX_DOCKERFILE: u64 = 8 << 20;

/// The longest `.dockerignore`.
const MAX_IGNORE: u64 = 8 << 20;

/// Bytes that are looked at to tell a tar from a Dockerfile.
const HEAD: u64 = 256 << 10;

const DEFAULT: &str = "Dockerfile";

/// Where the context comes from.
pub enum Input {
    /// A tar, compressed or not, or a Dockerfile alone.
    Stream(Box<dyn Read + Send>),
    /// A git address, or one of a tar or a Dockerfile.
    Remote(String),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(_) => f.write_str("Stream"),
            Self::Remote(address) => f.debug_tuple("Remote").field(address).finish(),
        }
    }
}

/// The files of a context, without those that `.dockerignore` names.
#[derive(Debug)]
pub struct Context {
    /// They.
    pub(crate) root: Arc<Root>,
    /// The Dockerfile's path.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Last, so that the files go when nothing is open any more.
    pub(crate) _directory: Temporary,
}

/// The parts of a git address, if it is one: `https://host/path.git#reference:directory`,
/// `git@host:path`, `git://…`, `ssh://…`, `github.com/owner/name`.
pub fn git_remote(address: &str) -> Option<GitRemote> {
    let (url, fragment) = address.split_once('#').unwrap_or((address, ""));
    let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let path = url.split('?').next().unwrap_or(url);
    let scp = || {
        let (user, rest) = url.split_once('@')?;
        let plain =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let host = rest.split_once(':').map(|(host, _)| host)?;
        (!user.is_empty() && plain(user) && plain(host)).then_some(())
    };
    let url = if url.starts_with("git://") || url.starts_with("ssh://") {
        url.to_owned()
    } else if url.starts_with("http://") || url.starts_with("https://") {
        if !path.ends_with(".git") {
            return None;
        }
        url.to_owned()
    } else if url.starts_with("github.com/") {
        format!("https://{url}")
    } else {
        scp()?;
        url.to_owned()
    };
    let (reference, subdirectory) = (reference.to_owned(), subdirectory.to_owned());
    Some(GitRemote { url, reference, subdirectory })
}

impl Context {
    /// Takes a context in.
    ///
    /// # Errors
    /// It cannot be fetched, is no archive, or has no Dockerfile.
    pub fn open(
        input: Input,
        request: &Request,
        cache: &Cache,
        worker: &dyn Worker,
    ) -> Result<Self> {
        let dockerfile = request.dockerfile.as_str();
        let directory = cache.temporary(worker.new_id()?.short())?;
        let (root, alone) = match input {
            Input::Stream(stream) => {
                let alone = take_in(stream, directory.path())?;
                (Root::open_host(directory.path()).step("open the build context")?, alone)
            }
            Input::Remote(address) => fetch(&address, request.keeps_git_dir(), &directory, worker)?,
        };
        if let Some(text) = alone {
            let file = if dockerfile.is_empty() { DEFAULT } else { dockerfile }.to_owned();
            return Ok(Self { root: Arc::new(root), file, text, _directory: directory });
        }
        let (file, text) = find_dockerfile(&root, dockerfile)?;
        apply_ignore(&root, &file)?;
        Ok(Self { root: Arc::new(root), file, text, _directory: directory })
    }
}

/// Fetches a context into a directory; also returns the Dockerfile that came instead of one.
fn fetch(
    address: &str,
    keep_git_dir: bool,
    directory: &Temporary,
    worker: &dyn Worker,
) -> Result<(Root, Option<String>)> {
    let path = directory.path();
    let Some(remote) = git_remote(address) else {
        let alone = take_in(worker.fetch(address)?.body, path)?;
        return Ok((Root::open_host(path).step("open the build context")?, alone));
    };
    worker.git(&remote, keep_git_dir, path)?;
    let root = Root::open_host(path).step("open the build context")?;
    if remote.subdirectory.is_empty() {
        return Ok((root, None));
    }
    let inner = inside(Path::new(&remote.subdirectory));
    Ok((root.sub_root(inner).at("open", &remote.subdirectory)?, None))
}

/// A further context of a build: files that have an address.
#[derive(Debug)]
pub(crate) struct Further {
    pub(crate) root: Arc<Root>,
    _directory: Temporary,
}

impl Further {
    pub(crate) fn open(
        address: &str,
        request: &Request,
        cache: &Cache,
        worker: &dyn Worker,
    ) -> Result<Self> {
        let directory = cache.temporary(worker.new_id()?.short())?;
        match fetch(address, request.keeps_git_dir(), &directory, worker)? {
            (root, None) => Ok(Self { root: Arc::new(root), _directory: directory }),
            (_, Some(_)) => Err(Error::Invalid(format!(
                "the build context at {address} is neither an archive nor a git repository"
            ))),
        }
    }
}

/// Unpacks an archive, or returns the text of a Dockerfile that came instead of one.
fn take_in(mut stream: Box<dyn Read + Send>, path: &Path) -> Result<Option<String>> {
    let mut head = Vec::new();
    stream.by_ref().take(HEAD).read_to_end(&mut head).step("read the build context")?;
    let whole = (head.len() as u64) < HEAD;
    let blank = head.iter().all(|byte| *byte == 0);
    if whole && !blank && !is_tar(Cursor::new(&head)).step("read the build context")? {
        let text = String::from_utf8(head).map_err(|_| {
            Error::Invalid("the build context is neither a tar archive nor a Dockerfile".to_owned())
        })?;
        return Ok(Some(text));
    }
    if blank && whole {
        return Ok(None);
    }
    let root = Root::open_host(path).step("open the build context")?;
    let options = PutOptions { no_overwrite_dir_non_dir: false, owner: Some((0, 0)), top: false };
    let mut all = Cursor::new(head).chain(stream);
    put(std::os::fd::AsFd::as_fd(&root), "/", &mut all, &options, &IdMap::default())?;
    Ok(None)
}

/// Finds the Dockerfile. Without a name it may be written in small letters.
fn find_dockerfile(root: &Root, asked: &str) -> Result<(String, String)> {
    let name = if asked.is_empty() { DEFAULT } else { asked };
    if Path::new(name).components().any(|part| matches!(part, std::path::Component::ParentDir)) {
        return Err(Error::Invalid(format!(
            "Forbidden path outside the build context: {name} ({name})"
        )));
    }
    let lower = name.to_lowercase();
    let candidates = if name == DEFAULT { vec![name, lower.as_str()] } else { vec![name] };
    for candidate in candidates {
        let path = inside(Path::new(candidate));
        match root.read(dot(&path), MAX_DOCKERFILE) {
            Ok(text) => {
                if text.is_empty() {
                    return Err(Error::Invalid(format!("the Dockerfile ({name}) cannot be empty")));
                }
                let text = String::from_utf8_lossy(&text).into_owned();
                return Ok((path.to_string_lossy().into_owned(), text));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("read", candidate),
        }
    }
    Err(Error::NoDockerfile(name.to_owned()))
}

/// Removes what `.dockerignore` names. A client has left it out already, except for what the
/// builder itself needs; an address has not.
fn apply_ignore(root: &Root, dockerfile: &str) -> Result<()> {
    let own = format!("{dockerfile}.dockerignore");
    let text = [own.as_str(), ".dockerignore"].iter().find_map(|name| {
        let read = root.read(name, MAX_IGNORE);
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            other => Some(other.at("read", name)),
        }
    });
    let Some(text) = text else { return Ok(()) };
    let patterns = Patterns::parse(&String::from_utf8_lossy(&text?))
        .map_err(|error| Error::Invalid(format!("error from .dockerignore: {error}")))?;
    if patterns.is_empty() {
        return Ok(());
    }
    let mut above: Vec<Verdict> = vec![Verdict::default()];
    let mut removed = Vec::new();
    root.walk(".", &mut |file| {
        let depth = file.path.components().count();
        above.truncate(depth);
        let parent = above.last().cloned().unwrap_or_default();
        let path = file.path.to_string_lossy();
        let verdict = patterns.below(&parent, &path);
        let is_dir = file.kind() == FileType::Directory;
        let goes = verdict.excluded && (!is_dir || patterns.excludes_all_below(&path, &verdict));
        if goes {
            removed.push(file.path.to_owned());
        }
        if is_dir {
            above.push(verdict);
        }
        Ok(())
    })
    .step("list the build context")?;
    for path in removed {
        root.remove_all(&path).at("leave out", &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_addresses_are_told_from_others() {
        let parts = |address| git_remote(address).map(|r| (r.url, r.reference, r.subdirectory));
        let some = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(parts("https://host/a.git#v1:docs"), some("https://host/a.git", "v1", "docs"));
        assert_eq!(parts("git@host:a/b.git"), some("git@host:a/b.git", "", ""));
        assert_eq!(parts("github.com/a/b"), some("https://github.com/a/b", "", ""));
        assert_eq!(parts("git://host/x#:sub"), some("git://host/x", "", "sub"));
        assert_eq!(parts("https://host/a.tar.gz"), None);
        assert_eq!(parts("./dir"), None);
        assert_eq!(parts("user@x"), None);
    }
}
