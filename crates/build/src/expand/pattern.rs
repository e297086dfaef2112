//! Patterns of `${name#…}`, `${name%…}` and `${name/…/…}`: `*` and `?` are special, nothing else.

use super::ExpandError;

/// One character of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// This one.
    Exactly(char),
    /// `?`
    Any,
}

impl Piece {
    fn takes(self, c: char) -> bool {
        match self {
            Self::Exactly(expected) => c == expected,
            Self::Any => true,
        }
    }
}

/// What stands between stars. One run has no star, two have one, and so on.
#[derive(Debug)]
pub(super) struct Pattern {
    runs: Vec<Vec<Piece>>,
}

impl Pattern {
    /// # Errors
    /// [`ExpandError::Pattern`] for an escape of a character that is not special.
    pub(super) fn parse(text: &str) -> Result<Self, ExpandError> {
        let mut runs = vec![Vec::new()];
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let piece = match c {
                '*' => {
                    runs.push(Vec::new());
                    continue;
                }
                '?' => Piece::Any,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '/' | '}')) => Piece::Exactly(c),
                    other => {
                        let shown = other.map(String::from).unwrap_or_default();
                        return Err(ExpandError::Pattern(text.to_owned(), shown));
                    }
                },
                c => Piece::Exactly(c),
            };
            if let Some(run) = runs.last_mut() {
                run.push(piece);
            }
        }
        Ok(Self { runs })
    }

    /// The end of the match that begins at `from`, if there is one.
    fn match_at(&self, value: &[char], from: usize, longest: bool) -> Option<usize> {
        let (first, rest) = self.runs.split_first()?;
        if !run_at(first, value, from) {
            return None;
        }
        let mut end = from + first.len();
        let Some((last, middle)) = rest.split_last() else { return Some(end) };
        // A star takes as little as possible, so that what follows finds the most room.
        for run in middle {
            end = find(run, value, end)? + run.len();
        }
        if longest {
            let limit = value.len().checked_sub(last.len())?;
            let at = (end..=limit).rev().find(|at| run_at(last, value, *at))?;
            return Some(at + last.len());
        }
        Some(find(last, value, end)? + last.len())
    }

    /// The first match at or after `from`.
    fn find(&self, value: &[char], from: usize) -> Option<(usize, usize)> {
        let first = self.runs.first()?;
        let start = find(first, value, from)?;
        // If the rest has no room after the first place it has none after later ones.
        Some((start, self.match_at(value, start, true)?))
    }

    pub(super) fn without_prefix(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        match self.match_at(&chars, 0, longest) {
            Some(end) => chars[end..].iter().collect(),
            None => value.to_owned(),
        }
    }

    pub(super) fn without_suffix(&self, value: &str, longest: bool) -> String {
        let backwards = Self {
            runs: self.runs.iter().rev().map(|run| run.iter().rev().copied().collect()).collect(),
        };
        let chars: Vec<char> = value.chars().rev().collect();
        match backwards.match_at(&chars, 0, longest) {
            Some(end) => chars[end..].iter().rev().collect(),
            None => value.to_owned(),
        }
    }

    /// Puts `text` where the pattern is; `None` if the result is longer than `limit` bytes.
    pub(super) fn replace(
        &self,
        value: &str,
        text: &str,
        all: bool,
        limit: usize,
    ) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let (mut at, mut matched_to) = (0, None);
        while at <= chars.len() {
            let Some((start, end)) = self.find(&chars, at) else { break };
            out.extend(&chars[at..start]);
            // A match of nothing right behind another match is none.
            if start != end || matched_to != Some(start) {
                out.push_str(text);
            }
            if out.len() > limit {
                return None;
            }
            at = end;
            matched_to = Some(end);
            if start == end {
                out.extend(chars.get(end));
                at += 1;
            }
            if !all {
                break;
            }
        }
        out.extend(chars.get(at..).unwrap_or_default());
        (out.len() <= limit).then_some(out)
    }
}

fn run_at(run: &[Piece], value: &[char], at: usize) -> bool {
    value
        .get(at..)
        .and_then(|rest| rest.get(..run.len()))
        .is_some_and(|part| run.iter().zip(part).all(|(piece, c)| piece.takes(*c)))
}

fn find(run: &[Piece], value: &[char], from: usize) -> Option<usize> {
    let limit = value.len().checked_sub(run.len())?;
    (from..=limit).find(|at| run_at(run, value, *at))
}
