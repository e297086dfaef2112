//! What a disk image may say of itself.

use disk::qcow2::{LARGEST, size_of};

/// A head is read or refused, and one that is taken leads to no other file: neither a backing file nor a
/// data file is named, and the disk is not larger than any can be.
///
/// # Panics
/// When that is not so.
pub fn disk_head(bytes: &[u8]) {
    if let Ok(Some(size)) = size_of(bytes) {
        assert!((1..LARGEST).contains(&size));
        assert!(bytes[8..20].iter().all(|byte| *byte == 0), "a backing file");
        assert!(bytes[7] == 2 || bytes[79] & 4 == 0, "a data file");
    }
}

/// What to begin with.
pub mod seeds {
    /// An image of either version, and two that lead elsewhere.
    #[must_use]
    pub fn disk_head() -> Vec<Vec<u8>> {
        let mut head = vec![0; 104];
        head[..4].copy_from_slice(b"QFI\xfb");
        (head[7], head[23], head[26]) = (3, 16, 1);
        (head[99], head[103]) = (4, 104);
        let mut old = head[..72].to_vec();
        old[7] = 2;
        let mut backed = head.clone();
        (backed[15], backed[19]) = (0x70, 9);
        let mut apart = head.clone();
        apart[79] = 4;
        vec![head, old, backed, apart]
    }
}
