//! Opening the sockets that the daemon serves. All of it happens before the first thread.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::config::Settings;
use crate::host::Host;
use crate::tls::{self, TlsError};

/// Why the daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// Another process answers on the socket.
    #[error("another daemon already listens on {0}")]
    InUse(PathBuf),
    /// Something that is no socket is in the way.
    #[error("{0} exists and is not a socket: remove it, or choose another path with --host")]
    NotASocket(PathBuf),
    /// A step on the unix socket failed.
    #[error("cannot {step} the socket {path}: {source}")]
    Unix {
        /// What was tried.
        step: &'static str,
        /// Which socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The TCP address does not resolve or cannot be bound.
    #[error("cannot listen on tcp://{address}: {source}")]
    Tcp {
        /// Which address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Plain TCP for everybody.
    #[error(
        "refusing to serve plain TCP on {0}: whoever reaches it is root on this machine; use --tlsverify, a loopback address, or insist with --allow-insecure-tcp"
    )]
    Insecure(String),
    /// The service manager has passed no sockets.
    #[error("fd:// was asked for, but the service manager has passed no sockets (LISTEN_FDS)")]
    NotActivated,
    /// A socket of the service manager is of no use.
    #[error("cannot use socket {number} of the service manager: {source}")]
    Activated {
        /// Descriptor number.
        number: i32,
        /// Why.
        source: io::Error,
    },
    /// The group that was asked for does not exist.
    #[error("there is no group {0:?} for the socket (--group)")]
    NoGroup(String),
    /// The keys of TLS are not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An open socket.
#[derive(Debug)]
pub(crate) enum Listener {
    /// A unix socket; the path is removed at the end.
    Unix(UnixListener, Option<PathBuf>),
    /// Plain TCP.
    Tcp(TcpListener),
    /// TCP with TLS.
    Tls(TcpListener, Arc<rustls::ServerConfig>),
}

impl Listener {
    /// The file that is to be removed in the end.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Unix(_, path) => path.clone(),
            Self::Tcp(_) | Self::Tls(..) => None,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |listener: &TcpListener| {
            listener.local_addr().map(|address| address.to_string()).unwrap_or_default()
        };
        match self {
            Self::Unix(_, Some(path)) => write!(f, "{}", path.display()),
            Self::Unix(_, None) => f.write_str("a socket of the service manager"),
            Self::Tcp(listener) => f.write_str(&address(listener)),
            Self::Tls(listener, _) => write!(f, "{} with TLS", address(listener)),
        }
    }
}

/// Opens everything that the settings name.
///
/// # Errors
/// The first socket that cannot be opened.
pub(crate) fn open(settings: &Settings, hosts: &[Host]) -> Result<Vec<Listener>, ListenError> {
    let tls = if settings.encrypts() { Some(tls::config(settings)?) } else { None };
    let gid = socket_group(settings.group.as_deref())?;
    let mut listeners = Vec::new();
    for host in hosts {
        match host {
            Host::Unix(path) => {
                listeners.push(Listener::Unix(unix(path, gid)?, Some(path.clone())))
            }
            Host::Tcp(address) => {
                let addresses = resolve(address)?;
                let loopback = addresses.iter().all(|address| address.ip().is_loopback());
                if tls.is_none() && !loopback && !settings.allow_insecure_tcp {
                    return Err(ListenError::Insecure(address.clone()));
                }
                let listener = tcp(address, &addresses)?;
                listeners.push(match &tls {
                    Some(config) => Listener::Tls(listener, config.clone()),
                    None => Listener::Tcp(listener),
                });
            }
            Host::Activated => listeners.extend(activated(tls.as_ref())?),
        }
    }
    Ok(listeners)
}

fn resolve(address: &str) -> Result<Vec<SocketAddr>, ListenError> {
    let failed = |source| ListenError::Tcp { address: address.to_owned(), source };
    let found: Vec<_> = address.to_socket_addrs().map_err(failed)?.collect();
    if found.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(found)
}

/// Opens a TCP socket for the metrics or the API.
pub(crate) fn tcp(name: &str, addresses: &[SocketAddr]) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError::Tcp { address: name.to_owned(), source };
    let listener = TcpListener::bind(addresses).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Opens the socket that serves the metrics.
pub(crate) fn metrics(address: &str) -> Result<TcpListener, ListenError> {
    tcp(address, &resolve(address)?)
}

