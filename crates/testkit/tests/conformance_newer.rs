//! Cases of the OCI distribution specification that Debian's `docker-registry` (2.8) is too old
//! for. They run on ours only; [`docker_registry_2_8_lacks_what_is_tested_here`] shows for each
//! why, and fails when Debian's registry has learnt it: then the case moves to `conformance.rs`.

use testkit::distribution::Server;
use testkit::distribution::content::*;
use testkit::{Value, json};

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// A manifest about another one.
fn artifact(subject: &[u8], kind: &str) -> Vec<u8> {
    let mut artifact = manifest(b"{}", &[]);
    artifact["subject"] = descriptor(MANIFEST, subject);
    artifact["artifactType"] = json!(kind);
    artifact["annotations"] = json!({ "org.example.kind": kind });
    artifact.to_string().into_bytes()
}

fn descriptors(answer: &testkit::Response) -> Vec<Value> {
    let index = answer.json();
    assert_eq!(index["schemaVersion"], 2);
    assert_eq!(index["mediaType"], INDEX);
    assert_eq!(answer.header("content-type"), Some(INDEX));
    index["manifests"].as_array().expect("descriptors").clone()
}

#[test]
fn docker_registry_2_8_lacks_what_is_tested_here() {
    let server = Server::docker();
    let name = "old/registry";
    let bytes = server.push_image(name, "b", b"layer");
    server.push_image(name, "a", b"layer");
    server.push_blob(name, b"{}");
    // Referrers.
    assert_eq!(server.get(&format!("/v2/{name}/referrers/{}", digest(&bytes))).status, 404);
    let answer = server.put(name, "x", MANIFEST, &artifact(&bytes, "a/b"));
    assert_eq!(answer.expect(201).header("oci-subject"), None);
    // Pages of tags.
    let tags = server.get(&format!("/v2/{name}/tags/list?n=1")).expect(200).json();
    assert_eq!(tags["tags"].as_array().map(Vec::len), Some(3));
    // Deleting a tag alone.
    let path = format!("/v2/{name}/manifests/a");
    assert_eq!(server.request("DELETE", &path, &[], &[]).status, 400);
    // The order of pieces.
    let late = [OCTETS, ("Content-Range", "100-103")];
    assert_eq!(server.request("PATCH", &server.begin(name), &late, b"late").status, 202);
    // One POST for a whole blob.
    let path = format!("/v2/{name}/blobs/uploads/?digest={}", digest(b"whole"));
    assert_eq!(server.request("POST", &path, &[OCTETS], b"whole").status, 202);
    // A limit on manifests with a status of its own, and a check of their sizes.
    let mut wrong = manifest(b"{}", &[]);
    wrong["config"]["size"] = json!(3);
    assert_eq!(server.put(name, "w", MANIFEST, wrong.to_string().as_bytes()).status, 201);
}

#[test]
fn a_piece_out_of_order_is_refused() {
    let server = Server::isopod(&[]);
    let blob = noise(9, 20_000);
    let place = server.begin("push/order-of-pieces");
    let late = [OCTETS, ("Content-Range", "10000-19999")];
    let _ = server.request("PATCH", &place, &late, &blob[10_000..]).expect(416);
    let first = [OCTETS, ("Content-Range", "0-9999")];
    let answer = server.request("PATCH", &place, &first, &blob[..10_000]).expect(202);
    let place = location(&answer);
    let _ = server.request("PATCH", &place, &first, &blob[..10_000]).expect(416);
    // What was refused has changed nothing.
    let status = server.get(&place).expect(204);
    assert_eq!(status.header("range"), Some("0-9999"));
    let answer = server.request("PATCH", &location(&status), &late, &blob[10_000..]);
    let digest = digest(&blob);
    let place = with(&location(&answer.expect(202)), &format!("digest={digest}"));
    let _ = server.request("PUT", &place, &[], &[]).expect(201);
    assert!(server.has_blob("push/order-of-pieces", &digest));
}

