use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use manifest::{ImageIndex, media_type};

use super::*;
use crate::model::ListFilter;
use crate::remove::RemoveOptions;
use crate::store::Options;
use crate::testing::{Host, Remote, RemoteLayer, gzip, pull, tar};

fn app() -> Remote {
    Remote::new("app", &[&[("etc/", "d"), ("etc/os", "-debian")], &[("app", "-text")]])
}

fn take(ingest: &Ingest, layer: &RemoteLayer, bytes: &[u8]) -> Result<Vec<LayerStep>> {
    let mut steps = Vec::new();
    let from = ingest.partial(&layer.blob.digest);
    let (mut rest, mut tell) = (bytes, |step| steps.push(step));
    ingest.layer(&layer.blob, &layer.diff_id, from, &mut rest, &mut tell)?;
    Ok(steps)
}

/// Gives some bytes, and then fails.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            n => Ok(n),
        }
    }
}

/// Never ends.
struct Endless<'a>(&'a [u8], u64);

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => {
                buffer.fill(0);
                self.1 += buffer.len() as u64;
                Ok(buffer.len())
            }
            n => Ok(n),
        }
    }
}

#[test]
fn a_pulled_image_has_its_names_documents_and_blobs() {
    let host = Host::new();
    let remote = app();
    let id = pull(&host.store, &remote, "me/app:1").expect("pull");
    assert_eq!(id, remote.id());
    let digest = remote.manifest.digest();
    assert_eq!(host.store.resolve("me/app:1").expect("tag"), id);
    assert_eq!(host.store.resolve(&format!("me/app@{digest}")).expect("digest"), id);
    let inspect = host.store.inspect("me/app:1").expect("inspect");
    assert_eq!(inspect.repo_tags, ["me/app:1"]);
    assert_eq!(inspect.repo_digests, [format!("me/app@{digest}")]);
    let list = host.store.list(&ListFilter::default()).expect("list");
    assert_eq!(list[0].repo_digests, [format!("me/app@{digest}")]);
    // The configuration, the manifest and two layers.
    assert_eq!((host.blobs(), host.layers()), (4, 2));
    assert!(host.leftovers().is_empty());

    let host = host.reopen(Options { keep_interrupted: Duration::ZERO, ..Options::default() });
    assert_eq!((host.blobs(), host.layers()), (4, 2), "what is referred to stays");
    let ingest = host.store.ingest();
    assert_eq!(
        ingest.diff_id_of(&remote.layers[1].blob.digest),
        Some(remote.layers[1].diff_id.clone())
    );
    drop(ingest);

    host.store.remove("me/app:1", RemoveOptions::default(), &[]).expect("rmi");
    assert_eq!((host.blobs(), host.layers()), (0, 0));
    assert!(host.leftovers().is_empty());
}

#[test]
fn the_index_that_an_image_was_chosen_from_is_kept() {
    let host = Host::new();
    let remote = app();
    let ingest = host.store.ingest();
    remote.bring(&ingest).expect("bring");
    let manifest = Descriptor::new(
        media_type::DOCKER_MANIFEST,
        remote.manifest.digest(),
        remote.manifest.bytes.len() as u64,
    );
    let index = Document {
        media_type: media_type::OCI_INDEX.to_owned(),
        bytes: ImageIndex::oci(vec![manifest]).to_bytes(),
    };
    let mut image = remote.pulled("app:1");
    image.repo_digests = vec![image.names[0].with_digest(index.digest())];
    image.index = Some(index.clone());
    let id = ingest.finish(image).expect("finish");
    assert_eq!(host.store.resolve(&format!("app@{}", index.digest())).expect("found"), id);
    let host = host.reopen(Options { keep_interrupted: Duration::ZERO, ..Options::default() });
    assert_eq!(host.blobs(), 5);
    assert_eq!(host.store.ingest().document(&index.digest()), Some(index.bytes));
}

