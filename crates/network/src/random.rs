//! Ids and names that nobody else has.

use std::fs::File;
use std::io::Read;

use crate::error::{Error, Result};

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut buffer = [0; N];
    fill(&mut buffer).map(|()| buffer)
}

/// `bytes` random bytes as hex digits.
pub(crate) fn hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0u8; bytes];
    fill(&mut buffer)?;
    Ok(buffer.iter().map(|b| format!("{b:02x}")).collect())
}

fn fill(buffer: &mut [u8]) -> Result<()> {
    const SOURCE: &str = "/dev/urandom";
    File::open(SOURCE)
        .and_then(|mut f| f.read_exact(buffer))
        .map_err(|source| Error::Read { path: SOURCE.to_owned(), source })
}
