use std::fmt;
use std::net::IpAddr;

use hyper::Uri;

use crate::error::{Error, Result};

/// The longest URL that is followed.
const MAX_LENGTH: usize = 16 << 10;

/// A server: how it is spoken to and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// HTTPS, or plain HTTP.
    pub(crate) https: bool,
    /// A name or an address, in lower case, without brackets.
    pub(crate) host: String,
    /// The port, also where it is the usual one.
    pub(crate) port: u16,
}

impl Origin {
    /// Reads `host[:port]`.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub(crate) fn parse(https: bool, authority: &str) -> Result<Self> {
        let scheme = if https { "https" } else { "http" };
        let url = Url::parse(&format!("{scheme}://{authority}/"))?;
        if url.path != "/" {
            return Err(invalid(authority, "it has more than a host and a port"));
        }
        Ok(url.origin)
    }

    /// The same server in plain HTTP; on port 80 if HTTPS was on its own usual one.
    pub(crate) fn plain(&self) -> Self {
        let port = if self.port == 443 { 80 } else { self.port };
        Self { https: false, host: self.host.clone(), port }
    }

    /// The host as URLs write it.
    pub(crate) fn written_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// `host[:port]`, as the `Host` header and `certs.d` have it.
    pub(crate) fn authority(&self) -> String {
        let usual = if self.https { 443 } else { 80 };
        if self.port == usual {
            self.written_host()
        } else {
            format!("{}:{}", self.written_host(), self.port)
        }
    }

    /// Whether this is the machine we are on, as far as the name says.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.address().is_some_and(|address| address.to_canonical().is_loopback())
    }

    /// The host as an address, if it is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http{}://{}", if self.https { "s" } else { "" }, self.authority())
    }
}

/// An HTTP URL without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    /// The server.
    pub(crate) origin: Origin,
    /// Path and query, beginning with a slash.
    pub(crate) path: String,
}

impl Url {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_LENGTH {
            return Err(invalid(&text.chars().take(100).collect::<String>(), "it is too long"));
        }
        let uri: Uri = text.parse().map_err(|_| invalid(text, "it is no URL"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid(text, "it is neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| invalid(text, "it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid(text, "it has a user"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.starts_with('.') {
            return Err(invalid(text, "it has no host"));
        }
        let usual = if https { 443 } else { 80 };
        let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
            "" | ":" => usual,
            _ => authority
                .port_u16()
                .filter(|port| *port != 0)
                .ok_or_else(|| invalid(text, "its port is none"))?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            origin: Origin { https, host: host.to_ascii_lowercase(), port },
            path: format!("{slash}{path}"),
        })
    }

    /// What a `Location` or a link means that stands in an answer from here.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub(crate) fn join(&self, location: &str) -> Result<Self> {
        let location = location.trim();
        let location = location.split('#').next().unwrap_or_default();
        let scheme = location.split_once("://").is_some_and(|(scheme, _)| {
            scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
        if scheme {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            let scheme = if self.origin.https { "https" } else { "http" };
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let path = self.path.split('?').next().unwrap_or_default();
        let joined = match location.chars().next() {
            None => self.path.clone(),
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            Some(_) => {
                let (directory, _) = path.rsplit_once('/').unwrap_or_default();
                format!("{directory}/{location}")
            }
        };
        Self::parse(&format!("{}{joined}", self.origin))
    }

    /// With one more parameter in its query, which is escaped.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(name);
        self.path.push('=');
        escape(value, &mut self.path);
        self
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

/// Escapes everything that may mean something in a query or in a form.
pub(crate) fn escape(value: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

fn invalid(address: &str, reason: &'static str) -> Error {
    Error::Address { address: address.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_is_joined_is_a_url(location in "\\PC{0,80}") {
            let base = url("https://r.example/v2/x");
            if let Ok(joined) = base.join(&location) {
                let again = Url::parse(&joined.to_string()).expect("it is written as it is read");
                prop_assert_eq!(again, joined);
            }
        }

        #[test]
        fn parameters_never_leave_their_place(value in "\\PC{0,40}") {
            let url = url("http://r/x").with("n", &value);
            prop_assert_eq!(url.path.matches(['?', '&', '#', ' ']).count(), 1);
            prop_assert!(Url::parse(&url.to_string()).is_ok());
        }
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect(text)
    }

    #[test]
    fn urls_are_read_and_written() {
        for text in [
            "https://r.example/v2/",
            "http://r.example:5000/a?b=c&d=%2F",
            "https://[2001:db8::1]:5000/",
            "http://127.0.0.1/x",
        ] {
            assert_eq!(url(text).to_string(), text);
        }
        assert_eq!(url("HTTPS://R.Example:443").to_string(), "https://r.example/");
        assert_eq!(url("https://r.example?x=1").path, "/?x=1");
        for bad in [
            "",
            "/x",
            "ftp://r/",
            "https://",
            "https://u:p@r/",
            "https://r:0/",
            "https://r:99999/",
            "https://r:x/",
            "https://r/a b",
            "https://../",
            "unix:///x",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        assert!(Url::parse(&format!("http://r/{}", "x".repeat(20_000))).is_err());
    }

    #[test]
    fn locations_are_joined() {
        let base = url("https://r.example:5000/v2/a/blobs/uploads/?x=1");
        let join = |location: &str| base.join(location).expect(location).to_string();
        assert_eq!(join("/v2/b?y#z"), "https://r.example:5000/v2/b?y");
        assert_eq!(join("http://other/x"), "http://other/x");
        assert_eq!(join("//other/x"), "https://other/x");
        assert_eq!(join("id"), "https://r.example:5000/v2/a/blobs/uploads/id");
        assert_eq!(join("?n=2"), "https://r.example:5000/v2/a/blobs/uploads/?n=2");
        // A scheme in a query is no scheme of the link.
        assert_eq!(join("/x?u=http://y"), "https://r.example:5000/x?u=http://y");
        for bad in ["file:///etc/passwd", "gopher://x/", "http://u@other/", "/a b"] {
            assert!(base.join(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parameters_are_escaped() {
        let url = url("http://r/x").with("scope", "repository:a/b:pull,push").with("d", "é&=");
        assert_eq!(url.path, "/x?scope=repository%3Aa%2Fb%3Apull%2Cpush&d=%C3%A9%26%3D");
    }

    #[test]
    fn origins() {
        let origin = Origin::parse(true, "[::1]:5000").expect("valid");
        assert_eq!(origin.authority(), "[::1]:5000");
        assert!(origin.is_loopback());
        assert!(Origin::parse(true, "127.9.9.9").expect("valid").is_loopback());
        assert!(!Origin::parse(true, "localhost.example").expect("valid").is_loopback());
        assert_eq!(
            Origin::parse(true, "r.example").expect("valid").plain().to_string(),
            "http://r.example"
        );
        assert!(Origin::parse(true, "r.example/x").is_err());
        assert!(Origin::parse(true, "..").is_err());
    }
}
