use std::io::{Read as _, Write as _};

use super::*;
use crate::stream::sha256;

fn blobs() -> (Blobs, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("directory");
    (Blobs::open(dir.path()).expect("open"), dir)
}

fn partials(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir.join(PARTIAL))
        .expect("list")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_blob_is_what_its_digest_says() {
    let (blobs, dir) = blobs();
    let digest = blobs.put(b"hello").expect("put");
    assert_eq!(digest, sha256(b"hello"));
    assert_eq!(blobs.put(b"hello").expect("again"), digest);
    assert_eq!(blobs.read(&digest, 5).expect("read"), b"hello");
    assert!(matches!(blobs.read(&digest, 4), Err(Error::TooLarge { limit: 4, .. })));
    assert_eq!(blobs.size(&digest).expect("size"), Some(5));
    assert_eq!(blobs.list().expect("list"), [(digest.clone(), 5)]);
    blobs.verify(&digest).expect("fine");
    std::fs::write(dir.path().join(place(&digest)), b"jello").expect("damage");
    assert!(matches!(blobs.verify(&digest), Err(Error::DamagedRecord { .. })));
    assert!(matches!(blobs.read(&digest, 5), Err(Error::DamagedRecord { .. })));
    blobs.put(b"hello").expect("put over the damaged one");
    blobs.verify(&digest).expect("healed");
    blobs.remove(&digest).expect("remove");
    blobs.remove(&digest).expect("fine when it is gone");
    assert!(matches!(blobs.open_blob(&digest), Err(Error::NoSuchBlob(_))));
    assert_eq!(blobs.size(&digest).expect("size"), None);
    assert!(partials(dir.path()).is_empty());
}

#[test]
fn an_upload_is_resumed_by_its_name_and_verified_as_a_whole() {
    let (blobs, dir) = blobs();
    let mut upload = blobs.begin("one").expect("begin");
    upload.write_all(b"hel").expect("write");
    assert!(matches!(blobs.begin("one"), Err(Error::UploadBusy(_))), "it is being written");
    upload.keep();
    assert_eq!(blobs.partial("one").expect("partial"), Some(3));
    let mut upload = blobs.begin("one").expect("resume");
    assert_eq!(upload.len(), 3);
    upload.write_all(b"lo").expect("write");
    let mut all = Vec::new();
    upload.reader().expect("reader").read_to_end(&mut all).expect("read");
    assert_eq!(all, b"hello");
    upload.write_all(b"!").expect("writing goes on at the end");
    upload.truncate(5).expect("truncate");
    assert_eq!(upload.commit(&sha256(b"hello")).expect("commit"), 5);
    assert_eq!(blobs.read(&sha256(b"hello"), 5).expect("read"), b"hello");
    assert!(partials(dir.path()).is_empty());
}

#[test]
fn a_wrong_upload_leaves_nothing() {
    let (blobs, dir) = blobs();
    for name in ["fresh", "resumed"] {
        let mut upload = blobs.begin(name).expect("begin");
        if name == "resumed" {
            upload.write_all(b"je").expect("write");
            upload.keep();
            upload = blobs.begin(name).expect("begin");
        }
        upload.write_all(b"llo").expect("write");
        let error = upload.commit(&sha256(b"hello")).expect_err("wrong");
        assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
        assert!(partials(dir.path()).is_empty());
        assert!(blobs.list().expect("list").is_empty());
    }
}

#[test]
fn sha512_is_a_digest_too() {
    let (blobs, _dir) = blobs();
    let digest: Digest = "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7\
                          2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043"
        .parse()
        .expect("digest");
    blobs.put_as(&digest, b"hello").expect("put");
    assert_eq!(blobs.read(&digest, 5).expect("read"), b"hello");
    assert_eq!(blobs.list().expect("list"), [(digest.clone(), 5)]);
    assert!(matches!(blobs.put_as(&digest, b"jello"), Err(Error::WrongDigest { .. })));
}

#[test]
fn only_plain_names_are_uploads() {
    let (blobs, _dir) = blobs();
    for name in ["", ".hidden", "a/b", "..", "a b", "é", &"a".repeat(201)] {
        assert!(matches!(blobs.begin(name), Err(Error::Invalid(_))), "{name:?}");
    }
    blobs.begin(sha256(b"x").as_str()).expect("a digest is a name");
}

#[test]
fn sweeping_leaves_what_is_young_or_being_written() {
    let (blobs, dir) = blobs();
    blobs.begin("young").expect("begin").keep();
    let old = File::create(dir.path().join("partial/old")).expect("create");
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    old.set_modified(long_ago).expect("age");
    File::create(dir.path().join("partial/put-1-1-1")).expect("create");
    let busy = blobs.begin("busy").expect("begin");
    File::open(dir.path().join("partial/busy"))
        .and_then(|file| file.set_modified(long_ago))
        .expect("age");
    let mut gone = blobs.sweep(Duration::from_secs(3600)).expect("sweep");
    gone.sort();
    assert_eq!(gone, ["old", "put-1-1-1"]);
    assert_eq!(partials(dir.path()), ["busy", "young"]);
    drop(busy);
}

#[test]
fn many_threads_bring_the_same_blobs_through_stores_of_their_own() {
    let dir = tempfile::tempdir().expect("directory");
    let texts: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; 10_000]).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let blobs = Blobs::open(dir.path()).expect("open");
            while blobs.list().expect("list").len() < texts.len() {
                blobs.sweep(Duration::from_secs(3600)).expect("sweep");
            }
        });
        for _ in 0..4 {
            scope.spawn(|| {
                let blobs = Blobs::open(dir.path()).expect("open");
                for text in &texts {
                    blobs.put(text).expect("put");
                    let mut upload = loop {
                        match blobs.begin("shared") {
                            Err(Error::UploadBusy(_)) => std::thread::yield_now(),
                            other => break other.expect("begin"),
                        }
                    };
                    assert!(upload.is_empty(), "a finished upload is no partial");
                    upload.write_all(text).expect("write");
                    upload.commit(&sha256(text)).expect("commit");
                }
            });
        }
    });
    let blobs = Blobs::open(dir.path()).expect("open");
    blobs.sweep(Duration::ZERO).expect("sweep");
    assert_eq!(blobs.list().expect("list").len(), 20);
    for (digest, _) in blobs.list().expect("list") {
        blobs.verify(&digest).expect("fine");
    }
    assert!(partials(dir.path()).is_empty());
}
