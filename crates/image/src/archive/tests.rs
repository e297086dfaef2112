use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::tarball::TarReader;
use crate::testing::{Spec, tar};

/// A container's root with a host directory beside it that must stay as it is.
struct Place {
    dir: tempfile::TempDir,
    root: fs::File,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        fs::create_dir_all(dir.path().join("root/etc/sub")).expect("make");
        fs::create_dir_all(dir.path().join("root/real")).expect("make");
        fs::create_dir_all(dir.path().join("host")).expect("make");
        fs::write(dir.path().join("root/etc/f"), "hi\n").expect("write");
        fs::write(dir.path().join("root/real/x"), "x").expect("write");
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(to, dir.path().join("root").join(at)).expect("link");
        };
        link("real", "link");
        link("/etc/f", "flink");
        link("/../../../../..", "up");
        link(dir.path().join("host").to_str().expect("UTF-8"), "host");
        let root = fs::File::open(dir.path().join("root")).expect("open");
        Self { dir, root }
    }

    fn names(&self, path: &str) -> Vec<String> {
        let mut out = Vec::new();
        get(self.root.as_fd(), path, &IdMap::default(), &mut out).expect(path);
        let mut reader = TarReader::new(&out[..]);
        let mut names = Vec::new();
        while let Some(entry) = reader.next().expect("valid") {
            names.push(entry.shown());
        }
        names
    }

    fn put(&self, path: &str, entries: &[Spec<'_>], options: PutOptions) -> Result<()> {
        let bytes = tar(entries);
        put(self.root.as_fd(), path, &mut &bytes[..], &options, &IdMap::default())
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join("root").join(path)).expect(path)
    }
}

#[test]
fn paths_are_looked_up_by_dockers_rules() {
    let place = Place::new();
    let look = |path: &str| stat(place.root.as_fd(), path).expect(path);
    let dir = look("/link/");
    assert_eq!((dir.name.as_str(), dir.mode >> 31), ("link", 1));
    let link = look("/link");
    assert_eq!((link.link_target.as_str(), link.mode & (1 << 27)), ("/real", 1 << 27));
    assert_eq!(look("/flink").link_target, "/etc/f");
    assert_eq!(look("/up").link_target, "/");
    assert_eq!(look("etc/f").size, 3);
    assert_eq!(look("/").name, "/");
    let json = serde_json::to_value(look("/etc/f")).expect("JSON");
    assert_eq!(json["linkTarget"], "");
    for missing in ["/nope", "/nope/x", "/link/nope", "/host/x"] {
        let error = stat(place.root.as_fd(), missing).expect_err(missing);
        assert!(matches!(error, Error::NoSuchPath(_)), "{missing}: {error}");
    }
    let error = stat(place.root.as_fd(), "/etc/f/").expect_err("no directory");
    assert!(error.to_string().contains("Not a directory"), "{error}");
}

#[test]
fn copies_are_named_as_docker_names_them() {
    let place = Place::new();
    assert_eq!(place.names("/etc"), ["etc/", "etc/f", "etc/sub/"]);
    assert_eq!(place.names("/etc/"), ["etc/", "etc/f", "etc/sub/"]);
    assert_eq!(place.names("/etc/."), ["./", "./f", "./sub/"]);
    assert_eq!(place.names("../etc/f"), ["f"]);
    assert_eq!(place.names("/link"), ["link"]);
    assert_eq!(place.names("/link/"), ["link/", "link/x"]);
    assert_eq!(place.names("/")[..3], ["/", "/etc/", "/etc/f"]);
    assert_eq!(place.names("/.")[..3], ["./", "./etc/", "./etc/f"]);
    let mut out = Vec::new();
    export(place.root.as_fd(), &IdMap::default(), &mut out).expect("export");
    let first = TarReader::new(&out[..]).next().expect("valid").expect("entry");
    assert_eq!(first.shown(), "etc/");
}

#[test]
fn privileged_uploads_go_where_docker_puts_them() {
    let place = Place::new();
    place
        .put(
            "/link",
            &[("./", "d"), ("new", "-n"), ("d/", "d"), ("d/f", "-f")],
            PutOptions::default(),
        )
        .expect("through a symlink");
    assert_eq!((place.read("real/new"), place.read("real/d/f")), ("n".into(), "f".into()));
    place
        .put(
            "/",
            &[("etc/f", "-changed"), ("etc/.wh.f", "-w"), ("hl", "=etc/f")],
            PutOptions::default(),
        )
        .expect("files");
    assert_eq!(place.read("etc/f"), "changed");
    assert_eq!(place.read("etc/.wh.f"), "w", "an upload has no whiteouts");
    assert_eq!(place.read("hl"), "changed");
    let owner = Some((12, 34));
    place.put("etc", &[("mine", "-m")], PutOptions { owner, ..Default::default() }).expect("owner");
    let stat = fs::metadata(place.dir.path().join("root/etc/mine")).expect("stat");
    assert_eq!((stat.uid(), stat.gid(), stat.mtime()), (12, 34, 1_000_000_000));

    let careful = PutOptions { no_overwrite_dir_non_dir: true, ..PutOptions::default() };
    let error = place.put("/", &[("etc", "-x")], careful).expect_err("directory");
    assert_eq!(error.to_string(), "cannot overwrite directory \"/etc\" with non-directory \"/\"");
    let error = place.put("/etc", &[("f/", "d")], careful).expect_err("file");
    assert_eq!(
        error.to_string(),
        "cannot overwrite non-directory \"/etc/f\" with directory \"/etc\""
    );
    place.put("/", &[("etc", "-x")], PutOptions::default()).expect("replaced");
    assert_eq!(place.read("etc"), "x");
    assert!(matches!(place.put("/etc", &[], PutOptions::default()), Err(Error::NotADirectory)));
    assert!(matches!(place.put("/no", &[], PutOptions::default()), Err(Error::NoSuchPath(_))));
}

