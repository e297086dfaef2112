//! The daemon killed at any moment while images come, go and are made: afterwards the store finds
//! nothing wrong with itself or repairs it without a loss, what was answered holds, every image
//! that is there runs, and nothing is left behind. Ours only: dockerd was never built for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use testkit::distribution::Server;
use testkit::distribution::content::{ACCEPTED, DOCKER_MANIFEST, noise};
use testkit::engine::{VERSION, encode, filters};
use testkit::image::{Layer, busybox, busybox_config, busybox_layer, save};
use testkit::registry::{Options, Registry};
use testkit::{Daemon, Engine, Value, eventually, json};

const SOON: Duration = Duration::from_secs(60);

/// Images that can be had.
const IMAGES: u64 = 6;

/// Unpredictable enough; the seed is printed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// What the daemon has answered.
#[derive(Default)]
struct Ledger {
    /// Names that must be there, and what a container of each must say.
    here: BTreeMap<String, String>,
    /// Names that must be gone.
    gone: BTreeSet<String>,
    /// Tags in the registry that must be whole.
    pushed: BTreeSet<String>,
    /// Names that somebody is busy with: what becomes of them is not for two to say.
    busy: BTreeSet<String>,
}

/// A name that nobody else touches meanwhile.
struct Claim<'a> {
    ledger: &'a Mutex<Ledger>,
    name: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.ledger.lock().unwrap().busy.remove(&self.name);
    }
}

struct World {
    engine: Engine,
    registry: Registry,
    /// The same content where the test's own network is.
    home: Server,
    archives: Vec<Vec<u8>>,
    ledger: Mutex<Ledger>,
    number: AtomicU32,
    done: Mutex<BTreeMap<&'static str, u32>>,
}

/// What a container of an image is asked, and what it must say.
const QUESTION: &str = "cat /data/* | md5sum | cut -c1-32";

/// An image's layers: one that all share, and two of their own.
fn layers(number: u64) -> Vec<Layer> {
    let own = |layer: u64| {
        let mut tar = Layer::new().dir("data", 0o755);
        for file in 0..20 {
            let content = noise(1000 * number + 100 * layer + file, 15_000);
            tar = tar.file(&format!("data/{layer}-{file}"), 0o644, &content);
        }
        tar
    };
    vec![busybox_layer(), own(1), own(2)]
}