#[test]
fn nothing_is_visible_or_stays_of_a_pull_that_is_given_up() {
    let host = Host::new();
    let remote = app();
    let ingest = host.store.ingest();
    remote.bring(&ingest).expect("bring");
    assert_eq!(host.layers(), 2);
    assert!(host.store.list(&ListFilter::default()).expect("list").is_empty());
    drop(ingest);
    assert_eq!(host.layers(), 0, "no image has got them");
    // The blobs are there for the next try, which needs no network.
    let ingest = host.store.ingest();
    for layer in &remote.layers {
        assert_eq!(ingest.partial(&layer.blob.digest), layer.blob.size);
        let steps = take(&ingest, layer, b"").expect("from the kept blob");
        assert_eq!(steps.last(), Some(&LayerStep::Unpacked));
    }
    ingest.finish(remote.pulled("app:1")).expect("finish");
    assert_eq!(host.layers(), 2);
    // After a while it is garbage.
    host.store.remove("app:1", RemoveOptions::default(), &[]).expect("rmi");
    let ingest = host.store.ingest();
    remote.bring(&ingest).expect("bring");
    drop(ingest);
    assert_eq!(host.blobs(), 2);
    let host = host.reopen(Options { keep_interrupted: Duration::ZERO, ..Options::default() });
    assert_eq!(host.blobs(), 0);
}

#[test]
fn collecting_never_takes_what_a_pull_has_looked_up() {
    let host = Host::with(Options { keep_interrupted: Duration::ZERO, ..Options::default() });
    let remote = app();
    pull(&host.store, &remote, "app:1").expect("pull");
    let ingest = host.store.ingest();
    assert!(ingest.has_layer(&remote.layers[0].diff_id));
    assert_eq!(ingest.has_blob(&remote.layers[1].blob.digest), Some(remote.layers[1].blob.size));
    host.store.remove("app:1", RemoveOptions::default(), &[]).expect("rmi");
    host.store.collect_garbage().expect("collect");
    assert_eq!((host.blobs(), host.layers()), (1, 1));
    remote.bring(&ingest).expect("bring the rest");
    host.store.collect_garbage().expect("collect");
    ingest.finish(remote.pulled("app:2")).expect("finish");
    let collected = host.store.collect_garbage().expect("collect");
    assert_eq!(collected, crate::Collected::default());
    assert_eq!(host.layers(), 2);
}

#[test]
fn an_interrupted_download_goes_on_where_it_ended() {
    for options in [Options::default(), Options { keep_blobs: false, ..Options::default() }] {
        let keeps = options.keep_blobs;
        let host = Host::with(options.clone());
        let text: String = (0..40_000).map(|n| format!("{n} ")).collect();
        let layer = RemoteLayer::new(&tar(&[("file", &format!("-{text}"))]));
        let half = layer.bytes.len() / 2;
        let ingest = host.store.ingest();
        let mut broken = Broken(&layer.bytes[..half]);
        let error = ingest
            .layer(&layer.blob, &layer.diff_id, 0, &mut broken, &mut |_| {})
            .expect_err("reset");
        assert!(
            matches!(&error, Error::Input(error) if error.kind() == io::ErrorKind::ConnectionReset),
            "{error}"
        );
        assert_eq!(ingest.partial(&layer.blob.digest), half as u64);
        // The daemon is started again meanwhile.
        drop(ingest);
        let host = host.reopen(options);
        let ingest = host.store.ingest();
        assert_eq!(ingest.partial(&layer.blob.digest), half as u64);
        let beyond = ingest.layer(
            &layer.blob,
            &layer.diff_id,
            half as u64 + 1,
            &mut &layer.bytes[half + 1..],
            &mut |_| {},
        );
        assert!(matches!(beyond, Err(Error::Invalid(_))));
        let steps = take(&ingest, &layer, &layer.bytes[half..]).expect("the rest");
        let total = layer.blob.size;
        assert!(steps.contains(&LayerStep::Read { done: total, total }), "{steps:?}");
        assert!(ingest.has_layer(&layer.diff_id));
        assert_eq!(ingest.has_blob(&layer.blob.digest).is_some(), keeps);
        assert!(host.leftovers().is_empty());
    }
}

