//! Power cuts: a child process does something with a store, and at its n-th durable step the power
//! goes (see [`fault`](crate::fault)). Whatever n is, and whatever had not been flushed, the store
//! must open afterwards, be clean or be repaired by `check`, have everything that was reported
//! done, and take the same work again.

mod scenario;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use types::digest::Digest;

use crate::check::{CheckReport, Outcome};
use crate::fault::{self, Loss};
use crate::store::{Options, Store};

use scenario::{SCENARIOS, Scenario};

/// Tells the child what to do: `scenario step loss directory`.
const CHILD: &str = "ISOPOD_TEST_POWER";
/// Where the child writes what it has done.
const DONE: &str = "done";

/// Kinds of loss that are tried at every step; those with further numbers lose a part.
const WHOLE: u64 = 3;

fn loss(number: u64) -> Loss {
    match number {
        0 => Loss::Nothing,
        1 => Loss::Content,
        2 => Loss::Everything,
        part => Loss::Part(part),
    }
}

/// Points at which the power is cut: each step with each kind of loss, and with so many further
/// ones that there are `cuts` of them, and some more because threads may save a step.
fn points(steps: u64, cuts: u64) -> impl Iterator<Item = (u64, u64)> {
    let kinds = WHOLE.max((cuts + cuts / 5).div_ceil(steps));
    (0..steps).flat_map(move |at| (0..kinds).map(move |loss| (at, loss)))
}

/// A store's directory, on memory if there is any: a `syncfs` of a disk waits for everybody's.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self(dir.expect("directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn root(dir: &Path) -> PathBuf {
    dir.join("root")
}

fn open(dir: &Path) -> Arc<Store> {
    Arc::new(Store::open(root(dir), Options::default()).expect("the store opens"))
}

/// What has been done, for whoever looks after the power cut. It is on another disk.
pub(crate) struct Journal(PathBuf);

impl Journal {
    /// An image was reported done under this name.
    fn there(&self, name: &str, id: &Digest) {
        self.write(&format!("+ {name} {id}"));
    }

    /// A name is about to go: it may be there or not.
    fn going(&self, name: &str) {
        self.write(&format!("? {name}"));
    }

    /// A name was reported gone.
    fn gone(&self, name: &str) {
        self.write(&format!("- {name}"));
    }

    fn write(&self, line: &str) {
        use std::io::Write;
        let file = std::fs::File::options().create(true).append(true).open(&self.0);
        writeln!(file.expect("open"), "{line}").expect("write");
    }

    /// What each name must stand for: an image, or nothing. What may be either is left out.
    fn read(path: &Path) -> BTreeMap<String, Option<Digest>> {
        let mut out = BTreeMap::new();
        for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["+", name, id] => out.insert(name.to_owned(), Some(id.parse().expect("id"))),
                ["-", name] => out.insert(name.to_owned(), None),
                ["?", name] => out.remove(name),
                _ => panic!("{line:?}"),
            };
        }
        out
    }
}

/// Does what the environment says, and ends where the power is cut. Without one it does every
/// scenario to its end, which must work and have steps to cut at.
#[test]
fn privileged_scenarios_work_while_the_power_lasts() {
    let Ok(text) = std::env::var(CHILD) else {
        for scenario in SCENARIOS {
            let place = Place::new();
            prepare(scenario, place.path());
            assert!(run(scenario, place.path(), u64::MAX, Loss::Nothing) > 5, "{}", scenario.name);
            look(scenario, place.path(), "no cut");
        }
        return;
    };
    let words: Vec<&str> = text.splitn(4, ' ').collect();
    let [name, at, loss, dir] = words[..] else { panic!("{text}") };
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("scenario");
    let kind = self::loss(loss.parse().expect("loss"));
    run(scenario, Path::new(dir), at.parse().expect("step"), kind);
}

/// Makes what the scenario begins with.
fn prepare(scenario: &Scenario, dir: &Path) {
    let store = open(dir);
    (scenario.prepare)(&store, &Journal(dir.join(DONE)));
}

/// Does the work, with the power to be cut; says how many steps it took if it was not.
fn run(scenario: &Scenario, dir: &Path, at: u64, loss: Loss) -> u64 {
    let top = dir.canonicalize().expect("path");
    fault::arm(at, loss, &root(&top), &top.join("graves"));
    // Opening is work, too.
    let store = open(dir);
    (scenario.work)(&store, &Journal(dir.join(DONE)));
    drop(store);
    let left = fault::disarm().expect("armed");
    std::fs::remove_dir_all(top.join("graves")).expect("remove");
    at - left
}

