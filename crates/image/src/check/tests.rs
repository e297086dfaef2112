use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::model::ListFilter;
use crate::store::Options;
use crate::testing::{Host, Remote, container, pull};

fn app() -> Remote {
    Remote::new(
        "app",
        &[
            &[
                ("etc/", "d"),
                ("etc/os", "-debian"),
                ("etc/link", ">os"),
                ("empty", "-"),
                ("hard", "=etc/os"),
                ("var/", "d"),
            ],
            &[("etc/.wh.os", "-"), ("app", "-text")],
        ],
    )
}

fn check(host: &Host, repair: bool) -> CheckReport {
    let (mut looked, mut found) = (0, 0);
    let report = host.store.check(repair, &mut |step| match step {
        CheckStep::Checking { done, total, .. } => {
            assert!(done <= total);
            looked += 1;
        }
        CheckStep::Found(_) => found += 1,
    });
    let report = report.expect("check");
    assert_eq!(found, report.problems.len());
    assert!(looked >= report.blobs);
    report
}

fn clean(host: &Host) {
    let report = check(host, false);
    assert!(report.is_clean(), "{report:#?}");
}

/// Exactly one problem; what it is and what became of it.
fn only(report: &CheckReport) -> (&Subject, &str, &Outcome) {
    assert_eq!(report.problems.len(), 1, "{report:#?}");
    let problem = &report.problems[0];
    (&problem.subject, &problem.fault, &problem.outcome)
}

fn layer(host: &Host, remote: &Remote, at: usize) -> PathBuf {
    host.dir.path().join("layers").join(remote.layers[at].diff_id.hex())
}

fn blob(host: &Host, digest: &Digest) -> PathBuf {
    host.dir.path().join("content/blobs/sha256").join(digest.hex())
}

fn flip(path: &PathBuf) {
    let mut bytes = std::fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("write");
}

fn images(host: &Host) -> usize {
    host.store.list(&ListFilter::default()).expect("list").len()
}

#[test]
fn nothing_is_wrong_with_a_fresh_store() {
    let host = Host::new();
    clean(&host);
    let id = pull(&host.store, &app(), "app:1").expect("pull");
    host.store.prepare(&container('a'), &id).expect("prepare");
    let report = check(&host, true);
    assert!(report.is_clean() && report.is_solved(), "{report:#?}");
    assert_eq!((report.images, report.layers, report.blobs), (1, 2, 4));
    assert!(report.bytes > 4096);
    clean(&host.reopen(Options::default()));
}

#[test]
fn a_damaged_file_is_unpacked_again_from_the_kept_blob() {
    let host = Host::new();
    let remote = app();
    let id = pull(&host.store, &remote, "app:1").expect("pull");
    flip(&layer(&host, &remote, 0).join("diff/etc/os"));
    let report = check(&host, false);
    let (subject, fault, outcome) = only(&report);
    assert_eq!(*subject, Subject::Layer(remote.layers[0].diff_id.clone()));
    assert!(fault.starts_with("its contents give the digest sha256:"), "{fault}");
    assert!(matches!(outcome, Outcome::Reported(_)));
    assert_eq!(report.problems[0].images, ["app:1"]);
    assert!(!report.is_solved());
    let report = check(&host, true);
    assert!(matches!(only(&report).2, Outcome::Repaired(_)), "{report:#?}");
    clean(&host);
    let forms = host.store.pushable(&id).expect("pushable").layers[0].forms.clone();
    assert_eq!(forms[0].digest, remote.layers[0].blob.digest, "what is known of it stays");
    clean(&host.reopen(Options::default()));
}

#[test]
fn a_missing_file_split_or_layer_is_unpacked_again() {
    let host = Host::new();
    let remote = app();
    pull(&host.store, &remote, "app:1").expect("pull");
    let path = layer(&host, &remote, 0);
    for gone in ["diff/etc/os", "split", "diff"] {
        let path = path.join(gone);
        if path.is_dir() {
            std::fs::remove_dir_all(path).expect("remove");
        } else {
            std::fs::remove_file(path).expect("remove");
        }
        let report = check(&host, true);
        assert!(matches!(only(&report).2, Outcome::Repaired(_)), "{gone}: {report:#?}");
        clean(&host);
    }
    std::fs::remove_dir_all(&path).expect("remove");
    let report = check(&host, true);
    assert_eq!(only(&report).1, "it is missing");
    clean(&host);
    // The same when it is noticed by a daemon that is just starting.
    for damage in ["remove", "damage"] {
        if damage == "remove" {
            std::fs::remove_dir_all(&path).expect("remove");
        } else {
            std::fs::write(path.join("meta.json"), "{").expect("damage");
        }
        let store = Store::open(host.dir.path(), Options::default()).expect("opens all the same");
        let report = store.check(true, &mut |_| {}).expect("check");
        assert!(report.is_solved() && !report.is_clean(), "{report:#?}");
        assert!(store.check(false, &mut |_| {}).expect("check").is_clean(), "{damage}");
    }
}

