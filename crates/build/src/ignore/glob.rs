//! One pattern: `*`, `?`, `[a-z]`, `**`, `\x`.

use super::PatternError;

/// Characters of one pattern; nothing sane is longer, and comparing takes their product with the
/// path's.
const MAX_LENGTH: usize = 16 * 1024;

/// A pattern for whole paths.
#[derive(Clone, Debug)]
pub struct Glob {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// This character.
    Exactly(char),
    /// `?`: any but a slash.
    Any,
    /// `*`: any number of characters but slashes.
    Star,
    /// `**/` and `**` before something: any number of whole directories.
    Directories,
    /// `**` at the end: everything.
    Rest,
    /// `[…]`
    Class(Class),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn takes(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError::Syntax`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let bad = || PatternError::Syntax(text.chars().take(200).collect());
        if text.len() > MAX_LENGTH {
            return Err(bad());
        }
        let chars: Vec<char> = text.chars().collect();
        let (mut pieces, mut at) = (Vec::new(), 0);
        while let Some(&c) = chars.get(at) {
            at += 1;
            pieces.push(match c {
                '*' if chars.get(at) == Some(&'*') => {
                    at += 1;
                    if chars.get(at) == Some(&'/') {
                        at += 1;
                    }
                    if at == chars.len() { Piece::Rest } else { Piece::Directories }
                }
                '*' => Piece::Star,
                '?' => Piece::Any,
                '\\' => {
                    at += 1;
                    Piece::Exactly(*chars.get(at - 1).ok_or_else(bad)?)
                }
                '[' => {
                    let (class, end) = class(&chars, at).ok_or_else(bad)?;
                    at = end;
                    Piece::Class(class)
                }
                c => Piece::Exactly(c),
            });
        }
        Ok(Self { pieces })
    }

    /// Whether the text has something that stands for more than itself.
    pub fn is_pattern(text: &str) -> bool {
        text.contains(['*', '?', '[', '\\'])
    }

    /// Whether the whole path fits.
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        // For each number of characters, whether the pieces so far can have taken these.
        let mut reached = vec![false; path.len() + 1];
        reached[0] = true;
        for piece in &self.pieces {
            match piece {
                Piece::Exactly(expected) => step(&mut reached, &path, |c| c == *expected),
                Piece::Any => step(&mut reached, &path, |c| c != '/'),
                Piece::Class(class) => step(&mut reached, &path, |c| class.takes(c)),
                Piece::Star => {
                    for (at, c) in path.iter().enumerate() {
                        reached[at + 1] |= reached[at] && *c != '/';
                    }
                }
                Piece::Rest => {
                    for at in 0..path.len() {
                        reached[at + 1] |= reached[at];
                    }
                }
                Piece::Directories => {
                    let mut begun = false;
                    for (at, c) in path.iter().enumerate() {
                        begun |= reached[at];
                        reached[at + 1] |= begun && *c == '/';
                    }
                }
            }
            if !reached.contains(&true) {
                return false;
            }
        }
        reached.last().copied().unwrap_or(false)
    }
}

/// Takes one character that fits.
fn step(reached: &mut [bool], path: &[char], fits: impl Fn(char) -> bool) {
    for (at, c) in path.iter().enumerate().rev() {
        reached[at + 1] = reached[at] && fits(*c);
    }
    reached[0] = false;
}

/// Reads a class from behind its bracket; also tells where it ends.
fn class(chars: &[char], mut at: usize) -> Option<(Class, usize)> {
    let negated = chars.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut ranges = Vec::new();
    let one = |at: &mut usize| {
        let mut c = *chars.get(*at)?;
        if matches!(c, '-' | ']') {
            return None;
        }
        if c == '\\' {
            *at += 1;
            c = *chars.get(*at)?;
        }
        *at += 1;
        Some(c)
    };
    loop {
        if chars.get(at) == Some(&']') && !ranges.is_empty() {
            return Some((Class { negated, ranges }, at + 1));
        }
        let low = one(&mut at)?;
        let mut high = low;
        if chars.get(at) == Some(&'-') {
            at += 1;
            high = one(&mut at)?;
        }
        if high < low {
            return None;
        }
        ranges.push((low, high));
    }
}