#[test]
fn a_server_that_cannot_resume_begins_again() {
    let host = Host::new();
    let layer = app().layers.remove(0);
    let ingest = host.store.ingest();
    let mut broken = Broken(&layer.bytes[..50]);
    ingest.layer(&layer.blob, &layer.diff_id, 0, &mut broken, &mut |_| {}).expect_err("reset");
    ingest
        .layer(&layer.blob, &layer.diff_id, 0, &mut &layer.bytes[..], &mut |_| {})
        .expect("from the beginning");
    host.store.content.blobs().verify(&layer.blob.digest).expect("fine");
}

#[test]
fn a_body_that_ends_early_is_an_interrupted_one() {
    let host = Host::new();
    let layer = app().layers.remove(0);
    let ingest = host.store.ingest();
    let error = take(&ingest, &layer, &layer.bytes[..70]).expect_err("short");
    assert!(matches!(error, Error::Input(_)), "{error}");
    assert!(error.to_string().contains("70 of"), "{error}");
    assert_eq!(ingest.partial(&layer.blob.digest), 70);
    // Zeros where the file should go on: as if the disk had lost them.
    let upload = host.store.content.blobs().begin(layer.blob.digest.as_str());
    let mut upload = upload.expect("resume");
    io::Write::write_all(&mut upload, &[0; 5]).expect("write");
    upload.keep();
    let error = take(&ingest, &layer, &layer.bytes[75..]).expect_err("wrong bytes in the middle");
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    assert_eq!(ingest.partial(&layer.blob.digest), 0, "a wrong one begins again");
    take(&ingest, &layer, &layer.bytes).expect("fine");
}

#[test]
fn what_has_the_wrong_digest_leaves_nothing() {
    let host = Host::new();
    let ingest = host.store.ingest();
    let good = app().layers.remove(0);
    let other = RemoteLayer::new(&tar(&[("other", "-text")]));
    let mut renamed = other.clone();
    renamed.blob.digest.clone_from(&good.blob.digest);
    let mut noise = other.clone();
    noise.bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    let mut other_tar = other.clone();
    other_tar.diff_id.clone_from(&good.diff_id);
    for (what, layer) in [("renamed", renamed), ("noise", noise), ("other tar", other_tar)] {
        let error = take(&ingest, &layer, &layer.bytes).expect_err(what);
        assert!(matches!(error, Error::WrongDigest { .. }), "{what}: {error}");
        assert_eq!((host.blobs(), host.layers()), (0, 0), "{what}");
        assert!(host.leftovers().is_empty(), "{what}");
    }
}

#[test]
fn bodies_without_end_and_lies_about_sizes_are_cut() {
    let host = Host::with(Options { max_layer_bytes: 1 << 20, ..Options::default() });
    let ingest = host.store.ingest();
    let layer = app().layers.remove(0);
    let mut endless = Endless(&layer.bytes, 0);
    let error = ingest.layer(&layer.blob, &layer.diff_id, 0, &mut endless, &mut |_| {});
    let error = error.expect_err("endless");
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(endless.1 <= 1, "read {} bytes too many", endless.1);

    let mut huge = layer.clone();
    huge.blob.size = u64::MAX;
    let mut never = Endless(b"", 0);
    let error = ingest.layer(&huge.blob, &huge.diff_id, 0, &mut never, &mut |_| {});
    assert!(matches!(error, Err(Error::TooLarge { .. })));
    assert_eq!(never.1, 0, "nothing is read of what is too large");

    let mut short = layer.clone();
    short.blob.size -= 1;
    let error = take(&ingest, &short, &short.bytes).expect_err("longer than announced");
    assert!(matches!(error, Error::TooLarge { .. } | Error::WrongDigest { .. }), "{error}");
    assert_eq!((host.blobs(), host.layers()), (0, 0));
    assert!(host.leftovers().is_empty());
}

