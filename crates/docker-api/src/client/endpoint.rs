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
    /// `ssh://user@host:port/path`: a daemon behind `isopod system dial-stdio` on another machine.
    Ssh(SshHost),
}

/// Where `ssh` is to go, and which socket is meant there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshHost {
    /// `None` leaves it to ssh's configuration.
    pub user: Option<String>,
    /// A name of ssh's configuration, a host name or an address; without brackets.
    pub host: String,
    /// `None` leaves it to ssh's configuration.
    pub port: Option<u16>,
    /// The daemon's socket there; `None` leaves it to the program there.
    pub socket: Option<String>,
}

impl SshHost {
    fn parse(rest: &str) -> Option<Self> {
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']')?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => match place.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        // A password would be seen by everybody; a dash in front would be an option of ssh's.
        let plain = |text: &str| {
            let odd = |c: char| c.is_whitespace() || c.is_control() || "'\"\\`$".contains(c);
            !text.is_empty() && !text.starts_with('-') && !text.contains(odd)
        };
        if !plain(host) || user.is_some_and(|user| !plain(user) || user.contains(':')) {
            return None;
        }
        Some(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port: port.map(str::parse).transpose().ok()?,
            socket: Some(path).filter(|path| path.len() > 1).map(str::to_owned),
        })
    }

    /// What `ssh` is called with.
    pub fn arguments(&self) -> Vec<String> {
        // Nobody can be asked: the terminal belongs to the command that is being carried out.
        let mut words =
            ["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30"].map(str::to_owned).to_vec();
        if let Some(user) = &self.user {
            words.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        words.extend(["--".to_owned(), self.host.clone(), "isopod".to_owned()]);
        if let Some(socket) = &self.socket {
            // The shell over there reads the words again.
            let quoted = format!("'unix://{}'", socket.replace('\'', r"'\''"));
            words.extend(["-H".to_owned(), quoted]);
        }
        words.extend(["system".to_owned(), "dial-stdio".to_owned()]);
        words
    }
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
            "ssh" => SshHost::parse(rest).map(Self::Ssh).ok_or_else(bad),
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
            Self::Ssh(ssh) => write!(f, "ssh://{ssh}"),
        }
    }
}

impl fmt::Display for SshHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.socket.as_deref().unwrap_or_default())
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
        for bad in ["", "unix://", "tcp://", "tcp://a:b", "tcp://[::1", "fd://"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
        assert_eq!(tcp("::1", 1).to_string(), "tcp://[::1]:1");
    }

    #[test]
    fn ssh_is_told_where_to_go_and_nothing_else() {
        for (text, words) in [
            ("ssh://box", "-- box isopod system dial-stdio"),
            ("ssh://ann@box:2222/", "-l ann -p 2222 -- box isopod system dial-stdio"),
            ("ssh://[::1]:22", "-p 22 -- ::1 isopod system dial-stdio"),
            (
                "ssh://box/run/i'x.sock",
                r"-- box isopod -H 'unix:///run/i'\''x.sock' system dial-stdio",
            ),
        ] {
            let Ok(Endpoint::Ssh(ssh)) = text.parse() else { panic!("{text}") };
            assert!(ssh.arguments().join(" ").ends_with(words), "{:?}", ssh.arguments());
            let shown = format!("ssh://{ssh}");
            assert_eq!(shown, text.trim_end_matches('/'));
        }
        for bad in [
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-l@box",
            "ssh://ann:secret@box",
            "ssh://box:x",
            "ssh://a b",
            "ssh://$(x)",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
