use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

fn named(name: &str) -> CreateOptions {
    CreateOptions { name: name.to_owned(), ..CreateOptions::default() }
}

#[test]
fn volumes_are_found_again_and_remains_are_swept() {
    let root = tempfile::tempdir().expect("directory");
    let volumes = Volumes::open(root.path()).expect("open");
    let (made, new) = volumes.create(&named("data")).expect("create");
    assert!(new);
    let (again, new) = volumes.create(&named("data")).expect("create again");
    assert!(!new);
    assert_eq!(made, again);
    let (anonymous, _) = volumes.create(&CreateOptions::default()).expect("anonymous");
    assert!(anonymous.is_anonymous());
    assert_eq!(anonymous.name.len(), 64);
    fs::write(Path::new(&made.mountpoint).join("x"), "12345").expect("write");
    assert_eq!(volumes.size("data").expect("size"), 5);

    let dir = root.path().join("volumes");
    fs::create_dir_all(dir.join(".new-half/_data")).expect("remains");
    fs::create_dir_all(dir.join(".old-gone/_data/deep")).expect("remains");
    drop(volumes);
    let volumes = Volumes::open(root.path()).expect("open again");
    assert_eq!(volumes.list(&ListFilter::default()).len(), 2);
    assert_eq!(volumes.get("data").expect("found"), made);
    assert!(!dir.join(".new-half").exists());
    assert!(!dir.join(".old-gone").exists());
}

#[test]
fn removal_respects_use_and_force() {
    let root = tempfile::tempdir().expect("directory");
    let volumes = Volumes::open(root.path()).expect("open");
    volumes.create(&named("data")).expect("create");
    let error = volumes.remove("data", true, &["abc".to_owned()]).expect_err("in use");
    assert_eq!(error.to_string(), "remove data: volume is in use - [abc]");
    volumes.remove("data", false, &[]).expect("remove");
    let error = volumes.remove("data", false, &[]).expect_err("gone");
    assert_eq!(error.to_string(), "get data: no such volume");
    volumes.remove("data", true, &[]).expect("force");
    assert_eq!(fs::read_dir(root.path().join("volumes")).expect("list").count(), 0);
}

#[test]
fn a_name_means_one_set_of_options() {
    let root = tempfile::tempdir().expect("directory");
    let volumes = Volumes::open(root.path()).expect("open");
    volumes.create(&named("data")).expect("create");
    let mut other = named("data");
    other.driver_opts =
        [("type", "tmpfs"), ("device", "tmpfs")].map(|(k, v)| (k.into(), v.into())).into();
    assert!(matches!(volumes.create(&other), Err(Error::Exists(_))));
    other.driver = "nfs3000".to_owned();
    assert!(matches!(volumes.create(&other), Err(Error::NoSuchDriver(_))));
}

#[test]
fn prune_takes_unused_anonymous_ones_first() {
    let root = tempfile::tempdir().expect("directory");
    let volumes = Volumes::open(root.path()).expect("open");
    volumes.create(&named("named")).expect("create");
    let (used, _) = volumes.create(&CreateOptions::default()).expect("used");
    let (unused, _) = volumes.create(&CreateOptions::default()).expect("unused");
    fs::write(Path::new(&unused.mountpoint).join("x"), "123").expect("write");
    let in_use = |name: &str| name == used.name;
    let pruned = volumes.prune(&PruneFilter::default(), &in_use);
    assert_eq!(pruned, Pruned { removed: vec![unused.name], reclaimed: 3 });
    let pruned = volumes.prune(&PruneFilter { all: true, ..PruneFilter::default() }, &in_use);
    assert_eq!(pruned.removed, ["named"]);
}

#[test]
fn privileged_a_new_volume_takes_over_the_images_files() {
    let root = tempfile::tempdir().expect("directory");
    let volumes = Volumes::open(root.path()).expect("open");
    volumes.create(&named("data")).expect("create");
    let image = root.path().join("image");
    fs::create_dir_all(image.join("sub")).expect("image");
    fs::write(image.join("sub/a"), "content").expect("write");
    fs::hard_link(image.join("sub/a"), image.join("b")).expect("link");
    std::os::unix::fs::symlink("/etc/passwd", image.join("link")).expect("symlink");
    std::os::unix::fs::chown(image.join("sub/a"), Some(12), Some(34)).expect("chown");
    fs::set_permissions(&image, fs::Permissions::from_mode(0o1777)).expect("chmod");
    let from = File::open(&image).expect("open");

    assert!(volumes.populate("data", from.as_fd()).expect("populate"));
    let data = PathBuf::from(volumes.get("data").expect("get").mountpoint);
    let a = fs::metadata(data.join("sub/a")).expect("copied");
    assert_eq!((a.uid(), a.gid(), a.nlink()), (12, 34, 2));
    assert_eq!(fs::read_to_string(data.join("b")).expect("read"), "content");
    assert_eq!(fs::read_link(data.join("link")).expect("link"), Path::new("/etc/passwd"));
    assert_eq!(fs::metadata(&data).expect("top").mode() & 0o7777, 0o1777);
    assert!(!volumes.populate("data", from.as_fd()).expect("full already"));
}