impl World {
    fn new(daemon: &Daemon) -> Self {
        let engine = daemon.engine();
        let home = Server::docker();
        let mut archives = Vec::new();
        for number in 0..IMAGES {
            let tag = format!("loaded{number}:1");
            let mut config = busybox_config();
            config["Labels"] = json!({ "number": number.to_string() });
            archives.push(save(&[&tag], &config, layers(number)).tar);
            publish(&home, &format!("image{number}"), &config, layers(number));
        }
        let registry = Registry::start(&Options {
            netns: engine.netns.as_deref(),
            storage: Some(home.root().to_owned()),
            ..Options::default()
        });
        let base = busybox(&["busybox:latest"]);
        let _ = engine.upload("/images/load?quiet=1", &base.tar).expect(200);
        Self {
            engine,
            registry,
            home,
            archives,
            ledger: Mutex::default(),
            number: AtomicU32::new(0),
            done: Mutex::default(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// A request that may be cut; its answer if that came whole and says no error.
    fn attempt(&self, method: &str, path: &str, body: &[u8]) -> Option<String> {
        let headers = [("Content-Type", "application/x-tar"), ("X-Registry-Auth", "e30=")];
        let path = format!("{VERSION}{path}");
        let answer = self.engine.client().attempt_with(method, &path, &headers, body).ok()?;
        let text = answer.text();
        // A daemon that is told to end answers nothing; one that is killed neither.
        (answer.status < 300 && !text.contains("\"error\"")).then_some(text)
    }

    /// Begins with a name, which may be there from now on.
    fn claim(&self, name: &str) -> Option<Claim<'_>> {
        let mut ledger = self.ledger();
        if !ledger.busy.insert(name.to_owned()) {
            return None;
        }
        ledger.gone.remove(name);
        Some(Claim { ledger: &self.ledger, name: name.to_owned() })
    }

    fn count(&self, what: &'static str) {
        *self.done.lock().unwrap().entry(what).or_default() += 1;
    }

    fn fresh(&self) -> u32 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// What a container of image `number` says.
    fn content(&self, number: u64) -> String {
        static KNOWN: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap();
        let make = || {
            let mut files = BTreeMap::new();
            for (layer, file) in (1..3).flat_map(|layer| (0..20).map(move |file| (layer, file))) {
                let content = noise(1000 * number + 100 * layer + file, 15_000);
                files.insert(format!("{layer}-{file}"), content);
            }
            let all: Vec<u8> = files.into_values().flatten().collect();
            md5(&all)
        };
        known.entry(number).or_insert_with(make).clone()
    }

    fn pull(&self, number: u64) {
        let name = format!("{}/image{number}:1", self.registry.host());
        let Some(_claim) = self.claim(&name) else { return };
        let path = format!("/images/create?fromImage={}", encode(&name));
        if self.attempt("POST", &path, &[]).is_some_and(|text| text.contains("Status: ")) {
            self.is_here(name.clone(), self.content(number));
            self.count("pulls");
        }
    }

    fn load(&self, number: u64) {
        let name = format!("loaded{number}:1");
        let Some(_claim) = self.claim(&name) else { return };
        let text = self.attempt("POST", "/images/load", &self.archives[number as usize]);
        if text.is_some_and(|text| text.contains("Loaded image")) {
            self.is_here(name.clone(), self.content(number));
            self.count("loads");
        }
    }

    fn push(&self, dice: u64) {
        let here = self.ledger().here.keys().cloned().collect::<Vec<_>>();
        let Some(name) = here.get(dice as usize % here.len().max(1)) else {
            // Nothing to push yet.
            return std::thread::sleep(Duration::from_millis(40));
        };
        let repository = format!("{}/pushed{}", self.registry.host(), self.fresh());
        let tag = format!("/images/{name}/tag?repo={}&tag=1", encode(&repository));
        // Somebody else may be removing it.
        if self.attempt("POST", &tag, &[]).is_none() {
            return;
        }
        let push = self.attempt("POST", &format!("/images/{repository}/push?tag=1"), &[]);
        if push.is_some_and(|text| text.contains("\"Digest\"")) {
            let path = repository.split_once('/').unwrap().1.to_owned();
            self.ledger().pushed.insert(path);
            self.count("pushes");
        }
    }

    fn build(&self) {
        let number = self.fresh();
        let context = Layer::new()
            .file("Dockerfile", 0o644, b"FROM busybox\nCOPY one /data/1\nRUN echo two > /data/2\nRUN head -c 400000 /dev/zero > /zeros && rm /bin/vi\nENV A=b\n")
            .file("one", 0o644, format!("{number}\n").as_bytes())
            .bytes();
        let name = format!("built{number}:1");
        let text = self.attempt("POST", &format!("/build?t={name}&networkmode=none"), &context);
        if text.is_some_and(|text| text.contains("Successfully tagged")) {
            self.is_here(name, md5(format!("{number}\ntwo\n").as_bytes()));
            self.count("builds");
        }
    }

    fn remove(&self, dice: u64) {
        let names: Vec<String> = self.ledger().here.keys().cloned().collect();
        let Some(name) = names.get(dice as usize % names.len().max(1)) else {
            // Nothing to remove yet.
            return std::thread::sleep(Duration::from_millis(20));
        };
        let Some(_claim) = self.claim(name) else { return };
        self.ledger().here.remove(name);
        if self.attempt("DELETE", &format!("/images/{name}?force=1"), &[]).is_some() {
            self.ledger().gone.insert(name.clone());
            self.count("removals");
        }
    }

    /// Removes what has no name, and what builds left.
    fn prune(&self) {
        let dangling = filters(&json!({ "dangling": ["true"] }));
        if self.attempt("POST", &format!("/images/prune?{dangling}"), &[]).is_some() {
            self.count("prunes");
        }
        drop(self.attempt("POST", "/build/prune?all=1", &[]));
    }

    fn is_here(&self, name: String, content: String) {
        self.ledger().here.insert(name, content);
    }

    /// What must hold when the daemon is back.
    fn holds(&self, dice: &mut Dice) {
        let found = check(&self.engine, false);
        if !found.is_empty() {
            self.count("repairs");
            println!("found: {found:?}");
            let repaired = check(&self.engine, true);
            for problem in &repaired {
                let outcome = &problem["outcome"]["type"];
                assert!(outcome == "repaired" || outcome == "removed", "{problem}");
            }
            let left = check(&self.engine, false);
            assert!(left.is_empty(), "after the repair: {left:#?}");
        }
        let ledger = self.ledger();
        for name in ledger.here.keys() {
            let answer = self.engine.get(&format!("/images/{name}/json"));
            assert_eq!(answer.status, 200, "{name} is lost: {}", answer.text());
        }
        for name in &ledger.gone {
            let answer = self.engine.get(&format!("/images/{name}/json"));
            assert_eq!(answer.status, 404, "{name} is back");
        }
        for name in &ledger.pushed {
            is_whole(&self.home, name);
        }
        let all: Vec<_> = ledger.here.iter().collect();
        if let Some((name, expected)) = all.get(dice.below(all.len() as u64) as usize) {
            let said = self.engine.sh(QUESTION, json!({ "Image": name }));
            assert_eq!(said.trim(), **expected, "{name}");
        }
    }
}

fn md5(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("content");
    std::fs::write(&file, bytes).unwrap();
    let output = std::process::Command::new("md5sum").arg(file).output().unwrap();
    String::from_utf8_lossy(&output.stdout)[..32].to_owned()
}

/// Puts an image into a registry, its layers as they are.
fn publish(home: &Server, name: &str, config: &Value, layers: Vec<Layer>) {
    let tars: Vec<Vec<u8>> = layers.into_iter().map(Layer::bytes).collect();
    let diff_ids: Vec<String> = tars.iter().map(|tar| testkit::image::digest(tar)).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux", "config": config, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = config.to_string().into_bytes();
    let describe = |kind: &str, bytes: &[u8]| {
        let digest = home.push_blob(name, bytes);
        json!({ "mediaType": kind, "size": bytes.len(), "digest": digest })
    };
    let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
        "config": describe("application/vnd.docker.container.image.v1+json", &config),
        "layers": tars.iter().map(|tar| describe(layer, tar)).collect::<Vec<_>>(),
    });
    let _ = home.put(name, "1", DOCKER_MANIFEST, manifest.to_string().as_bytes()).expect(201);
}

