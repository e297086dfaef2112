//! Ids and names that nobody else has.

use std::fs::File;
use std::io::Read;

use crate::error::{Error, Result};

/// `bytes` random bytes as hex digits.
pub(crate) fn hex(bytes: usize) -> Result<String> {
    const SOURCE: &str = "/dev/urandom";
    let mut buffer = vec![0u8; bytes];
    File::open(SOURCE)
        .and_then(|mut f| f.read_exact(&mut buffer))
        .map_err(|source| Error::Read { path: SOURCE.to_owned(), source })?;
    Ok(buffer.iter().map(|b| format!("{b:02x}")).collect())
}
