//! Detach keys: the sequence with which a user leaves a terminal without ending what runs in it.

/// Docker's default, `ctrl-p,ctrl-q`.
const DEFAULT: &[u8] = &[16, 17];

/// The text is no list of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown character: '{0}'")]
pub struct UnknownKey(pub String);

/// Reads keys as users write them: single characters and `ctrl-x`, with commas in between. An
/// empty text means the default.
///
/// # Errors
/// [`UnknownKey`] for the first part that is neither.
pub fn parse(text: &str) -> Result<Vec<u8>, UnknownKey> {
    if text.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    text.split(',').map(key).collect()
}

fn key(text: &str) -> Result<u8, UnknownKey> {
    let unknown = || UnknownKey(text.to_owned());
    if let [byte @ 0..=127] = text.as_bytes() {
        return Ok(*byte);
    }
    if text == "DEL" {
        return Ok(127);
    }
    match text.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
        Some([b'@']) => Ok(0),
        Some([sign @ b'['..=b'_']) => Ok(sign - b'A' + 1),
        _ => Err(unknown()),
    }
}

/// Looks for the keys in what a user types. Keys that may turn out to be the beginning of the
/// sequence are held back until the next one decides.
#[derive(Clone, Debug)]
pub struct Watch {
    keys: Vec<u8>,
    held: usize,
}

impl Watch {
    /// Looks for this sequence; an empty one is never found.
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, held: 0 }
    }

    /// Takes what was typed; `passed` gets what the process may have. True means that the user
    /// has left: what comes after is not for the process.
    pub fn feed(&mut self, typed: &[u8], passed: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            passed.extend(typed);
            return false;
        }
        for &byte in typed {
            while self.held > 0 && self.keys[self.held] != byte {
                // Let go of as little as possible: another beginning may lie within.
                let keep = self.overlap(self.held);
                passed.extend(&self.keys[..self.held - keep]);
                self.held = keep;
            }
            if self.keys[self.held] != byte {
                passed.push(byte);
                continue;
            }
            self.held += 1;
            if self.held == self.keys.len() {
                self.held = 0;
                return true;
            }
        }
        false
    }

    /// What is held back, when no more will be typed.
    pub fn finish(&mut self, passed: &mut Vec<u8>) {
        passed.extend(&self.keys[..self.held]);
        self.held = 0;
    }

    /// Length of the longest beginning of the sequence that its first `held` keys end with,
    /// shorter than themselves.
    fn overlap(&self, held: usize) -> usize {
        (1..held).rev().find(|&n| self.keys[..n] == self.keys[held - n..held]).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_read_as_dockers() {
        assert_eq!(parse(""), Ok(vec![16, 17]));
        assert_eq!(parse("ctrl-p,ctrl-q"), Ok(vec![16, 17]));
        assert_eq!(parse("a,ctrl-@,ctrl-[,ctrl-_,DEL"), Ok(vec![b'a', 0, 27, 31, 127]));
        for text in ["ctrl-", "ctrl-A", "ab", "ctrl-pp", "a,,b", "é", "ctrl-é"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = parse("a,shift-b").expect_err("unknown");
        assert_eq!(error.to_string(), "Unknown character: 'shift-b'");
    }

    fn run(keys: &[u8], pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut watch, mut passed) = (Watch::new(keys.to_vec()), Vec::new());
        for piece in pieces {
            if watch.feed(piece, &mut passed) {
                return (passed, true);
            }
        }
        watch.finish(&mut passed);
        (passed, false)
    }

    #[test]
    fn the_sequence_is_found_across_pieces() {
        assert_eq!(run(&[16, 17], &[b"ls\x10", b"\x11exit"]), (b"ls".to_vec(), true));
        assert_eq!(run(&[16, 17], &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(run(&[16, 17], &[b"\x10x\x11"]), (b"\x10x\x11".to_vec(), false));
        assert_eq!(run(&[16, 17], &[b"a\x10"]), (b"a\x10".to_vec(), false));
        assert_eq!(run(b"aab", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(run(b"", &[b"abc"]), (b"abc".to_vec(), false));
    }

    proptest! {
        #[test]
        fn it_passes_what_stands_before_the_first_occurrence(
            keys in proptest::collection::vec(0u8..3, 1..4),
            typed in proptest::collection::vec(0u8..3, 0..40),
            cut in 0usize..40,
        ) {
            let cut = cut.min(typed.len());
            let (passed, left) = run(&keys, &[&typed[..cut], &typed[cut..]]);
            match typed.windows(keys.len()).position(|window| window == keys) {
                Some(at) => prop_assert_eq!((passed, left), (typed[..at].to_vec(), true)),
                None => prop_assert_eq!((passed, left), (typed, false)),
            }
        }
    }
}