#[test]
fn a_tag_can_be_deleted_alone() {
    let server = Server::isopod(&[]);
    let name = "manage/tag";
    let bytes = server.push_image(name, "v1", b"layer");
    let _ = server.put(name, "v2", MANIFEST, &bytes).expect(201);
    let path = format!("/v2/{name}/manifests/v1");
    let _ = server.request("DELETE", &path, &[], &[]).expect(202);
    let accept = [("Accept", MANIFEST)];
    let _ = server.request("GET", &path, &accept, &[]).expect(404);
    for reference in ["v2", &digest(&bytes)] {
        let path = format!("/v2/{name}/manifests/{reference}");
        assert_eq!(server.request("GET", &path, &accept, &[]).expect(200).body, bytes);
    }
}

#[test]
fn tags_come_a_page_at_a_time() {
    let server = Server::isopod(&[]);
    for tag in ["b", "a", "c"] {
        server.push_image("find/pages", tag, b"layer");
    }
    let answer = server.get("/v2/find/pages/tags/list?n=2").expect(200);
    assert_eq!(answer.json()["tags"], json!(["a", "b"]));
}

#[test]
fn a_subject_is_noted() {
    let server = Server::isopod(&[]);
    let name = "find/subject";
    let subject = server.push_image(name, "v1", b"layer");
    server.push_blob(name, b"{}");
    let mut artifact = manifest(b"{}", &[]);
    artifact["subject"] = descriptor(MANIFEST, &subject);
    let answer = server.put(name, "a", MANIFEST, artifact.to_string().as_bytes()).expect(201);
    assert_eq!(answer.header("oci-subject"), Some(digest(&subject).as_str()));
}

#[test]
fn one_post_is_enough_for_a_blob() {
    let server = Server::isopod(&[]);
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(b"whole"));
    let answer = server.request("POST", &path, &[OCTETS], b"whole").expect(201);
    assert_eq!(location(&answer), format!("/v2/a/blobs/{}", digest(b"whole")));
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(b"other"));
    let answer = server.request("POST", &path, &[OCTETS], b"wrong").expect(400);
    assert_eq!(codes(&answer), ["DIGEST_INVALID"]);
}

#[test]
fn pages_of_tags_follow_each_other_in_order() {
    let server = Server::isopod(&[]);
    let bytes = server.push_image("find/all", "t0", b"layer");
    for number in 1..25 {
        let _ = server.put("find/all", &format!("t{number}"), MANIFEST, &bytes).expect(201);
    }
    let mut expected: Vec<String> = (0..25).map(|number| format!("t{number}")).collect();
    expected.sort();
    let all = server.get("/v2/find/all/tags/list").expect(200).json();
    assert_eq!(all["tags"], json!(expected));
    let mut path = String::from("/v2/find/all/tags/list?n=7");
    let mut found: Vec<Value> = Vec::new();
    let mut pages = 0;
    loop {
        let answer = server.get(&path).expect(200);
        found.extend(answer.json()["tags"].as_array().expect("tags").iter().cloned());
        pages += 1;
        let Some(link) = answer.header("link") else { break };
        path = link.trim_start_matches('<').split('>').next().expect("a path").to_owned();
    }
    assert_eq!((pages, json!(found)), (4, json!(expected)));
    let last = server.get("/v2/find/all/tags/list?last=t8").expect(200).json();
    assert_eq!(last["tags"], json!(["t9"]));
    let none = server.get("/v2/find/all/tags/list?n=0").expect(200).json();
    assert_eq!(none["tags"], json!([]));
    for bad in ["n=-1", "n=x"] {
        let answer = server.get(&format!("/v2/find/all/tags/list?{bad}")).expect(400);
        assert_eq!(codes(&answer), ["PAGINATION_NUMBER_INVALID"]);
    }
}

