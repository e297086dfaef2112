//! Devices, their rates and weights, limits of setrlimit(2), GPUs.

use types::resources::{DeviceMapping, DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};

/// What one `--device` asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Device {
    /// A device node of the host.
    Node(DeviceMapping),
    /// A device of the Container Device Interface, `vendor/class=name`.
    Interface(String),
}

fn is_mode(text: &str) -> bool {
    let mut seen = Vec::new();
    !text.is_empty()
        && text.chars().all(|c| {
            let fresh = !seen.contains(&c);
            seen.push(c);
            fresh && "rwm".contains(c)
        })
}

/// `/dev/x[:/dev/y][:rwm]`.
pub(crate) fn device(text: &str) -> Result<Device, String> {
    if !text.starts_with('/')
        && let Some((kind, name)) = text.split_once('=')
        && kind.contains('/')
        && !name.is_empty()
    {
        return Ok(Device::Interface(text.to_owned()));
    }
    let bad = || format!("invalid device specification: {text}");
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [source] if !source.is_empty() => (*source, *source, "rwm"),
        [source, mode] if is_mode(mode) => (*source, *source, *mode),
        [source, target] => (*source, *target, "rwm"),
        [source, target, mode] if is_mode(mode) => (*source, *target, *mode),
        [_, _, mode] => return Err(format!("invalid device mode: {mode}")),
        _ => return Err(bad()),
    };
    if source.is_empty() {
        return Err(bad());
    }
    Ok(Device::Node(DeviceMapping {
        path_on_host: source.to_owned(),
        path_in_container: target.to_owned(),
        cgroup_permissions: mode.to_owned(),
    }))
}

/// `c 1:3 rwm`, a rule for the device cgroup.
pub(crate) fn cgroup_rule(text: &str) -> Result<String, String> {
    let bad = || format!("invalid device cgroup format '{text}'");
    let parts: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, mode] = parts.as_slice() else { return Err(bad()) };
    let number = |n: &str| n == "*" || (!n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let fits = matches!(*kind, "a" | "b" | "c")
        && number(major)
        && number(minor)
        && (1..=3).contains(&mode.len())
        && mode.chars().all(|c| "rwm".contains(c));
    if fits { Ok(text.to_owned()) } else { Err(bad()) }
}

fn device_path<'a>(text: &'a str, value: &str) -> Result<(&'a str, String), String> {
    let (path, number) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    if number.is_empty() {
        return Err(format!("invalid {value} for device: {text}"));
    }
    Ok((path, number.to_owned()))
}

/// `/dev/sda:500`.
pub(crate) fn weight(text: &str) -> Result<WeightDevice, String> {
    let (path, number) = device_path(text, "weight")?;
    let bad = || format!("invalid weight for device: {text}");
    let weight: u16 = number.parse().map_err(|_| bad())?;
    if weight != 0 && !(10..=1000).contains(&weight) {
        return Err(bad());
    }
    Ok(WeightDevice { path: path.to_owned(), weight })
}

/// `/dev/sda:1mb`.
pub(crate) fn rate_bytes(text: &str) -> Result<ThrottleDevice, String> {
    let (path, number) = device_path(text, "rate")?;
    let rate = super::size::bytes(&number).ok().and_then(|rate| u64::try_from(rate).ok());
    let rate = rate.ok_or_else(|| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. \
             Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

/// `/dev/sda:1000`.
pub(crate) fn rate_operations(text: &str) -> Result<ThrottleDevice, String> {
    let (path, number) = device_path(text, "rate")?;
    let rate = number.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. \
             Number must be a positive integer"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `nofile=1024[:2048]`.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, limits) =
        text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        text.parse::<i64>()
            .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// `all`, a number, or `driver=…,count=…,device=…,capabilities=…,options=…`.
pub(crate) fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let count = |text: &str| match text {
        "all" => Ok(-1),
        _ => text.parse().map_err(|_| format!("count must be an integer: invalid syntax: {text}")),
    };
    let mut request = DeviceRequest::default();
    let fields = super::words::csv(text)?;
    let mut seen: Vec<String> = Vec::new();
    for field in &fields {
        let (key, value) = field.split_once('=').unwrap_or(("count", field));
        if seen.iter().any(|known| known == key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_owned());
        match key {
            "driver" => request.driver = value.to_owned(),
            "count" => request.count = count(value)?,
            "device" => request.device_ids = value.split(',').map(str::to_owned).collect(),
            "capabilities" => {
                let mut all: Vec<String> = value.split(',').map(str::to_owned).collect();
                all.push("gpu".to_owned());
                request.capabilities = vec![all];
            }
            "options" => {
                let pairs = super::words::csv(value)?;
                request.options = super::words::map(&pairs);
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    let asked = |key: &str| seen.iter().any(|known| known == key);
    if !asked("count") && request.device_ids.is_empty() {
        request.count = 1;
    }
    if request.capabilities.is_empty() {
        request.capabilities = vec![vec!["gpu".to_owned()]];
    }
    Ok(request)
}
