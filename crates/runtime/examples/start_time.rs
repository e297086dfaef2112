//! Times create + start + exit of `/bin/true` with Docker's default specification, and `exec`:
//! `cargo run --release -p isopod-runtime --example start_time -- ROOTFS CONFIG.json [COUNT]`.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use runtime::cgroup::{Cgroup, Driver, Layout};
use runtime::{CreateOptions, ExecOptions, Root, Stdio};

fn null() -> std::io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/null")?.into())
}

fn stdio() -> std::io::Result<Stdio> {
    Ok(Stdio::Fds([null()?, null()?, null()?]))
}

fn median(name: &str, mut times: Vec<Duration>) {
    times.sort();
    println!("{name:24} median {:?} min {:?}", times[times.len() / 2], times[0]);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(root), Some(config)) = (args.next(), args.next()) else {
        return Err("usage: start_time ROOTFS CONFIG.json [COUNT]".into());
    };
    let count: usize = args.next().map_or(Ok(100), |n| n.parse())?;
    let spec: oci_spec::runtime::Spec = serde_json::from_slice(&std::fs::read(config)?)?;
    let layout = Layout::probe()?;
    let mut cgroups = Vec::new();
    let (mut creates, mut starts, mut exits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut totals, mut removes) = (Vec::new(), Vec::new());
    for n in 0..count {
        let path = format!("isopod-bench/{}-{n}", std::process::id());
        let begun = Instant::now();
        let (cgroup, _) = Cgroup::create(&layout, &path, Driver::Cgroupfs)?;
        cgroups.push(begun.elapsed());
        let begun = Instant::now();
        let root = Root::Path(root.clone().into());
        let created = runtime::create(CreateOptions::new("bench", &spec, root, stdio()?, &cgroup))?;
        creates.push(begun.elapsed());
        let at = Instant::now();
        let running = created.start()?;
        starts.push(at.elapsed());
        let at = Instant::now();
        sys::process::wait_pidfd(&running.pidfd)?;
        exits.push(at.elapsed());
        totals.push(begun.elapsed());
        let at = Instant::now();
        cgroup.remove().map_err(|errors| format!("{errors:?}"))?;
        removes.push(at.elapsed());
    }
    median("cgroup create", cgroups);
    median("create", creates);
    median("start", starts);
    median("exit", exits);
    median("create+start+exit", totals);
    median("cgroup remove", removes);
    exec(&layout, &root, spec, count)
}

fn exec(
    layout: &Layout,
    root: &str,
    spec: oci_spec::runtime::Spec,
    count: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut sleeper = spec.clone();
    let process = spec.process().clone().ok_or("no process")?;
    let mut sleep = process.clone();
    sleep.set_args(Some(vec!["sleep".into(), "1000".into()]));
    sleeper.set_process(Some(sleep));
    let path = format!("isopod-bench/{}-exec", std::process::id());
    let (cgroup, _) = Cgroup::create(layout, &path, Driver::Cgroupfs)?;
    let options = CreateOptions::new("bench", &sleeper, Root::Path(root.into()), stdio()?, &cgroup);
    let running = runtime::create(options)?.start()?;
    let (mut execs, mut exits) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let begun = Instant::now();
        let exec = runtime::exec(ExecOptions {
            container_pid: running.pid,
            pidfd: running.pidfd.as_fd(),
            process: &process,
            spec: &sleeper,
            stdio: stdio()?,
            cgroup: &cgroup,
            seccomp: None,
            privileged: false,
            extra_fds: Vec::new(),
            asked: runtime::Asked::default(),
        })?;
        execs.push(begun.elapsed());
        sys::process::wait_pidfd(&exec.pidfd)?;
        exits.push(begun.elapsed());
    }
    median("exec", execs);
    median("exec+exit", exits);
    sys::process::pidfd_signal(&running.pidfd, 9)?;
    sys::process::wait_pidfd(&running.pidfd)?;
    cgroup.remove().map_err(|errors| format!("{errors:?}").into())
}