#[test]
fn privileged_uploads_stay_inside() {
    let place = Place::new();
    let host = place.dir.path().join("host");
    // Both lead to directories of the same path inside the container, not to the host's.
    let _ = place.put("/host", &[("a", "-a")], PutOptions::default());
    place.put("/up", &[("b", "-b")], PutOptions::default()).expect("the root");
    assert_eq!(place.read("b"), "b");
    let through = [("host/c", "-c"), ("up/host/d", "-d"), ("s", ">../../../.."), ("s/e", "-e")];
    place.put("/", &through, PutOptions::default()).expect("inside");
    assert_eq!(place.read("e"), "e");
    for escape in ["../x", "a/../../x"] {
        let error = place.put("/etc", &[(escape, "-x")], PutOptions::default()).expect_err(escape);
        assert!(error.to_string().contains("leads outside"), "{error}");
    }
    assert_eq!(fs::read_dir(&host).expect("list").count(), 0);
    assert_eq!(fs::read_dir(place.dir.path()).expect("list").count(), 2);
}

#[test]
fn privileged_ids_are_translated_for_user_namespaces() {
    let place = Place::new();
    let ids = IdMap { uids: vec![(0, 100_000, 65_536)], gids: vec![(0, 200_000, 65_536)] };
    let bytes = tar(&[("u", "-u")]);
    put(place.root.as_fd(), "/", &mut &bytes[..], &PutOptions::default(), &ids).expect("put");
    let stat = fs::metadata(place.dir.path().join("root/u")).expect("stat");
    assert_eq!((stat.uid(), stat.gid()), (100_000, 200_000));
    let mut out = Vec::new();
    get(place.root.as_fd(), "/u", &ids, &mut out).expect("get");
    let entry = TarReader::new(&out[..]).next().expect("valid").expect("entry");
    assert_eq!((entry.uid, entry.gid), (0, 0));
    let mut out = Vec::new();
    get(place.root.as_fd(), "/etc/f", &ids, &mut out).expect("get");
    let entry = TarReader::new(&out[..]).next().expect("valid").expect("entry");
    assert_eq!(entry.uid, 65_534, "an id without a mapping");
}

/// On an overlay whose layers are on several file systems each file has a device of its own, which
/// makes it no mount point.
#[test]
fn privileged_an_export_has_what_is_in_files_of_every_layer_but_not_what_is_mounted() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    sys::namespace::unshare(sys::namespace::MOUNT).expect("root");
    let private =
        sys::mount::MountPropagationFlags::PRIVATE | sys::mount::MountPropagationFlags::REC;
    sys::mount::propagation("/", private).expect("private mounts");
    for name in ["lower", "own", "root"] {
        fs::create_dir(at(name)).expect(name);
    }
    for name in ["lower", "own"] {
        sys::mount::mount_legacy("tmpfs", at(name), "tmpfs", 0, "").expect(name);
    }
    for name in ["own/upper", "own/work", "lower/dir"] {
        fs::create_dir(at(name)).expect(name);
    }
    fs::write(at("lower/dir/below"), "below").expect("a file");
    fs::write(at("lower/hosts"), "covered").expect("a file");
    let text = |name: &str| at(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        text("lower"),
        text("own/upper"),
        text("own/work")
    );
    sys::mount::mount_legacy("overlay", at("root"), "overlay", 0, &options).expect("an overlay");
    fs::write(at("root/dir/mine"), "mine").expect("a file");
    fs::write(at("secret"), "the host's").expect("a file");
    const MS_BIND: u32 = 0x1000;
    sys::mount::mount_legacy(&text("secret"), at("root/hosts"), "", MS_BIND, "").expect("a bind");
    let root = fs::File::open(at("root")).expect("the root");
    let mut bytes = Vec::new();
    export(root.as_fd(), &IdMap::default(), &mut bytes).expect("exported");
    let mut archive = ::tar::Archive::new(&bytes[..]);
    let mut seen: Vec<(String, String)> = Vec::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        seen.push((path, io::read_to_string(&mut entry).expect("its text")));
    }
    let wanted = [("dir/", ""), ("dir/below", "below"), ("dir/mine", "mine"), ("hosts", "")];
    assert_eq!(seen, wanted.map(|(path, text)| (path.to_owned(), text.to_owned())));
    drop(root);
    for name in ["root/hosts", "root", "own", "lower"] {
        sys::mount::unmount(at(name), sys::mount::UnmountFlags::empty()).expect(name);
    }
}
