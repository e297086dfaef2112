//! Proxies: their addresses, and the tunnels through them.

use base64::Engine as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Origin;
use crate::error::{Error, Result, Transport};

/// Bytes of a proxy's answer that are read.
const MAX_HEAD: usize = 16 << 10;

/// A proxy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    /// Where it is, and whether it is spoken to in TLS.
    pub(crate) origin: Origin,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({})", self.origin)
    }
}

impl Proxy {
    /// Reads `[http[s]://][user[:password]@]host[:port]`.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => {
                return Err(Error::Address {
                    address: format!("{scheme}://…"),
                    reason: "only http and https proxies are supported",
                });
            }
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        let authorization = user.map(|user| {
            let pair = match user.split_once(':') {
                Some((user, password)) => format!("{}:{}", unescape(user), unescape(password)),
                None => format!("{}:", unescape(user)),
            };
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        });
        Ok(Self { origin: Origin::parse(https, authority)?, authorization })
    }

    /// Asks the proxy for a connection to `target`; what follows is between us and the target.
    pub(crate) async fn connect<S>(&self, stream: &mut S, target: &Origin) -> Result<(), Transport>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let there = format!("{}:{}", target.written_host(), target.port);
        let mut head = format!("CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n");
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.map_err(Transport::Io)?;
        let mut answer = Vec::with_capacity(1024);
        // The target does not speak first, so nothing of TLS can be in what is read here.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() > MAX_HEAD {
                return Err(self.refused("its answer is too long"));
            }
            if stream.read_buf(&mut answer).await.map_err(Transport::Io)? == 0 {
                return Err(self.refused("it closed the connection"));
            }
        }
        let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(200)]);
        let mut words = line.splitn(2, ' ');
        match (words.next(), words.next()) {
            (Some(version), Some(status)) if version.starts_with("HTTP/1.") => {
                if status.starts_with('2') { Ok(()) } else { Err(self.refused(status)) }
            }
            _ => Err(self.refused("its answer is no HTTP")),
        }
    }

    fn refused(&self, reason: &str) -> Transport {
        let reason = reason.chars().filter(|c| !c.is_control()).collect();
        Transport::Proxy { proxy: self.origin.to_string(), reason }
    }
}

/// Undoes the escapes of a URL.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%');
        let digits = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proxies() {
        let read = |text: &str| Proxy::parse(text).expect(text);
        assert_eq!(read("proxy:3128").origin.to_string(), "http://proxy:3128");
        assert_eq!(read("http://proxy/").origin.port, 80);
        assert!(read("HTTPS://proxy").origin.https);
        let with_user = read("http://me:p%40ss@[::1]:8080/");
        assert_eq!(with_user.origin.host, "::1");
        let expected = base64::engine::general_purpose::STANDARD.encode("me:p@ss");
        assert_eq!(with_user.authorization, Some(format!("Basic {expected}")));
        assert!(!format!("{with_user:?}").contains(&expected));
        assert!(Proxy::parse("socks5://x:1").is_err());
        assert!(Proxy::parse("http://").is_err());
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape("a%2Fb%zz%4"), "a/b%zz%4");
    }
}
