use std::collections::BTreeSet;
use std::time::Duration;

use types::time::Timestamp;

use super::*;
use crate::model::{ContainerUse, ListFilter};
use crate::remove::RemoveOptions;
use crate::store::Options;
use crate::testing::{Host, Remote, RemoteLayer, container, pull, tar};

fn host() -> Host {
    Host::with(Options { keep_interrupted: Duration::ZERO, ..Options::default() })
}

fn remote(n: usize) -> Remote {
    let text = format!("-{}", n.to_string().repeat(3000));
    let shared = RemoteLayer::new(&tar(&[("shared", "-by all")]));
    Remote::of(&n.to_string(), vec![shared, RemoteLayer::new(&tar(&[("own", &text)]))])
}

fn names(host: &Host) -> BTreeSet<String> {
    let list = host.store.list(&ListFilter::default()).expect("list");
    list.into_iter().flat_map(|image| image.repo_tags).collect()
}

#[test]
fn what_two_images_share_goes_with_the_second() {
    let host = host();
    for n in 0..2 {
        pull(&host.store, &remote(n), &format!("app:{n}")).expect("pull");
    }
    // Two configurations, two manifests, three layers.
    assert_eq!((host.blobs(), host.layers()), (7, 3));
    let all = RemoveOptions::default();
    let (_, freed) = host.store.remove_counting("app:0", all, &[]).expect("rmi");
    assert_eq!((host.blobs(), host.layers()), (4, 2));
    assert_eq!(freed, 3000 + remote(0).layers[1].blob.size, "the layer and its compressed copy");
    host.store.remove("app:1", RemoveOptions::default(), &[]).expect("rmi");
    assert_eq!((host.blobs(), host.layers()), (0, 0));
}

#[test]
fn a_push_under_way_keeps_an_image_that_is_removed() {
    let host = host();
    let remote = remote(0);
    let id = pull(&host.store, &remote, "app:0").expect("pull");
    let pushable = host.store.pushable(&id).expect("pushable");
    host.store.remove("app:0", RemoveOptions::default(), &[]).expect("rmi");
    host.store.collect_garbage().expect("collect");
    for layer in &remote.layers {
        pushable.open_blob(&layer.blob.digest).expect("still there");
    }
    drop(pushable);
    assert_eq!((host.blobs(), host.layers()), (0, 0));
}

#[test]
fn room_is_made_in_order_and_never_under_a_container() {
    let host = host();
    for n in 0..4 {
        let name = format!("app:{n}");
        let id = pull(&host.store, &remote(n), &name).expect("pull");
        // Whatever the clock says, app:0 was used longest ago.
        let mut state = host.store.state();
        let record = state.catalog.images.get_mut(&id).expect("record");
        record.last_tag_time = Timestamp(n as i64 + 1);
    }
    let used = host.store.resolve("app:0").expect("found");
    host.store.prepare(&container('a'), &used).expect("prepare");
    let users =
        [ContainerUse { container: container('a').to_string(), image: used, running: false }];
    assert_eq!(host.store.free(0, &users).expect("nothing to do").removed, []);

    // One byte too many: the kept blobs of the oldest image that is not used.
    let before = host.blobs();
    let pruned = host.store.free(1, &users).expect("free");
    assert!(pruned.removed.is_empty() && pruned.reclaimed > 0, "{pruned:?}");
    assert_eq!(host.blobs(), before - 2, "the shared layer's and its own");
    assert_eq!(names(&host).len(), 4);
    host.store
        .check(false, &mut |_| {})
        .map(|report| assert!(report.is_clean(), "{report:?}"))
        .expect("check");

    // All the blobs and one image.
    let kept: u64 = [2, 3].iter().map(|n| remote(*n).layers[1].blob.size).sum();
    let pruned = host.store.free(kept + 1, &users).expect("free");
    assert_eq!(pruned.removed.len(), 4, "{pruned:?}");
    assert_eq!(names(&host), ["app:0", "app:2", "app:3"].map(str::to_owned).into());

    let pruned = host.store.free(u64::MAX, &users).expect("free");
    assert!(pruned.reclaimed > 0);
    assert_eq!(names(&host), ["app:0"].map(str::to_owned).into());
    assert_eq!(host.layers(), 2, "the container has its layers");
}

#[test]
fn a_store_that_keeps_no_blobs_any_more_lets_go_of_them() {
    let host = host();
    let id = pull(&host.store, &remote(0), "app:0").expect("pull");
    assert_eq!(host.blobs(), 4);
    let usage = host.store.usage(&[]).expect("usage");
    let sizes = host.store.content.blobs().list().expect("list");
    assert_eq!(usage.content_size, sizes.iter().map(|(_, size)| size).sum::<u64>());
    let host = host.reopen(Options { keep_blobs: false, ..Options::default() });
    assert_eq!(host.blobs(), 2, "the documents stay");
    assert_eq!(host.store.pushable(&id).expect("pushable").manifest, None);
    let report = host.store.check(false, &mut |_| {}).expect("check");
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn nothing_is_collected_below_the_high_mark() {
    let host = host();
    pull(&host.store, &remote(0), "app:0").expect("pull");
    let marks = Watermarks { high_percent: 100, low_percent: 0 };
    assert_eq!(host.store.collect_to(marks, &[]).expect("collect"), Default::default());
    // A file system without a byte on it does not exist: everything goes.
    let marks = Watermarks { high_percent: 0, low_percent: 0 };
    host.store.collect_to(marks, &[]).expect("collect");
    assert!(names(&host).is_empty());
    assert_eq!((host.blobs(), host.layers()), (0, 0));
}

#[test]
fn many_are_judged_as_each_of_them_would_be() {
    let host = host();
    let id = |byte: u8| Digest::from_sha256([byte; 32]);
    let mut state = host.store.state();
    for n in 0..40 {
        match n % 5 {
            0 => state.catalog.add(&id(n), None, &[id(100 + n)]),
            1 => state.hold(&id(n)),
            2 => drop(state.snapshot_layers.insert(n.to_string(), vec![id(n), id(n + 150)])),
            _ => {}
        }
    }
    let all: Vec<Digest> = (0..=255).map(id).collect();
    let unwanted = state.unwanted(all.iter());
    let one_by_one: Vec<Digest> =
        all.iter().flat_map(|one| state.unwanted(std::iter::once(one))).collect();
    assert_eq!(unwanted, one_by_one);
    // 8 images with a layer each, 8 holds, 8 containers with two layers each.
    assert_eq!(all.len() - unwanted.len(), 40);
    state.snapshot_layers.clear();
}
