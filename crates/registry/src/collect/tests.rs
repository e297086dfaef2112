use std::io::Write;

use super::*;
use crate::manifest;
use crate::route::Tag;
use sha2::Digest as _;

const KIND: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

struct Fixture {
    _folder: tempfile::TempDir,
    storage: Storage,
    name: Name,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a directory");
    let storage = Storage::open(folder.path()).expect("a storage");
    Fixture { _folder: folder, storage, name: "a/b".parse().expect("a name") }
}

fn digest_of(content: &[u8]) -> Digest {
    Digest::from_sha256(sha2::Sha256::digest(content).into())
}

impl Fixture {
    fn blob(&self, content: &str) -> Digest {
        let digest = digest_of(content.as_bytes());
        let mut upload = self.storage.blobs().begin("test").expect("an upload");
        upload.write_all(content.as_bytes()).expect("a write");
        self.storage.repository(&self.name).commit(upload, &digest).expect("a blob");
        digest
    }

    fn put(&self, kind: &str, text: &str, tag: Option<&str>) -> Digest {
        let parsed = manifest::parse(Some(kind), text.as_bytes()).expect("a manifest");
        let digest = digest_of(text.as_bytes());
        let tag: Option<Tag> = tag.map(|tag| tag.parse().expect("a tag"));
        self.storage
            .repository(&self.name)
            .put_manifest(&parsed, &digest, text.as_bytes(), tag.as_ref(), true)
            .expect("a put");
        digest
    }

