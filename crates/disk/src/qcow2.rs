//! QEMU's image format as far as it matters here: telling it from a raw disk, refusing what would
//! lead to other files of the host, and writing the head of an empty overlay.
//! (QEMU documentation, `docs/interop/qcow2.txt`.)

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{At, Error};

/// `QFI\xfb`.
const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Bytes of a cluster of our own overlays, as a power of two: QEMU's default.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Bytes of the disk that one entry of the first table stands for: a cluster of 8-byte entries, each
/// of which stands for a cluster.
const PER_ENTRY: u64 = CLUSTER / 8 * CLUSTER;
/// Bytes that a disk can have here: what two clusters of the first table stand for.
pub const LARGEST: u64 = 2 * CLUSTER / 8 * PER_ENTRY;
/// Bytes of the head that version 3 has at least.
const HEAD: usize = 104;

/// Features without which an image cannot be read right: of these, some mean nothing new.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED: u64 = 1 << 4;

/// How an image is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Byte for byte.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// How it is written.
    pub format: Format,
    /// Bytes of the disk that it is.
    pub size: u64,
}

/// Why a head is refused.
type Why = &'static str;

/// Reads what an image is from its content. `path` is for errors only.
///
/// # Errors
/// [`Error::Unusable`] for a head that names other files, or that QEMU could not read either.
pub fn recognise(file: &File, path: &Path) -> Result<Found, Error> {
    let length = file.metadata().at("look at", path)?.len();
    let mut head = vec![0; HEAD];
    let filled = read_at_most(file, &mut head).at("read", path)?;
    head.truncate(filled);
    let refuse = |why| Error::Unusable { path: path.to_owned(), why };
    match size_of(&head).map_err(refuse)? {
        Some(size) => Ok(Found { format: Format::Qcow2, size }),
        None if length < 512 => Err(refuse("it is empty, or shorter than a sector")),
        // A guest finds whole sectors; QEMU leaves the rest out.
        None => Ok(Found { format: Format::Raw, size: length / 512 * 512 }),
    }
}

fn read_at_most(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Bytes of the disk that the head of an image describes; `None` when it is no qcow2 image. Takes
/// what strangers wrote.
///
/// # Errors
/// A sentence: why the image is refused.
pub fn size_of(head: &[u8]) -> Result<Option<u64>, Why> {
    const SHORT: Why = "its qcow2 header is cut off";
    if !head.starts_with(&MAGIC) {
        return Ok(None);
    }
    let word = |at: usize| head.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four));
    let long = |at: usize| head.get(at..)?.first_chunk().map(|eight| u64::from_be_bytes(*eight));
    let version = word(4).ok_or(SHORT)?;
    if !matches!(version, 2 | 3) {
        return Err("its qcow2 version is unknown: only 2 and 3 are");
    }
    if long(8).ok_or(SHORT)? != 0 || word(16).ok_or(SHORT)? != 0 {
        return Err("it names a backing file: an image must not lead to other files of the host \
                    (`qemu-img convert` makes one that stands alone)");
    }
    if !(9..=21).contains(&word(20).ok_or(SHORT)?) {
        return Err("its qcow2 header has an impossible cluster size");
    }
    let size = long(24).ok_or(SHORT)?;
    if word(32).ok_or(SHORT)? != 0 {
        return Err("it is encrypted");
    }
    if version == 3 {
        let features = long(72).ok_or(SHORT)?;
        if features & DATA_FILE != 0 {
            return Err("it names a data file: an image must not lead to other files of the host");
        }
        if features & CORRUPT != 0 {
            return Err("it is marked as corrupt (`qemu-img check -r all` may mend it)");
        }
        if features & !(DIRTY | COMPRESSION | EXTENDED) != 0 {
            return Err("it uses features of qcow2 that are unknown here");
        }
    }
    match size {
        0 => Err("it is empty"),
        LARGEST.. => Err("its disk is larger than any can be here"),
        size => Ok(Some(size)),
    }
}

/// Makes an image of a size in bytes that has nothing yet and names no other file: what it lacks is
/// read from what its user puts below it. The file must not exist; it is flushed.
///
/// ```text
/// cluster 0: head   1: table of reference counts   2: the counts   3, 4: first table, all empty
/// ```
///
/// # Errors
/// [`Error::TooLarge`], [`Error::File`].
pub fn make_empty(path: &Path, size: u64) -> Result<(), Error> {
    if size >= LARGEST {
        return Err(Error::TooLarge { most: LARGEST - 1, asked: size });
    }
    let mut options = File::options();
    // What a guest writes is nobody else's.
    let mut file = options.write(true).create_new(true).mode(0o600).open(path);
    let written = file.as_mut().map_err(|error| io::Error::from(error.kind())).and_then(|file| {
        file.write_all(&empty(size))?;
        file.sync_all()
    });
    if file.is_ok() && written.is_err() {
        // The failure that led here is the one to tell.
        let _ = std::fs::remove_file(path);
    }
    written.at("make", path)
}