#[test]
fn privileged_options_describe_a_mount() {
    let root = tempfile::tempdir().expect("directory");
    let volumes = Volumes::open(root.path()).expect("open");
    let options = |name: &str, pairs: &[(&str, &str)]| CreateOptions {
        driver_opts: pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        ..named(name)
    };
    volumes
        .create(&options("mem", &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=64k,uid=7")]))
        .expect("create");
    let mount = volumes.mount("mem").expect("mount");
    assert_eq!(entry::stat_fd(&mount).expect("stat").st_uid, 7);

    volumes
        .create(&options("host", &[("type", "none"), ("device", "/etc"), ("o", "bind,ro")]))
        .expect("create");
    let mount = Root::from(volumes.mount("host").expect("mount"));
    assert!(mount.exists("passwd"));
    let error = mount.create_file("isopod-test", 0o600.into()).expect_err("read-only");
    assert_eq!(error.raw_os_error(), Some(30));

    volumes
        .create(&options("bad", &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "nonsense=1")]))
        .expect("create");
    let error = volumes.mount("bad").expect_err("bad option").to_string();
    assert!(error.starts_with("failed to mount local volume: mount tmpfs:bad, data:"), "{error}");
}

#[test]
fn privileged_a_copy_is_whole_and_a_snapshot_is_read_only() {
    let root = tempfile::tempdir().expect("directory");
    let volumes = Volumes::open(root.path()).expect("open");
    let (made, _) = volumes.create(&named("data")).expect("create");
    let data = PathBuf::from(&made.mountpoint);
    fs::create_dir(data.join("sub")).expect("directory");
    fs::write(data.join("sub/file"), "content").expect("write");
    fs::hard_link(data.join("sub/file"), data.join("again")).expect("link");
    std::os::unix::fs::symlink("/nowhere", data.join("link")).expect("symlink");
    std::os::unix::fs::chown(&data, Some(999), Some(998)).expect("chown");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("chmod");

    let new = |name: &str| NewVolume { name: name.to_owned(), ..NewVolume::default() };
    let copied = |new: NewVolume, replace: bool| {
        let draft = volumes.draft()?;
        volumes.copy("data", &draft)?;
        let volume = volumes.prepare(&draft, new)?;
        volumes.place(draft, volume, replace)
    };
    let copy = copied(new("copy"), false).expect("copied");
    let there = PathBuf::from(&copy.mountpoint);
    assert_eq!(fs::read_to_string(there.join("again")).expect("read"), "content");
    assert_eq!(fs::metadata(there.join("sub/file")).expect("there").nlink(), 2);
    let top = fs::metadata(&there).expect("there");
    assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (999, 998, 0o700));

    let taken = copied(new("copy"), false).expect_err("taken");
    assert!(matches!(taken, Error::Taken(_)), "{taken}");
    fs::write(data.join("more"), "").expect("write");
    copied(new("copy"), true).expect("replaced");
    assert!(there.join("more").exists());
    assert!(volumes.copy("none", &volumes.draft().expect("a draft")).is_err());
    assert!(copied(new("../x"), false).is_err());

    let snapshot = NewVolume { snapshot_of: Some("data".to_owned()), ..new(&"s".repeat(255)) };
    assert!(copied(snapshot, false).expect("a snapshot").read_only);
    drop(volumes.draft().expect("dropped again"));
    drop(volumes);
    let volumes = Volumes::open(root.path()).expect("open again");
    let names: Vec<String> =
        volumes.list(&ListFilter::default()).into_iter().map(|volume| volume.name).collect();
    assert_eq!(names, ["copy", "data", &"s".repeat(255)]);
    volumes.remove(&"s".repeat(255), false, &[]).expect("removed");
    assert_eq!(fs::read_dir(root.path().join("volumes")).expect("list").count(), 2);
}
