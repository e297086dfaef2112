//! Against the real kernel, as root: whatever hierarchies this host has.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxDeviceType,
    LinuxHugepageLimitBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder, LinuxThrottleDeviceBuilder,
};

use super::layout::Controller;
use super::*;

/// The parent of every test's cgroup; the last test to end takes it away.
const PARENT: &str = "isopod-test";

/// A cgroup that goes away with the test, whatever the test does.
struct Scratch {
    layout: Layout,
    path: String,
    cgroup: Option<Cgroup>,
}

impl Scratch {
    fn new(name: &str) -> Scratch {
        assert!(rustix::process::geteuid().is_root(), "this test needs root");
        let layout = Layout::probe().unwrap();
        let path = format!("/{PARENT}/{name}-{}", std::process::id());
        let (cgroup, warnings) = Cgroup::create(&layout, &path, Driver::Cgroupfs).unwrap();
        assert_eq!(warnings, []);
        Scratch { layout, path, cgroup: Some(cgroup) }
    }

    fn get(&self) -> &Cgroup {
        self.cgroup.as_ref().unwrap()
    }

    fn apply(&self, resources: LinuxResources) {
        assert_eq!(self.get().apply(&resources, OnMissing::Fail).unwrap(), []);
    }

    fn file(&self, controller: Controller, file: &str) -> String {
        self.get().places.of(controller).unwrap().dir().text(file).unwrap()
    }

    /// Runs a script inside; it starts when it is in.
    fn spawn(&self, script: &str) -> Child {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.get().add(child.id() as i32).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child
    }

    fn run(&self, script: &str) -> ExitStatus {
        self.spawn(script).wait().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            let _ = cgroup.thaw();
            cgroup.kill().unwrap();
            let removed = cgroup.remove();
            if !std::thread::panicking() {
                removed.unwrap();
            }
        }
        let _ = Cgroup::prune_parent(&self.layout, PARENT);
    }
}

fn memory(limit: i64, swap: i64) -> LinuxResources {
    let memory = LinuxMemoryBuilder::default().limit(limit).swap(swap).build().unwrap();
    LinuxResourcesBuilder::default().memory(memory).build().unwrap()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn privileged_cgroup_is_in_every_hierarchy_and_goes_away() {
    let mut scratch = Scratch::new("tree");
    let dirs: Vec<PathBuf> =
        scratch.get().places.all().map(|(_, dir)| dir.path().to_owned()).collect();
    assert_eq!(dirs.len(), scratch.layout.v1.len() + usize::from(scratch.layout.unified.is_some()));
    assert!(dirs.iter().all(|dir| dir.is_dir()), "{dirs:?}");
    // Cgroups that the container made below go too.
    for dir in &dirs {
        fs::create_dir_all(dir.join("a/b")).unwrap();
    }
    scratch.cgroup.take().unwrap().remove().unwrap();
    assert!(dirs.iter().all(|dir| !dir.exists()), "{dirs:?}");
}

#[test]
fn privileged_cgroup_left_over_is_replaced_and_one_in_use_is_not() {
    let scratch = Scratch::new("again");
    scratch.apply(memory(64 << 20, 64 << 20));
    let (again, _) = Cgroup::create(&scratch.layout, &scratch.path, Driver::Cgroupfs).unwrap();
    let limit = match scratch.get().places.of(Memory).unwrap() {
        Place::V1(_) => "memory.limit_in_bytes",
        Place::Unified(_) => "memory.max",
    };
    assert_ne!(scratch.file(Memory, limit), (64 << 20).to_string());
    let mut child = scratch.spawn("sleep 60");
    let error = Cgroup::create(&scratch.layout, &scratch.path, Driver::Cgroupfs).unwrap_err();
    assert_eq!(error.errno(), Some(16), "{error}");
    assert_eq!(again.pids().unwrap().first(), Some(&(child.id() as i32)));
    let opened = Cgroup::open(&scratch.layout, &scratch.path, Driver::Cgroupfs).unwrap();
    opened.kill().unwrap();
    child.wait().unwrap();
    let gone = Cgroup::open(&scratch.layout, "/isopod-test/never", Driver::Cgroupfs);
    assert_eq!(gone.unwrap_err().errno(), None);
}

#[test]
fn privileged_cgroup_memory_limit_kills_and_tells() {
    let scratch = Scratch::new("memory");
    scratch.apply(memory(32 << 20, 64 << 20));
    let event = scratch.get().oom_event().unwrap();
    let status = scratch.run("exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
    assert!(scratch.get().oom_kills() >= 1);
    let mut poll = [rustix::event::PollFd::new(&event, rustix::event::PollFlags::IN)];
    let soon = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut poll, Some(&soon)).unwrap(), 1);
    event.drain();
    let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut poll, Some(&none)).unwrap(), 0);
    let stats = scratch.get().stats().unwrap();
    assert_eq!(stats.memory.limit, Some(32 << 20));
    assert!(stats.memory.oom_kills >= 1 && stats.memory.failcnt > 0);
    assert!(stats.memory.max_usage.unwrap() > 30 << 20, "{:?}", stats.memory);
}