#[test]
fn referrers_are_found_by_their_subject() {
    let server = Server::isopod(&[]);
    let name = "find/referrers";
    let subject = server.push_image(name, "v1", b"layer");
    let path = format!("/v2/{name}/referrers/{}", digest(&subject));
    assert!(descriptors(&server.get(&path).expect(200)).is_empty());
    server.push_blob(name, b"{}");
    let (one, two) = (artifact(&subject, "a/one"), artifact(&subject, "a/two"));
    for bytes in [&one, &two] {
        let _ = server.put(name, &digest(bytes), MANIFEST, bytes).expect(201);
    }
    let found = descriptors(&server.get(&path).expect(200));
    assert_eq!(found.len(), 2);
    let first = found.iter().find(|found| found["digest"] == digest(&one)).expect("the first");
    assert_eq!(first["artifactType"], "a/one");
    assert_eq!(first["mediaType"], MANIFEST);
    assert_eq!(first["size"], one.len());
    assert_eq!(first["annotations"]["org.example.kind"], "a/one");

    let answer = server.get(&format!("{path}?artifactType=a%2Ftwo")).expect(200);
    assert_eq!(answer.header("oci-filters-applied"), Some("artifactType"));
    let found = descriptors(&answer);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["digest"], digest(&two));
    assert!(descriptors(&server.get(&format!("{path}?artifactType=none")).expect(200)).is_empty());

    let gone = format!("/v2/{name}/manifests/{}", digest(&one));
    let _ = server.request("DELETE", &gone, &[], &[]).expect(202);
    let found = descriptors(&server.get(&path).expect(200));
    assert_eq!((found.len(), &found[0]["digest"]), (1, &json!(digest(&two))));
}

#[test]
fn a_referrer_may_come_before_its_subject_and_is_found_by_the_kind_of_its_config() {
    let server = Server::isopod(&[]);
    let name = "find/early";
    server.push_blob(name, b"{}");
    let subject = b"a manifest that is not there yet";
    let mut early = manifest(b"{}", &[]);
    early["config"]["mediaType"] = json!("application/vnd.example.signature");
    early["subject"] = descriptor(MANIFEST, subject);
    let answer = server.put(name, "early", MANIFEST, early.to_string().as_bytes()).expect(201);
    assert_eq!(answer.header("oci-subject"), Some(digest(subject).as_str()));
    let path = format!("/v2/{name}/referrers/{}", digest(subject));
    let found = descriptors(&server.get(&path).expect(200));
    assert_eq!(found[0]["artifactType"], "application/vnd.example.signature");
    // An index can be one as well; it is found by its own word only.
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "artifactType": "a/index",
        "manifests": [],
        "subject": descriptor(MANIFEST, subject),
    });
    let _ = server.put(name, "index", INDEX, index.to_string().as_bytes()).expect(201);
    let found = descriptors(&server.get(&format!("{path}?artifactType=a/index")).expect(200));
    assert_eq!((found.len(), &found[0]["mediaType"]), (1, &json!(INDEX)));
    let _ = server.get(&format!("/v2/{name}/referrers/sha256:abc")).expect(400);
}

#[test]
fn many_referrers_come_a_page_at_a_time() {
    let server = Server::isopod(&[]);
    let name = "find/many";
    server.push_blob(name, b"{}");
    for number in 0..5 {
        let bytes = artifact(b"subject", &format!("a/{number}"));
        let _ = server.put(name, &digest(&bytes), MANIFEST, &bytes).expect(201);
    }
    let mut path = format!("/v2/{name}/referrers/{}?n=2", digest(b"subject"));
    let mut found = Vec::new();
    let mut pages = 0;
    loop {
        let answer = server.get(&path).expect(200);
        found.extend(descriptors(&answer));
        pages += 1;
        let Some(link) = answer.header("link") else { break };
        path = link.trim_start_matches('<').split('>').next().expect("a path").to_owned();
    }
    assert_eq!((pages, found.len()), (3, 5));
}

#[test]
fn a_part_outside_of_a_blob_is_refused_with_its_size() {
    let server = Server::isopod(&[]);
    let digest = server.push_blob("a", &noise(1, 1000));
    let path = format!("/v2/a/blobs/{digest}");
    let answer = server.request("GET", &path, &[("Range", "bytes=1000-")], &[]).expect(416);
    assert_eq!(answer.header("content-range"), Some("bytes */1000"));
    assert_eq!(codes(&answer), ["RANGE_INVALID"]);
}

