//! A command line as Go's programs take it: `--name value`, `--name=value`, `-n value`, options
//! before words, `--` ends options.

use std::collections::VecDeque;
use std::ffi::OsString;

use super::{Error, Result};

/// What is left of the command line.
#[derive(Debug)]
pub(crate) struct Args {
    rest: VecDeque<String>,
    /// Of `--name=value`, while it has not been asked for.
    value: Option<String>,
    current: String,
    /// An argument that is not text.
    broken: bool,
}

impl Args {
    pub(crate) fn new(args: Vec<OsString>) -> Args {
        let broken = args.iter().any(|a| a.to_str().is_none());
        let rest = args.into_iter().map(|a| a.to_string_lossy().into_owned()).collect();
        Args { rest, value: None, current: String::new(), broken }
    }

    /// The next option, with its dashes and without its value; none when a word comes.
    pub(crate) fn option(&mut self) -> Result<Option<String>> {
        if self.broken {
            return Err(Error::Usage("arguments must be UTF-8".into()));
        }
        if let Some(value) = self.value.take() {
            return Err(Error::Usage(format!(
                "{} takes no value, but got {value:?}",
                self.current
            )));
        }
        let Some(next) = self.rest.front() else { return Ok(None) };
        if next == "--" {
            self.rest.pop_front();
            return Ok(None);
        }
        if !next.starts_with('-') || next == "-" {
            return Ok(None);
        }
        let text = self.rest.pop_front().unwrap_or_default();
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (text, None),
        };
        // Go's flag package takes one dash for two.
        let name = match name.strip_prefix('-') {
            Some(long) if !long.starts_with('-') && long.len() > 1 => format!("--{long}"),
            _ => name,
        };
        self.current.clone_from(&name);
        self.value = value;
        Ok(Some(name))
    }

    /// The value of the option just returned.
    pub(crate) fn value(&mut self) -> Result<String> {
        self.value
            .take()
            .or_else(|| self.rest.pop_front())
            .ok_or_else(|| Error::Usage(format!("{} needs a value", self.current)))
    }

    /// The value of the option just returned, as a number.
    pub(crate) fn number<N: std::str::FromStr>(&mut self) -> Result<N> {
        let text = self.value()?;
        let name = &self.current;
        text.parse().map_err(|_| Error::Usage(format!("{name}: {text:?} is not a valid number")))
    }

    /// The option just returned is a switch: `--name`, `--name=true`, `--name=false`.
    pub(crate) fn flag(&mut self) -> Result<bool> {
        match self.value.take().as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => {
                Err(Error::Usage(format!("{}: {other:?} is neither true nor false", self.current)))
            }
        }
    }

    /// The next word.
    pub(crate) fn word(&mut self) -> Option<String> {
        self.rest.pop_front()
    }

    /// The container's id, which must come now.
    pub(crate) fn id(&mut self) -> Result<String> {
        let id = self.word().ok_or_else(|| Error::Usage("a container id is needed".into()))?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if id.is_empty() || !id.chars().all(allowed) || id == "." || id == ".." || id.len() > 255 {
            return Err(Error::Usage(format!("invalid container id format: {id:?}")));
        }
        Ok(id)
    }

    /// All that is left.
    pub(crate) fn words(&mut self) -> Vec<String> {
        self.rest.drain(..).collect()
    }

    /// Nothing may be left.
    pub(crate) fn end(&mut self) -> Result<()> {
        match self.rest.front() {
            Some(extra) => Err(Error::Usage(format!("unexpected argument {extra:?}"))),
            None => Ok(()),
        }
    }

    /// The error for an option that the command does not have.
    pub(crate) fn unknown(&self, option: &str) -> Error {
        Error::Usage(format!("flag provided but not defined: {option}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(list: &[&str]) -> Args {
        Args::new(list.iter().map(OsString::from).collect())
    }

    #[test]
    fn as_go_programs_take_them() {
        let mut a = args(&["--root", "/x", "-log=/y", "--flag", "-b", "z", "id", "--not", "opt"]);
        assert_eq!(a.option().unwrap().unwrap(), "--root");
        assert_eq!(a.value().unwrap(), "/x");
        assert_eq!(a.option().unwrap().unwrap(), "--log");
        assert_eq!(a.value().unwrap(), "/y");
        assert_eq!(a.option().unwrap().unwrap(), "--flag");
        assert!(a.flag().unwrap());
        assert_eq!(a.option().unwrap().unwrap(), "-b");
        assert_eq!(a.value().unwrap(), "z");
        assert_eq!(a.option().unwrap(), None);
        assert_eq!(a.id().unwrap(), "id");
        assert_eq!(a.words(), ["--not", "opt"]);
    }

    #[test]
    fn hostile_ids() {
        for id in ["..", ".", "a/b", "", "a b", "ä"] {
            assert!(args(&[id]).id().is_err(), "{id}");
        }
        assert!(args(&["a_B-1.x+"]).id().is_ok());
    }
}
