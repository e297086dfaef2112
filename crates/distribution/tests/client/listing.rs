//! Lists: tags, referrers, searches.

use distribution::manifest::{Descriptor, ImageIndex, media_type};
use distribution::{Client, Error};
use types::ErrorKind;

use crate::server::{Server, digest, reply, settings};

#[tokio::test]
async fn tags_in_pages() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v2/a/b/tags/list?n=1000" => reply(200)
            .header("Link", "</v2/a/b/tags/list?n=1000&last=b>; rel=\"next\"")
            .body(r#"{"name":"a/b","tags":["a","b"]}"#),
        "/v2/a/b/tags/list?n=1000&last=b" => reply(200)
            .header("Link", "<?n=1000&last=c>; rel=next")
            .body(r#"{"name":"a/b","tags":["c"]}"#),
        "/v2/a/b/tags/list?n=1000&last=c" => reply(200).body(r#"{"name":"a/b","tags":null}"#),
        _ => reply(404),
    })
    .await;
    assert_eq!(server.repository(None).tags().await.expect("listed"), ["a", "b", "c"]);
}

#[tokio::test]
async fn lists_that_do_not_end_or_lead_away() {
    for (link, words) in [
        ("</v2/a/b/tags/list?n=1000>; rel=\"next\"", "the list does not end"),
        ("<http://127.0.0.2:1/x>; rel=\"next\"", "the list goes on at another host"),
    ] {
        let server =
            Server::start(move |_| reply(200).header("Link", link).body(r#"{"tags":["x"]}"#)).await;
        let error = server.repository(None).tags().await.expect_err(link);
        assert!(error.to_string().ends_with(words), "{error}");
    }
    let server = Server::start(|_| reply(200).body("{\"tags\":[1]}")).await;
    assert!(matches!(server.repository(None).tags().await, Err(Error::Json { .. })));
    let counting = Server::start(|asked| {
        let n: u64 = asked.path.rsplit('=').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        reply(200).header("Link", format!("</p?n={}>; rel=\"next\"", n + 1)).body("{}")
    })
    .await;
    let error = counting.repository(None).tags().await.expect_err("endless");
    assert!(error.to_string().ends_with("the list does not end"), "{error}");
}

fn index(kinds: &[&str]) -> Vec<u8> {
    let manifests = kinds.iter().map(|kind| {
        let mut one = Descriptor::new(media_type::OCI_MANIFEST, digest(kind.as_bytes()), 1);
        one.artifact_type = Some((*kind).to_owned());
        one
    });
    ImageIndex::oci(manifests.collect()).to_bytes()
}

#[tokio::test]
async fn referrers_from_the_registry_or_from_a_tag() {
    let subject = digest(b"subject");
    let asked_for = format!("/v2/a/b/referrers/{subject}?artifactType=x%2Fsig");
    let filtering = Server::start(move |asked| match asked.path == asked_for {
        true => reply(200).header("OCI-Filters-Applied", "artifactType").body(index(&["x/sig"])),
        false => reply(200).body(index(&["x/sig", "x/sbom"])),
    })
    .await;
    let repository = filtering.repository(None);
    assert_eq!(repository.referrers(&subject, None).await.expect("listed").len(), 2);
    assert_eq!(repository.referrers(&subject, Some("x/sig")).await.expect("listed").len(), 1);

    let plain = Server::start(|_| reply(200).body(index(&["x/sig", "x/sbom"]))).await;
    let found = plain.repository(None).referrers(&subject, Some("x/sbom")).await.expect("listed");
    assert_eq!(found[0].digest, digest(b"x/sbom"));

    let tag = format!("/v2/a/b/manifests/sha256-{}", subject.hex());
    let old = Server::start(move |asked| match asked.path == tag {
        true => reply(200)
            .header("Content-Type", media_type::OCI_INDEX)
            .body(index(&["x/sig", "x/sbom"])),
        false => reply(404),
    })
    .await;
    let repository = old.repository(None);
    assert_eq!(repository.referrers(&subject, Some("x/sig")).await.expect("listed").len(), 1);
    assert_eq!(repository.referrers(&digest(b"other"), None).await.expect("none"), []);
}

#[tokio::test]
async fn searches() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/search?q=busy%20box&n=25" => reply(200).body(
            r#"{"num_results":2,"results":[
                {"name":"busybox","description":null,"star_count":3,"is_official":true},
                {"name":"x/busybox","is_automated":true,"is_trusted":false}]}"#,
        ),
        "/v1/search?q=x&n=1" => reply(200).body(r#"{"results":[{"name":"a"},{"name":"b"}]}"#),
        "/v2/" => reply(200),
        _ => reply(404),
    })
    .await;
    let client = Client::new(settings()).expect("a client");
    let found = client.search(&server.host(), "busy box", 0, None).await.expect("found");
    assert_eq!(found.len(), 2);
    assert!(found[0].is_official && found[0].star_count == 3 && found[1].is_automated);
    // The term may name the index, and no index may give more than was asked for.
    let term = format!("{}/x", server.host());
    assert_eq!(client.search("", &term, 1, None).await.expect("found").len(), 1);
    let error = client.search(&server.host(), "x", 101, None).await.expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(client.search(&server.host(), "https://x", 1, None).await.is_err());
    let error = client.search(&server.host(), "none", 1, None).await.expect_err("no index");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