#[test]
fn a_layer_whose_record_is_lost_is_made_of_what_is_left() {
    let host = Host::with(Options { keep_blobs: false, ..Options::default() });
    let remote = app();
    pull(&host.store, &remote, "app:1").expect("pull");
    for layer in [layer(&host, &remote, 0), layer(&host, &remote, 1)] {
        std::fs::write(layer.join("meta.json"), "").expect("damage");
    }
    let host = host.reopen(Options::default());
    let report = check(&host, true);
    assert_eq!(report.problems.len(), 2, "{report:#?}");
    assert!(report.problems.iter().all(|p| matches!(p.outcome, Outcome::Repaired(_))));
    assert_eq!(images(&host), 1);
    clean(&host);
    host.store.remove("app:1", crate::RemoveOptions::default(), &[]).expect("rmi");
    assert_eq!(host.layers(), 0);
}

#[test]
fn a_damaged_layer_that_nobody_has_goes_when_the_store_is_opened() {
    let host = Host::new();
    let remote = app();
    let ingest = host.store.ingest();
    remote.bring(&ingest).expect("bring");
    let layer = layer(&host, &remote, 0);
    std::fs::write(layer.join("meta.json"), "").expect("damage");
    // As if the process had ended here.
    let store = Store::open(host.dir.path(), Options::default()).expect("open");
    assert_eq!(store.layers.aside().expect("list"), []);
    assert_eq!(host.layers(), 0);
}

#[test]
fn a_layer_with_right_contents_is_made_again_from_itself() {
    let host = Host::with(Options { keep_blobs: false, ..Options::default() });
    let remote = app();
    pull(&host.store, &remote, "app:1").expect("pull");
    let diff = layer(&host, &remote, 0).join("diff");
    let damages: [(&str, &dyn Fn()); 7] = [
        ("the mode of /etc/os is wrong", &|| {
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(diff.join("etc/os"), mode).expect("chmod");
        }),
        ("/empty is missing", &|| std::fs::remove_file(diff.join("empty")).expect("remove")),
        ("/var is missing", &|| std::fs::remove_dir(diff.join("var")).expect("remove")),
        ("/stray does not belong there", &|| {
            std::fs::write(diff.join("stray"), "x").expect("write");
        }),
        ("the target of /etc/link is wrong", &|| {
            // Nothing but the target: the time is set by what follows.
            std::fs::remove_file(diff.join("etc/link")).expect("remove");
            symlink("xx", diff.join("etc/link")).expect("symlink");
            let dir = std::fs::File::open(diff.join("etc")).expect("open");
            let time = sys::entry::FileTime { seconds: 1_000_000_000, nanoseconds: 0 };
            sys::entry::set_times(&dir, "link".as_ref(), time, time).expect("time");
        }),
        ("the owner of /var is wrong", &|| {
            std::os::unix::fs::chown(diff.join("var"), Some(7), None).expect("chown");
        }),
        ("the type of /empty is wrong", &|| {
            std::fs::remove_file(diff.join("empty")).expect("remove");
            std::fs::create_dir(diff.join("empty")).expect("mkdir");
        }),
    ];
    for (what, damage) in damages {
        damage();
        let report = check(&host, false);
        assert_eq!(only(&report).1, what);
        let report = check(&host, true);
        assert!(matches!(only(&report).2, Outcome::Repaired(_)), "{what}: {report:#?}");
        clean(&host);
    }
    // The whiteout is compared as well.
    let diff = layer(&host, &remote, 1).join("diff");
    std::fs::remove_file(diff.join("etc/os")).expect("remove the whiteout");
    assert!(check(&host, true).is_solved());
    clean(&host);
    assert_eq!(std::fs::symlink_metadata(diff.join("etc/os")).expect("stat").rdev(), 0);
}