    /// An image of one blob.
    fn image(&self, content: &str, extra: &str, tag: Option<&str>) -> (Digest, Digest) {
        let blob = self.blob(content);
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{blob}","size":{}}},"layers":[]{extra}}}"#,
            content.len()
        );
        (self.put(KIND, &text, tag), blob)
    }

    fn collect(&self, untagged: bool, dry_run: bool, grace: Duration) -> Report {
        let how = How { dry_run, untagged, unused: None, grace };
        let report = collect(&self.storage, how).expect("a report");
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        report
    }

    fn there(&self, digest: &Digest) -> bool {
        self.storage.blobs().size(digest).expect("a look").is_some()
    }

    /// Everything looks old from now on.
    fn age(&self) {
        fn back(folder: &Path) {
            for entry in fs::read_dir(folder).expect("a directory").flatten() {
                if entry.file_type().expect("a kind").is_dir() {
                    back(&entry.path());
                } else {
                    let then = SystemTime::now() - Duration::from_secs(3 * 3600);
                    let file = fs::File::options().append(true).open(entry.path());
                    file.and_then(|file| file.set_modified(then)).expect("a time");
                }
            }
        }
        back(self._folder.path());
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_no_manifest_needs_goes_and_the_rest_stays() {
    let fixture = fixture();
    let (image, config) = fixture.image("config", "", Some("v1"));
    let stray = fixture.blob("stray");
    fixture.age();
    let report = fixture.collect(false, true, HOUR);
    assert_eq!((report.links, report.blobs.len()), (1, 1));
    assert!(fixture.there(&stray), "a dry run removes nothing");
    let report = fixture.collect(false, false, HOUR);
    assert_eq!((report.links, report.blobs.len(), report.manifests.len()), (1, 1, 0));
    assert!(!fixture.there(&stray));
    assert!(fixture.there(&config) && fixture.there(&image));
    let report = fixture.collect(false, false, HOUR);
    assert_eq!((report.links, report.blobs.len()), (0, 0));
}

#[test]
fn what_is_young_stays_until_it_is_old() {
    let fixture = fixture();
    let stray = fixture.blob("stray");
    let report = fixture.collect(true, false, HOUR);
    assert_eq!((report.links, report.blobs.len()), (0, 0));
    assert!(fixture.there(&stray));
    fixture.age();
    // A client asks for it: a manifest is to follow.
    fixture.storage.repository(&fixture.name).promise(&stray).expect("a promise");
    assert_eq!(fixture.collect(true, false, HOUR).blobs.len(), 0);
    fixture.age();
    assert_eq!(fixture.collect(true, false, HOUR).blobs.len(), 1);
    // The directories of a repository that has nothing are gone.
    assert!(fixture.storage.all_repositories().expect("a list").is_empty());
    assert!(!fixture.storage.repositories().join("a").exists());
}

#[test]
fn without_tags_manifests_go_unless_an_index_or_a_subject_leads_to_them() {
    let fixture = fixture();
    let (alone, alone_config) = fixture.image("alone", "", None);
    let (inner, inner_config) = fixture.image("inner", "", None);
    let size = fixture.storage.blobs().size(&inner).expect("a look").expect("a size");
    let index = fixture.put(
        INDEX,
        &format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{KIND}","digest":"{inner}","size":{size}}}]}}"#
        ),
        Some("all"),
    );
    let subject = format!(r#","subject":{{"mediaType":"{INDEX}","digest":"{index}","size":1}}"#);
    let (signature, _) = fixture.image("signature", &subject, None);
    let orphan = format!(
        r#","subject":{{"mediaType":"{INDEX}","digest":"{}","size":1}}"#,
        digest_of(b"gone")
    );
    let (orphan, _) = fixture.image("orphan", &orphan, None);
    fixture.age();
    assert_eq!(fixture.collect(false, false, HOUR).blobs.len(), 0, "all manifests stay");
    let report = fixture.collect(true, false, HOUR);
    let mut gone: Vec<&Digest> = report.manifests.iter().map(|(_, digest)| digest).collect();
    gone.sort();
    let mut expected = vec![&alone, &orphan];
    expected.sort();
    assert_eq!(gone, expected);
    assert!(!fixture.there(&alone) && !fixture.there(&alone_config) && !fixture.there(&orphan));
    for digest in [&index, &inner, &inner_config, &signature] {
        assert!(fixture.there(digest), "{digest}");
    }
}

#[test]
fn a_manifest_that_comes_after_the_marking_keeps_what_it_needs() {
    let fixture = fixture();
    let (_, config) = fixture.image("config", "", None);
    fixture.age();
    let cutoff = SystemTime::now() - HOUR;
    let terms = Terms { untagged: true, cutoff, unused: None };
    let marked = mark::mark(&fixture.storage, &fixture.name, terms).expect("marks");
    assert_eq!(marked.unused.len(), 1);
    // The same image is pushed again, with a tag, before anything is removed.
    fixture.image("config", "", Some("late"));
    let mut report = Report::default();
    let how = How { dry_run: false, untagged: true, unused: None, grace: HOUR };
    let gone = links(&fixture.storage, &fixture.name, &marked, how, cutoff, &mut report);
    assert!(gone.is_empty(), "{gone:?}");
    assert!(fixture.storage.repository(&fixture.name).blob(&config).expect("a look").is_some());
}

#[test]
fn what_nobody_has_asked_for_goes_with_its_tags_when_that_is_wanted() {
    let fixture = fixture();
    let (used, used_config) = fixture.image("used", "", Some("used"));
    let (unused, unused_config) = fixture.image("unused", "", Some("unused"));
    fixture.age();
    let repository = fixture.storage.repository(&fixture.name);
    repository.used(&used).expect("a use");
    let how = How { dry_run: false, untagged: false, unused: Some(2 * HOUR), grace: HOUR };
    let report = collect(&fixture.storage, how).expect("a report");
    assert_eq!(report.manifests, [(fixture.name.clone(), unused.clone())]);
    assert!(fixture.there(&used) && fixture.there(&used_config));
    assert!(!fixture.there(&unused) && !fixture.there(&unused_config));
    let tags: Vec<Tag> = repository.tags().expect("a list");
    assert_eq!(tags, ["used".parse::<Tag>().expect("a tag")]);
}
