use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};

use super::*;

struct Trees {
    _dir: tempfile::TempDir,
    path: PathBuf,
    from: Root,
    to: Root,
}

fn trees() -> Trees {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_owned();
    for name in ["from/d/sub", "to", "outside"] {
        std::fs::create_dir_all(path.join(name)).expect("made");
    }
    for (name, text) in [("d/a", "a"), ("d/sub/b", "b"), ("d/c.log", "c")] {
        std::fs::write(path.join("from").join(name), text).expect("written");
    }
    let from = Root::open_host(path.join("from")).expect("opened");
    let to = Root::open_host(path.join("to")).expect("opened");
    Trees { _dir: dir, path, from, to }
}

fn find_all(root: &Root, sources: &[&str]) -> Result<Vec<Found>> {
    let sources: Vec<String> = sources.iter().map(|source| (*source).to_owned()).collect();
    find("COPY", Origin { root, place: "build context" }, &sources)
}

fn writer<'a>(trees: &'a Trees, excluded: &'a dyn Fn(&Path) -> bool) -> Writer<'a> {
    Writer { target: &trees.to, owner: None, mode: None, excluded }
}

#[test]
fn sources_never_leave_their_tree() {
    let trees = trees();
    std::fs::write(trees.path.join("outside/secret"), "s").expect("written");
    symlink("../../outside", trees.path.join("from/out")).expect("linked");
    symlink(trees.path.join("outside"), trees.path.join("from/abs")).expect("linked");
    for source in ["../outside/secret", "out/secret", "abs/secret", "/../outside/secret"] {
        let found = find_all(&trees.from, &[source]);
        assert!(matches!(found, Err(Error::NoSource { .. })), "{source}: {found:?}");
    }
    assert!(matches!(find_all(&trees.from, &["x*"]), Err(Error::NoMatch("COPY"))));
    assert!(matches!(find_all(&trees.from, &["d/["]), Err(Error::Pattern(_))));
    let given: Vec<PathBuf> = find_all(&trees.from, &["d/[ac]*", "**/b"])
        .expect("found")
        .into_iter()
        .map(|found| found.given)
        .collect();
    assert_eq!(given, ["d/a", "d/c.log", "d/sub/b"].map(PathBuf::from));
}

#[test]
fn places_follow_dockers_rules() {
    let trees = trees();
    std::fs::create_dir(trees.path.join("to/there")).expect("made");
    let place = |sources: &[&str], to: &str, parents| {
        let found = find_all(&trees.from, sources).expect("found");
        let destination = Destination::new(to, "/w");
        let places = places("COPY", &found, &trees.to, &destination, parents)?;
        Ok::<_, Error>(places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>())
    };
    assert_eq!(place(&["d/a"], "/x", false).expect("one"), ["/x"]);
    assert_eq!(place(&["d/a"], "/x/", false).expect("one"), ["/x/a"]);
    assert_eq!(place(&["d/a"], "/there", false).expect("one"), ["/there/a"]);
    assert_eq!(place(&["d"], "/there", false).expect("one"), ["/there"]);
    assert_eq!(place(&["d/a"], ".", false).expect("one"), ["/w/a"]);
    assert_eq!(place(&["d/a"], "../../../x", false).expect("one"), ["/x"]);
    assert_eq!(place(&["d/a", "d/sub"], "/x/", false).expect("two"), ["/x/a", "/x"]);
    assert_eq!(place(&["d/sub/b"], "/x/", true).expect("one"), ["/x/d/sub/b"]);
    assert_eq!(place(&["d/./sub/b"], "/x/", true).expect("one"), ["/x/sub/b"]);
    assert!(matches!(place(&["d/a", "d/sub"], "/x", false), Err(Error::ManySources("COPY"))));
}

#[test]
fn privileged_directories_merge_and_links_stay_inside() {
    let trees = trees();
    std::fs::set_permissions(trees.path.join("from/d/sub"), PermissionsExt::from_mode(0o711))
        .expect("changed");
    symlink("/etc/passwd", trees.path.join("from/d/l")).expect("linked");
    std::fs::hard_link(trees.path.join("from/d/a"), trees.path.join("from/d/again"))
        .expect("linked");
    symlink("../../../outside/new", trees.path.join("to/link")).expect("linked");
    let skip = |path: &Path| path.extension().is_some_and(|end| end == "log");
    let writer = Writer { owner: Some((7, 8)), ..writer(&trees, &skip) };
    let found = find_all(&trees.from, &["d"]).expect("found");
    writer.copy(&trees.from, &found[0], Path::new("/link")).expect("copied");
    // The link leads out of the tree for the host, but not for an image.
    assert!(!trees.path.join("outside/new").exists());
    let new = trees.path.join("to/outside/new");
    assert_eq!(std::fs::read_to_string(new.join("sub/b")).expect("there"), "b");
    assert!(!new.join("c.log").exists());
    assert_eq!(std::fs::read_link(new.join("l")).expect("a link"), Path::new("/etc/passwd"));
    let stat = std::fs::metadata(new.join("sub")).expect("there");
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o711, 7, 8));
    assert_eq!(std::fs::metadata(new.join("again")).expect("there").nlink(), 2);
    // A file is no place for a directory, nor the other way round.
    std::fs::write(trees.path.join("to/file"), "f").expect("written");
    let onto_file = writer.copy(&trees.from, &found[0], Path::new("/file"));
    assert!(matches!(onto_file, Err(Error::Kind { there: "a file", .. })), "{onto_file:?}");
    let file = find_all(&trees.from, &["d/a"]).expect("found");
    let onto_dir = writer.copy(&trees.from, &file[0], Path::new("/outside"));
    assert!(matches!(onto_dir, Err(Error::Kind { there: "a directory", .. })), "{onto_dir:?}");
}

#[test]
fn digests_are_of_content_and_not_of_times() {
    let trees = trees();
    let digest = || {
        let found = find_all(&trees.from, &["d"]).expect("found");
        of_tree(&trees.from, &found[0], false, &|_| false).expect("read")
    };
    let first = digest();
    let file = trees.path.join("from/d/a");
    let touched = std::fs::File::options().append(true).open(&file).expect("opened");
    touched.set_modified(std::time::UNIX_EPOCH).expect("touched");
    assert_eq!(digest(), first);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("changed");
    let other = digest();
    assert_ne!(other, first);
    std::fs::write(&file, "b").expect("written");
    assert_ne!(digest(), other);
    std::fs::rename(&file, trees.path.join("from/d/renamed")).expect("renamed");
    assert_ne!(digest(), other);
}
