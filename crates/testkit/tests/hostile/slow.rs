//! Registries that take their time.

use crate::hostile::scene::Scene;
use crate::hostile::server::{Body, Hostile, Reply, Shelf};
use crate::hostile::still_works;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use testkit::distribution::content::{MANIFEST, noise};
use testkit::eventually;
use testkit::image::Layer;

const SOON: Duration = Duration::from_secs(60);

/// How long a registry may say nothing, and some time for a busy machine.
const BOUND: Duration = Duration::from_secs(110);

fn server(scene: &Scene) -> Hostile {
    let mut shelf = Shelf::default();
    let content = noise(3, 2_000_000);
    let mut blob = |name: &str| {
        let manifest = shelf.image(name, &[Layer::new().file(name, 0o644, &content).bytes()]);
        let layer = &manifest["layers"][0];
        (layer["digest"].as_str().unwrap().to_owned(), layer["size"].as_u64().unwrap())
    };
    let (slow, size) = blob("slow-blob");
    blob("honest");
    Hostile::start(&scene.engine, move |asked| {
        let reply = |body| Reply::new(200, body).with("Content-Type", MANIFEST);
        let path = asked.path.trim_start_matches("/v2/");
        match path.split('/').next().unwrap_or_default() {
            "nothing" => reply(Body::Nothing),
            "drip" => reply(Body::Drip),
            "half" => reply(Body::Silence(b"{\"schemaVersion\":".to_vec(), 500)),
            "slow-blob" if path.ends_with(&slow) => {
                reply(Body::Silence(content[..500_000].to_vec(), size))
            }
            _ => shelf.answer(asked),
        }
    })
}

#[test]
fn privileged_registries_that_say_nothing_are_given_up() {
    let scene = Scene::start();
    let server = server(&scene);
    std::thread::scope(|scope| {
        let pulls: Vec<_> = ["nothing", "drip", "half", "slow-blob"]
            .into_iter()
            .map(|name| {
                let (scene, server) = (&scene, &server);
                scope.spawn(move || {
                    let began = Instant::now();
                    let outcome = scene.pull_slowly(&server.host(), &format!("{name}:1"));
                    println!("{name}: {outcome:?} after {:?}", began.elapsed());
                    (name, outcome, began.elapsed())
                })
            })
            .collect();
        eventually("all of them wait", SOON, || (server.open() >= 4).then_some(()));
        // Nobody else waits for them.
        scene.pull(&server.host(), "honest:1").unwrap();
        scene.remove_images();
        still_works(&scene);
        for pull in pulls {
            let (name, outcome, took) = pull.join().unwrap();
            assert!(outcome.is_err(), "{name}: {outcome:?}");
            assert!(took < BOUND, "{name}: {took:?}");
        }
    });
    scene.end("registries that say nothing");
}

/// A client that goes away takes the connection to the registry with it.
#[test]
fn privileged_nobody_waits_for_a_registry_when_the_client_has_gone() {
    let scene = Scene::start();
    let server = server(&scene);
    for name in ["nothing", "drip", "half", "slow-blob"] {
        let mut stream = scene.engine.client().connect();
        let path = format!("/v1.41/images/create?fromImage={}/{name}&tag=1", server.host());
        let request = format!("POST {path} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        eventually(&format!("{name} waits"), SOON, || (server.open() > 0).then_some(()));
        if name == "slow-blob" {
            let mut said = Vec::new();
            while !String::from_utf8_lossy(&said).contains("Downloading") {
                let mut buffer = [0; 500];
                let length = stream.read(&mut buffer).unwrap();
                assert!(length > 0, "{}", String::from_utf8_lossy(&said));
                said.extend_from_slice(&buffer[..length]);
            }
        }
        drop(stream);
        eventually(&format!("{name} is given up"), SOON, || (server.open() == 0).then_some(()));
    }
    still_works(&scene);
    scene.end("clients that go");
}
