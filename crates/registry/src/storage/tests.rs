use std::fs;
use std::io::Write;

use super::*;
use crate::manifest::{self, Manifest};
use types::digest::Digest;

const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

fn storage() -> (tempfile::TempDir, Storage) {
    let folder = tempfile::tempdir().expect("a directory");
    let storage = Storage::open(folder.path()).expect("a storage");
    (folder, storage)
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Uploads a blob into a repository.
fn blob(storage: &Storage, repository: &str, content: &[u8]) -> Digest {
    let digest = digest_of(content);
    let mut upload = storage.blobs().begin("test").expect("an upload");
    upload.write_all(content).expect("a write");
    storage.repository(&name(repository)).commit(upload, &digest).expect("a blob");
    digest
}

fn digest_of(content: &[u8]) -> Digest {
    use sha2::{Digest as _, Sha256};
    Digest::from_sha256(Sha256::digest(content).into())
}

fn image(config: &Digest, size: usize, extra: &str) -> (Manifest, Vec<u8>, Digest) {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{KIND}","config":{{"mediaType":"x","digest":"{config}","size":{size}}},"layers":[]{extra}}}"#
    );
    let parsed = manifest::parse(Some(KIND), text.as_bytes()).expect("a manifest");
    let digest = digest_of(text.as_bytes());
    (parsed, text.into_bytes(), digest)
}

fn tag(text: &str) -> crate::route::Tag {
    text.parse().expect("a tag")
}

#[test]
fn blobs_belong_to_repositories_and_are_stored_once() {
    let (_folder, storage) = storage();
    let digest = blob(&storage, "a", b"content");
    let (a, b) = (name("a"), name("b/c"));
    assert_eq!(storage.repository(&a).blob(&digest).expect("a look"), Some(7));
    assert_eq!(storage.repository(&b).blob(&digest).expect("a look"), None);
    assert_eq!(storage.repository(&b).link(&digest).expect("a link"), Some(7));
    assert_eq!(storage.repository(&b).blob(&digest).expect("a look"), Some(7));
    assert!(storage.repository(&a).unlink(&digest).expect("an unlink"));
    assert!(!storage.repository(&a).unlink(&digest).expect("an unlink"));
    assert_eq!(storage.repository(&b).blob(&digest).expect("a look"), Some(7));
    assert_eq!(storage.repository(&b).link(&digest_of(b"none")).expect("a link"), None);
}

#[test]
fn a_manifest_is_put_after_what_it_needs_and_found_by_tag() {
    let (_folder, storage) = storage();
    let a = name("a");
    let repository = storage.repository(&a);
    let absent = digest_of(b"absent");
    let (parsed, bytes, digest) = image(&absent, 6, "");
    let refused = repository.put_manifest(&parsed, &digest, &bytes, None, true);
    assert!(matches!(refused, Err(PutError::Missing(missing)) if missing == [absent]));
    assert!(repository.manifest(&digest).expect("a look").is_none());

    let config = blob(&storage, "a", b"config");
    let (parsed, bytes, digest) = image(&config, 5, "");
    let refused = repository.put_manifest(&parsed, &digest, &bytes, None, true);
    assert!(matches!(refused, Err(PutError::Size { said: 5, found: 6, .. })));

    let (parsed, bytes, digest) = image(&config, 6, "");
    repository.put_manifest(&parsed, &digest, &bytes, Some(&tag("v1")), true).expect("a put");
    assert_eq!(repository.resolve(&tag("v1")).expect("a look"), Some(digest.clone()));
    let stored = repository.manifest(&digest).expect("a look").expect("a manifest");
    assert_eq!((stored.media_type.as_str(), stored.bytes), (KIND, bytes));
    assert_eq!(storage.catalog().expect("a list"), std::slice::from_ref(&a));

    assert!(repository.delete_manifest(&digest).expect("a removal"));
    assert_eq!(repository.tags().expect("a list"), []);
    assert!(storage.catalog().expect("a list").is_empty());
    assert!(repository.exists());
}