/// Makes a unix socket of mode 0660. A socket that nobody answers on is replaced.
fn unix(path: &Path, gid: Option<u32>) -> Result<UnixListener, ListenError> {
    let failed = |step| move |source| ListenError::Unix { step, path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("make the directory of"))?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(ListenError::InUse(path.to_owned())),
            // ECONNREFUSED: its process is gone.
            Err(_) => fs::remove_file(path).map_err(failed("remove the stale file of"))?,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look at")(error)),
    }
    // Nobody may connect before owner and mode are right.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o777));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(failed("bind"))?;
    chown(path, Some(0), Some(gid.unwrap_or(0))).map_err(failed("give away"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed("open up"))?;
    listener.set_nonblocking(true).map_err(failed("use"))?;
    Ok(listener)
}

/// The sockets that a service manager has opened for this process, by sd_listen_fds(3).
fn activated(tls: Option<&Arc<rustls::ServerConfig>>) -> Result<Vec<Listener>, ListenError> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let me = rustix::process::getpid();
    let mine = number("LISTEN_PID") == Some(me.as_raw_nonzero().get());
    let count = if mine { number("LISTEN_FDS").unwrap_or(0) } else { 0 };
    if count < 1 {
        return Err(ListenError::NotActivated);
    }
    // A descriptor that came by number belongs to nobody in safe Rust; the kernel makes an owned
    // copy of it (pidfd_getfd, Linux 5.6), and the original stays open and unused.
    let pidfd = pidfd_open(me, PidfdFlags::empty())
        .map_err(|error| ListenError::Activated { number: 3, source: error.into() })?;
    (3..3 + count)
        .map(|number| {
            let failed = |source| ListenError::Activated { number, source };
            let fd: OwnedFd = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())
                .map_err(|error| failed(error.into()))?;
            let address = rustix::net::getsockname(&fd).map_err(|error| failed(error.into()))?;
            if address.address_family() == rustix::net::AddressFamily::UNIX {
                let listener = UnixListener::from(fd);
                listener.set_nonblocking(true).map_err(failed)?;
                return Ok(Listener::Unix(listener, None));
            }
            let listener = TcpListener::from(fd);
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(match tls {
                Some(config) => Listener::Tls(listener, config.clone()),
                None => Listener::Tcp(listener),
            })
        })
        .collect()
}

/// The group of the unix socket: the one asked for, else `isopod`, else `docker`, else root's.
fn socket_group(asked: Option<&str>) -> Result<Option<u32>, ListenError> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    match asked {
        Some(name) => match group_id(&groups, name) {
            Some(gid) => Ok(Some(gid)),
            None => Err(ListenError::NoGroup(name.to_owned())),
        },
        None => Ok(group_id(&groups, "isopod").or_else(|| group_id(&groups, "docker"))),
    }
}

/// Finds a group by name in the text of /etc/group, or takes a number as it is.
fn group_id(groups: &str, name: &str) -> Option<u32> {
    let by_name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() == Some(name) { fields.nth(1)?.parse().ok() } else { None }
    });
    by_name.or_else(|| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_or_number() {
        let groups = "root:x:0:\ndocker:x:998:me,you\nbad\nodd:x:n:\n";
        assert_eq!(group_id(groups, "docker"), Some(998));
        assert_eq!(group_id(groups, "isopod"), None);
        assert_eq!(group_id(groups, "odd"), None);
        assert_eq!(group_id(groups, "42"), Some(42));
    }

    #[test]
    fn plain_tcp_stays_at_home() {
        let settings = Settings::default();
        let open = |text: &str| open(&settings, &[Host::Tcp(text.to_owned())]);
        assert!(matches!(open("0.0.0.0:0"), Err(ListenError::Insecure(_))));
        assert!(open("127.0.0.1:0").is_ok());
        let insisting = Settings { allow_insecure_tcp: true, ..Settings::default() };
        assert!(super::open(&insisting, &[Host::Tcp("0.0.0.0:0".to_owned())]).is_ok());
    }

    #[test]
    fn privileged_a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("deep/x.sock");
        let first = unix(&path, None).expect("as root");
        let mode = fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(unix(&path, None), Err(ListenError::InUse(_))));
        drop(first);
        let second = unix(&path, None).expect("a stale socket is no hindrance");
        drop(second);
        fs::remove_file(&path).expect("removes");
        fs::write(&path, "x").expect("writes");
        assert!(matches!(unix(&path, None), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read(&path).expect("still there"), b"x");
    }
}
