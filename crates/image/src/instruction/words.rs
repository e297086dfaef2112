//! Words of a Dockerfile line: quotes, backslashes and variables.

use std::iter::Peekable;
use std::str::Chars;

use super::bad;
use crate::error::Result;

/// Splits a line at blanks that are neither quoted nor escaped. Quotes and backslashes stay, for
/// [`expand`] to take away.
pub fn split_words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            // Within single quotes a backslash is itself.
            (Some('\''), _) => {}
            (_, '\\') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `NAME=value …`, or the old form `NAME value with blanks`.
pub(super) fn pairs(instruction: &str, rest: &str) -> Result<Vec<(String, String)>> {
    let words = split_words(rest);
    let first = words.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| bad(format!("{instruction} must have two arguments")))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(bad(format!("{instruction} names can not be blank"))),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(bad(format!(
                "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
            ))),
        })
        .collect()
}

/// Takes quotes and backslashes away and replaces `$NAME`, `${NAME}`, `${NAME:-default}`,
/// `${NAME:+other}` (and without the colon) by the values in `env` (`NAME=value`).
///
/// # Errors
/// [`Error::BadInstruction`](crate::Error::BadInstruction) for a quote or brace without its end.
pub fn expand(text: &str, env: &[String]) -> Result<String> {
    let mut expander = Expander { chars: text.chars().peekable(), env, whole: text };
    expander.until(None)
}

struct Expander<'a> {
    chars: Peekable<Chars<'a>>,
    env: &'a [String],
    whole: &'a str,
}

impl Expander<'_> {
    /// Reads up to `end` (which is taken) or to the end of the text.
    fn until(&mut self, end: Option<char>) -> Result<String> {
        let mut out = String::new();
        while let Some(c) = self.chars.next() {
            match c {
                c if Some(c) == end => return Ok(out),
                '\'' => self.single(&mut out)?,
                '"' => self.double(&mut out)?,
                '$' => self.variable(&mut out)?,
                '\\' => out.extend(self.chars.next()),
                c => out.push(c),
            }
        }
        match end {
            None => Ok(out),
            Some(end) => Err(self.unfinished(end)),
        }
    }

    fn unfinished(&self, end: char) -> crate::Error {
        bad(format!(
            "unexpected end of statement while looking for matching {end} in {:?}",
            self.whole
        ))
    }

    fn single(&mut self, out: &mut String) -> Result<()> {
        loop {
            match self.chars.next() {
                Some('\'') => return Ok(()),
                Some(c) => out.push(c),
                None => return Err(self.unfinished('\'')),
            }
        }
    }

    fn double(&mut self, out: &mut String) -> Result<()> {
        loop {
            match self.chars.next() {
                Some('"') => return Ok(()),
                Some('$') => self.variable(out)?,
                Some('\\') => match self.chars.next() {
                    Some(c @ ('"' | '$' | '\\')) => out.push(c),
                    Some(c) => out.extend(['\\', c]),
                    None => return Err(self.unfinished('"')),
                },
                Some(c) => out.push(c),
                None => return Err(self.unfinished('"')),
            }
        }
    }

    fn variable(&mut self, out: &mut String) -> Result<()> {
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            if name.is_empty() {
                out.push('$');
            } else {
                out.push_str(self.value(&name).unwrap_or_default());
            }
            return Ok(());
        }
        let name = self.name();
        if name.is_empty() {
            return Err(bad(format!("bad substitution in {:?}", self.whole)));
        }
        let value = self.value(&name).map(str::to_owned);
        let colon = self.chars.next_if_eq(&':').is_some();
        let set = value.as_ref().is_some_and(|value| !colon || !value.is_empty());
        match self.chars.next() {
            Some('}') if !colon => out.push_str(&value.unwrap_or_default()),
            Some('-') => {
                let default = self.until(Some('}'))?;
                out.push_str(if set { value.as_deref().unwrap_or_default() } else { &default });
            }
            Some('+') => {
                let other = self.until(Some('}'))?;
                out.push_str(if set { &other } else { "" });
            }
            Some('?') => {
                let message = self.until(Some('}'))?;
                if !set {
                    return Err(bad(format!("{name}: {message}")));
                }
                out.push_str(value.as_deref().unwrap_or_default());
            }
            Some(c) => {
                return Err(bad(format!("unsupported modifier ({c}) in substitution")));
            }
            None => return Err(self.unfinished('}')),
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            let starts_with_digit = name.is_empty() && c.is_ascii_digit();
            name.push(c);
            if starts_with_digit {
                break;
            }
        }
        name
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|found| found.strip_prefix(name)?.strip_prefix('='))
    }
}
