//! Where a daemon listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Error;

/// A daemon's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://host:port`.
    Tcp {
        /// Name or address; without the brackets of IPv6.
        host: String,
        /// 2375 without TLS, 2376 with, when not given.
        port: u16,
    },
}

impl FromStr for Endpoint {
    type Err = Error;

    /// Reads what `-H` and `DOCKER_HOST` hold.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Address(text.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.is_empty() => Err(bad()),
            "unix" => Ok(Self::Unix(rest.into())),
            "tcp" | "http" | "https" => {
                let authority = rest.split('/').next().unwrap_or_default();
                let (host, port) = match authority.strip_prefix('[') {
                    Some(v6) => {
                        let (host, after) = v6.split_once(']').ok_or_else(bad)?;
                        (host, after.strip_prefix(':'))
                    }
                    None => match authority.rsplit_once(':') {
                        Some((host, port)) => (host, Some(port)),
                        None => (authority, None),
                    },
                };
                let port = match port {
                    Some(port) => port.parse().map_err(|_| bad())?,
                    None if scheme == "https" => 2376,
                    None => 2375,
                };
                if host.is_empty() && rest.is_empty() {
                    return Err(bad());
                }
                let host = if host.is_empty() { "127.0.0.1" } else { host };
                Ok(Self::Tcp { host: host.to_owned(), port })
            }
            other => Err(Error::Scheme(other.to_owned())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let tcp = |host: &str, port| Endpoint::Tcp { host: host.to_owned(), port };
        for (text, want) in [
            ("unix:///run/x.sock", Endpoint::Unix("/run/x.sock".into())),
            ("tcp://1.2.3.4:2376", tcp("1.2.3.4", 2376)),
            ("tcp://box", tcp("box", 2375)),
            ("tcp://:4000", tcp("127.0.0.1", 4000)),
            ("tcp://[::1]:4000", tcp("::1", 4000)),
            ("https://box", tcp("box", 2376)),
            ("box:77", tcp("box", 77)),
        ] {
            assert_eq!(text.parse::<Endpoint>().expect(text), want);
        }
        for bad in ["", "unix://", "tcp://", "tcp://a:b", "ssh://a", "tcp://[::1"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
        assert_eq!(tcp("::1", 1).to_string(), "tcp://[::1]:1");
    }
}
