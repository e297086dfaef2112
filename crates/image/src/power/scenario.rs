//! What is done while the power is cut.

use std::io::Write as _;
use std::sync::Arc;

use manifest::{Descriptor, ImageIndex, media_type};
use types::container::ContainerConfig;
use types::digest::Digest;

use super::Journal;
use crate::config::{ImageConfig, RootFs};
use crate::import::ImportOptions;
use crate::ingest::Document;
use crate::layer::Form;
use crate::load::LoadOptions;
use crate::remove::RemoveOptions;
use crate::snapshot::{CommitOptions, UpperOptions};
use crate::store::{Options, Store};
use crate::stream::Compression;
use crate::testing::{Remote, RemoteLayer, container, pull, tar};

/// Something that is done with a store.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// What there is before.
    pub(super) prepare: fn(&Arc<Store>, &Journal),
    /// What is done. It must be possible again after it was done, or half done.
    pub(super) work: fn(&Arc<Store>, &Journal),
    /// How often the power is cut at least.
    pub(super) cuts: u64,
}

/// What people do every day is cut off as often as this.
const OFTEN: u64 = 300;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "pull", prepare: base, work: pulls, cuts: OFTEN },
    Scenario { name: "load", prepare: base, work: loads, cuts: OFTEN },
    Scenario { name: "commit", prepare: base_and_container, work: commits, cuts: 1 },
    Scenario { name: "build", prepare: base_and_container, work: builds, cuts: OFTEN },
    Scenario { name: "import", prepare: base, work: imports, cuts: 1 },
    Scenario { name: "rmi", prepare: several, work: removes, cuts: OFTEN },
    Scenario { name: "gc", prepare: garbage, work: collects, cuts: OFTEN },
    Scenario { name: "push", prepare: several, work: pushes, cuts: 1 },
    Scenario { name: "repair", prepare: base, work: repairs, cuts: 1 },
];

/// Long enough for files that layers share.
fn text(seed: &str) -> String {
    format!("-{}", seed.repeat(9000 / seed.len()))
}

fn remote(name: &str) -> Remote {
    let (shared, own) = (text("shared "), text(name));
    let bottom = tar(&[
        ("bin/", "d"),
        ("bin/sh", &shared),
        ("etc/", "d"),
        ("etc/os", "-debian"),
        ("empty", "-"),
        ("link", ">bin/sh"),
    ]);
    let top = tar(&[("bin/sh2", &shared), ("bin/own", &own), ("etc/.wh.os", "-")]);
    // The shared file stands in both layers under other names, and at the same place in those of
    // all images.
    let again = tar(&[("opt/", "d"), ("opt/file", &shared), ("opt/name", &format!("-{name}"))]);
    let layers = [bottom, top, again].iter().map(|tar| RemoteLayer::new(tar)).collect();
    Remote::of(name, layers)
}

fn base(store: &Arc<Store>, journal: &Journal) {
    journal.there("base:1", &pull(store, &remote("base"), "base:1").expect("pull"));
}

fn several(store: &Arc<Store>, journal: &Journal) {
    base(store, journal);
    for name in ["one:1", "two:1"] {
        journal.there(name, &pull(store, &remote(name), name).expect("pull"));
    }
    store.tag("one:1", &"other:1".parse().expect("name")).expect("tag");
}

fn garbage(store: &Arc<Store>, journal: &Journal) {
    several(store, journal);
    // A pull that was given up leaves its blobs, and half of one.
    let (ingest, gone) = (store.ingest(), remote("gone"));
    gone.bring(&ingest).expect("bring");
    let layer = RemoteLayer::new(&tar(&[("never", &text("never "))]));
    let half = &layer.bytes[..layer.bytes.len() / 2];
    ingest
        .layer(&layer.blob, &layer.diff_id, 0, &mut &half[..], &mut |_| {})
        .expect_err("it ends early");
}

fn base_and_container(store: &Arc<Store>, journal: &Journal) {
    base(store, journal);
    write_container(store, "first");
}

/// A container that has written something.
fn write_container(store: &Arc<Store>, what: &str) {
    let image = store.resolve("base:1").expect("base");
    store.prepare(&container('c'), &image).expect("prepare");
    let upper = store.root().join("containers").join(container('c').as_str()).join("upper");
    std::fs::create_dir_all(upper.join("new")).expect("mkdir");
    std::fs::write(upper.join("new/file"), text(what)).expect("write");
    std::fs::write(upper.join("small"), what).expect("write");
}

fn pulls(store: &Arc<Store>, journal: &Journal) {
    let remote = remote("new");
    // The download of the last layer breaks off and is resumed.
    let (ingest, last) = (store.ingest(), &remote.layers[2]);
    let from = ingest.partial(&last.blob.digest);
    let half = last.bytes.len() / 2;
    if !ingest.has_layer(&last.diff_id) && from < half as u64 {
        let rest = &last.bytes[usize::try_from(from).expect("size")..half];
        let broken = ingest.layer(&last.blob, &last.diff_id, from, &mut &rest[..], &mut |_| {});
        broken.expect_err("it ends early");
    }
    remote.bring(&ingest).expect("bring");
    let manifest = Descriptor::new(media_type::DOCKER_MANIFEST, remote.manifest.digest(), 1);
    let index = ImageIndex::oci(vec![manifest]).to_bytes();
    let mut image = remote.pulled("new:1");
    image.index = Some(Document { media_type: media_type::OCI_INDEX.to_owned(), bytes: index });
    journal.going("new:1");
    let id = ingest.finish(image).expect("finish");
    journal.there("new:1", &id);
    // Another image under the same name: the old one loses it, and nobody loses an image.
    let newer = remote_newer();
    journal.going("new:1");
    let id = pull(store, &newer, "new:1").expect("pull");
    journal.there("new:1", &id);
}

