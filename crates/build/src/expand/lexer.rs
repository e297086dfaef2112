//! Reads a word character by character.

use std::iter::Peekable;
use std::str::Chars;

use super::pattern::Pattern;
use super::{ExpandError, MAX_DEPTH, MAX_EXPANDED, Variables};

/// Collects words while the lexer goes on.
#[derive(Default)]
pub(super) struct Splitter {
    words: Vec<String>,
    word: String,
    in_word: bool,
}

impl Splitter {
    fn plain(&mut self, c: char) {
        if !c.is_whitespace() {
            self.raw(c);
        } else if self.in_word {
            self.words.push(std::mem::take(&mut self.word));
            self.in_word = false;
        }
    }

    fn raw(&mut self, c: char) {
        self.word.push(c);
        self.in_word = true;
    }

    fn quoted(&mut self, text: &str) {
        self.word.push_str(text);
        self.in_word = true;
    }

    pub(super) fn finish(mut self) -> Vec<String> {
        if self.in_word {
            self.words.push(self.word);
        }
        self.words
    }
}

pub(super) struct Lexer<'a, V: Variables + ?Sized> {
    chars: Peekable<Chars<'a>>,
    escape: char,
    vars: &'a V,
    pub(super) raw_quotes: bool,
    pub(super) raw_escapes: bool,
    pub(super) plain_quotes: bool,
    pub(super) keep_variables: bool,
    /// Only at the top: what stands in braces is one text.
    pub(super) splitter: Option<Splitter>,
    depth: u32,
    length: usize,
    pub(super) unset: Vec<String>,
}

impl<'a, V: Variables + ?Sized> Lexer<'a, V> {
    pub(super) fn new(text: &'a str, escape: char, vars: &'a V) -> Self {
        Self {
            chars: text.chars().peekable(),
            escape,
            vars,
            raw_quotes: false,
            raw_escapes: false,
            plain_quotes: false,
            keep_variables: false,
            splitter: None,
            depth: 0,
            length: 0,
            unset: Vec::new(),
        }
    }

    /// Counts what is produced, so that nothing grows without end.
    fn grown(&mut self, by: usize) -> Result<(), ExpandError> {
        self.length += by;
        if self.length > MAX_EXPANDED { Err(ExpandError::TooLong) } else { Ok(()) }
    }

    /// Reads up to `end` (which is taken) or to the end of the text.
    pub(super) fn until(
        &mut self,
        end: Option<char>,
        raw_escapes: bool,
    ) -> Result<String, ExpandError> {
        let before = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.until_inner(end);
        self.raw_escapes = before;
        result
    }

