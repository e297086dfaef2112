//! `--chmod`: octal, or as chmod(1) has it.

use crate::error::{Error, Result};

/// A change of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// These.
    Exact(u32),
    /// Clauses, one after the other.
    Symbolic(Vec<Clause>),
}

/// `who`, `+`, `-` or `=`, what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Mask of the digits that are meant.
    who: u32,
    operation: char,
    /// Bits for everybody: 0o777 of `rwx`, 0o7000 of `st`.
    bits: u32,
    /// `X`: execution, where there is some already or it is a directory.
    execute_if: bool,
}

impl ModeChange {
    /// Reads what `--chmod` says.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let bad = || Error::Mode(text.to_owned());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Self::Exact).ok_or_else(bad);
        }
        let clauses = text.split(',').map(clause).collect::<Option<Vec<_>>>();
        clauses.map(Self::Symbolic).ok_or_else(bad)
    }

    /// The new permissions of a file that had `mode`.
    pub(crate) fn apply(&self, mode: u32, directory: bool) -> u32 {
        let clauses = match self {
            Self::Exact(mode) => return *mode,
            Self::Symbolic(clauses) => clauses,
        };
        clauses.iter().fold(mode & 0o7777, |mode, clause| {
            let mut bits = clause.bits & 0o777 & clause.who;
            if clause.execute_if && (directory || mode & 0o111 != 0) {
                bits |= 0o111 & clause.who;
            }
            let special = |user: u32, bit: u32| if clause.who & user != 0 { bit } else { 0 };
            if clause.bits & 0o4000 != 0 {
                bits |= special(0o700, 0o4000) | special(0o070, 0o2000);
            }
            bits |= clause.bits & 0o1000;
            match clause.operation {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => {
                    let cleared = clause.who | special(0o700, 0o4000) | special(0o070, 0o2000);
                    (mode & !cleared) | bits
                }
            }
        })
    }
}

fn clause(text: &str) -> Option<Clause> {
    let at = text.find(['+', '-', '='])?;
    let (who, rest) = text.split_at(at);
    let mut mask = 0;
    for c in who.chars() {
        mask |= match c {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    let mut chars = rest.chars();
    let operation = chars.next()?;
    let (mut bits, mut execute_if) = (0, false);
    for c in chars {
        match c {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            'X' => execute_if = true,
            's' => bits |= 0o4000,
            't' => bits |= 0o1000,
            _ => return None,
        }
    }
    Some(Clause { who: if mask == 0 { 0o777 } else { mask }, operation, bits, execute_if })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_chmod_does() {
        let apply = |text, mode, dir| ModeChange::parse(text).expect(text).apply(mode, dir);
        assert_eq!(apply("0755", 0o600, false), 0o755);
        assert_eq!(apply("4711", 0o600, false), 0o4711);
        assert_eq!(apply("u=rwX,go=rX", 0o600, false), 0o644);
        assert_eq!(apply("u=rwX,go=rX", 0o700, true), 0o755);
        assert_eq!(apply("+x", 0o644, false), 0o755);
        assert_eq!(apply("go-w", 0o666, false), 0o644);
        assert_eq!(apply("u+s,+t", 0o755, false), 0o5755);
        for wrong in ["", "8", "99999", "u~x", "z+x", "u+q"] {
            assert!(ModeChange::parse(wrong).is_err(), "{wrong}");
        }
    }
}