/// Looks at a store after a power cut; then the work must be possible again.
fn look(scenario: &Scenario, dir: &Path, when: &str) {
    let expected = Journal::read(&dir.join(DONE));
    let store = open(dir);
    let leftovers: Vec<String> = ["content/partial", "layers"]
        .iter()
        .flat_map(|sub| std::fs::read_dir(root(dir).join(sub)).expect("list"))
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .filter(|name| name.starts_with("put-") || name.starts_with("tmp-"))
        .collect();
    assert!(leftovers.is_empty(), "{when}: {leftovers:?}");
    let check = |repair| store.check(repair, &mut |_| {}).expect("check");
    let found: CheckReport = check(false);
    if !found.is_clean() {
        let repaired = check(true);
        assert!(repaired.is_solved(), "{when}: {repaired:#?}");
        for problem in &repaired.problems {
            assert!(!matches!(problem.outcome, Outcome::Dropped(_)), "{when}: {problem:#?}");
        }
        let again = check(false);
        assert!(again.is_clean(), "{when}: {again:#?}");
    }
    for (name, id) in expected {
        assert_eq!(store.resolve(&name).ok(), id, "{when}: {name}");
        if id.is_some() {
            let saved = store.save(std::slice::from_ref(&name), &mut std::io::sink());
            saved.unwrap_or_else(|error| panic!("{when}: {name}: {error}"));
        }
    }
    let journal = Journal(dir.join("again"));
    (scenario.work)(&store, &journal);
    for (name, id) in Journal::read(&dir.join("again")) {
        assert_eq!(store.resolve(&name).ok(), id, "{when}, again: {name}");
    }
    let report = check(false);
    assert!(report.is_clean(), "{when}, again: {report:#?}");
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(status.success());
}

/// Cuts the power at one step in a child; says whether there was such a step.
fn cut(scenario: &Scenario, dir: &Path, at: u64, loss: u64) -> bool {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "power::privileged_scenarios_work_while_the_power_lasts", "--nocapture"])
        .env(CHILD, format!("{} {at} {loss} {}", scenario.name, dir.display()))
        .output()
        .expect("child");
    let code = output.status.code();
    let said = String::from_utf8_lossy(&output.stderr);
    // Threads make some steps a few more or less: then the work may come to its end.
    assert!(matches!(code, Some(fault::CUT | 0)), "{} at step {at}: {said}", scenario.name);
    code == Some(fault::CUT)
}

/// Every step of every scenario, with every kind of loss.
#[test]
fn privileged_a_power_cut_at_any_step_loses_nothing_that_was_done() {
    let place = Place::new();
    let mut all = Vec::new();
    for scenario in SCENARIOS {
        let base = place.path().join(scenario.name);
        std::fs::create_dir(&base).expect("mkdir");
        prepare(scenario, &base);
        let dry = place.path().join("dry");
        copy(&base, &dry);
        let steps = run(scenario, &dry, u64::MAX, Loss::Nothing);
        std::fs::remove_dir_all(&dry).expect("remove");
        all.extend(points(steps, scenario.cuts).map(|(at, loss)| (scenario, at, loss)));
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<&str, u64>> = Mutex::default();
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((scenario, at, number)) =
                    all.get(next.fetch_add(1, Ordering::SeqCst))
                {
                    let dir = place.path().join(format!("{}-{at}-{number}", scenario.name));
                    copy(&place.path().join(scenario.name), &dir);
                    let when = format!("{} at step {at}, loss {:?}", scenario.name, loss(*number));
                    let looked = std::panic::catch_unwind(|| {
                        let cut = cut(scenario, &dir, *at, *number);
                        look(scenario, &dir, &when);
                        cut
                    });
                    match looked {
                        Ok(cut) => {
                            let mut done = done.lock().expect("lock");
                            *done.entry(scenario.name).or_default() += u64::from(cut);
                        }
                        Err(_) => failed.lock().expect("lock").push(when),
                    }
                    std::fs::remove_dir_all(&dir).expect("remove");
                }
            });
        }
    });
    let failed = failed.into_inner().expect("lock");
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), all.len());
    let done = done.into_inner().expect("lock");
    println!("the power was cut so often: {done:?}");
    for scenario in SCENARIOS {
        assert!(done[scenario.name] >= scenario.cuts, "{}: {done:?}", scenario.name);
    }
}