#[test]
fn privileged_cgroup_memory_updates_up_and_down() {
    let scratch = Scratch::new("update");
    for (limit, swap) in [(64, 128), (256, 512), (32, 32), (300, -1), (16, 16)] {
        let swap = if swap < 0 { -1 } else { swap << 20 };
        scratch.apply(memory(limit << 20, swap));
        assert_eq!(scratch.get().stats().unwrap().memory.limit, Some((limit as u64) << 20));
    }
    scratch.apply(memory(-1, -1));
    assert_eq!(scratch.get().stats().unwrap().memory.limit, None);
}

#[test]
fn privileged_cgroup_pids_limit_refuses_fork() {
    let scratch = Scratch::new("pids");
    let limit = |limit: i64| {
        let pids = LinuxPidsBuilder::default().limit(limit).build().unwrap();
        LinuxResourcesBuilder::default().pids(pids).build().unwrap()
    };
    scratch.apply(limit(3));
    assert_eq!(scratch.get().stats().unwrap().pids.limit, Some(3));
    let script = "(sleep 30 & sleep 30 & sleep 30 & sleep 30 & wait)";
    assert_ne!(scratch.run(script).code(), Some(0));
    scratch.get().kill().unwrap();
    eventually("all gone", || scratch.get().pids().unwrap().is_empty());
    scratch.apply(limit(-1));
    assert_eq!(scratch.run("(true & true & true & true & wait)").code(), Some(0));
    assert_eq!(scratch.get().stats().unwrap().pids.limit, None);
}

#[test]
fn privileged_cgroup_cpu_values() {
    let scratch = Scratch::new("cpu");
    let cpu = |quota: i64, period: u64| {
        let cpu = LinuxCpuBuilder::default()
            .shares(512u64)
            .quota(quota)
            .period(period)
            .burst(1000u64)
            .cpus("0")
            .mems("0")
            .build()
            .unwrap();
        LinuxResourcesBuilder::default().cpu(cpu).build().unwrap()
    };
    for (quota, period) in [(50_000, 100_000), (5000, 10_000), (200_000, 400_000), (-1, 100_000)] {
        scratch.apply(cpu(quota, period));
        if let Some(Place::V1(dir)) = scratch.get().places.of(Controller::Cpu) {
            assert_eq!(dir.text("cpu.cfs_quota_us").unwrap(), quota.to_string());
            assert_eq!(dir.text("cpu.cfs_period_us").unwrap(), period.to_string());
            assert_eq!(dir.text("cpu.shares").unwrap(), "512");
            assert_eq!(dir.text("cpu.cfs_burst_us").unwrap(), "1000");
        }
    }
    assert_eq!(scratch.file(Controller::Cpuset, "cpuset.cpus"), "0");
    // A tenth of one processor is felt and counted.
    scratch.apply(cpu(10_000, 100_000));
    let mut busy = scratch.spawn("while :; do :; done");
    eventually("throttled", || scratch.get().stats().unwrap().cpu.throttled_periods > 2);
    scratch.get().kill().unwrap();
    busy.wait().unwrap();
    let cpu = scratch.get().stats().unwrap().cpu;
    assert!(cpu.total_ns > 0 && cpu.throttled_ns > 0 && cpu.periods >= cpu.throttled_periods);
}

fn only(allow: bool, major: i64, minor: i64) -> LinuxResources {
    let all = LinuxDeviceCgroupBuilder::default().allow(!allow).access("rwm").build().unwrap();
    let one = LinuxDeviceCgroupBuilder::default()
        .allow(allow)
        .typ(LinuxDeviceType::C)
        .major(major)
        .minor(minor)
        .access("rwm")
        .build()
        .unwrap();
    LinuxResourcesBuilder::default().devices(vec![all, one]).build().unwrap()
}

/// `test -r` asks the file's mode only; opening is what the kernel's rule is about.
const OPEN_KMSG: &str = "exec 3</dev/kmsg";
const OPEN_NULL: &str = "exec 3</dev/null";

