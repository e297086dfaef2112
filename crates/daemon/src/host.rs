//! The addresses that the daemon listens on, as users write them.

use std::fmt;
use std::path::PathBuf;

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// `name:port`, with an IPv6 address in brackets.
    Tcp(String),
    /// Sockets that the service manager opened (`LISTEN_FDS`).
    Activated,
}

/// The text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid host {text:?}: {reason}")]
pub struct InvalidHost {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Ports that Docker's clients expect without and with TLS.
const PORTS: [u16; 2] = [2375, 2376];

impl Host {
    /// Reads `unix://PATH`, `tcp://[ADDRESS][:PORT]`, `ADDRESS:PORT` or `fd://`. An absent
    /// address means loopback, an absent port Docker's port for `tls` or its absence.
    ///
    /// # Errors
    /// [`InvalidHost`] for anything else.
    pub fn parse(text: &str, tls: bool) -> Result<Self, InvalidHost> {
        let wrong = |reason| InvalidHost { text: text.to_owned(), reason };
        let bare = text.trim();
        match bare.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("unix", _)) => Err(wrong("a unix socket needs an absolute path")),
            Some(("tcp", address)) => Self::tcp(address, tls).map_err(wrong),
            Some(("fd", "" | "*")) => Ok(Self::Activated),
            Some(("fd", _)) => Err(wrong("all sockets of the service manager are used: fd://")),
            Some(("npipe", _)) => Err(wrong("named pipes exist on Windows only")),
            Some(_) => Err(wrong("use unix://, tcp:// or fd://")),
            None if bare.starts_with('/') => Ok(Self::Unix(PathBuf::from(bare))),
            None if bare.contains(':') => Self::tcp(bare, tls).map_err(wrong),
            None => Err(wrong("use unix://, tcp:// or fd://")),
        }
    }

    fn tcp(address: &str, tls: bool) -> Result<Self, &'static str> {
        if address.contains(['/', '?', '#', '@']) {
            return Err("an address and a port are all there may be");
        }
        let (name, port) = match address.rsplit_once(':') {
            // The last colon of a bare IPv6 address in brackets.
            Some(_) if address.ends_with(']') => (address, None),
            Some((name, port)) => (name, Some(port)),
            None => (address, None),
        };
        let port: u16 = match port {
            None | Some("") => PORTS[usize::from(tls)],
            Some(port) => port.parse().map_err(|_| "the port is not a number up to 65535")?,
        };
        let bracketed = name.starts_with('[') && name.ends_with(']');
        if name.contains(':') && !bracketed {
            return Err("an IPv6 address stands in brackets");
        }
        let name = if name.is_empty() { "127.0.0.1" } else { name };
        Ok(Self::Tcp(format!("{name}:{port}")))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Activated => f.write_str("fd://"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_dockers() {
        let tcp = |text: &str| Ok(Host::Tcp(text.to_owned()));
        assert_eq!(Host::parse("unix:///run/x.sock", false), Ok(Host::Unix("/run/x.sock".into())));
        assert_eq!(Host::parse("/run/x.sock", false), Ok(Host::Unix("/run/x.sock".into())));
        assert_eq!(Host::parse("tcp://", false), tcp("127.0.0.1:2375"));
        assert_eq!(Host::parse("tcp://0.0.0.0", true), tcp("0.0.0.0:2376"));
        assert_eq!(Host::parse("tcp://:7777", false), tcp("127.0.0.1:7777"));
        assert_eq!(Host::parse("tcp://[::1]", false), tcp("[::1]:2375"));
        assert_eq!(Host::parse("tcp://[::1]:80", false), tcp("[::1]:80"));
        assert_eq!(Host::parse("localhost:80", false), tcp("localhost:80"));
        assert_eq!(Host::parse("fd://", false), Ok(Host::Activated));
    }

    #[test]
    fn other_hosts_are_refused() {
        for text in [
            "",
            "unix://",
            "unix://x.sock",
            "tcp://a:b",
            "tcp://a:99999",
            "tcp://::1:80",
            "http://x",
            "npipe:////./pipe/x",
            "fd://3",
            "tcp://a:80/path",
            "localhost",
        ] {
            assert!(Host::parse(text, false).is_err(), "{text}");
        }
    }
}