#[test]
fn a_bomb_is_bounded() {
    let host = Host::with(Options { max_layer_bytes: 4 << 20, ..Options::default() });
    let ingest = host.store.ingest();
    let zeros = vec![0u8; 32 << 20];
    let mut bomb = RemoteLayer::new(&zeros);
    let error = take(&ingest, &bomb, &bomb.bytes).expect_err("bomb");
    assert!(matches!(error, Error::TooLarge { limit: 4_194_304, .. }), "{error}");
    // A bomb in a bomb is one layer of wrapping that is no tar.
    bomb.bytes = gzip(&bomb.bytes);
    bomb.blob = Descriptor::new("", sha256(&bomb.bytes), bomb.bytes.len() as u64);
    let error = take(&ingest, &bomb, &bomb.bytes).expect_err("nested");
    assert!(matches!(error, Error::BadTar(_) | Error::WrongDigest { .. }), "{error}");
    assert_eq!((host.blobs(), host.layers()), (0, 0));
    assert!(host.leftovers().is_empty());
}

#[test]
fn manifests_that_lie_are_refused() {
    let host = Host::new();
    let remote = app();
    let refused = |change: &dyn Fn(&mut PulledImage)| {
        let ingest = host.store.ingest();
        remote.bring(&ingest).expect("bring");
        let mut image = remote.pulled("app:1");
        change(&mut image);
        let error = ingest.finish(image).expect_err("refused").to_string();
        assert!(host.store.list(&ListFilter::default()).expect("list").is_empty());
        error
    };
    assert!(refused(&|image| image.config.push(b' ')).contains("has the digest"));
    assert!(refused(&|image| image.manifest.bytes = b"{}".to_vec()).contains("manifest"));
    assert!(refused(&|image| image.manifest.bytes = b"no JSON".to_vec()).contains("manifest"));
    assert!(refused(&|image| image.config = vec![0; 9 << 20]).contains("limit"));
    let change = |image: &mut PulledImage, change: &dyn Fn(&mut ImageManifest)| {
        let mut manifest: ImageManifest =
            serde_json::from_slice(&image.manifest.bytes).expect("manifest");
        change(&mut manifest);
        image.manifest.bytes = manifest.to_bytes();
    };
    let fewer = refused(&|image| {
        change(image, &|manifest| {
            manifest.layers.pop();
        });
    });
    assert!(fewer.contains("names 2 layers, its manifest 1"), "{fewer}");
    let thousands = refused(&|image| {
        change(image, &|manifest| manifest.layers = vec![manifest.layers[0].clone(); 5000]);
    });
    assert!(thousands.contains("5000 layers"), "{thousands}");
    // An index, let alone one that names itself, is no manifest.
    let index = refused(&|image| {
        image.manifest.media_type = media_type::OCI_INDEX.to_owned();
        let this = Descriptor::new(media_type::OCI_INDEX, image.manifest.digest(), 1);
        image.manifest.bytes = ImageIndex::oci(vec![this]).to_bytes();
    });
    assert!(index.contains("index"), "{index}");
    // A layer that never came.
    let missing = host.store.ingest().finish(Remote::new("x", &[&[("x", "-x")]]).pulled("x:1"));
    assert!(matches!(missing, Err(Error::MissingLayer(_))));
}