fn devices_deny_and_allow(scratch: &Scratch, apply: impl Fn(&LinuxResources)) {
    let opens = |script: &str| scratch.run(script).success();
    // kmsg is character device 1:11, and null 1:3 every container has.
    apply(&only(true, 1, 3));
    assert!(!opens(OPEN_KMSG) && opens(OPEN_NULL));
    // A live update adds one and takes it back.
    apply(&only(true, 1, 11));
    assert!(opens(OPEN_KMSG) && opens(OPEN_NULL));
    apply(&only(true, 1, 3));
    assert!(!opens(OPEN_KMSG));
    // All but one.
    apply(&only(false, 1, 11));
    assert!(!opens(OPEN_KMSG) && opens(OPEN_NULL));
}

#[test]
fn privileged_cgroup_device_rules() {
    let scratch = Scratch::new("devices");
    devices_deny_and_allow(&scratch, |resources| {
        scratch.get().apply(resources, OnMissing::Fail).unwrap();
    });
}

#[test]
fn privileged_cgroup_device_program_of_the_unified_tree() {
    let scratch = Scratch::new("bpf");
    let Some((_, dir)) = &scratch.get().places.unified else {
        panic!("this test needs a unified tree (cgroup2 mounted anywhere)");
    };
    devices_deny_and_allow(&scratch, |resources| {
        let list = resources.devices().as_deref().unwrap();
        v2::devices::enforce(dir, &devices::Policy::new(list).unwrap()).unwrap();
        let cgroup = fs::File::open(dir.path()).unwrap();
        let attached = sys::bpf::attached_device_programs(cgroup.as_fd()).unwrap();
        assert_eq!(attached.len(), 1, "replaced, not added");
    });
    let everything = devices::Policy { allow: true, rules: Vec::new() };
    v2::devices::enforce(dir, &everything).unwrap();
    assert!(scratch.run(OPEN_KMSG).success());
}

