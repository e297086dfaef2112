//! A file of users and bcrypt hashes of their passwords, as Apache's `htpasswd -B` writes it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

/// The cost of hashes that we make: some 250 ms on a machine of today.
const COST: u32 = 12;
/// So long a password that was right is not hashed again; hashing is slow on purpose.
const REMEMBERED: Duration = Duration::from_secs(300);
/// The most passwords that are remembered.
const MOST: usize = 1024;
/// The most passwords that are hashed at once, so that guessing does not take the machine.
const HASHING: usize = 2;

/// Why a password file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HtpasswdError {
    /// It cannot be read.
    #[error("cannot read the password file {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not `user:hash`.
    #[error("{path}:{line}: not of the form user:hash")]
    Form {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
    /// A hash that is no bcrypt.
    #[error(
        "{path}:{line}: the password of {user:?} is hashed with {scheme}; only bcrypt is safe enough to be served: write the line anew with `isopod registry htpasswd {user}`"
    )]
    Scheme {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
        /// Whose.
        user: String,
        /// What it seems to be.
        scheme: &'static str,
    },
}

/// What tells a file from what it was.
type Stamp = (u64, u64, i64, i64);

#[derive(Debug)]
struct State {
    stamp: Option<Stamp>,
    users: Arc<HashMap<String, String>>,
    known: HashMap<[u8; 32], Instant>,
}

/// The users. The file is read again when it changes.
#[derive(Debug)]
pub(crate) struct Htpasswd {
    path: PathBuf,
    state: Mutex<State>,
    hashing: Semaphore,
    /// Compared when there is no such user, so that the answer takes as long.
    nobody: String,
    /// Keeps what is remembered from being of use to anybody else.
    salt: [u8; 32],
}

impl Htpasswd {
    /// Reads the file.
    pub(crate) fn open(path: &Path, salt: [u8; 32]) -> Result<Self, HtpasswdError> {
        let (stamp, users) = read(path)?;
        let nobody = users.values().next().cloned().unwrap_or_default();
        let state = State { stamp, users: Arc::new(users), known: HashMap::new() };
        let state = Mutex::new(state);
        Ok(Self { path: path.to_owned(), state, hashing: Semaphore::new(HASHING), nobody, salt })
    }

    /// Whether this is a user with this password.
    pub(crate) async fn knows(&self, name: &str, password: &str) -> bool {
        let users = self.current();
        let (hash, exists) = match users.get(name) {
            Some(hash) => (hash.clone(), true),
            None => (self.nobody.clone(), false),
        };
        let key = self.key(name, password, &hash);
        let now = Instant::now();
        {
            let mut state = self.lock();
            if exists && state.known.get(&key).is_some_and(|until| *until > now) {
                return true;
            }
            state.known.retain(|_, until| *until > now);
        }
        let Ok(_turn) = self.hashing.acquire().await else { return false };
        let password = password.to_owned();
        let checked =
            tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false));
        let right = checked.await.unwrap_or(false) && exists;
        if right {
            let mut state = self.lock();
            if state.known.len() < MOST {
                state.known.insert(key, now + REMEMBERED);
            }
        }
        right
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The users as the file has them now. While it cannot be read, those of before count.
    fn current(&self) -> Arc<HashMap<String, String>> {
        let mut state = self.lock();
        let found = stamp(&self.path).ok();
        if found != state.stamp {
            match read(&self.path) {
                Ok((stamp, users)) => {
                    state.stamp = stamp;
                    state.users = Arc::new(users);
                }
                Err(error) => {
                    tracing::error!("{error}; the users of before may still log in");
                    state.stamp = found;
                }
            }
        }
        state.users.clone()
    }

    fn key(&self, name: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut sum = Sha256::new();
        sum.update(self.salt);
        for part in [name, password, hash] {
            sum.update((part.len() as u64).to_le_bytes());
            sum.update(part);
        }
        sum.finalize().into()
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    Ok((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

fn read(path: &Path) -> Result<(Option<Stamp>, HashMap<String, String>), HtpasswdError> {
    let failed = |source| HtpasswdError::Read { path: path.to_owned(), source };
    // Before the text, so that a change in between is seen the next time.
    let stamp = stamp(path).map_err(failed)?;
    let text = fs::read_to_string(path).map_err(failed)?;
    Ok((Some(stamp), parse(path, &text)?))
}

fn parse(path: &Path, text: &str) -> Result<HashMap<String, String>, HtpasswdError> {
    let mut users = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (path, number) = (path.to_owned(), number + 1);
        let Some((user, hash)) = line.split_once(':').filter(|(user, _)| !user.is_empty()) else {
            return Err(HtpasswdError::Form { path, line: number });
        };
        let scheme = match hash {
            _ if ["$2a$", "$2b$", "$2y$"].iter().any(|mark| hash.starts_with(mark)) => {
                users.insert(user.to_owned(), hash.to_owned());
                continue;
            }
            _ if hash.starts_with("$apr1$") => "MD5 (apr1)",
            _ if hash.starts_with("{SHA}") => "SHA-1",
            _ if hash.starts_with("$5$") => "SHA-256",
            _ if hash.starts_with("$6$") => "SHA-512",
            _ => "crypt, or not at all",
        };
        return Err(HtpasswdError::Scheme { path, line: number, user: user.to_owned(), scheme });
    }
    Ok(users)
}

/// A line for the file.
///
/// # Errors
/// For passwords that bcrypt would cut: it looks at 72 bytes.
pub(crate) fn line(user: &str, password: &str) -> Result<String, bcrypt::BcryptError> {
    let hash = bcrypt::non_truncating_hash_with_result(password, COST)?;
    Ok(format!("{user}:{}", hash.format_for_version(bcrypt::Version::TwoY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // `htpasswd -nbB -C 4 ann secret`, computed with another implementation's cost of 4.
    fn quick(user: &str, password: &str) -> String {
        let hash = bcrypt::hash_with_result(password, 4).expect("a hash");
        format!("{user}:{}\n", hash.format_for_version(bcrypt::Version::TwoY))
    }

    #[tokio::test]
    async fn users_are_known_by_their_passwords_and_changes_are_seen() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("htpasswd");
        fs::write(&path, quick("ann", "secret")).expect("a file");
        let users = Htpasswd::open(&path, [1; 32]).expect("users");
        assert!(users.knows("ann", "secret").await);
        assert!(users.knows("ann", "secret").await, "remembered");
        assert!(!users.knows("ann", "Secret").await);
        assert!(!users.knows("bob", "secret").await);

        fs::write(&path, format!("# changed\n\n{}", quick("bob", "other"))).expect("a file");
        assert!(!users.knows("ann", "secret").await, "remembered, but no longer there");
        assert!(users.knows("bob", "other").await);

        fs::write(&path, "nonsense").expect("a file");
        assert!(users.knows("bob", "other").await, "a broken file changes nothing");
    }

    #[test]
    fn other_hashes_are_refused_by_name() {
        let refused = |text: &str| parse(Path::new("f"), text).expect_err("a refusal").to_string();
        assert!(
            refused("a:$apr1$x$y").starts_with("f:1: the password of \"a\" is hashed with MD5")
        );
        assert!(refused("\na:{SHA}x").starts_with("f:2: "));
        assert!(refused("a:plain").contains("not at all"));
        assert!(refused("alone").contains("user:hash"));
        assert!(refused(":x").contains("user:hash"));
    }
}
