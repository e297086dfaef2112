use super::*;
use std::os::unix::fs::symlink;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("isopod-sys-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("root")).unwrap();
        Scratch(dir)
    }
    fn root(&self) -> Root {
        Root::open_host(self.0.join("root")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

#[test]
fn symlinks_and_dotdot_stay_inside() {
    let scratch = Scratch::new("inside");
    let root = scratch.root();
    std::fs::write(scratch.0.join("secret"), "outside").unwrap();
    symlink("/secret", scratch.0.join("root/abs")).unwrap();
    symlink("../../secret", scratch.0.join("root/rel")).unwrap();
    for path in ["abs", "/abs", "rel", "../secret", "/../../secret"] {
        let err = root.open_file(path).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::NotFound, "{path}");
    }
    std::fs::write(scratch.0.join("root/secret"), "inside").unwrap();
    for path in ["abs", "rel", "../secret"] {
        assert_eq!(root.read(path, 100).unwrap(), b"inside", "{path}");
    }
}

#[test]
fn mkdir_all_creates_behind_dangling_links_inside() {
    let scratch = Scratch::new("mkdir");
    let root = scratch.root();
    symlink("/../../made/by/link", scratch.0.join("root/link")).unwrap();
    root.mkdir_all("link/deep/er", mode(0o755)).unwrap();
    assert!(scratch.0.join("root/made/by/link/deep/er").is_dir());
    assert!(!scratch.0.join("made").exists());
    symlink("/etc/target", scratch.0.join("root/file")).unwrap();
    root.touch_all("file", mode(0o644), mode(0o755)).unwrap();
    assert!(scratch.0.join("root/etc/target").is_file());
    symlink("loop", scratch.0.join("root/loop")).unwrap();
    assert_eq!(root.mkdir_all("loop/x", mode(0o755)).unwrap_err().raw_os_error(), Some(40));
}

#[test]
fn names_are_not_followed() {
    let scratch = Scratch::new("names");
    let root = scratch.root();
    symlink("nowhere", scratch.0.join("root/dangling")).unwrap();
    let err = root.create_file("dangling", mode(0o644)).unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(root.read_link("dangling").unwrap(), Path::new("nowhere"));
    root.remove_file("dangling").unwrap();
    assert!(root.lstat("dangling").is_err());
    assert_eq!(root.mkdir("..", mode(0o755)).unwrap_err().raw_os_error(), Some(22));
}

#[test]
fn remove_all_leaves_link_targets() {
    let scratch = Scratch::new("remove");
    let root = scratch.root();
    std::fs::create_dir_all(scratch.0.join("root/a/b/c")).unwrap();
    std::fs::write(scratch.0.join("root/a/b/f"), "x").unwrap();
    std::fs::create_dir(scratch.0.join("keep")).unwrap();
    std::fs::write(scratch.0.join("keep/f"), "x").unwrap();
    symlink(scratch.0.join("keep"), scratch.0.join("root/a/out")).unwrap();
    root.remove_all("a").unwrap();
    root.remove_all("a").unwrap();
    assert!(!scratch.0.join("root/a").exists());
    assert!(scratch.0.join("keep/f").exists());
}

#[test]
fn walk_is_sorted_and_parents_first() {
    let scratch = Scratch::new("walk");
    let root = scratch.root();
    std::fs::create_dir_all(scratch.0.join("root/b/x")).unwrap();
    std::fs::write(scratch.0.join("root/a"), "").unwrap();
    symlink("b", scratch.0.join("root/c")).unwrap();
    let mut seen = Vec::new();
    root.walk("/", &mut |e| {
        seen.push(e.path.to_str().unwrap().to_owned());
        if e.kind() == FileType::Symlink {
            assert_eq!(e.read_link()?, Path::new("b"));
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, ["a", "b", "b/x", "c"]);
}

#[test]
fn trees_deeper_than_the_limit_of_files_are_removed() {
    let scratch = Scratch::new("deep");
    let root = scratch.root();
    root.mkdir("top", mode(0o755)).unwrap();
    let mut here = root.open_dir("top").unwrap();
    for depth in 0..3000 {
        let inner = Root::from(here);
        if depth % 500 == 0 {
            drop(inner.create_file("file", mode(0o600)).unwrap());
        }
        inner.mkdir("d", mode(0o755)).unwrap();
        here = inner.open_dir("d").unwrap();
    }
    let walked = root.walk("top", &mut |_| Ok(())).unwrap_err();
    assert_eq!(walked.to_string(), "directories are nested too deeply");
    root.remove_all("top").unwrap();
    assert!(!root.exists("top"));
}