#[test]
fn a_piece_must_be_as_long_as_it_says() {
    let server = Server::isopod(&[]);
    let place = server.begin("a");
    let headers = [OCTETS, ("Content-Range", "0-9")];
    let answer = server.request("PATCH", &place, &headers, b"four").expect(400);
    assert_eq!(codes(&answer), ["SIZE_INVALID"]);
    let headers = [OCTETS, ("Content-Range", "9-0")];
    assert_eq!(server.request("PATCH", &place, &headers, b"x").status, 400);
    // Without a length it shows only in the end.
    let headers = [OCTETS, ("Content-Range", "0-9"), ("Transfer-Encoding", "chunked")];
    let answer = server.request("PATCH", &place, &headers, b"4\r\nfour\r\n0\r\n\r\n").expect(400);
    assert_eq!(codes(&answer), ["SIZE_INVALID"]);
    assert_eq!(server.get(&place).expect(204).header("range"), Some("0-0"));
    let headers = [OCTETS, ("Content-Range", "0-3"), ("Transfer-Encoding", "chunked")];
    let _ = server.request("PATCH", &place, &headers, b"4\r\nfour\r\n0\r\n\r\n").expect(202);
}

#[test]
fn an_upload_belongs_to_its_repository() {
    let server = Server::isopod(&[]);
    let place = server.begin("mine");
    let stolen = place.replace("/v2/mine/", "/v2/yours/");
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(server.request(method, &stolen, &[OCTETS], &[]).status, 404, "{method}");
    }
    let _ = server.get(&place).expect(204);
}

#[test]
fn manifests_are_bounded_and_their_sizes_checked() {
    let server = Server::isopod(&[]);
    server.push_blob("a", b"{}");
    let mut large = manifest(b"{}", &[]);
    large["annotations"] = json!({ "padding": "x".repeat(4 << 20) });
    let answer = server.put("a", "large", MANIFEST, large.to_string().as_bytes()).expect(413);
    assert_eq!(codes(&answer), ["MANIFEST_INVALID"]);
    large["annotations"] = json!({ "padding": "x".repeat((4 << 20) - 1000) });
    let _ = server.put("a", "large", MANIFEST, large.to_string().as_bytes()).expect(201);
    let mut wrong = manifest(b"{}", &[]);
    wrong["config"]["size"] = json!(3);
    let answer = server.put("a", "wrong", MANIFEST, wrong.to_string().as_bytes()).expect(400);
    assert_eq!(codes(&answer), ["MANIFEST_INVALID"]);
    assert_eq!(codes(&server.put("a", "empty", MANIFEST, b"{}").expect(400)), ["MANIFEST_INVALID"]);
    let answer = server.put("a", "kind", "text/plain", b"{\"schemaVersion\":2}").expect(400);
    assert_eq!(codes(&answer), ["MANIFEST_INVALID"]);
    let answer = server.put("a", ".bad", MANIFEST, manifest(b"{}", &[]).to_string().as_bytes());
    assert_eq!(codes(&answer.expect(400)), ["TAG_INVALID"]);
}

#[test]
fn every_missing_blob_is_named() {
    let server = Server::isopod(&[]);
    let bytes = manifest(b"config", &[b"one", b"two"]).to_string();
    let answer = server.put("a", "v1", MANIFEST, bytes.as_bytes()).expect(404);
    assert_eq!(codes(&answer), ["MANIFEST_BLOB_UNKNOWN"; 3]);
    let named: Vec<String> = answer.json()["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| error["detail"]["digest"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(named, [digest(b"config"), digest(b"one"), digest(b"two")]);
}

#[test]
fn other_digests_than_sha256_are_taken() {
    let server = Server::isopod(&[]);
    let digest = "sha512:ee26b0dd4af7e749aa1a8ee3c10ae9923f618980772e473f8819a5d4940e0db27ac185f8a0e1d5f84f88bc887fd67b143732c304cc5fa9ad8e6f57f50028a8ff";
    let place = with(&server.begin("a"), &format!("digest={digest}"));
    let _ = server.request("PUT", &place, &[OCTETS], b"test").expect(201);
    assert_eq!(server.get(&format!("/v2/a/blobs/{digest}")).expect(200).body, b"test");
}
