//! Everything there is to know about every file of a root file system, in text.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use testkit::{Engine, json};

/// What engines put into containers themselves.
const NOT_THE_IMAGES: &[&str] = &[
    "dev",
    "proc",
    "sys",
    "run",
    ".dockerenv",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
];

/// A line a file: its path, kind, mode, owner, size or device, time, target, attributes, content,
/// and which earlier name of the same file there is.
pub(crate) fn of_directory(root: &Path) -> String {
    let mut found = Vec::new();
    walk(root, Path::new(""), &mut found);
    found.sort();
    let mut known: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut text = String::new();
    for path in found {
        line(root, &path, &mut known, &mut text);
    }
    text
}

fn walk(root: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    let folder = root.join(below);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if NOT_THE_IMAGES.iter().any(|not| path == Path::new(not)) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            walk(root, &path, found);
        }
        found.push(path);
    }
}

fn line(root: &Path, path: &Path, known: &mut HashMap<(u64, u64), PathBuf>, text: &mut String) {
    let whole = root.join(path);
    let meta = fs::symlink_metadata(&whole).unwrap();
    let kind = meta.file_type();
    write!(text, "{path:?} {:o} {}:{}", meta.mode(), meta.uid(), meta.gid()).unwrap();
    // Files that an engine adds change the time of the directory.
    if path != Path::new("etc") {
        write!(text, " {}.{:09}", meta.mtime(), meta.mtime_nsec()).unwrap();
    }
    if kind.is_symlink() {
        write!(text, " -> {:?}", fs::read_link(&whole).unwrap()).unwrap();
    } else if kind.is_file() {
        let mut hash = Sha256::new();
        std::io::copy(&mut fs::File::open(&whole).unwrap(), &mut hash).unwrap();
        write!(text, " {} bytes {:x?}", meta.len(), &hash.finalize()[..8]).unwrap();
    } else if kind.is_block_device() || kind.is_char_device() {
        write!(text, " device {:x}", meta.rdev()).unwrap();
    }
    for (name, value) in attributes(&whole) {
        write!(text, " {name}={value:x?}").unwrap();
    }
    if !kind.is_dir() && meta.nlink() > 1 {
        if let Some(first) = known.get(&(meta.dev(), meta.ino())) {
            write!(text, " is {first:?}").unwrap();
        }
        known.entry((meta.dev(), meta.ino())).or_insert_with(|| path.to_owned());
    }
    text.push('\n');
}

/// Those extended attributes that images carry.
fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names) else { return Vec::new() };
    let mut all = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        if name != "security.capability" && !name.starts_with("user.") {
            continue;
        }
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value).unwrap();
        value.truncate(length);
        all.push((name, value));
    }
    all.sort();
    all
}

/// What a container of an image has before its eyes.
pub(crate) fn in_container(engine: &Engine, image: &str) -> String {
    let container = engine.sleeper(json!({ "Image": image, "Cmd": ["sleep", "1000"] }));
    let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
    of_directory(Path::new(&format!("/proc/{pid}/root")))
}

/// Without what programs in Go lose: times before 1970, attributes without a value, and (podman)
/// further links of symlinks.
fn as_peers_have_it(listing: &str) -> String {
    let line = |line: &str| {
        let link = line.find(" -> ").and_then(|from| Some(from + line[from..].find(" is ")?));
        let line = &line[..link.unwrap_or(line.len())];
        line.replace(" -2.000000000 ", " 0.000000000 ").replace(" user.empty=[]", "") + "\n"
    };
    listing.lines().map(line).collect()
}

/// Insists that what we show and what a peer shows are equal.
#[track_caller]
pub(crate) fn same_as_peer(what: &str, ours: &str, peers: &str) {
    for kept in ["\"data/.hidden\" 100644 0:0 -2.000000000 ", " user.empty=[]", " -> \"one\" is "] {
        assert!(ours.contains(kept), "{kept} in what we show");
    }
    same(what, &as_peers_have_it(ours), &as_peers_have_it(peers));
}

/// Insists that two listings are equal, and shows only where they differ.
#[track_caller]
pub(crate) fn same(what: &str, one: &str, other: &str) {
    let missing = |from: &str, among: &str| {
        let among: std::collections::HashSet<&str> = among.lines().collect();
        from.lines().filter(|line| !among.contains(line)).fold(String::new(), |mut all, line| {
            let _ = writeln!(all, "    {line}");
            all
        })
    };
    assert!(one.lines().count() > 300, "{what}: this is no listing:\n{one}");
    assert!(
        one == other,
        "{what}\n  only in the first:\n{}  only in the second:\n{}",
        missing(one, other),
        missing(other, one)
    );
}
