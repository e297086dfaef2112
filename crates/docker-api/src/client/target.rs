//! Paths and queries, escaped, and the headers that go with them.

use std::fmt::Write as _;

/// The path and query of a request, and headers that only it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: String,
    query: bool,
    headers: Vec<(&'static str, String)>,
}

impl Target {
    /// Starts with a path of the API, which is taken as it is.
    pub fn new(path: &str) -> Self {
        Self { text: path.to_owned(), query: false, headers: Vec::new() }
    }

    /// `/containers/{name}` and the like: `name` is escaped, except for what image names hold.
    pub fn named(noun: &str, name: &str, verb: &str) -> Self {
        let mut text = noun.to_owned();
        text.push('/');
        escape(&mut text, name, b"/:@");
        text.push_str(verb);
        Self { text, query: false, headers: Vec::new() }
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl AsRef<str>) -> Self {
        self.text.push(if self.query { '&' } else { '?' });
        self.query = true;
        escape(&mut self.text, key, b"");
        self.text.push('=');
        escape(&mut self.text, value.as_ref(), b"/:,");
        self
    }

    /// Adds `key=1` when it is so.
    #[must_use]
    pub fn flag(self, key: &str, set: bool) -> Self {
        if set { self.with(key, "1") } else { self }
    }

    /// Adds a query parameter when there is something to say.
    #[must_use]
    pub fn maybe(self, key: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds a header: credentials, for instance.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The headers that only this request has.
    pub fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    /// As it goes out.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn escape(out: &mut String, text: &str, also: &[u8]) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_one_segment() {
        let target = Target::named("/containers", "a b?x#y%", "/json").with("k", "v&w=1");
        assert_eq!(target.as_str(), "/containers/a%20b%3Fx%23y%25/json?k=v%26w%3D1");
        let image = Target::named("/images", "reg:5000/a/b@sha256:0", "/json");
        assert_eq!(image.as_str(), "/images/reg:5000/a/b@sha256:0/json");
        assert_eq!(Target::new("/x").flag("a", true).flag("b", false).as_str(), "/x?a=1");
    }
}
