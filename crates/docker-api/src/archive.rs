//! Copying files: the `X-Docker-Container-Path-Stat` header.

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use types::Timestamp;

/// What a path in a container is. Travels as base64 of its JSON in a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStat {
    /// The last component of the path that was asked for.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `fs.FileMode`: permissions in the low nine bits, [`GO_DIR`] and its like above.
    pub mode: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// Where it points to, when it is a symbolic link; absolute within the container.
    #[serde(rename = "linkTarget", default)]
    pub link_target: String,
}

/// Go's `fs.ModeDir`.
pub const GO_DIR: u32 = 1 << 31;
/// Go's `fs.ModeSymlink`.
pub const GO_SYMLINK: u32 = 1 << 27;
/// Go's `fs.ModeDevice`.
pub const GO_DEVICE: u32 = 1 << 26;
/// Go's `fs.ModeNamedPipe`.
pub const GO_FIFO: u32 = 1 << 25;
/// Go's `fs.ModeSocket`.
pub const GO_SOCKET: u32 = 1 << 24;
/// Go's `fs.ModeSetuid`.
pub const GO_SETUID: u32 = 1 << 23;
/// Go's `fs.ModeSetgid`.
pub const GO_SETGID: u32 = 1 << 22;
/// Go's `fs.ModeCharDevice`.
pub const GO_CHAR_DEVICE: u32 = 1 << 21;
/// Go's `fs.ModeSticky`.
pub const GO_STICKY: u32 = 1 << 20;

impl PathStat {
    /// The header's name.
    pub const HEADER: &'static str = "X-Docker-Container-Path-Stat";

    /// The header's value.
    pub fn to_header(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        base64::engine::general_purpose::STANDARD.encode(json)
    }

    /// Reads the header's value; `None` when it is no base64 or no such JSON.
    pub fn from_header(value: &str) -> Option<Self> {
        let json = base64::engine::general_purpose::STANDARD.decode(value).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & GO_DIR != 0
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & GO_SYMLINK != 0
    }
}

/// Go's `fs.FileMode` of a `st_mode`.
pub fn go_mode(st_mode: u32) -> u32 {
    let kind = match st_mode & 0o170_000 {
        0o040_000 => GO_DIR,
        0o120_000 => GO_SYMLINK,
        0o060_000 => GO_DEVICE,
        0o020_000 => GO_DEVICE | GO_CHAR_DEVICE,
        0o010_000 => GO_FIFO,
        0o140_000 => GO_SOCKET,
        _ => 0,
    };
    let bit = |mask: u32, go: u32| if st_mode & mask != 0 { go } else { 0 };
    (st_mode & 0o777)
        | kind
        | bit(0o4000, GO_SETUID)
        | bit(0o2000, GO_SETGID)
        | bit(0o1000, GO_STICKY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stat_survives_its_header() {
        let stat = PathStat {
            name: "tmp".into(),
            size: 4096,
            mode: go_mode(0o041_777),
            mtime: Timestamp(1_000_000_000),
            link_target: String::new(),
        };
        assert!(stat.is_dir() && !stat.is_symlink());
        assert_eq!(stat.mode, GO_DIR | GO_STICKY | 0o777);
        assert_eq!(PathStat::from_header(&stat.to_header()), Some(stat));
        assert_eq!(PathStat::from_header("?"), None);
    }
}