/// The bytes of such an image.
fn empty(size: u64) -> Vec<u8> {
    let entries = size.div_ceil(PER_ENTRY);
    let table = (entries * 8).div_ceil(CLUSTER).max(1);
    let clusters = 3 + table;
    let mut image = vec![0; (clusters * CLUSTER) as usize];
    let mut put = |at: u64, bytes: &[u8]| {
        let at = at as usize;
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &MAGIC);
    put(4, &3u32.to_be_bytes());
    put(20, &CLUSTER_BITS.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &(entries as u32).to_be_bytes());
    put(40, &(3 * CLUSTER).to_be_bytes());
    put(48, &CLUSTER.to_be_bytes());
    // Clusters of the table of reference counts.
    put(56, &1u32.to_be_bytes());
    // Counts have 1 << 4 bits.
    put(96, &4u32.to_be_bytes());
    put(100, &(HEAD as u32).to_be_bytes());
    put(CLUSTER, &(2 * CLUSTER).to_be_bytes());
    for cluster in 0..clusters {
        put(2 * CLUSTER + 2 * cluster, &1u16.to_be_bytes());
    }
    image
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(change: impl FnOnce(&mut Vec<u8>)) -> Result<Option<u64>, Why> {
        let mut head = empty(10 << 30);
        head.truncate(HEAD);
        change(&mut head);
        size_of(&head)
    }

    #[test]
    fn images_are_told_by_their_content() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("a.raw");
        make_empty(&path, 10 << 30).expect("made");
        let found = recognise(&File::open(&path).expect("opened"), &path).expect("recognised");
        assert_eq!(found, Found { format: Format::Qcow2, size: 10 << 30 });
        let again = make_empty(&path, 1 << 20).expect_err("it is there");
        assert!(again.to_string().contains("exists"), "{again}");
        assert!(path.exists(), "it is still there");
        let raw = dir.path().join("b.qcow2");
        std::fs::write(&raw, [7; 1300]).expect("written");
        let found = recognise(&File::open(&raw).expect("opened"), &raw).expect("recognised");
        assert_eq!(found, Found { format: Format::Raw, size: 1024 });
        std::fs::write(&raw, "").expect("written");
        let error = recognise(&File::open(&raw).expect("opened"), &raw).expect_err("empty");
        assert!(error.to_string().contains("shorter than a sector"), "{error}");
    }

    #[test]
    fn images_that_lead_elsewhere_are_refused() {
        assert_eq!(head(|_| {}), Ok(Some(10 << 30)));
        let refused = |change: fn(&mut Vec<u8>)| head(change).expect_err("refused");
        assert!(refused(|head| head[15] = 0x70).contains("backing file"));
        assert!(refused(|head| head[19] = 9).contains("backing file"));
        assert!(refused(|head| head[79] = 4).contains("data file"));
        assert!(refused(|head| head[79] = 2).contains("corrupt"));
        assert!(refused(|head| head[72] = 1).contains("features"));
        assert!(refused(|head| head[35] = 1).contains("encrypted"));
        assert!(refused(|head| head[7] = 1).contains("version"));
        assert!(refused(|head| head[23] = 40).contains("cluster"));
        assert!(refused(|head| head[24..32].fill(0)).contains("empty"));
        assert!(refused(|head| head.truncate(60)).contains("cut off"));
        assert!(refused(|head| head[24] = 1).contains("larger"));
        // What QEMU itself writes now and then is no reason.
        assert_eq!(head(|head| head[79] = 1 | 8 | 16), Ok(Some(10 << 30)));
    }

    #[test]
    fn an_empty_image_has_a_place_for_every_byte() {
        for size in [512, PER_ENTRY, PER_ENTRY + 1, 4 << 40, LARGEST - 512] {
            let image = empty(size);
            assert_eq!(image.len() as u64 % CLUSTER, 0);
            let entries = u64::from(u32::from_be_bytes(image[36..40].try_into().expect("four")));
            assert!(entries * PER_ENTRY >= size && (entries - 1) * PER_ENTRY < size);
            assert!(3 * CLUSTER + entries * 8 <= image.len() as u64);
        }
        let dir = tempfile::tempdir().expect("directory");
        let error = make_empty(&dir.path().join("x"), LARGEST).expect_err("too large");
        assert!(matches!(error, Error::TooLarge { .. }));
    }

    proptest! {
        #[test]
        fn no_head_makes_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = size_of(&bytes);
            if let Some(start) = bytes.get_mut(..4) {
                start.copy_from_slice(&MAGIC);
            }
            if let Ok(Some(size)) = size_of(&bytes) {
                prop_assert!(size < LARGEST);
            }
        }
    }
}
