//! Query parameters, read as Go's `net/url` and dockerd's `httputils` read them.

use types::Error;
use types::filter::Filters;

/// The parameters of a request, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `a=b&c=d%20e`.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] in Go's words for a bad escape, a semicolon or bytes that
    /// are no UTF-8.
    pub fn parse(query: &str) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            if part.contains(';') {
                return Err(Error::invalid("invalid semicolon separator in query"));
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((unescape(name)?, unescape(value)?));
        }
        Ok(Self(pairs))
    }

    /// The first value of a parameter; empty when there is none.
    pub fn text(&self, name: &str) -> &str {
        self.given(name).unwrap_or("")
    }

    /// The first value of a parameter, if it was given at all.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Yes or no: everything means yes but nothing, `0`, `no`, `false` and `none`.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.text(name).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// As [`Params::flag`] when the parameter was given, otherwise `default`.
    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.given(name).is_some() { self.flag(name) } else { default }
    }

    /// A whole number; `None` when the parameter is absent or empty.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] in Go's words for anything else.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        let value = self.text(name);
        if value.is_empty() {
            return Ok(None);
        }
        let syntax =
            || Error::invalid(format!("strconv.ParseInt: parsing {value:?}: invalid syntax"));
        value.parse().map(Some).map_err(|_| syntax())
    }

    /// The `filters` parameter.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] when it is not of one of the forms that clients send.
    pub fn filters(&self) -> Result<Filters, Error> {
        Filters::parse(self.text("filters"))
    }
}

/// Undoes `+` and percent escapes.
fn unescape(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
                let value = digits
                    .filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()))
                    .and_then(|two| u8::from_str_radix(two, 16).ok());
                let Some(value) = value else {
                    let shown: String = String::from_utf8_lossy(&tail[..tail.len().min(2)]).into();
                    return Err(Error::invalid(format!("invalid URL escape \"%{shown}\"")));
                };
                bytes.push(value);
                rest = &tail[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("a query parameter is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_are_read_as_go_does() {
        let params =
            Params::parse("all=1&name=a%2Fb+c&empty=&bare&names=x&names=y&n=-3&&").expect("valid");
        assert_eq!(params.text("name"), "a/b c");
        assert_eq!(params.given("empty"), Some(""));
        assert_eq!(params.given("bare"), Some(""));
        assert_eq!(params.given("absent"), None);
        assert_eq!(params.all("names").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(params.number("n"), Ok(Some(-3)));
        assert_eq!(params.number("empty"), Ok(None));
        assert!(params.number("name").is_err());
        for query in ["a=%", "a=%4", "a=%zz", "a=%+1", "a;b", "a=%ff"] {
            assert!(Params::parse(query).is_err(), "{query}");
        }
        let error = Params::parse("a=%zzq").expect_err("bad escape");
        assert_eq!(error.message, "invalid URL escape \"%zz\"");
    }

    #[test]
    fn yes_and_no_are_dockers() {
        for (value, yes) in [
            ("1", true),
            ("true", true),
            ("True", true),
            ("yes", true),
            ("2", true),
            ("x", true),
            ("0", false),
            ("false", false),
            ("False", false),
            ("no", false),
            ("none", false),
            ("", false),
            ("%20", false),
        ] {
            let params = Params::parse(&format!("f={value}")).expect("valid");
            assert_eq!(params.flag("f"), yes, "{value:?}");
        }
        assert!(Params::default().flag_or("f", true));
        assert!(!Params::default().flag("f"));
    }

    proptest! {
        #[test]
        fn nothing_panics(query in ".{0,60}") {
            if let Ok(params) = Params::parse(&query) {
                drop(params.number("a"));
                params.flag("a");
            }
        }
    }
}