/// The registry has a manifest and all that it lists.
fn is_whole(home: &Server, name: &str) {
    let path = format!("/v2/{name}/manifests/1");
    let manifest = home.request("GET", &path, &[("Accept", ACCEPTED)], &[]).expect(200).json();
    let layers = manifest["layers"].as_array().unwrap().iter();
    for blob in std::iter::once(&manifest["config"]).chain(layers) {
        let digest = blob["digest"].as_str().unwrap();
        assert!(home.has_blob(name, digest), "{name} lacks {digest}");
    }
}

/// What the store finds wrong with itself.
fn check(engine: &Engine, repair: bool) -> Vec<Value> {
    let path = format!("/system/check{}", if repair { "?repair=1" } else { "" });
    let answer = engine.act(&path).expect(200);
    let lines: Vec<Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["type"], "report", "{}", answer.text());
    lines.into_iter().filter(|line| line["type"] == "found").collect()
}

/// Mounts, containers and cgroups that nobody needs any more.
fn leftovers(daemon: &Daemon) -> Vec<String> {
    let folder = daemon.folder();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let place = folder.display().to_string();
    let mut left: Vec<String> =
        mounts.lines().filter(|line| line.contains(&place)).map(str::to_owned).collect();
    for place in ["data/containers", "run/monitors"] {
        let entries = std::fs::read_dir(folder.join(place)).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    left.extend(daemon.cgroups().iter().map(|cgroup| cgroup.display().to_string()));
    left
}

/// Kills the daemon `rounds` times while `workers` work, and looks each time. Each kind of work is
/// done more than once.
fn killed(rounds: u64, kinds: &[&str], workers: &[fn(&World, u64)]) {
    let mut daemon = Daemon::isopod();
    let world = World::new(&daemon);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = now.as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let work = |world: &World, dice: &mut Dice, end: &mut dyn FnMut()| {
        std::thread::scope(|scope| {
            for worker in workers {
                let (world, number) = (world, dice.below(1 << 30));
                scope.spawn(move || worker(world, number));
            }
            end();
        });
    };
    // As long as it takes on this machine now, within reason.
    let began = Instant::now();
    work(&world, &mut dice, &mut || ());
    let whole = began.elapsed().min(Duration::from_millis(1500));
    println!("undisturbed: {:?} in {whole:?}", world.done.lock().unwrap());
    // On a busy machine one kind may find nothing to do before another has begun.
    let mut times = 1;
    while !all_of(&world.done.lock().unwrap(), kinds) {
        assert!(times < 10, "not all of {kinds:?}: {:?}", world.done.lock().unwrap());
        work(&world, &mut dice, &mut || ());
        times += 1;
    }
    for round in 0..rounds {
        let part = if round % 3 == 0 { whole / 10 } else { whole * 5 / 4 };
        let moment = Duration::from_micros(dice.below(part.as_micros() as u64));
        work(&world, &mut dice, &mut || {
            std::thread::sleep(moment);
            daemon.kill();
        });
        daemon.restart();
        world.holds(&mut dice);
        eventually("nothing is left of what was cut", SOON, || {
            leftovers(&daemon).is_empty().then_some(())
        });
    }
    println!("{:?}", world.done.lock().unwrap());

    // Everything can be removed, and then there is nothing.
    for image in world.engine.get("/images/json?all=1").expect(200).json().as_array().unwrap() {
        let id = image["Id"].as_str().unwrap();
        let answer = world.engine.delete(&format!("/images/{id}?force=1"));
        assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
    }
    drop(world.attempt("POST", "/build/prune?all=1", &[]));
    let found = check(&world.engine, false);
    assert!(found.is_empty(), "{found:#?}");
    let layers = daemon.folder().join("data/layers");
    eventually("no layer is left", SOON, || {
        let entries = std::fs::read_dir(&layers).unwrap().map(|entry| entry.unwrap().path());
        let left: Vec<PathBuf> =
            entries.filter(|path| !path.ends_with("init") && !path.ends_with("empty")).collect();
        left.is_empty().then_some(())
    });
    // The registry lives in the daemon's network, where nothing may be left.
    drop(world);
    daemon.stop().unwrap();
}

#[test]
fn privileged_pulls_and_pushes_survive_kills() {
    killed(
        16,
        &["pulls", "pushes", "removals"],
        &[
            |world, number| (0..4).for_each(|n| world.pull((number + n) % IMAGES)),
            |world, number| world.pull(number % 7 % IMAGES),
            |world, number| (0..9).for_each(|n| world.push(number + n)),
            |world, number| (0..9).for_each(|n| world.remove(number / 3 + n)),
        ],
    );
}

#[test]
fn privileged_loads_and_removals_survive_kills() {
    killed(
        16,
        &["loads", "removals", "prunes"],
        &[
            |world, number| (0..4).for_each(|n| world.load((number + n) % IMAGES)),
            |world, number| (0..2).for_each(|n| world.load((number / 5 + n) % IMAGES)),
            |world, number| (0..20).for_each(|n| world.remove(number + n)),
            |world, _| (0..5).for_each(|_| world.prune()),
        ],
    );
}

#[test]
fn privileged_builds_survive_kills() {
    killed(
        12,
        &["builds", "prunes"],
        &[
            |world, _| (0..2).for_each(|_| world.build()),
            |world, _| world.build(),
            |world, number| (0..9).for_each(|n| world.remove(number + n)),
            |world, _| (0..3).for_each(|_| world.prune()),
        ],
    );
}

/// Whether each kind of work was done now and then.
fn all_of(done: &BTreeMap<&'static str, u32>, kinds: &[&str]) -> bool {
    kinds.iter().all(|kind| done.get(kind).is_some_and(|count| *count > 1))
}