#[test]
fn a_layer_that_nothing_can_bring_back_takes_its_images_with_it() {
    let host = Host::with(Options { keep_blobs: false, ..Options::default() });
    let remote = app();
    let id = pull(&host.store, &remote, "app:1").expect("pull");
    host.store.tag("app:1", &"app:2".parse().expect("name")).expect("tag");
    pull(&host.store, &Remote::new("other", &[&[("x", "-x")]]), "other:1").expect("pull");
    flip(&layer(&host, &remote, 0).join("diff/etc/os"));
    let report = check(&host, false);
    assert_eq!(images(&host), 2);
    assert_eq!(report.problems[0].images, ["app:1, app:2"]);
    let report = check(&host, true);
    assert_eq!(*only(&report).2, Outcome::Dropped(vec!["app:1, app:2".to_owned()]));
    assert_eq!(images(&host), 1);
    assert!(host.store.resolve(id.as_str()).is_err());
    assert_eq!(host.layers(), 1);
    clean(&host);
    // It can be pulled again.
    pull(&host.store, &remote, "app:1").expect("pull");
    clean(&host);
}

#[test]
fn a_blob_that_is_damaged_as_well_is_no_source() {
    let host = Host::new();
    let remote = app();
    pull(&host.store, &remote, "app:1").expect("pull");
    flip(&layer(&host, &remote, 1).join("diff/app"));
    flip(&blob(&host, &remote.layers[1].blob.digest));
    let report = check(&host, true);
    assert!(report.is_solved(), "{report:#?}");
    assert!(matches!(report.problems[0].outcome, Outcome::Dropped(_)));
    assert_eq!(images(&host), 0);
    clean(&host);
}

#[test]
fn a_damaged_blob_goes_and_its_image_stays() {
    let host = Host::new();
    let remote = app();
    let id = pull(&host.store, &remote, "app:1").expect("pull");
    flip(&blob(&host, &remote.layers[0].blob.digest));
    let report = check(&host, true);
    let (subject, _, outcome) = only(&report);
    assert_eq!(*subject, Subject::Blob(remote.layers[0].blob.digest.clone()));
    assert_eq!(*outcome, Outcome::Removed);
    clean(&host);
    assert_eq!(host.store.pushable(&id).expect("pushable").manifest, None);
}

#[test]
fn a_lost_manifest_costs_the_digest_and_nothing_else() {
    for damaged in [false, true] {
        let host = Host::new();
        let remote = app();
        let id = pull(&host.store, &remote, "app:1").expect("pull");
        let path = blob(&host, &remote.manifest.digest());
        if damaged {
            flip(&path);
        } else {
            std::fs::remove_file(path).expect("remove");
        }
        let report = check(&host, true);
        assert!(matches!(only(&report).2, Outcome::Repaired(_)), "{report:#?}");
        assert_eq!(host.store.pushable(&id).expect("pushable").manifest, None);
        clean(&host);
    }
}

#[test]
fn an_image_without_its_configuration_is_dropped() {
    for damaged in [false, true] {
        let host = Host::new();
        let remote = app();
        let id = pull(&host.store, &remote, "app:1").expect("pull");
        let path = blob(&host, &id);
        if damaged {
            flip(&path);
        } else {
            std::fs::remove_file(path).expect("remove");
        }
        let report = check(&host, false);
        assert_eq!(*only(&report).0, Subject::Image(id));
        let report = check(&host, true);
        assert_eq!(*only(&report).2, Outcome::Dropped(vec!["app:1".to_owned()]));
        assert_eq!((images(&host), host.layers()), (0, 0));
        clean(&host);
    }
}

#[test]
fn what_a_build_holds_is_not_taken_for_there_once_it_is_dropped() {
    let host = Host::with(Options { keep_blobs: false, ..Options::default() });
    let remote = app();
    pull(&host.store, &remote, "app:1").expect("pull");
    let held = host.store.held_layer(&remote.layers[0].diff_id).expect("layer");
    let damaged = layer(&host, &remote, 0).join("diff/etc/os");
    flip(&damaged);
    assert!(matches!(only(&check(&host, true)).2, Outcome::Dropped(_)));
    assert!(!held.is_there());
    clean(&host);
    pull(&host.store, &remote, "app:1").expect("pull");
    assert!(held.is_there());
    clean(&host);
}

