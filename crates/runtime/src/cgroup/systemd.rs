//! The systemd driver: systemd makes the cgroup as a transient scope, so that the tree has one
//! owner on hosts where it is init. We then use the directories as if they were ours
//! (`Delegate=yes`); limits are told to systemd as well, or its next reload would undo them.
//!
//! A scope cannot be empty, and ours is wanted before the container's first process exists. A
//! sleeping placeholder holds the place until [`Unit::settled`].

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use thiserror::Error as ThisError;

use super::dbus::{Answer, Call, Connection, Value, first_string, variant_string};
use super::layout::Version;
use super::v2;

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How long systemd may take to start a scope.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can go wrong while talking to systemd.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The host's init is not systemd.
    #[error(
        "systemd is not running on this host: cannot use the systemd cgroup driver, use cgroupfs"
    )]
    NotRunning,
    /// `cgroupsPath` is not `slice:prefix:name`.
    #[error(
        "invalid cgroup path {0:?} for the systemd cgroup driver: expected \"slice:prefix:name\""
    )]
    Path(String),
    /// Neither socket answers.
    #[error("cannot connect to systemd: {0}")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("cannot ask systemd to {step}: {source}")]
    Call {
        /// The method.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// systemd said no.
    #[error("systemd refused to {step}: {name}: {text}")]
    Refused {
        /// The method.
        step: &'static str,
        /// D-Bus error name.
        name: String,
        /// systemd's words.
        text: String,
    },
    /// The scope did not come up.
    #[error("systemd scope {unit} is {state} after {} s", PATIENCE.as_secs())]
    NotActive {
        /// Its name.
        unit: String,
        /// `ActiveState`.
        state: String,
    },
    /// The placeholder could not be started.
    #[error("cannot start a placeholder process for the scope: {0}")]
    Placeholder(#[source] io::Error),
}

/// A transient scope.
#[derive(Debug)]
pub struct Unit {
    slice: String,
    name: String,
    placeholder: Option<Child>,
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.settled();
    }
}

impl Unit {
    /// From `slice:prefix:name`; an empty slice is `system.slice`.
    pub(super) fn named(path: &str) -> Result<Unit, Error> {
        let invalid = || Error::Path(path.to_owned());
        let parts: Vec<&str> = path.split(':').collect();
        let &[slice, prefix, name] = parts.as_slice() else { return Err(invalid()) };
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let plain =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.\\@".contains(&b));
        if name.is_empty() || !plain(name) || !plain(prefix) || expand(slice).is_none() {
            return Err(invalid());
        }
        let name = match prefix {
            "" => format!("{name}.scope"),
            _ => format!("{prefix}-{name}.scope"),
        };
        Ok(Unit { slice: slice.to_owned(), name, placeholder: None })
    }

    /// `system.slice/isopod-<id>.scope`
    pub(super) fn cgroup_path(&self) -> String {
        let slices = expand(&self.slice).unwrap_or_default();
        [slices.as_str(), &self.name].join("/").trim_start_matches('/').to_owned()
    }

