//! A manifest that lies about which blob a layer is: what others push is not made of the lie.

use crate::hostile::scene::Scene;
use crate::hostile::server::{config, describe, filter, gzip};
use testkit::distribution::Server;
use testkit::distribution::content::{ACCEPTED, CONFIG, LAYER, MANIFEST};
use testkit::engine::encode;
use testkit::image::{Layer, busybox_config, digest, save};
use testkit::json;
use testkit::registry::{Options, Registry};

/// Gives an image one more name and pushes it.
fn push(scene: &Scene, image: &str, repository: &str) {
    let path = format!("/images/{}/tag?repo={}&tag=1", encode(image), encode(repository));
    let _ = scene.engine.act(&path).expect(201);
    let path = format!("/v1.41/images/{repository}/push?tag=1");
    let headers = [("X-Registry-Auth", "e30=")];
    let answer = scene.engine.client().request("POST", &path, &headers, &[]).expect(200);
    assert!(!answer.text().contains("\"error\""), "{}", answer.text());
}

#[test]
fn privileged_a_lie_about_a_layer_does_not_spread() {
    let scene = Scene::start();
    let home = Server::docker();
    let registry = Registry::start(&Options {
        netns: scene.engine.netns.as_deref(),
        storage: Some(home.root().to_owned()),
        ..Options::default()
    });
    let honest = || Layer::new().file("honest", 0o644, b"honest\n");
    let tar = honest().bytes();
    scene.load(&save(&["honest:1"], &busybox_config(), vec![honest()]).tar).unwrap();

    // Nobody fetches the blob, for the layer that it claims to be is here.
    let evil = gzip(&Layer::new().file("honest", 0o644, b"evil\n").bytes());
    let mut config = config(std::slice::from_ref(&tar));
    config["config"]["Labels"] = json!({ "it": "lies" });
    let config = config.to_string().into_bytes();
    home.push_blob("evil", &evil);
    home.push_blob("evil", &config);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": describe(CONFIG, &config), "layers": [describe(LAYER, &evil)],
    });
    let _ = home.put("evil", "1", MANIFEST, manifest.to_string().as_bytes()).expect(201);
    let name = format!("{}/evil", registry.host());
    scene.pull(&registry.host(), "evil:1").unwrap();
    push(&scene, &format!("{name}:1"), &format!("{}/evil/again", registry.host()));

    push(&scene, "honest:1", &format!("{}/honest", registry.host()));
    let path = "/v2/honest/manifests/1";
    let manifest = home.request("GET", path, &[("Accept", ACCEPTED)], &[]).expect(200).json();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let blob = home.get(&format!("/v2/honest/blobs/{layer}")).expect(200).body;
    assert_eq!(digest(&filter("gzip", &["-d"], &blob)), digest(&tar), "{manifest}");
    drop(registry);
    scene.remove_images();
    scene.end("a lie about a layer");
}
