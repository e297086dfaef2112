//! Names of volumes.

use std::io::Read;

use crate::error::{Error, Result, Step};

/// Checks a name by Docker's rule: at least two characters, a letter or digit first, then those
/// and `_`, `.`, `-`. A name that passes is safe as a file name.
///
/// # Errors
/// [`Error::ShortName`], [`Error::LongName`], [`Error::BadName`].
pub fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if name.len() == 1 {
        return Err(Error::ShortName(name.to_owned()));
    }
    if name.len() > 255 {
        return Err(Error::LongName);
    }
    if !first || !rest {
        return Err(Error::BadName(name.to_owned()));
    }
    Ok(())
}

/// 64 random hexadecimal digits, the name of an anonymous volume.
///
/// # Errors
/// [`Error::Io`] when the kernel has no randomness to give.
pub fn random_name() -> Result<String> {
    let mut bytes = [0u8; 32];
    let mut source = std::fs::File::open("/dev/urandom").step("open /dev/urandom")?;
    source.read_exact(&mut bytes).step("read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_as_a_file_name() {
        for good in ["ab", "0_", "my.vol-1", &random_name().expect("random")] {
            check_name(good).expect(good);
        }
        for bad in ["", "a", ".a", "..", "a/b", "a b", "-ab", "é", &"a".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