#[test]
fn layers_come_from_many_threads_and_pulls_at_once() {
    let host = Host::new();
    let specs: Vec<Vec<(String, String)>> = (0..8)
        .map(|n| (0..20).map(|m| (format!("f{n}-{m}"), format!("-{n} {m} text"))).collect())
        .collect();
    let layers: Vec<RemoteLayer> = specs
        .iter()
        .map(|spec| {
            let spec: Vec<(&str, &str)> =
                spec.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            RemoteLayer::new(&tar(&spec))
        })
        .collect();
    // Three images that share most layers, pulled at once, each with its layers at once, while
    // somebody collects and removes all the time.
    let remotes: Vec<Remote> =
        (0..3).map(|n| Remote::of(&format!("image {n}"), layers[n..n + 6].to_vec())).collect();
    let left = AtomicUsize::new(remotes.len());
    std::thread::scope(|scope| {
        for (n, remote) in remotes.iter().enumerate() {
            let (store, left) = (&host.store, &left);
            scope.spawn(move || {
                let ingest = store.ingest();
                std::thread::scope(|scope| {
                    for layer in &remote.layers {
                        let ingest = &ingest;
                        scope.spawn(move || {
                            let mut input = &layer.bytes[..];
                            ingest
                                .layer(&layer.blob, &layer.diff_id, 0, &mut input, &mut |_| {})
                                .expect("layer");
                        });
                    }
                });
                ingest.finish(remote.pulled(&format!("image:{n}"))).expect("finish");
                left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while left.load(Ordering::SeqCst) > 0 {
            host.store.collect_garbage().expect("collect");
            let _ = host.store.remove("image:1", RemoveOptions::default(), &[]);
        }
    });
    for n in [0, 2] {
        let id = host.store.resolve(&format!("image:{n}")).expect("there");
        host.store.save(&[id.to_string()], &mut io::sink()).expect("complete");
    }
    assert!(host.leftovers().is_empty());
}

#[test]
fn a_damaged_kept_blob_is_noticed_and_fetched_again() {
    let host = Host::new();
    let remote = app();
    let ingest = host.store.ingest();
    remote.bring(&ingest).expect("bring");
    drop(ingest);
    let layer = &remote.layers[0];
    let path = host.dir.path().join("content/blobs/sha256").join(layer.blob.digest.hex());
    let mut bytes = std::fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("damage");
    let ingest = host.store.ingest();
    let error = take(&ingest, layer, b"").expect_err("damaged");
    assert!(matches!(error, Error::DamagedRecord { .. }), "{error}");
    assert_eq!(ingest.partial(&layer.blob.digest), 0);
    take(&ingest, layer, &layer.bytes).expect("fetched");
}

#[test]
fn odd_configurations_are_refused_or_answered_for() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(500), "]".repeat(500));
    let odd = [
        "",
        "null",
        "[]",
        "\"x\"",
        "{}",
        r#"{"rootfs":null}"#,
        r#"{"rootfs":{"type":"layers","diff_ids":null}}"#,
        r#"{"rootfs":{"type":"x","diff_ids":[]},"history":[{},{"empty_layer":true}]}"#,
        r#"{"rootfs":{"type":"layers"},"created":"0000-00-00T99:99:99Z"}"#,
        r#"{"rootfs":{"type":"layers"},"created":"9999-12-31T23:59:59Z","os":null}"#,
        r#"{"rootfs":{"type":"layers"},"config":{"Labels":{"":""},"Env":["","=","a"]}}"#,
        r#"{"rootfs":{"type":"layers","diff_ids":["sha256:zz"]}}"#,
        r#"{"rootfs":{"type":"layers"},"rootfs":{"type":"layers"}}"#,
        &deep,
    ];
    let mut taken = 0;
    for text in odd {
        let host = Host::new();
        let mut remote = Remote::of("x", Vec::new());
        remote.config = text.as_bytes().to_vec();
        let config = Descriptor::new(media_type::DOCKER_CONFIG, remote.id(), text.len() as u64);
        remote.manifest.bytes = ImageManifest::docker(config, Vec::new()).to_bytes();
        let Ok(id) = host.store.ingest().finish(remote.pulled("app:1")) else {
            assert!(host.store.list(&ListFilter::default()).expect("list").is_empty());
            continue;
        };
        taken += 1;
        let name = id.to_string();
        host.store.inspect(&name).expect(text);
        assert_eq!(host.store.list(&ListFilter::default()).expect(text).len(), 1);
        // Steps may name more layers than there are.
        let _ = host.store.history(&name);
        assert_eq!(host.store.pushable(&id).expect(text).manifest, Some(remote.manifest));
        host.store.save(&[name], &mut io::sink()).expect(text);
        assert!(host.store.check(false, &mut |_| {}).expect(text).is_clean(), "{text}");
    }
    assert!((3..odd.len()).contains(&taken), "{taken} were taken");
}
