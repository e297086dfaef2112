//! What comes in may be compressed in more ways than we write.

use std::io::{self, BufRead, Read};

use crate::error::{Error, Result};

/// Memory that an xz stream may ask for, in KiB: its strongest preset takes 65 MiB, a stranger's
/// header may say 4 GiB.
const XZ_MEMORY: u32 = 128 << 10;

/// How what comes in is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Plain,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Coding {
    /// Looks at the first bytes; what is none of the others is plain.
    pub(crate) fn sniff(head: &[u8]) -> Self {
        // A zstd frame, or a skippable frame before one.
        let skippable =
            head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18];
        if head.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
            Self::Zstd
        } else if head.starts_with(b"BZh") {
            Self::Bzip2
        } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Self::Xz
        } else {
            Self::Plain
        }
    }

    /// A decompressing reader over a buffered one.
    ///
    /// # Errors
    /// [`Error::Input`].
    pub(crate) fn decoder<'a>(
        self,
        input: impl BufRead + Send + 'a,
    ) -> Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(input),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY)),
            Self::Zstd => {
                Box::new(zstd::stream::read::Decoder::with_buffer(input).map_err(Error::Input)?)
            }
        })
    }

    /// Tells damage of the compressed stream from failures to read it.
    pub(crate) fn explain(self, error: io::Error) -> Error {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, OutOfMemory, UnexpectedEof};
        let name = match self {
            Self::Plain => return Error::Input(error),
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        };
        match error.kind() {
            InvalidData | InvalidInput | UnexpectedEof | Other | OutOfMemory => {
                Error::BadArchive(format!("damaged {name} stream: {error}"))
            }
            _ => Error::Input(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn compressed(program: &str, text: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program)
            .args(["-c", "-9"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect(program);
        let mut input = child.stdin.take().expect("a pipe");
        std::thread::scope(|scope| {
            scope.spawn(move || input.write_all(text).expect("written"));
            child.wait_with_output().expect("its end").stdout
        })
    }

    fn plain(bytes: &[u8]) -> Result<Vec<u8>> {
        let coding = Coding::sniff(bytes);
        let mut out = Vec::new();
        let read = coding.decoder(bytes)?.read_to_end(&mut out);
        read.map(|_| out).map_err(|error| coding.explain(error))
    }

    #[test]
    fn what_other_programs_compress_is_read_also_in_several_streams() {
        let text: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        for (program, coding) in
            [("gzip", Coding::Gzip), ("bzip2", Coding::Bzip2), ("xz", Coding::Xz)]
        {
            let once = compressed(program, &text);
            assert_eq!(Coding::sniff(&once), coding);
            assert!(plain(&once).expect(program) == text, "{program}");
            let twice = [&once[..], &compressed(program, b"more")].concat();
            let expected = [&text[..], b"more"].concat();
            assert!(plain(&twice).expect(program) == expected, "{program}");
            let cut = plain(&once[..once.len() / 2]);
            assert!(matches!(cut, Err(Error::BadArchive(_))), "{program}");
        }
        assert_eq!(plain(b"text").expect("plain"), b"text");
    }

    #[test]
    fn no_stream_may_ask_for_all_memory() {
        // A block that says 4 GiB: property 40 of LZMA2, with the header's checksum over it.
        let mut block = vec![2, 0, 0x21, 1, 40, 0, 0, 0];
        let mut sum = flate2::Crc::new();
        sum.update(&block);
        block.extend(sum.sum().to_le_bytes());
        let header = [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1, 0x69, 0x22, 0xde, 0x36];
        let stream = [&header[..], &block, &[0; 64]].concat();
        let refused = plain(&stream);
        assert!(
            matches!(&refused, Err(Error::BadArchive(text)) if text.contains("memory")),
            "{refused:?}"
        );
    }
}
