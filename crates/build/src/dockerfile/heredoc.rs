//! Here-documents: `<<NAME`, `<<-NAME`, `<<"NAME"`.

use crate::expand::{split_raw, unquote};

/// A here-document with its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, quotes taken away.
    pub name: String,
    /// The lines, as written.
    pub content: String,
    /// No part of the name is quoted: variables are replaced.
    pub expand: bool,
    /// `<<-`: tabs at the beginning of lines are taken away.
    pub chomp: bool,
    /// The number before `<<`; 0 if there is none.
    pub descriptor: u32,
}

impl Heredoc {
    /// The content as it is meant: without leading tabs where `<<-` was written.
    pub fn content_without_tabs(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// Whether this line, without its end, is the last.
    pub(super) fn ends_with(&self, line: &str) -> bool {
        let line = if self.chomp { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// The here-documents that a line asks for, in order.
pub(super) fn heredocs_in(line: &str) -> Vec<Heredoc> {
    if !line.contains("<<") {
        return Vec::new();
    }
    split_raw(line, '\\').unwrap_or_default().iter().filter_map(|word| heredoc_of(word)).collect()
}

/// The here-document that a word asks for: the word is nothing but `[N]<<[-]NAME`.
pub(super) fn heredoc_of(word: &str) -> Option<Heredoc> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = word.split_at(digits);
    let rest = rest.strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let [raw] = split_raw(rest, '\\').ok()?.try_into().ok()?;
    let name = unquote(&raw, '\\').ok()?;
    Some(Heredoc {
        expand: name == raw,
        name,
        content: String::new(),
        chomp,
        descriptor: number.parse().unwrap_or(0),
    })
}
