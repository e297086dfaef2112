//! Telling an archive from any other file.

use std::io::{self, BufRead as _, BufReader, Read};

use crate::stream::Coding;
use crate::tarball::TarReader;

/// Whether a file is a tar, compressed or not: whether its first entry can be read.
///
/// # Errors
/// Those of reading; a file that is no tar is none.
pub fn is_tar(input: impl Read + Send) -> io::Result<bool> {
    let mut buffered = BufReader::with_capacity(64 << 10, input);
    let coding = Coding::sniff(buffered.fill_buf()?);
    let Ok(plain) = coding.decoder(buffered) else { return Ok(false) };
    let mut reader = TarReader::new(BufReader::with_capacity(64 << 10, plain));
    Ok(matches!(reader.next(), Ok(Some(_))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tars_are_tars() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        tar.append_data(&mut header, "a", &b"x"[..]).expect("appended");
        let tar = tar.into_inner().expect("a tar");
        assert!(is_tar(&tar[..]).expect("read"));
        for other in [&b""[..], b"FROM scratch\n", &[0; 2048], &[b'x'; 4096]] {
            assert!(!is_tar(other).expect("read"));
        }
    }
}