fn remote_newer() -> Remote {
    Remote::of("newer", remote("new").layers[..2].to_vec())
}

fn loads(store: &Arc<Store>, journal: &Journal) {
    // Two images in one archive, made by a store of its own.
    let dir = tempfile::tempdir_in(store.root().parent().expect("parent")).expect("directory");
    let mut archive = Vec::new();
    let left = crate::fault::pause();
    {
        let other = Arc::new(Store::open(dir.path(), Options::default()).expect("open"));
        for name in ["three:1", "four:1"] {
            pull(&other, &remote(name), name).expect("pull");
        }
        let names = ["three:1".to_owned(), "four:1".to_owned()];
        other.save(&names, &mut archive).expect("save");
    }
    drop(dir);
    crate::fault::resume(left);
    let loaded = store.load(&mut &archive[..], &LoadOptions::default(), &mut |_| {});
    for image in loaded.expect("load") {
        journal.there(&image.names[0], &image.id);
    }
}

fn commits(store: &Arc<Store>, journal: &Journal) {
    for name in ["snap:1", "snap:2"] {
        let reference = Some(name.parse().expect("name"));
        let options = CommitOptions { reference, ..CommitOptions::default() };
        journal.going(name);
        let id = store.commit(&container('c'), &options).expect("commit");
        journal.there(name, &id);
    }
}

fn builds(store: &Arc<Store>, journal: &Journal) {
    let base = store.config(&store.resolve("base:1").expect("base")).expect("config");
    let step = store.layer_from_tar(&mut &tar(&[("copied", &text("copied "))])[..]);
    let copied = step.expect("a COPY");
    let mut layers: Vec<Digest> = base.rootfs.diff_ids.clone();
    layers.push(copied.diff_id().clone());
    let id = container('b');
    // A build that a power cut ended has left it.
    store.remove_snapshot(&id).expect("remove");
    store.prepare_on(&id, &layers).expect("prepare");
    let upper = store.root().join("containers").join(id.as_str()).join("upper");
    std::fs::write(upper.join("made"), text("made ")).expect("write");
    let options = UpperOptions { consume: true, clamp_time: Some(1_000_000_000) };
    let ran = store.commit_upper(&id, options).expect("a RUN").expect("a layer");
    layers.push(ran.diff_id().clone());
    store.remove_snapshot(&id).expect("remove");
    let config = ImageConfig {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        config: Some(ContainerConfig::default()),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: layers },
        ..ImageConfig::default()
    };
    journal.going("built:1");
    let id = store.create_image(&config, None, &["built:1".parse().expect("name")]);
    journal.there("built:1", &id.expect("create"));
}

fn imports(store: &Arc<Store>, journal: &Journal) {
    let tar = tar(&[("imported", &text("imported ")), ("dir/", "d")]);
    let reference = Some("imported:1".parse().expect("name"));
    let options = ImportOptions { reference, ..ImportOptions::default() };
    journal.going("imported:1");
    let id = store.import(&mut &tar[..], &options).expect("import");
    journal.there("imported:1", &id);
    journal.going("again:1");
    store.tag("imported:1", &"again:1".parse().expect("name")).expect("tag");
    journal.there("again:1", &id);
}

fn removes(store: &Arc<Store>, journal: &Journal) {
    for name in ["one:1", "other:1", "two:1"] {
        journal.going(name);
        match store.remove(name, RemoveOptions::default(), &[]) {
            Ok(_) | Err(crate::Error::NoSuchImage(_)) => journal.gone(name),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

fn collects(store: &Arc<Store>, journal: &Journal) {
    store.collect_garbage().expect("collect");
    for (digest, _) in store.content.blobs().list().expect("list") {
        store.collect_blobs(&[digest].into()).expect("collect");
    }
    store.content.blobs().sweep(std::time::Duration::ZERO).expect("sweep");
    for name in ["one:1", "two:1", "other:1", "base:1"] {
        journal.going(name);
    }
    // All but the newest image, or all when there was less.
    store.free(1 << 40, &[]).expect("free");
    for name in ["one:1", "two:1", "other:1", "base:1"] {
        journal.gone(name);
    }
}

fn pushes(store: &Arc<Store>, journal: &Journal) {
    let id = store.resolve("one:1").expect("found");
    let pushable = store.pushable(&id).expect("pushable");
    let mut forms = Vec::new();
    for layer in &pushable.layers {
        let blob = pushable.layer_blob(layer, Compression::Zstd, &mut |_| {}).expect("compress");
        let form = Form { repositories: vec!["host/one".to_owned()], ..blob.form };
        store.remember_form(&layer.diff_id, form.clone()).expect("remember");
        forms.push(form);
    }
    let manifest = pushable.compose(&forms);
    let name: types::reference::Reference = "host.example/one".parse().expect("name");
    let name = name.with_digest(manifest.digest());
    store.add_repo_digest(&id, &name).expect("name");
    journal.there(&name.to_string(), &id);
}

fn repairs(store: &Arc<Store>, journal: &Journal) {
    // The disk has eaten a file of one layer and the mode of one in another.
    let remote = remote("base");
    let diff =
        |at: usize| store.root().join("layers").join(remote.layers[at].diff_id.hex()).join("diff");
    let os = diff(0).join("etc/os");
    if let Ok(mut file) = std::fs::File::options().write(true).open(&os) {
        file.write_all(b"DEBIAN").expect("write");
    }
    let _ = std::fs::remove_file(diff(1).join("etc/os"));
    let report = store.check(true, &mut |_| {}).expect("check");
    assert!(report.is_solved(), "{report:#?}");
    let id = store.resolve("base:1").expect("still there");
    journal.there("base:1", &id);
}
