//! `isopod compare`: that it measures something of everything and leaves nothing. How fast anything
//! is, is not asked here. The images are such as have no file at all.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::daemon::Daemon;
use testkit::engine::isopod_binary;
use testkit::image::Layer;
use testkit::{Engine, Value, eventually};

/// The memory that is not the program's, and the disk: a plain process has none.
const OF_CONTAINERS: [&str; 2] = ["memory-beyond", "disk"];

/// A daemon with an image that has nothing in it.
fn daemon(kernel: Option<&str>) -> Daemon {
    let arguments: Vec<&str> = kernel.iter().flat_map(|kernel| ["--vm-kernel", kernel]).collect();
    let daemon = Daemon::isopod_with(&arguments);
    let empty = Layer::new().bytes();
    let answer = daemon.engine().upload("/images/create?fromSrc=-&repo=nothing", &empty);
    assert_eq!(answer.status, 200, "{}", answer.text());
    daemon
}

/// The command, where it reaches containers.
fn compare(engine: &Engine, arguments: &[&str]) -> Command {
    let mut command = engine.prepared(&isopod_binary());
    command.arg("compare").args(arguments).arg("nothing");
    command
}

/// What it says as JSON.
fn measured(engine: &Engine, page: &Path) -> Value {
    let page = page.display().to_string();
    let arguments = ["--quick", "--format", "json", "--output", &page];
    let output = engine.on_its_network(|| compare(engine, &arguments).output()).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "", "nobody watches");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn nothing_is_left(engine: &Engine) {
    assert_eq!(engine.get("/containers/json?all=1").json(), testkit::json!([]));
    let images = engine.get("/images/json?all=1").json();
    let names: Vec<&Value> =
        images.as_array().unwrap().iter().map(|image| &image["RepoTags"][0]).collect();
    assert_eq!(names, ["nothing:latest"], "{images}");
}

/// The medians of the columns with this name: each row's measure and number.
fn medians(report: &Value, wall: &str) -> Vec<(String, Option<f64>)> {
    let of = |row: &Value| {
        let mut cells = row["cells"].as_array().unwrap().iter();
        let cell = cells.find(|cell| cell["wall"] == wall).unwrap();
        (row["measure"].as_str().unwrap().to_owned(), cell["median"].as_f64())
    };
    report["rows"].as_array().unwrap().iter().map(of).collect()
}

/// Every number of a column is there, and could be one.
fn complete(report: &Value, wall: &str) {
    for (measure, median) in medians(report, wall) {
        if wall == "native" && OF_CONTAINERS.contains(&measure.as_str()) {
            assert_eq!(median, None, "{measure}");
        } else {
            let median = median.unwrap_or_else(|| panic!("{wall}, {measure}: {report:#}"));
            assert!(median > 0.0 && median.is_finite(), "{wall}, {measure}: {median}");
        }
    }
}

/// The numbers behind the table's cells, from left to right and line by line.
fn numbers_of(page: &Path) -> Vec<f64> {
    let page = std::fs::read_to_string(page).unwrap();
    let cells = page.split("<data value=\"").skip(1);
    cells.map(|cell| cell.split('"').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn privileged_an_empty_image_is_measured_behind_each_wall() {
    let kernel = std::env::var("ISOPOD_TEST_VM_KERNEL").ok();
    let daemon = daemon(kernel.as_deref());
    let engine = daemon.engine();
    let page = daemon.folder().join("page.html");
    let report = measured(&engine, &page);
    for wall in ["native", "process", "vm"] {
        complete(&report, wall);
    }
    assert_eq!(report["rows"].as_array().unwrap().len(), 15);
    let accelerator = report["machine"]["accelerator"].as_str().unwrap();
    assert!(["kvm", "tcg"].contains(&accelerator), "{accelerator}");
    let cells = report["rows"].as_array().unwrap().iter();
    let cells = cells.flat_map(|row| row["cells"].as_array().unwrap());
    let said: Vec<f64> = cells.filter_map(|cell| cell["median"].as_f64()).collect();
    let shown = numbers_of(&page);
    assert_eq!(shown.len(), said.len());
    // What reads JSON here may round the last digit.
    let same = |(one, other): (&f64, &f64)| (one - other).abs() <= one.abs() * 1e-12;
    assert!(shown.iter().zip(&said).all(same), "{shown:?} {said:?}");
    nothing_is_left(&engine);
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_wall_that_cannot_be_leaves_the_others() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let name = file.path().display().to_string();
    std::fs::write(&name, "no kernel at all").unwrap();
    let daemon = daemon(Some(&name));
    let engine = daemon.engine();
    let page = daemon.folder().join("page.html");
    let report = measured(&engine, &page);
    complete(&report, "native");
    complete(&report, "process");
    assert!(medians(&report, "vm").iter().all(|(_, median)| median.is_none()), "{report:#}");
    let failure = report["columns"][2]["failure"].as_str().unwrap();
    assert!(failure.contains(&name), "{failure}");
    assert!(std::fs::read_to_string(&page).unwrap().contains(&name));
    nothing_is_left(&engine);

    let arguments = ["--quick", "--walls", "vm", "--output", ""];
    let output = engine.on_its_network(|| compare(&engine, &arguments).output()).unwrap();
    assert_eq!(output.status.code(), Some(1), "nothing is left to compare: {output:?}");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("\nvm was not measured: "), "{table}");
    nothing_is_left(&engine);
    daemon.stop().unwrap();
}

#[test]
fn privileged_whoever_interrupts_a_comparison_has_nothing_to_clean() {
    let daemon = daemon(None);
    let engine = daemon.engine();
    let arguments = ["--runs", "1000", "--walls", "process", "--output", ""];
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = compare(&engine, &arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let child = engine.on_its_network(|| command.spawn()).unwrap();
        let containers = || engine.get("/containers/json").json().as_array().unwrap().len();
        eventually("a container runs", Duration::from_secs(30), || {
            (containers() > 0).then_some(())
        });
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        assert_eq!(stderr, "interrupted: what was made is removed\n");
        nothing_is_left(&engine);
    }
    daemon.stop().unwrap();
}

mod dockerd {
    use super::*;

    #[test]
    fn privileged_a_daemon_without_walls_is_measured_too() {
        let daemon = Daemon::dockerd();
        let engine = daemon.engine();
        let empty = Layer::new().bytes();
        let answer = engine.upload("/images/create?fromSrc=-&repo=nothing", &empty);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = daemon.folder().join("page.html");
        let report = measured(&engine, &page);
        for (measure, median) in medians(&report, "process") {
            // It says how large a container's files are, and an idle one has none.
            let least = if measure == "disk" { 0.0 } else { f64::MIN_POSITIVE };
            assert!(median.is_some_and(|median| median >= least), "{measure}: {median:?}");
        }
        let why = "the daemon has no runtime vm";
        assert_eq!(report["columns"][2]["failure"], why);
        nothing_is_left(&engine);
        daemon.stop().unwrap();
    }
}
