//! What a registry's `WWW-Authenticate` asks for.
//!
//! The grammar is that of RFC 9110, section 11.6.1: a list of schemes, each with parameters, in
//! which commas separate both. Registries and what stands before them bend it, so everything
//! that can be understood is, and the rest is passed over.

/// Bytes of one header that are read.
const MAX_LENGTH: usize = 16 << 10;
/// Challenges and parameters of each that are kept.
const MAX_COUNT: usize = 32;

/// One way to say who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// In lower case: `bearer`, `basic`.
    pub scheme: String,
    /// Names in lower case, and their values.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter, named in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether a token is wanted.
    pub fn is_bearer(&self) -> bool {
        self.scheme == "bearer"
    }

    /// Whether a name and a password are wanted.
    pub fn is_basic(&self) -> bool {
        self.scheme == "basic"
    }
}

/// Reads one header. Never fails: what is not understood is left out.
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut end = header.len().min(MAX_LENGTH);
    while !header.is_char_boundary(end) {
        end -= 1;
    }
    let mut reader = Reader { rest: &header[..end] };
    let mut found: Vec<Challenge> = Vec::new();
    loop {
        reader.skip(|c| c.is_whitespace() || c == ',');
        if reader.rest.is_empty() {
            return found;
        }
        let word = reader.take(is_token);
        if word.is_empty() {
            // A character that begins nothing: go on after it, or this would never end.
            reader.advance();
            continue;
        }
        let spaced = reader.skip(char::is_whitespace);
        // `name=value` belongs to the scheme before; a lone word is a scheme.
        if reader.rest.starts_with('=') && !(spaced && found.is_empty()) {
            reader.advance();
            let value = reader.value();
            if let Some(challenge) = found.last_mut() {
                let name = word.to_ascii_lowercase();
                let known = challenge.parameter(&name).is_some();
                if !known && challenge.parameters.len() < MAX_COUNT {
                    challenge.parameters.push((name, value));
                }
            }
        } else if found.len() < MAX_COUNT {
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
        }
    }
}

/// What is left of a header.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Whether there was something to skip.
    fn skip(&mut self, accept: impl Fn(char) -> bool) -> bool {
        !self.take(accept).is_empty()
    }

    fn advance(&mut self) {
        let mut chars = self.rest.chars();
        chars.next();
        self.rest = chars.as_str();
    }

    /// A quoted or a bare value. A quote that is never closed ends with the header.
    fn value(&mut self) -> String {
        self.skip(char::is_whitespace);
        if !self.rest.starts_with('"') {
            return self.take(|c| c != ',' && !c.is_whitespace()).to_owned();
        }
        self.advance();
        let mut value = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => value.extend(chars.next()),
                c => value.push(c),
            }
        }
        self.rest = chars.as_str();
        value
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(challenge: &Challenge) -> Vec<(&str, &str)> {
        challenge.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect()
    }

    #[test]
    fn a_usual_challenge() {
        let found = parse(
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(found.len(), 1);
        assert!(found[0].is_bearer());
        assert_eq!(
            pairs(&found[0]),
            [
                ("realm", "https://auth.example/token"),
                ("service", "registry.example"),
                ("scope", "repository:a/b:pull,push"),
            ]
        );
    }

    #[test]
    fn several_in_one_header() {
        let found =
            parse(r#"Basic realm="a, b=\"c\"", charset=UTF-8 , BEARER Realm = x,,  Negotiate"#);
        let schemes: Vec<_> = found.iter().map(|one| one.scheme.as_str()).collect();
        assert_eq!(schemes, ["basic", "bearer", "negotiate"]);
        assert_eq!(pairs(&found[0]), [("realm", "a, b=\"c\""), ("charset", "UTF-8")]);
        assert_eq!(found[1].parameter("realm"), Some("x"));
    }

    #[test]
    fn bent_headers_are_understood_as_far_as_possible() {
        assert_eq!(parse(""), []);
        assert_eq!(parse(" ,, \u{1},\"x\"").iter().filter(|c| c.is_bearer()).count(), 0);
        assert_eq!(parse("Bearer")[0].scheme, "bearer");
        assert_eq!(
            parse(r#"Bearer realm="never closed"#)[0].parameter("realm"),
            Some("never closed")
        );
        assert_eq!(
            parse("Bearer realm=http://x/y?z=1,service=s")[0].parameter("service"),
            Some("s")
        );
        // The first of two counts, or a second could send the password elsewhere.
        assert_eq!(parse("Bearer realm=a,realm=b")[0].parameter("realm"), Some("a"));
        assert_eq!(parse(r#"Bearer realm="\"#)[0].parameter("realm"), Some(""));
    }

    proptest! {
        #[test]
        fn anything_ends(text in "\\PC{0,400}") {
            prop_assert!(parse(&text).len() <= MAX_COUNT);
        }

        #[test]
        fn quoted_values_come_back(value in "[ -~]{0,60}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let found = parse(&format!("Bearer scope=\"{quoted}\", service=s"));
            prop_assert_eq!(found[0].parameter("scope"), Some(value.as_str()));
            prop_assert_eq!(found[0].parameter("service"), Some("s"));
        }
    }
}
