use std::collections::BTreeSet;
use std::sync::Arc;

use image::{Options, Store};
use types::Timestamp;

use super::*;
use crate::copy::of_bytes;
use crate::dockerfile::Sharing;

struct Shop {
    _dir: tempfile::TempDir,
    root: PathBuf,
    store: Arc<Store>,
}

impl Shop {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().to_owned();
        let store = Arc::new(Store::open(&root, Options::default()).expect("a store"));
        Self { _dir: dir, root, store }
    }

    fn cache(&self) -> Cache {
        Cache::open(&self.root.join("build"), &self.store).expect("a cache")
    }
}

fn layer(store: &Arc<Store>, text: &str) -> Arc<HeldLayer> {
    let mut tar = Vec::new();
    let mut header = [0_u8; 512];
    header[..text.len()].copy_from_slice(text.as_bytes());
    header[100..108].copy_from_slice(b"0000755\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(b"00000000000\0");
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    header[156] = b'5';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend(header);
    tar.extend([0; 1024]);
    Arc::new(store.layer_from_tar(&mut &tar[..]).expect("a layer"))
}

#[test]
fn privileged_records_and_their_layers_survive_a_restart() {
    let shop = Shop::new();
    let (with, without) = (of_bytes(b"with"), of_bytes(b"without"));
    let made = layer(&shop.store, "dir");
    let diff_id = made.diff_id().clone();
    {
        let cache = shop.cache();
        cache.add(&with, None, Some(made), Timestamp(7), "RUN x");
        cache.add(&without, Some(&with), None, Timestamp(8), "ENV y");
        cache.add_content(of_bytes(b"tree"), "dir:1".to_owned());
        cache.save(&shop.store).expect("saved");
    }
    let Shop { _dir: dir, root, store } = shop;
    drop(store);
    let pinned = pinned(&root.join("build"));
    assert_eq!(pinned, std::slice::from_ref(&diff_id));
    let options = Options { pinned, ..Options::default() };
    let store = Arc::new(Store::open(&root, options).expect("a store"));
    let shop = Shop { _dir: dir, root, store };
    let cache = shop.cache();
    shop.store.unpin();
    shop.store.collect_garbage().expect("collected");
    let hit = cache.find(&with).expect("known");
    assert_eq!(hit.created, Timestamp(7));
    assert_eq!(hit.layer.expect("a layer").diff_id(), &diff_id);
    assert!(cache.find(&without).expect("known").layer.is_none());
    assert_eq!(cache.content(&of_bytes(b"tree")).as_deref(), Some("dir:1"));
    assert!(cache.find(&of_bytes(b"other")).is_none());

    let pruned = cache.prune(&shop.store, &BTreeSet::new(), &|r| r.description == "RUN x");
    assert_eq!(pruned.expect("pruned").removed, [with.hex()]);
    assert!(cache.find(&with).is_none());
    shop.store.collect_garbage().expect("collected");
    assert!(shop.store.held_layer(&diff_id).is_none());
}

#[test]
fn a_damaged_file_is_an_empty_cache() {
    let shop = Shop::new();
    std::fs::create_dir_all(shop.root.join("build/tmp-left/x")).expect("made");
    std::fs::write(shop.root.join("build/cache.json"), b"{\"steps\":[{").expect("written");
    let cache = shop.cache();
    assert!(cache.find(&of_bytes(b"x")).is_none());
    assert!(!shop.root.join("build/tmp-left").exists());
    assert!(pinned(&shop.root.join("build")).is_empty());
    assert!(pinned(&shop.root.join("nowhere")).is_empty());
}

#[test]
fn privileged_cache_mounts_are_shared_as_they_say() {
    let shop = Shop::new();
    let cache = shop.cache();
    let never = || false;
    let attributes = (0o750, 1, 2);
    let mount = |id: &str, sharing| cache.mount(id, sharing, attributes, &never);
    let first = mount("id", Sharing::Shared).expect("made").expect("mine");
    assert!(first.is_new());
    let second = mount("id", Sharing::Shared).expect("made").expect("mine");
    assert!(!second.is_new());
    assert_eq!(first.path(), second.path());
    let stat = std::fs::metadata(first.path()).expect("there");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o750, 1, 2));
    let own = mount("id", Sharing::Private).expect("made").expect("mine");
    assert_ne!(own.path(), first.path());
    let waits = cache.mount("id", Sharing::Locked, attributes, &|| true).expect("asked");
    assert!(waits.is_none(), "somebody has it");
    drop((first, second));
    let alone = mount("id", Sharing::Locked).expect("made").expect("mine");
    assert!(!alone.is_new());
    let all = |_: &Record| true;
    let kept = cache.prune(&shop.store, &BTreeSet::new(), &all).expect("pruned");
    assert_eq!(kept.removed, Vec::<String>::new());
    drop((alone, own));
    let pruned = cache.prune(&shop.store, &BTreeSet::new(), &all).expect("pruned");
    assert_eq!(pruned.removed.len(), 2);
}