#[test]
fn a_record_that_disagrees_with_its_configuration_is_corrected() {
    let host = Host::new();
    let remote = app();
    let id = pull(&host.store, &remote, "app:1").expect("pull");
    {
        let mut state = host.store.state();
        let wrong = vec![remote.layers[1].diff_id.clone()];
        host.store
            .change(&mut state, |catalog| {
                catalog.images.get_mut(&id).expect("record").layers = wrong;
                Ok(())
            })
            .expect("change");
    }
    let report = check(&host, true);
    assert!(matches!(only(&report).2, Outcome::Repaired(_)), "{report:#?}");
    clean(&host);
    let inspect = host.store.inspect("app:1").expect("inspect");
    assert_eq!(inspect.root_fs.layers.len(), 2);
}

#[test]
fn files_of_nobody_are_removed() {
    let host = Host::new();
    let root = host.dir.path();
    for stray in ["content/blobs/sha256/stray", "content/notes", "layers/x", "layers/damaged"] {
        std::fs::write(root.join(stray), "x").expect("write");
    }
    std::fs::create_dir_all(root.join("layers/lost+found/x")).expect("mkdir");
    let report = check(&host, false);
    assert_eq!(report.problems.len(), 5, "{report:#?}");
    let report = check(&host, true);
    assert!(report.problems.iter().all(|problem| problem.outcome == Outcome::Removed));
    clean(&host);
}

#[test]
fn a_layer_below_a_container_is_set_aside_until_the_container_is_gone() {
    let host = Host::new();
    let remote = app();
    let id = pull(&host.store, &remote, "app:1").expect("pull");
    host.store.prepare(&container('a'), &id).expect("prepare");
    let file = layer(&host, &remote, 0).join("diff/etc/os");
    let open = std::fs::File::open(&file).expect("open");
    flip(&file);
    let report = check(&host, true);
    assert_eq!(report.problems[0].containers, [container('a').to_string()]);
    assert!(report.is_solved(), "{report:#?}");
    assert!(open.metadata().expect("stat").nlink() > 0, "what is mounted stays");
    clean(&host);
    host.store.remove_snapshot(&container('a')).expect("remove");
    assert_eq!(open.metadata().expect("stat").nlink(), 0);
    clean(&host);
}

#[test]
fn a_container_whose_layers_are_lost_is_told_of() {
    let host = Host::with(Options { keep_blobs: false, ..Options::default() });
    let remote = app();
    let id = pull(&host.store, &remote, "app:1").expect("pull");
    host.store.prepare(&container('a'), &id).expect("prepare");
    host.store
        .remove("app:1", crate::RemoveOptions { force: true, ..Default::default() }, &[])
        .expect("rmi");
    std::fs::remove_dir_all(layer(&host, &remote, 0)).expect("remove");
    let report = check(&host, true);
    assert!(matches!(only(&report).2, Outcome::Hopeless(_)), "{report:#?}");
    assert!(!report.is_solved());
    assert_eq!(report.problems[0].containers.len(), 1);
}

#[test]
fn a_check_is_never_mistaken_about_what_comes_and_goes_meanwhile() {
    let host =
        Host::with(Options { keep_interrupted: std::time::Duration::ZERO, ..Options::default() });
    let remotes: Vec<Remote> = (0..3)
        .map(|n| {
            let text = format!("-{n}");
            Remote::new(&n.to_string(), &[&[("same", "-same")], &[("own", &text)]])
        })
        .collect();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (n, remote) in remotes.iter().enumerate() {
            let (store, stop) = (&host.store, &stop);
            scope.spawn(move || {
                let name = format!("app:{n}");
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    pull(store, remote, &name).expect("pull");
                    store.remove(&name, crate::RemoveOptions::default(), &[]).expect("rmi");
                    store.collect_garbage().expect("collect");
                }
            });
        }
        let checks = std::panic::catch_unwind(|| {
            for _ in 0..20 {
                let report = check(&host, true);
                assert!(report.is_clean(), "{report:#?}");
            }
        });
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        checks.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!((host.layers(), host.blobs()), (0, 0));
    clean(&host);
}

#[test]
fn a_damaged_layer_of_the_build_cache_is_removed_and_the_cache_can_tell() {
    let host = Host::new();
    let tar = crate::testing::tar(&[("made", "-by a step")]);
    let held = host.store.layer_from_tar(&mut &tar[..]).expect("layer");
    assert!(held.is_there());
    clean(&host);
    flip(&host.dir.path().join("layers").join(held.diff_id().hex()).join("diff/made"));
    let report = check(&host, true);
    assert_eq!(*only(&report).2, Outcome::Removed);
    assert!(!held.is_there());
    clean(&host);
}