    /// Starts the scope around a placeholder and waits until it is there.
    pub(super) fn start(path: &str, version: Version) -> Result<Unit, Error> {
        let mut unit = Unit::named(path)?;
        let mut bus = connect()?;
        let child = Command::new("sleep")
            .arg("infinity")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::Placeholder)?;
        let pid = child.id();
        unit.placeholder = Some(child);
        let properties = scope_properties(&unit.slice, pid, version);
        // A failed unit of that name would be in the way; there mostly is none.
        let _ = manager(&mut bus, "reset", "ResetFailedUnit", &[Value::Str(unit.name.clone())]);
        let arguments = [
            Value::Str(unit.name.clone()),
            Value::Str("replace".to_owned()),
            Value::Properties(properties),
            Value::NoUnits,
        ];
        manager(&mut bus, "start the scope", "StartTransientUnit", &arguments)?;
        unit.wait_until_active(&mut bus)?;
        Ok(unit)
    }

    fn wait_until_active(&self, bus: &mut Connection) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let state = self.active_state(bus)?;
            if state == "active" {
                return Ok(());
            }
            if state == "failed" || start.elapsed() > PATIENCE {
                return Err(Error::NotActive { unit: self.name.clone(), state });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn active_state(&self, bus: &mut Connection) -> Result<String, Error> {
        let step = "find the scope";
        let body = manager(bus, step, "GetUnit", &[Value::Str(self.name.clone())])?;
        let path = first_string(&body).unwrap_or_default();
        let arguments = [
            Value::Str("org.freedesktop.systemd1.Unit".to_owned()),
            Value::Str("ActiveState".to_owned()),
        ];
        let body = call(
            bus,
            step,
            &Call {
                destination: DESTINATION,
                path: &path,
                interface: "org.freedesktop.DBus.Properties",
                member: "Get",
                arguments: &arguments,
            },
        )?;
        Ok(variant_string(&body).unwrap_or_default())
    }

    /// Tells systemd the limits that it keeps itself.
    pub(super) fn set_limits(
        &self,
        resources: &LinuxResources,
        version: Version,
    ) -> Result<(), Error> {
        let properties = limit_properties(resources, version);
        if properties.is_empty() {
            return Ok(());
        }
        let mut bus = connect()?;
        // "runtime": only until the next boot.
        let arguments =
            [Value::Str(self.name.clone()), Value::Bool(true), Value::Properties(properties)];
        manager(&mut bus, "set limits", "SetUnitProperties", &arguments).map(drop)
    }

    pub(super) fn placeholder(&self) -> Option<i32> {
        self.placeholder.as_ref().map(|child| child.id() as i32)
    }

    /// The container's process is in: the placeholder may go.
    pub(super) fn settled(&mut self) {
        if let Some(mut child) = self.placeholder.take() {
            // ESRCH and ECHILD: gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the scope; that it is gone by itself, having become empty, is fine.
    pub(super) fn stop(&mut self) -> Result<(), Error> {
        self.settled();
        let mut bus = connect()?;
        let arguments = [Value::Str(self.name.clone()), Value::Str("replace".to_owned())];
        match manager(&mut bus, "stop the scope", "StopUnit", &arguments) {
            Err(Error::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

/// systemd's own test for being init (`sd_booted`).
fn connect() -> Result<Connection, Error> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Error::NotRunning);
    }
    Connection::open(Path::new("/run/systemd/private"), false)
        .or_else(|_| Connection::open(Path::new("/run/dbus/system_bus_socket"), true))
        .map_err(Error::Connect)
}

fn manager(
    bus: &mut Connection,
    step: &'static str,
    member: &str,
    arguments: &[Value],
) -> Result<Vec<u8>, Error> {
    let path = "/org/freedesktop/systemd1";
    let request = Call { destination: DESTINATION, path, interface: MANAGER, member, arguments };
    call(bus, step, &request)
}

fn call(bus: &mut Connection, step: &'static str, request: &Call<'_>) -> Result<Vec<u8>, Error> {
    match bus.call(request).map_err(|source| Error::Call { step, source })? {
        Answer::Return(body) => Ok(body),
        Answer::Error { name, text } => Err(Error::Refused { step, name, text }),
    }
}

/// `a-b.slice` lies in `a.slice`: `a.slice/a-b.slice`. `-.slice` is the root.
fn expand(slice: &str) -> Option<String> {
    let stem = slice.strip_suffix(".slice")?;
    if stem == "-" {
        return Some(String::new());
    }
    let bad = stem.split('-').any(str::is_empty) || stem.contains('/') || stem.starts_with('.');
    if bad {
        return None;
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    let levels: Vec<_> = ends.map(|end| format!("{}.slice", &stem[..end])).collect();
    Some(levels.join("/"))
}

fn scope_properties(slice: &str, pid: u32, version: Version) -> Vec<(&'static str, Value)> {
    let io = if version == Version::V2 { "IOAccounting" } else { "BlockIOAccounting" };
    vec![
        ("Description", Value::Str("isopod container".to_owned())),
        ("Slice", Value::Str(slice.to_owned())),
        ("DefaultDependencies", Value::Bool(false)),
        ("Delegate", Value::Bool(true)),
        ("MemoryAccounting", Value::Bool(true)),
        ("CPUAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
        (io, Value::Bool(true)),
        ("PIDs", Value::U32s(vec![pid])),
    ]
}

/// systemd's names for the limits it knows; `u64::MAX` is its "infinity".
fn limit_properties(resources: &LinuxResources, version: Version) -> Vec<(&'static str, Value)> {
    let unified = version == Version::V2;
    let mut properties = Vec::new();
    let bytes = |value: i64| Value::U64(u64::try_from(value).unwrap_or(u64::MAX));
    if let Some(memory) = resources.memory() {
        if let Some(limit) = memory.limit().filter(|&limit| limit != 0) {
            properties.push((if unified { "MemoryMax" } else { "MemoryLimit" }, bytes(limit)));
        }
        if unified && let Some(low) = memory.reservation().filter(|&low| low != 0) {
            properties.push(("MemoryLow", bytes(low)));
        }
        if unified
            && let (Some(limit @ 1..), Some(swap)) = (memory.limit(), memory.swap())
            && swap != 0
        {
            let swap = if swap < 0 { -1 } else { (swap - limit).max(0) };
            properties.push(("MemorySwapMax", bytes(swap)));
        }
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares().filter(|&shares| shares != 0) {
            let (name, value) = if unified {
                ("CPUWeight", v2::cpu::weight(shares))
            } else {
                ("CPUShares", shares)
            };
            properties.push((name, Value::U64(value)));
        }
        if let Some(quota) = cpu.quota().filter(|&quota| quota != 0) {
            let period = cpu.period().filter(|&period| period != 0).unwrap_or(100_000);
            properties.push(("CPUQuotaPerSecUSec", Value::U64(quota_per_second(quota, period))));
        }
    }
    if unified && let Some(cpu) = resources.cpu() {
        for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
            if let Some(mask) = list.as_deref().and_then(bit_mask) {
                properties.push((name, Value::Bytes(mask)));
            }
        }
    }
    if let Some(limit) = resources.pids().map(|pids| pids.limit()).filter(|&limit| limit != 0) {
        properties.push(("TasksMax", bytes(limit)));
    }
    if let Some(weight) = resources.block_io().as_ref().and_then(|io| io.weight())
        && weight != 0
    {
        let (name, value) = if unified {
            ("IOWeight", v2::io::weight(weight))
        } else {
            ("BlockIOWeight", u64::from(weight))
        };
        properties.push((name, Value::U64(value)));
    }
    properties
}

/// `0-2,8` as a mask, the lowest numbers in the first byte. `None` for an empty or malformed list: the
/// kernel is the one to complain.
fn bit_mask(list: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= 1 << 16 {
            return None;
        }
        for number in first..=last {
            mask.resize(mask.len().max(number / 8 + 1), 0);
            mask[number / 8] |= 1 << (number % 8);
        }
    }
    Some(mask)
}

/// systemd keeps hundredths of a percent: rounded up to 10 ms a second, so that its value is never the
/// smaller one.
fn quota_per_second(quota: i64, period: u64) -> u64 {
    match u64::try_from(quota) {
        Ok(quota) => (quota * 1_000_000 / period).next_multiple_of(10_000),
        Err(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests;
