//! What follows a keyword: flags, words, pairs and JSON arrays.

use super::suggest::did_you_mean;
use super::{Command, Pair};

/// What is wrong and where: a byte offset into the text that was given to the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) at: usize,
    pub(super) message: String,
}

pub(super) fn problem(at: usize, message: impl Into<String>) -> Problem {
    Problem { at, message: message.into() }
}

/// Blanks between words; a line end never comes here.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// `--name=value` or `--name`.
#[derive(Debug)]
pub(super) struct Flag<'a> {
    pub(super) name: &'a str,
    pub(super) given: Option<&'a str>,
    pub(super) at: usize,
}

/// The flags of an instruction as texts, and where each begins.
#[derive(Debug)]
pub(super) struct FlagTexts(Vec<(String, usize)>);

impl FlagTexts {
    /// Takes the flags that stand at the beginning; also tells where the rest begins.
    pub(super) fn take(rest: &str) -> (Self, usize) {
        let mut found = Vec::new();
        let mut at = 0;
        loop {
            let tail = &rest[at..];
            at += tail.len() - tail.trim_start().len();
            if !rest[at..].starts_with("--") {
                return (Self(found), at);
            }
            let (word, length) = flag_word(&rest[at..]);
            let start = at;
            at += length;
            if word == "--" {
                let tail = &rest[at..];
                return (Self(found), at + tail.len() - tail.trim_start().len());
            }
            found.push((word, start));
        }
    }

    pub(super) fn flags(&self) -> Flags<'_> {
        Flags(
            self.0
                .iter()
                .map(|(text, at)| {
                    let text = &text[2..];
                    let (name, given) = match text.split_once('=') {
                        Some((name, value)) => (name, Some(value)),
                        None => (text, None),
                    };
                    Flag { name, given, at: *at }
                })
                .collect(),
        )
    }
}

/// The word at the beginning without its quotes and escapes, and how long it is as written.
fn flag_word(text: &str) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, at),
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == '\\' => word.extend(chars.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

/// Flags, read.
#[derive(Debug)]
pub(super) struct Flags<'a>(pub(super) Vec<Flag<'a>>);

impl Flags<'_> {
    /// # Errors
    /// When another flag before this one has its name.
    pub(super) fn only_once(&self, flag: &Flag<'_>) -> Result<(), Problem> {
        if self.0.iter().any(|other| other.name == flag.name && other.at < flag.at) {
            return Err(problem(flag.at, format!("duplicate flag specified: --{}", flag.name)));
        }
        Ok(())
    }

    /// # Errors
    /// When there is any.
    pub(super) fn none(&self) -> Result<(), Problem> {
        self.0.first().map_or(Ok(()), |flag| Err(flag.unknown(&[])))
    }

    pub(super) fn offset_of(&self, name: &str) -> usize {
        self.0.iter().find(|flag| flag.name == name).map_or(0, |flag| flag.at)
    }
}

impl Flag<'_> {
    /// # Errors
    /// When it has none.
    pub(super) fn value(&self) -> Result<&str, Problem> {
        self.given
            .ok_or_else(|| problem(self.at, format!("missing a value on flag: --{}", self.name)))
    }

    /// # Errors
    /// When it is given and neither true nor false.
    pub(super) fn boolean(&self) -> Result<bool, Problem> {
        match self.given.map(str::to_ascii_lowercase).as_deref() {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some("") => Err(problem(self.at, format!("missing a value on flag: --{}", self.name))),
            Some(other) => Err(problem(
                self.at,
                format!("expecting boolean value for flag --{}, not: {other}", self.name),
            )),
        }
    }

    pub(super) fn unknown(&self, known: &[&str]) -> Problem {
        let hint = did_you_mean(self.name, known);
        problem(self.at, format!("unknown flag: --{}{hint}", self.name))
    }
}

/// A JSON array of strings, if that is what the text begins with. As in Docker what follows it
/// has no meaning: it mostly is a comment.
///
/// # Errors
/// An array of something else.
pub(super) fn json_words(text: &str, at: usize) -> Result<Option<Vec<String>>, Problem> {
    let text = text.trim();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    let Some(Ok(serde_json::Value::Array(values))) = values.next() else { return Ok(None) };
    let words = values.into_iter().map(|value| match value {
        serde_json::Value::String(word) => Ok(word),
        _ => Err(problem(
            at,
            "when using JSON array syntax, arrays must be comprised of strings only",
        )),
    });
    words.collect::<Result<_, _>>().map(Some)
}

/// A command: JSON words, or a line for the shell.
pub(super) fn json_or_shell(text: &str, at: usize) -> Result<Command, Problem> {
    Ok(match json_words(text, at)? {
        Some(words) => Command::Words(words),
        None => Command::Shell(text.trim().to_owned()),
    })
}

/// A JSON array, or words between blanks. Quotes mean nothing here.
pub(super) fn arguments(text: &str, at: usize) -> Result<Vec<String>, Problem> {
    Ok(match json_words(&text[at..], at)? {
        Some(words) => words,
        None => blank_words(&text[at..]),
    })
}

pub(super) fn blank_words(text: &str) -> Vec<String> {
    text.split(is_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Splits at blanks that are neither quoted nor escaped. Quotes and escapes stay. With each word
/// comes where it begins.
pub(super) fn quoted_words(text: &str, escape: char) -> Vec<(String, usize)> {
    let mut words: Vec<(String, usize)> = Vec::new();
    let (mut word, mut begun) = (String::new(), None);
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if let Some(start) = begun.take() {
                    words.push((std::mem::take(&mut word), start));
                }
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            // Within single quotes an escape is itself.
            Some('\'') => {}
            _ if c == escape => {
                begun.get_or_insert(at);
                // At the very end it escapes nothing and is left out.
                if let Some((_, next)) = chars.next() {
                    word.extend([c, next]);
                }
                continue;
            }
            _ => {}
        }
        begun.get_or_insert(at);
        word.push(c);
    }
    if let Some(start) = begun {
        words.push((word, start));
    }
    words
}

/// `NAME=value …`, or the old form `NAME value with blanks` (then the second is true).
pub(super) fn pairs(keyword: &str, rest: &str, escape: char) -> Result<(Vec<Pair>, bool), Problem> {
    let words = quoted_words(rest, escape);
    let Some((first, start)) = words.first() else {
        return Err(problem(0, format!("{keyword} requires at least one argument")));
    };
    if !first.contains('=') {
        let (name, value) = rest[*start..]
            .split_once(is_blank)
            .ok_or_else(|| problem(*start, format!("{keyword} must have two arguments")))?;
        let value = value.trim_matches(is_blank).to_owned();
        return Ok((vec![(name.to_owned(), value)], true));
    }
    let pairs = words.iter().map(|(word, at)| match word.split_once('=') {
        Some(("", _)) => Err(problem(*at, format!("{keyword} names can not be blank"))),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(problem(
            *at,
            format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"),
        )),
    });
    Ok((pairs.collect::<Result<_, _>>()?, false))
}
