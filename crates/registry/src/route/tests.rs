use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn digest_of(byte: u8) -> Digest {
    Digest::from_sha256([byte; 32])
}

#[test]
fn every_path_of_the_protocol_is_known() {
    let digest = digest_of(7);
    let id = UploadId::new([1; 16]);
    for (path, route) in [
        ("/v2/".to_owned(), Route::Base),
        ("/v2".to_owned(), Route::Base),
        ("/v2/_catalog".to_owned(), Route::Catalog),
        ("/v2/a/b/tags/list".to_owned(), Route::Tags(name("a/b"))),
        (
            "/v2/a/manifests/v1.0".to_owned(),
            Route::Manifest(name("a"), Target::Tag("v1.0".parse().expect("a tag"))),
        ),
        (
            format!("/v2/a/manifests/{digest}"),
            Route::Manifest(name("a"), Target::Digest(digest.clone())),
        ),
        (
            format!("/v2/a/manifests/{}", digest.as_str().replace(':', "%3A")),
            Route::Manifest(name("a"), Target::Digest(digest.clone())),
        ),
        (format!("/v2/a/blobs/{digest}"), Route::Blob(name("a"), digest.clone())),
        ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads(name("a"))),
        ("/v2/a/blobs/uploads".to_owned(), Route::Uploads(name("a"))),
        (format!("/v2/a/blobs/uploads/{}", id.as_str()), Route::Upload(name("a"), id)),
        (format!("/v2/a/referrers/{digest}"), Route::Referrers(name("a"), digest)),
    ] {
        assert_eq!(Route::parse(&path).expect(&path), route, "{path}");
    }
}

#[test]
fn repositories_may_be_called_like_parts_of_paths() {
    assert_eq!(
        Route::parse("/v2/tags/list/tags/list").expect("a route"),
        Route::Tags(name("tags/list"))
    );
    assert_eq!(
        Route::parse("/v2/blobs/uploads/blobs/uploads/").expect("a route"),
        Route::Uploads(name("blobs/uploads"))
    );
    assert_eq!(
        Route::parse("/v2/manifests/manifests/manifests").expect("a route"),
        Route::Manifest(name("manifests"), Target::Tag("manifests".parse().expect("a tag")))
    );
}

#[test]
fn hostile_paths_lead_nowhere() {
    for path in [
        "/v2/../tags/list",
        "/v2/a/../../tags/list",
        "/v2/%2e%2e/tags/list",
        "/v2/a%2f..%2fb/tags/list",
        "/v2/a%00/tags/list",
        "/v2/a%/tags/list",
        "/v2/a%ff/tags/list",
        "/v2//tags/list",
        "/v2/A/tags/list",
        "/v2/tags/list",
        "/v2/a/blobs/sha256:../../etc/passwd",
        "/v2/a/blobs/sha256:abc",
        "/v2/a/blobs/uploads/../../x",
        "/v2/a/blobs/uploads/0123",
        "/v2/a",
        "/v1/",
        "",
        "*",
    ] {
        assert!(Route::parse(path).is_err(), "{path}");
    }
}

#[test]
fn what_cannot_be_a_tag_is_known_as_such() {
    let route = Route::parse("/v2/a/manifests/.INVALID").expect("a route");
    assert_eq!(route, Route::Manifest(name("a"), Target::Invalid(".INVALID".to_owned())));
}

proptest::proptest! {
    #[test]
    fn no_path_panics_and_no_name_leaves_the_root(path in "(/v2/)?[a-z%0-9./_A:-]{0,60}") {
        if let Ok(route) = Route::parse(&path)
            && let Some(name) = route.name()
        {
            let safe = name.path().components().all(|part| matches!(part, std::path::Component::Normal(_)));
            proptest::prop_assert!(safe);
        }
    }
}