    fn until_inner(&mut self, end: Option<char>) -> Result<String, ExpandError> {
        let top = self.depth == 0;
        let mut out = String::new();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == end {
                self.chars.next();
                return Ok(out);
            }
            if c == '$' {
                let value = self.dollar()?;
                self.grown(value.len())?;
                if let Some(splitter) = self.splitter.as_mut().filter(|_| top) {
                    value.chars().for_each(|c| splitter.plain(c));
                }
                out.push_str(&value);
                continue;
            }
            if (c == '\'' || c == '"') && !self.plain_quotes {
                let text = if c == '"' { self.double()? } else { self.single()? };
                self.grown(text.len())?;
                if let Some(splitter) = self.splitter.as_mut().filter(|_| top) {
                    splitter.quoted(&text);
                }
                out.push_str(&text);
                continue;
            }
            self.chars.next();
            self.grown(c.len_utf8())?;
            let mut plain = true;
            let mut c = c;
            if c == self.escape {
                if self.raw_escapes {
                    if let Some(splitter) = self.splitter.as_mut().filter(|_| top) {
                        splitter.raw(c);
                    }
                    out.push(c);
                }
                // An escape at the end escapes nothing.
                let Some(next) = self.chars.next() else { break };
                c = next;
                plain = false;
            }
            if let Some(splitter) = self.splitter.as_mut().filter(|_| top) {
                if plain { splitter.plain(c) } else { splitter.raw(c) }
            }
            out.push(c);
        }
        match end {
            None => Ok(out),
            Some('/') => Err(ExpandError::Slash),
            Some(_) => Err(ExpandError::Brace),
        }
    }

    fn single(&mut self) -> Result<String, ExpandError> {
        let mut out = String::new();
        self.chars.next();
        if self.raw_quotes {
            out.push('\'');
        }
        loop {
            match self.chars.next() {
                Some('\'') => break,
                Some(c) => out.push(c),
                None => return Err(ExpandError::Quote("single")),
            }
        }
        if self.raw_quotes {
            out.push('\'');
        }
        Ok(out)
    }

    fn double(&mut self) -> Result<String, ExpandError> {
        let mut out = String::new();
        self.chars.next();
        if self.raw_quotes {
            out.push('"');
        }
        loop {
            match self.chars.peek().copied() {
                None => return Err(ExpandError::Quote("double")),
                Some('"') => {
                    self.chars.next();
                    break;
                }
                Some('$') => {
                    let value = self.dollar()?;
                    self.grown(value.len())?;
                    out.push_str(&value);
                }
                Some(c) => {
                    self.chars.next();
                    if c != self.escape {
                        out.push(c);
                        continue;
                    }
                    if self.raw_escapes {
                        out.push(c);
                    }
                    let escape = self.escape;
                    match self.chars.next_if(|next| matches!(next, '"' | '$') || *next == escape) {
                        Some(escaped) => out.push(escaped),
                        // Before anything else it is itself.
                        None if !self.raw_escapes && self.chars.peek().is_some() => out.push(c),
                        None => {}
                    }
                }
            }
        }
        if self.raw_quotes {
            out.push('"');
        }
        Ok(out)
    }

    /// A name; a number or one special character may be one.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if self.chars.peek().is_some_and(char::is_ascii_digit) {
            while let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
                name.push(digit);
            }
            return name;
        }
        if let Some(special) =
            self.chars.next_if(|c| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!'))
        {
            return special.to_string();
        }
        while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
        }
        name
    }

    fn lookup(&mut self, name: &str) -> Option<&'a str> {
        self.vars.value(name)
    }

    fn plain_value(&mut self, name: &str, written: String) -> String {
        if self.keep_variables {
            return written;
        }
        match self.lookup(name) {
            Some(value) => value.to_owned(),
            None => {
                if !self.unset.iter().any(|found| found == name) {
                    self.unset.push(name.to_owned());
                }
                String::new()
            }
        }
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_some() {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(ExpandError::Depth);
            }
            let value = self.braced();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        let written = format!("${name}");
        Ok(self.plain_value(&name, written))
    }

    fn braced(&mut self) -> Result<String, ExpandError> {
        match self.chars.peek() {
            None => return Err(ExpandError::Brace),
            Some('{' | '}' | ':') => return Err(ExpandError::Substitution),
            Some(_) => {}
        }
        let name = self.name();
        let Some(mut modifier) = self.chars.next() else { return Err(ExpandError::Brace) };
        if modifier == '}' {
            let written = format!("${{{name}}}");
            return Ok(self.plain_value(&name, written));
        }
        let mut written = modifier.to_string();
        let colon = modifier == ':';
        if colon {
            modifier = self.chars.next().ok_or(ExpandError::Brace)?;
            written.push(modifier);
        }
        match modifier {
            '/' if !colon => self.replaced(&name),
            '#' | '%' if !colon => {
                let pattern = self.until(Some('}'), true)?;
                if self.keep_variables {
                    return Ok(format!("${{{name}{modifier}{pattern}}}"));
                }
                let value = self.plain_value(&name, String::new());
                trimmed(&value, modifier, &pattern)
            }
            '-' | '+' | '?' => {
                let word = self.until(Some('}'), false)?;
                if self.keep_variables {
                    return Ok(format!("${{{name}{written}{word}}}"));
                }
                let value = self.lookup(&name);
                let present = value.filter(|value| !colon || !value.is_empty());
                match (modifier, present) {
                    ('-', Some(value)) | ('?', Some(value)) => Ok(value.to_owned()),
                    ('-', None) | ('+', Some(_)) => Ok(word),
                    ('+', None) => Ok(String::new()),
                    _ if !word.is_empty() => Err(ExpandError::Required(name, word)),
                    _ if value.is_none() => {
                        Err(ExpandError::Required(name, "is not allowed to be unset".to_owned()))
                    }
                    _ => Err(ExpandError::Required(name, "is not allowed to be empty".to_owned())),
                }
            }
            _ => Err(ExpandError::Modifier(written)),
        }
    }

    /// `${name/pattern/text}` and `${name//pattern/text}`.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = self.until(Some('/'), true)?;
        let text = self.until(Some('}'), true)?;
        if self.keep_variables {
            let slashes = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slashes}{pattern}/{text}}}"));
        }
        let value = self.plain_value(name, String::new());
        let pattern = Pattern::parse(&pattern)?;
        pattern.replace(&value, &text, all, MAX_EXPANDED).ok_or(ExpandError::TooLong)
    }
}

/// `${name#pattern}`: what is left when the beginning (`#`) or the end (`%`) is taken away; twice
/// the character means as much as possible.
fn trimmed(value: &str, modifier: char, pattern: &str) -> Result<String, ExpandError> {
    let (longest, pattern) = match pattern.strip_prefix(modifier) {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let pattern = Pattern::parse(pattern)?;
    Ok(if modifier == '#' {
        pattern.without_prefix(value, longest)
    } else {
        pattern.without_suffix(value, longest)
    })
}