#[test]
fn privileged_cgroup_freeze_really_stops() {
    let scratch = Scratch::new("freeze");
    let mut child = scratch.spawn("while :; do :; done");
    scratch.get().freeze().unwrap();
    assert!(scratch.get().frozen().unwrap());
    // The time that it has spent in user mode.
    let time = || {
        let stat = sys::process::Stat::of(i32::try_from(child.id()).unwrap()).unwrap();
        stat.field::<u64>(14).unwrap()
    };
    let before = time();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(time(), before, "it ran while frozen");
    scratch.get().thaw().unwrap();
    assert!(!scratch.get().frozen().unwrap());
    eventually("it goes on", || time() != before);
    // Killing needs no thaw.
    scratch.get().freeze().unwrap();
    scratch.get().kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn privileged_cgroup_v1_freezer_stops_too() {
    let scratch = Scratch::new("freezer1");
    let Some(Place::V1(dir)) = scratch.get().places.of(Controller::Freezer) else {
        eprintln!("no v1 freezer on this host: the unified one is tested by the other test");
        return;
    };
    let mut child = scratch.spawn("while :; do :; done");
    v1::freezer::freeze(dir, Duration::from_secs(5)).unwrap();
    assert!(v1::freezer::frozen(dir).unwrap());
    v1::freezer::thaw(dir).unwrap();
    assert!(!v1::freezer::frozen(dir).unwrap());
    // Without a unified tree, killing freezes, signals and thaws.
    let mut places = scratch.get().places.clone();
    places.unified = None;
    processes::kill(&places).unwrap();
    child.wait().unwrap();
}

#[test]
fn privileged_cgroup_kill_takes_forkers() {
    let scratch = Scratch::new("kill");
    let mut child = scratch.spawn("while :; do (sleep 5 &) ; sleep 0.01; done");
    eventually("it forks", || scratch.get().pids().unwrap().len() > 3);
    scratch.get().kill().unwrap();
    child.wait().unwrap();
    eventually("all gone", || scratch.get().pids().unwrap().is_empty());
}

#[test]
fn privileged_cgroup_a_thread_joins_by_itself() {
    let scratch = Scratch::new("join");
    let joiner = scratch.get().joiner().unwrap();
    let path = scratch.path.clone();
    let text = std::thread::spawn(move || {
        joiner.join().unwrap();
        fs::read_to_string("/proc/thread-self/cgroup").unwrap()
    });
    let text = text.join().unwrap();
    let joined = text.lines().filter(|line| line.ends_with(&path)).count();
    assert_eq!(joined, scratch.layout.v1.len(), "{text}");
}

#[test]
fn privileged_cgroup_io_throttle_and_weight() {
    let scratch = Scratch::new("io");
    let caps = scratch.layout.capabilities();
    assert!(caps.blkio_read_bps || caps.unified, "{caps:?}");
    let io = LinuxBlockIoBuilder::default().weight(500u16).build().unwrap();
    let resources = LinuxResourcesBuilder::default().block_io(io).build().unwrap();
    let outcome = scratch.get().apply(&resources, OnMissing::Fail);
    assert_eq!(outcome.is_ok(), caps.blkio_weight, "{outcome:?}");
    // Any disk will do: nobody reads it.
    let disks = fs::read_dir("/sys/block").unwrap().map(|disk| disk.unwrap().path().join("dev"));
    let number = fs::read_to_string(disks.min().expect("a disk")).unwrap();
    let (major, minor) = number.trim().split_once(':').unwrap();
    let slow = LinuxThrottleDeviceBuilder::default()
        .major(major.parse::<i64>().unwrap())
        .minor(minor.parse::<i64>().unwrap())
        .rate(3_145_728u64)
        .build()
        .unwrap();
    let io = LinuxBlockIoBuilder::default().throttle_read_bps_device(vec![slow]).build().unwrap();
    scratch.apply(LinuxResourcesBuilder::default().block_io(io).build().unwrap());
    let file = match scratch.get().places.of(Controller::Io).unwrap() {
        Place::V1(_) => "blkio.throttle.read_bps_device",
        Place::Unified(_) => "io.max",
    };
    let kept = scratch.file(Controller::Io, file);
    assert!(kept.starts_with(number.trim()) && kept.contains("3145728"), "{kept}");
}

#[test]
fn privileged_cgroup_hugetlb_where_it_lives() {
    let scratch = Scratch::new("hugetlb");
    let limit = LinuxHugepageLimitBuilder::default().page_size("2MB").limit(4 << 20);
    let resources = LinuxResourcesBuilder::default()
        .hugepage_limits(vec![limit.build().unwrap()])
        .build()
        .unwrap();
    let expected = if scratch.layout.capabilities().hugetlb { 0 } else { 1 };
    let warnings = scratch.get().apply(&resources, OnMissing::Warn).unwrap();
    assert_eq!(warnings.len(), expected, "{warnings:?}");
    if expected == 0 {
        assert!(scratch.get().stats().unwrap().hugetlb.contains_key("2MB"));
    }
}

#[test]
fn privileged_cgroup_missing_knobs_fail_or_warn() {
    let scratch = Scratch::new("missing");
    let unified = HashMap::from([("nothing.such".to_owned(), "1".to_owned())]);
    let resources = LinuxResourcesBuilder::default().unified(unified).build().unwrap();
    let error = scratch.get().apply(&resources, OnMissing::Fail).unwrap_err();
    assert!(matches!(error, Error::Unsupported(Missing::Unified)), "{error}");
    let warnings = scratch.get().apply(&resources, OnMissing::Warn).unwrap();
    assert_eq!(warnings, [Warning::Missing(Missing::Unified)]);
}

#[test]
fn privileged_cgroup_path_errors() {
    let layout = Layout::probe().unwrap();
    for bad in ["/", "/a/../b", ""] {
        let error = Cgroup::create(&layout, bad, Driver::Cgroupfs).unwrap_err();
        assert!(matches!(error, Error::Path { .. }), "{error}");
    }
}

/// Prints what a start pays; the bound is generous, for slow and busy machines.
#[test]
fn privileged_cgroup_start_path_is_fast() {
    let scratch = Scratch::new("speed");
    let mut best = [Duration::MAX; 4];
    for round in 0..20 {
        let path = format!("{}-{round}", scratch.path);
        let start = Instant::now();
        let (cgroup, _) = Cgroup::create(&scratch.layout, &path, Driver::Cgroupfs).unwrap();
        let create = start.elapsed();
        let start = Instant::now();
        let resources = only(true, 1, 3);
        cgroup.apply(&resources, OnMissing::Fail).unwrap();
        let apply = start.elapsed();
        let start = Instant::now();
        let joiner = cgroup.joiner().unwrap();
        std::thread::spawn(move || joiner.join().unwrap()).join().unwrap();
        let join = start.elapsed();
        std::thread::sleep(Duration::from_millis(2));
        let start = Instant::now();
        cgroup.remove().unwrap();
        for (best, this) in best.iter_mut().zip([create, apply, join, start.elapsed()]) {
            *best = (*best).min(this);
        }
    }
    eprintln!("create {:?} apply {:?} join {:?} remove {:?}", best[0], best[1], best[2], best[3]);
    assert!(best.iter().all(|time| *time < Duration::from_millis(10)), "{best:?}");
}
