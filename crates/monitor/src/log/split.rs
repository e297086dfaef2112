//! Cutting output into lines, and lines that are too long into pieces.

use proto::log::MAX_LINE;

/// One stream's line that has no end yet.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    line: Vec<u8>,
}

impl Splitter {
    /// Takes output and emits what is complete: lines without their newline (`false`), and pieces
    /// of [`MAX_LINE`] bytes of lines that go on (`true`).
    pub(super) fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8], bool)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.line.is_empty() {
                let line = pieces(line, &mut emit);
                emit(line, false);
            } else {
                self.line.extend_from_slice(line);
                let line = pieces(&self.line, &mut emit);
                emit(line, false);
                self.line = Vec::new();
            }
        }
        if self.line.is_empty() {
            let rest = pieces(bytes, &mut emit);
            self.line.extend_from_slice(rest);
        } else {
            self.line.extend_from_slice(bytes);
            if self.line.len() >= MAX_LINE {
                let left = pieces(&self.line, &mut emit).len();
                self.line.drain(..self.line.len() - left);
            }
        }
    }

    /// Emits a last line that has no newline.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(&[u8], bool)) {
        if !self.line.is_empty() {
            emit(&self.line, true);
            self.line = Vec::new();
        }
    }
}

/// Emits pieces of [`MAX_LINE`] bytes as long as there are so many; returns the rest.
fn pieces<'a>(mut line: &'a [u8], emit: &mut impl FnMut(&[u8], bool)) -> &'a [u8] {
    while line.len() >= MAX_LINE {
        let (piece, rest) = line.split_at(cut(&line[..MAX_LINE]));
        emit(piece, true);
        line = rest;
    }
    line
}

/// Where to cut a piece: at its end, or before a character that goes on behind it (JSON could
/// keep neither half).
fn cut(piece: &[u8]) -> usize {
    // The last byte that begins a character, at most three back.
    let tail = piece.len().saturating_sub(4);
    let Some(back) = piece[tail..].iter().rev().position(|byte| byte & 0xc0 != 0x80) else {
        return piece.len();
    };
    let first = piece.len() - 1 - back;
    let length = match piece[first] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if first + length > piece.len() { first } else { piece.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut splitter = Splitter::default();
        let mut out = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |text, partial| out.push((text.to_vec(), partial)));
        }
        splitter.finish(|text, partial| out.push((text.to_vec(), partial)));
        out
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_followed_by_an_empty_rest() {
        // As Docker does: the buffer is full before the newline is seen.
        let mut text = vec![b'x'; MAX_LINE];
        text.push(b'\n');
        let records = split(&[&text]);
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].0.len(), records[0].1), (MAX_LINE, true));
        assert_eq!(records[1], (Vec::new(), false));
    }

    #[test]
    fn a_character_is_not_cut() {
        let mut text = vec![b'x'; MAX_LINE - 1];
        text.extend("€\n".bytes());
        let records = split(&[&text]);
        assert_eq!((records[0].0.len(), records[1].0.as_slice()), (MAX_LINE - 1, "€".as_bytes()));
        // What is no UTF-8 is cut anywhere.
        let garbage = vec![0x80; MAX_LINE + 5];
        assert_eq!(split(&[&garbage])[0].0.len(), MAX_LINE);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_lost_and_the_cut_of_reads_does_not_matter(
            lines in proptest::collection::vec(
                prop_oneof![0usize..100, MAX_LINE - 3..MAX_LINE + 3, 0usize..3 * MAX_LINE], 0..6),
            wide in any::<bool>(),
            ended in any::<bool>(),
            step in 1usize..70_000,
        ) {
            let unit = if wide { "€" } else { "x" };
            let mut text = lines.iter().map(|length| unit.repeat(length / unit.len()))
                .collect::<Vec<_>>().join("\n").into_bytes();
            if ended {
                text.push(b'\n');
            }
            let whole = split(&[&text]);
            let chunks: Vec<_> = text.chunks(step).collect();
            prop_assert_eq!(&split(&chunks), &whole);
            let mut again = Vec::new();
            for (piece, partial) in &whole {
                prop_assert!(piece.len() <= MAX_LINE);
                prop_assert!(std::str::from_utf8(piece).is_ok());
                again.extend_from_slice(piece);
                if !partial {
                    again.push(b'\n');
                }
            }
            prop_assert_eq!(again, text);
        }
    }
}
