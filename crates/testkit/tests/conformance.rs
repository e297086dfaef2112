//! The OCI distribution specification, case by case: pull, push, content discovery, content
//! management. Each case is shown on Debian's `docker-registry` (2.8) first and then on ours.
//! What that registry is too old for is in `conformance_newer.rs`.

use testkit::distribution::content::*;
use testkit::{json, on_both_registries};

/// An image of one layer of its own; the repository's name is part of it, so nothing is shared.
fn image(name: &str) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let config = json!({ "architecture": "amd64", "os": "linux", "in": name }).to_string();
    let layer = noise(name.len() as u64, 10_000);
    let bytes = manifest(config.as_bytes(), &[&layer]).to_string().into_bytes();
    (config.into_bytes(), layer, bytes)
}

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

on_both_registries! {
    // ---- the base -----------------------------------------------------------------------------

    fn the_base_says_that_this_is_a_registry(server) {
        let answer = server.get("/v2/").expect(200);
        assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
    }

    // ---- pull ---------------------------------------------------------------------------------

    fn a_blob_comes_back_as_it_was(server) {
        let blob = noise(1, 300_000);
        let digest = server.push_blob("pull/blob", &blob);
        let path = format!("/v2/pull/blob/blobs/{digest}");
        let answer = server.get(&path).expect(200);
        assert_eq!(answer.body, blob);
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
        assert_eq!(answer.header("content-length"), Some("300000"));
        let head = server.head(&path).expect(200);
        assert_eq!(head.header("content-length"), Some("300000"));
        assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()));
        assert!(head.body.is_empty());
    }

    fn a_blob_that_is_not_there_is_unknown(server) {
        server.push_blob("pull/other", b"something");
        let path = format!("/v2/pull/other/blobs/{}", digest(b"nothing"));
        assert_eq!(codes(&server.get(&path).expect(404)), ["BLOB_UNKNOWN"]);
        let _ = server.head(&path).expect(404);
    }

    fn a_part_of_a_blob_can_be_had(server) {
        let blob = noise(2, 1000);
        let digest = server.push_blob("pull/range", &blob);
        let path = format!("/v2/pull/range/blobs/{digest}");
        for (range, first, last) in
            [("bytes=0-99", 0, 99), ("bytes=500-", 500, 999), ("bytes=-10", 990, 999)]
        {
            let answer = server.request("GET", &path, &[("Range", range)], &[]).expect(206);
            assert_eq!(answer.body, blob[first..=last], "{range}");
            let said = format!("bytes {first}-{last}/1000");
            assert_eq!(answer.header("content-range"), Some(said.as_str()));
        }
    }

    fn a_client_that_has_a_blob_is_told_so(server) {
        let digest = server.push_blob("pull/etag", b"content");
        let path = format!("/v2/pull/etag/blobs/{digest}");
        let etag = format!("\"{digest}\"");
        let answer = server.request("GET", &path, &[("If-None-Match", &etag)], &[]).expect(304);
        assert!(answer.body.is_empty());
        let answer = server.request("GET", &path, &[("If-None-Match", "\"x\"")], &[]).expect(200);
        assert_eq!(answer.body, b"content");
    }

    fn a_blob_of_one_repository_is_not_in_another(server) {
        let digest = server.push_blob("pull/mine", b"mine alone");
        assert!(server.has_blob("pull/mine", &digest));
        assert!(!server.has_blob("pull/yours", &digest));
    }

    fn a_manifest_comes_back_byte_for_byte_by_tag_and_by_digest(server) {
        let bytes = server.push_image("pull/manifest", "v1", b"layer");
        let digest = digest(&bytes);
        for reference in ["v1", &digest] {
            let path = format!("/v2/pull/manifest/manifests/{reference}");
            let accept = [("Accept", MANIFEST)];
            let answer = server.request("GET", &path, &accept, &[]).expect(200);
            assert_eq!(answer.body, bytes);
            assert_eq!(answer.header("content-type"), Some(MANIFEST));
            assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
            let head = server.request("HEAD", &path, &accept, &[]).expect(200);
            assert_eq!(head.header("content-length"), Some(bytes.len().to_string().as_str()));
            assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()));
            assert_eq!(head.header("content-type"), Some(MANIFEST));
            assert!(head.body.is_empty());
        }
    }

    fn a_manifest_that_is_not_there_is_unknown(server) {
        server.push_image("pull/unknown", "v1", b"layer");
        for reference in ["v2", &digest(b"no manifest")] {
            let path = format!("/v2/pull/unknown/manifests/{reference}");
            assert_eq!(codes(&server.get(&path).expect(404)), ["MANIFEST_UNKNOWN"]);
            let _ = server.head(&path).expect(404);
        }
        let _ = server.get("/v2/pull/unknown/manifests/.INVALID_MANIFEST_NAME").expect(404);
    }

    // ---- push: blobs --------------------------------------------------------------------------

    fn a_blob_is_pushed_with_post_then_put(server) {
        let blob = noise(3, 5000);
        let digest = digest(&blob);
        let place = with(&server.begin("push/put"), &format!("digest={digest}"));
        let answer = server.request("PUT", &place, &[OCTETS], &blob).expect(201);
        assert_eq!(location(&answer), format!("/v2/push/put/blobs/{digest}"));
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
        assert_eq!(server.get(&format!("/v2/push/put/blobs/{digest}")).expect(200).body, blob);
    }

    fn a_blob_is_pushed_with_one_post_or_the_registry_asks_for_more(server) {
        let blob = noise(4, 5000);
        let digest = digest(&blob);
        let path = format!("/v2/push/post/blobs/uploads/?digest={digest}");
        let answer = server.request("POST", &path, &[OCTETS], &blob);
        if answer.status == 202 {
            let place = with(&location(&answer), &format!("digest={digest}"));
            let _ = server.request("PUT", &place, &[OCTETS], &blob).expect(201);
        } else {
            assert_eq!(location(&answer.expect(201)), format!("/v2/push/post/blobs/{digest}"));
        }
        assert!(server.has_blob("push/post", &digest));
    }

    fn a_blob_is_streamed_with_patch(server) {
        let blob = noise(5, 100_000);
        let digest = digest(&blob);
        let place = server.begin("push/stream");
        let answer = server.request("PATCH", &place, &[OCTETS], &blob).expect(202);
        assert_eq!(answer.header("range"), Some("0-99999"));
        let place = with(&location(&answer), &format!("digest={digest}"));
        let _ = server.request("PUT", &place, &[], &[]).expect(201);
        assert_eq!(server.get(&format!("/v2/push/stream/blobs/{digest}")).expect(200).body, blob);
    }

    fn a_blob_is_streamed_without_its_length(server) {
        let blob = noise(6, 70_000);
        let digest = digest(&blob);
        let place = server.begin("push/chunked");
        let mut body = Vec::new();
        for piece in blob.chunks(9_999) {
            body.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            body.extend_from_slice(piece);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let headers = [OCTETS, ("Transfer-Encoding", "chunked")];
        let answer = server.request("PATCH", &place, &headers, &body).expect(202);
        assert_eq!(answer.header("range"), Some("0-69999"));
        let place = with(&location(&answer), &format!("digest={digest}"));
        let _ = server.request("PUT", &place, &[], &[]).expect(201);
        assert_eq!(server.get(&format!("/v2/push/chunked/blobs/{digest}")).expect(200).body, blob);
    }

    fn a_blob_is_pushed_in_pieces(server) {
        let blob = noise(7, 30_000);
        let digest = digest(&blob);
        let mut place = server.begin("push/pieces");
        for (number, piece) in blob.chunks(10_000).take(2).enumerate() {
            let (first, last) = (number * 10_000, number * 10_000 + 9_999);
            let range = format!("{first}-{last}");
            let headers = [OCTETS, ("Content-Range", range.as_str())];
            let answer = server.request("PATCH", &place, &headers, piece).expect(202);
            assert_eq!(answer.header("range"), Some(format!("0-{last}").as_str()));
            place = location(&answer);
            let status = server.get(&place).expect(204);
            assert_eq!(status.header("range"), Some(format!("0-{last}").as_str()));
            place = location(&status);
        }
        // The last piece comes with the end.
        let headers = [OCTETS, ("Content-Range", "20000-29999")];
        let place = with(&place, &format!("digest={digest}"));
        let _ = server.request("PUT", &place, &headers, &blob[20_000..]).expect(201);
        assert_eq!(server.get(&format!("/v2/push/pieces/blobs/{digest}")).expect(200).body, blob);
    }

    fn an_upload_can_be_given_up(server) {
        let place = server.begin("push/cancel");
        let answer = server.request("PATCH", &place, &[OCTETS], b"some bytes").expect(202);
        let place = location(&answer);
        let _ = server.request("DELETE", &place, &[], &[]).expect(204);
        assert_eq!(codes(&server.get(&place).expect(404)), ["BLOB_UPLOAD_UNKNOWN"]);
        let again = server.request("PATCH", &place, &[OCTETS], b"more").expect(404);
        assert_eq!(codes(&again), ["BLOB_UPLOAD_UNKNOWN"]);
    }

    fn content_with_another_digest_is_refused(server) {
        let place = with(&server.begin("push/wrong"), &format!("digest={}", digest(b"promised")));
        let answer = server.request("PUT", &place, &[OCTETS], b"delivered").expect(400);
        assert_eq!(codes(&answer), ["DIGEST_INVALID"]);
        assert!(!server.has_blob("push/wrong", &digest(b"promised")));
        assert!(!server.has_blob("push/wrong", &digest(b"delivered")));
    }

    fn an_upload_does_not_end_without_a_digest(server) {
        let place = server.begin("push/nodigest");
        let answer = server.request("PUT", &place, &[OCTETS], b"x").expect(400);
        assert_eq!(codes(&answer), ["DIGEST_INVALID"]);
        let place = with(&server.begin("push/nodigest"), "digest=md5:abc");
        let answer = server.request("PUT", &place, &[OCTETS], b"x").expect(400);
        assert_eq!(codes(&answer), ["DIGEST_INVALID"]);
    }

    fn an_empty_blob_is_a_blob(server) {
        let digest = server.push_blob("push/empty", b"");
        let answer = server.get(&format!("/v2/push/empty/blobs/{digest}")).expect(200);
        assert_eq!(answer.header("content-length"), Some("0"));
        assert!(answer.body.is_empty());
    }

    fn the_same_blob_can_be_pushed_again(server) {
        for _ in 0..2 {
            let digest = server.push_blob("push/again", b"again");
            assert!(server.has_blob("push/again", &digest));
        }
    }

    fn a_blob_is_mounted_from_another_repository(server) {
        let digest = server.push_blob("push/from", b"shared");
        let path = format!("/v2/push/to/blobs/uploads/?mount={digest}&from=push/from");
        let answer = server.request("POST", &path, &[], &[]).expect(201);
        assert_eq!(location(&answer), format!("/v2/push/to/blobs/{digest}"));
        assert_eq!(server.get(&format!("/v2/push/to/blobs/{digest}")).expect(200).body, b"shared");
    }

    fn what_cannot_be_mounted_is_to_be_uploaded(server) {
        let digest = digest(b"not there");
        let path = format!("/v2/push/mount/blobs/uploads/?mount={digest}&from=push/nowhere");
        let answer = server.request("POST", &path, &[], &[]).expect(202);
        let place = with(&location(&answer), &format!("digest={digest}"));
        let _ = server.request("PUT", &place, &[OCTETS], b"not there").expect(201);
        assert!(server.has_blob("push/mount", &digest));
    }

    // ---- push: manifests ----------------------------------------------------------------------

    fn a_manifest_is_pushed_after_what_it_needs(server) {
        let name = "push/order";
        let (config, layer, bytes) = image(name);
        let answer = server.put(name, "v1", MANIFEST, &bytes);
        assert!([400, 404].contains(&answer.status), "{}", answer.text());
        assert!(codes(&answer).iter().all(|code| code == "MANIFEST_BLOB_UNKNOWN"));
        server.push_blob(name, &config);
        assert!(server.put(name, "v1", MANIFEST, &bytes).status >= 400);
        server.push_blob(name, &layer);
        let answer = server.put(name, "v1", MANIFEST, &bytes).expect(201);
        let digest = digest(&bytes);
        assert_eq!(location(&answer), format!("/v2/{name}/manifests/{digest}"));
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    }

    fn a_manifest_is_pushed_by_its_digest(server) {
        let name = "push/bydigest";
        let (config, layer, bytes) = image(name);
        server.push_blob(name, &config);
        server.push_blob(name, &layer);
        let answer = server.put(name, &digest(b"another"), MANIFEST, &bytes).expect(400);
        assert_eq!(codes(&answer), ["DIGEST_INVALID"]);
        let _ = server.put(name, &digest(&bytes), MANIFEST, &bytes).expect(201);
        let path = format!("/v2/{name}/manifests/{}", digest(&bytes));
        let answer = server.request("GET", &path, &[("Accept", MANIFEST)], &[]).expect(200);
        assert_eq!(answer.body, bytes);
    }

    fn a_manifest_without_layers_is_one(server) {
        let name = "push/nolayers";
        server.push_blob(name, b"{}");
        let bytes = manifest(b"{}", &[]).to_string().into_bytes();
        let _ = server.put(name, "v1", MANIFEST, &bytes).expect(201);
    }

    fn what_is_no_manifest_is_refused(server) {
        let name = "push/garbage";
        server.push_blob(name, b"x");
        for bytes in [&b"{"[..], b"[]", b"\xff\xfe", b"\"text\""] {
            let answer = server.put(name, "v1", MANIFEST, bytes);
            assert_eq!(answer.status, 400, "{}: {}", String::from_utf8_lossy(bytes), answer.text());
            assert_eq!(codes(&answer), ["MANIFEST_INVALID"]);
        }
        let _ = server.get(&format!("/v2/{name}/manifests/v1")).expect(404);
    }

    fn a_tag_can_be_moved(server) {
        let one = server.push_image("push/move", "latest", b"one");
        let two = server.push_image("push/move", "latest", b"two");
        assert_ne!(one, two);
        let accept = [("Accept", MANIFEST)];
        let path = "/v2/push/move/manifests/latest";
        assert_eq!(server.request("GET", path, &accept, &[]).expect(200).body, two);
        let path = format!("/v2/push/move/manifests/{}", digest(&one));
        assert_eq!(server.request("GET", &path, &accept, &[]).expect(200).body, one);
    }

    fn manifests_of_every_kind_are_kept_as_they_are(server) {
        let name = "push/kinds";
        let (config, layer) = (b"{\"os\":\"linux\"}", noise(8, 100));
        server.push_blob(name, config);
        server.push_blob(name, &layer);
        let oci = manifest(config, &[&layer]).to_string();
        let docker = json!({
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": descriptor(DOCKER_CONFIG, config),
            "layers": [descriptor(DOCKER_LAYER, &layer)],
        })
        .to_string();
        let platform = json!({ "architecture": "amd64", "os": "linux" });
        let mut entry = descriptor(MANIFEST, oci.as_bytes());
        entry["platform"] = platform.clone();
        let index =
            json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }).to_string();
        let mut entry = descriptor(DOCKER_MANIFEST, docker.as_bytes());
        entry["platform"] = platform;
        let list = json!({ "schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [entry] });
        let list = list.to_string();
        for (tag, kind, text) in [
            ("oci", MANIFEST, &oci),
            ("docker", DOCKER_MANIFEST, &docker),
            ("index", INDEX, &index),
            ("list", DOCKER_LIST, &list),
        ] {
            let _ = server.put(name, tag, kind, text.as_bytes()).expect(201);
            let path = format!("/v2/{name}/manifests/{tag}");
            let answer = server.request("GET", &path, &[("Accept", kind)], &[]).expect(200);
            assert_eq!(answer.text(), *text);
            assert_eq!(answer.header("content-type"), Some(kind));
        }
    }

    fn an_index_is_pushed_after_its_manifests(server) {
        let name = "push/index";
        let (config, layer, bytes) = image(name);
        server.push_blob(name, &config);
        server.push_blob(name, &layer);
        let entry = descriptor(MANIFEST, &bytes);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
        let index = index.to_string();
        let answer = server.put(name, "all", INDEX, index.as_bytes());
        assert!([400, 404].contains(&answer.status), "{}", answer.text());
        let _ = server.put(name, &digest(&bytes), MANIFEST, &bytes).expect(201);
        let _ = server.put(name, "all", INDEX, index.as_bytes()).expect(201);
    }

    fn an_artifact_of_an_unknown_kind_is_taken(server) {
        let name = "push/artifact";
        server.push_blob(name, b"{}");
        server.push_blob(name, b"not a tar");
        let bytes = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.example.config+json", b"{}"),
            "layers": [descriptor("application/vnd.example.thing", b"not a tar")],
            "annotations": { "org.example": "yes" },
        })
        .to_string();
        let _ = server.put(name, "v1", MANIFEST, bytes.as_bytes()).expect(201);
    }

    // ---- content discovery --------------------------------------------------------------------

    fn tags_are_listed(server) {
        for tag in ["b", "a", "c", "latest"] {
            server.push_image("find/tags", tag, b"layer");
        }
        let answer = server.get("/v2/find/tags/tags/list").expect(200).json();
        assert_eq!(answer["name"], "find/tags");
        // In which order they come was settled later.
        let mut tags: Vec<&str> =
            answer["tags"].as_array().expect("tags").iter().filter_map(|tag| tag.as_str()).collect();
        tags.sort_unstable();
        assert_eq!(tags, ["a", "b", "c", "latest"]);
    }

    fn an_unknown_repository_has_no_list(server) {
        let answer = server.get("/v2/find/nothing/tags/list").expect(404);
        assert_eq!(codes(&answer), ["NAME_UNKNOWN"]);
    }

    fn repositories_are_listed_a_page_at_a_time(server) {
        for name in ["cat/b", "cat/a", "cat", "cat-c"] {
            server.push_image(name, "v1", b"layer");
        }
        let mut path = String::from("/v2/_catalog?n=3");
        let mut found = Vec::new();
        for _ in 0..4 {
            let answer = server.get(&path).expect(200);
            let names = answer.json()["repositories"].as_array().cloned().unwrap_or_default();
            assert!(names.len() <= 3);
            found.extend(names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()));
            let Some(link) = answer.header("link") else { break };
            let (next, rest) = link.trim_start_matches('<').split_once('>').expect("a link");
            assert_eq!(rest.replace(' ', ""), ";rel=\"next\"");
            path = next.to_owned();
        }
        found.sort();
        assert_eq!(found, ["cat", "cat-c", "cat/a", "cat/b"]);
    }

    // ---- content management -------------------------------------------------------------------

    fn a_deleted_manifest_is_gone_with_its_tags(server) {
        let name = "manage/manifest";
        let bytes = server.push_image(name, "v1", b"layer");
        let _ = server.put(name, "v2", MANIFEST, &bytes).expect(201);
        let kept = server.push_image(name, "v3", b"other");
        let path = format!("/v2/{name}/manifests/{}", digest(&bytes));
        let _ = server.request("DELETE", &path, &[], &[]).expect(202);
        let accept = [("Accept", MANIFEST)];
        let _ = server.request("GET", &path, &accept, &[]).expect(404);
        for tag in ["v1", "v2"] {
            let path = format!("/v2/{name}/manifests/{tag}");
            let _ = server.request("GET", &path, &accept, &[]).expect(404);
        }
        let answer = server.request("GET", &format!("/v2/{name}/manifests/v3"), &accept, &[]);
        assert_eq!(answer.expect(200).body, kept);
        let answer = server.request("DELETE", &path, &[], &[]).expect(404);
        assert_eq!(codes(&answer), ["MANIFEST_UNKNOWN"]);
    }

    fn a_deleted_blob_is_gone(server) {
        let digest = server.push_blob("manage/blob", b"short-lived");
        let path = format!("/v2/manage/blob/blobs/{digest}");
        let _ = server.request("DELETE", &path, &[], &[]).expect(202);
        let _ = server.get(&path).expect(404);
        let answer = server.request("DELETE", &path, &[], &[]).expect(404);
        assert_eq!(codes(&answer), ["BLOB_UNKNOWN"]);
        // It can come again.
        server.push_blob("manage/blob", b"short-lived");
        assert_eq!(server.get(&path).expect(200).body, b"short-lived");
    }

    // ---- hostile ------------------------------------------------------------------------------

    fn hostile_names_are_refused(server) {
        for name in ["UPPER", "a//b", "..", "a/../b", "-a", "a-", "_a", ".a", "a%00b", "a%2e%2e"] {
            let answer = server.get(&format!("/v2/{name}/tags/list"));
            // docker-registry redirects to the path without dots.
            assert!((300..500).contains(&answer.status), "{name}: {}", answer.status);
            let answer = server.request("POST", &format!("/v2/{name}/blobs/uploads/"), &[], &[]);
            assert!((300..500).contains(&answer.status), "{name}: {}", answer.status);
        }
        let long = "a".repeat(300);
        assert!(server.get(&format!("/v2/{long}/tags/list")).status >= 400);
    }

    fn paths_do_not_leave_the_registry(server) {
        for path in [
            "/v2/../../../../etc/passwd",
            "/v2/a/blobs/sha256:..%2f..%2f..%2fetc%2fpasswd",
            "/v2/a/manifests/..%2f..%2fx",
            "/v2/%2e%2e/%2e%2e/etc/manifests/passwd",
            "/v2/a/blobs/uploads/..%2f..%2fx",
        ] {
            let answer = server.get(path);
            assert!((300..500).contains(&answer.status), "{path}: {}", answer.status);
            assert!(!answer.text().contains("root:"), "{path}");
        }
    }
}