#[test]
fn referrers_are_found_without_their_subject_and_go_with_themselves() {
    let (_folder, storage) = storage();
    let a = name("a");
    let repository = storage.repository(&a);
    let config = blob(&storage, "a", b"{}");
    let subject = digest_of(b"a subject that is not here");
    let extra = format!(
        r#","artifactType":"t/x","annotations":{{"k":"v"}},"subject":{{"mediaType":"{KIND}","digest":"{subject}","size":1}}"#
    );
    let (parsed, bytes, digest) = image(&config, 2, &extra);
    repository.put_manifest(&parsed, &digest, &bytes, None, true).expect("a put");
    let found = repository.referrers(&subject).expect("a list");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["digest"], digest.as_str());
    assert_eq!(found[0]["artifactType"], "t/x");
    assert_eq!(found[0]["annotations"]["k"], "v");
    assert_eq!(found[0]["size"], bytes.len());
    assert!(repository.delete_manifest(&digest).expect("a removal"));
    assert!(repository.referrers(&subject).expect("a list").is_empty());
}

#[test]
fn names_of_repositories_are_sorted_as_names() {
    let (_folder, storage) = storage();
    for repository in ["a/b", "a", "a-b", "a/b/c", "b"] {
        let config = blob(&storage, repository, b"config");
        let (parsed, bytes, digest) = image(&config, 6, "");
        storage
            .repository(&name(repository))
            .put_manifest(&parsed, &digest, &bytes, None, true)
            .expect("a put");
    }
    blob(&storage, "blobs-only", b"x");
    let names: Vec<String> =
        storage.catalog().expect("a list").iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "a-b", "a/b", "a/b/c", "b"]);
}

#[test]
fn unfinished_files_are_not_seen_and_damaged_ones_are_named() {
    let (folder, storage) = storage();
    let a = name("a");
    let repository = storage.repository(&a);
    let config = blob(&storage, "a", b"config");
    let (parsed, bytes, digest) = image(&config, 6, "");
    repository.put_manifest(&parsed, &digest, &bytes, Some(&tag("v1")), true).expect("a put");
    let tags = folder.path().join("repositories/a/_tags");
    fs::write(tags.join(".tmp-1"), "").expect("a file");
    assert_eq!(repository.tags().expect("a list"), [tag("v1")]);
    fs::write(tags.join("v1"), "nonsense").expect("a file");
    let error = repository.resolve(&tag("v1")).expect_err("damage").to_string();
    assert!(error.contains("_tags/v1 is damaged"), "{error}");
    // The content's digest is looked at whenever a manifest is read.
    let path = folder.path().join("blobs/sha256").join(digest.hex());
    fs::write(path, "other").expect("a file");
    assert!(repository.manifest(&digest).is_err());
}

#[test]
fn one_who_wants_to_be_alone_waits_for_those_who_share_and_is_not_passed() {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;
    let (folder, storage) = storage();
    let shared = storage.shared().expect("a gate");
    let second = storage.shared().expect("those who share do not wait");
    let (sender, receiver) = channel();
    let root = folder.path().to_owned();
    let alone = std::thread::spawn({
        let sender = sender.clone();
        move || {
            let storage = Storage::open(&root).expect("a storage");
            let _gate = storage.alone().expect("a gate");
            sender.send("alone").expect("a listener");
        }
    });
    let waits = receiver.recv_timeout(Duration::from_millis(50));
    assert_eq!(waits, Err(RecvTimeoutError::Timeout));
    // One who comes now waits behind it.
    let root = folder.path().to_owned();
    let late = std::thread::spawn(move || {
        let storage = Storage::open(&root).expect("a storage");
        let _gate = storage.shared().expect("a gate");
        sender.send("late").expect("a listener");
    });
    drop((shared, second));
    let order: Vec<&str> = receiver.iter().collect();
    assert!(order.contains(&"alone") && order.contains(&"late"), "{order:?}");
    alone.join().expect("a thread");
    late.join().expect("a thread");
}
