//! From the options to what the daemon is asked.

use std::collections::BTreeMap;

use docker_api::build::BuildOptions;

use super::flags::Args;
use super::output::{self, Output};
use crate::globals::truth;
use crate::options::words;

/// The variable that says which time every file has.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// A build as it was ordered.
#[derive(Debug)]
pub(super) struct Order {
    /// What the daemon is asked.
    pub(super) options: BuildOptions,
    /// Where results go.
    pub(super) outputs: Vec<Output>,
    /// Names that go on to their registries.
    pub(super) push: bool,
    /// What is said before it begins.
    pub(super) warnings: Vec<String>,
}

/// Reads the options. `variable` looks into the environment, `proxies` are the configuration's.
pub(super) fn order(
    args: &Args,
    variable: impl Fn(&str) -> Option<String>,
    proxies: Vec<(String, String)>,
) -> Result<Order, String> {
    let mut warnings = Vec::new();
    let outputs = output::parse_all(&args.output)?;
    let mut tags = args.tag.clone();
    for output in outputs.iter().filter(|output| output.ask.kind == "image") {
        let names = output.ask.attrs.get("name").map(String::as_str).unwrap_or_default();
        tags.extend(names.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
    }
    let push = args.push || outputs.iter().any(|output| output.push);
    if push && tags.is_empty() {
        return Err("a name is needed to push: use -t NAME".to_owned());
    }
    let limits = &args.limits;
    // As buildx does, so that what makes other tools reproducible does so here.
    let epoch = variable(EPOCH).filter(|value| !value.is_empty());
    let defaults = proxies.into_iter().chain(epoch.map(|value| (EPOCH.to_owned(), value)));
    let options = BuildOptions {
        tags,
        dockerfile: String::new(),
        quiet: args.quiet,
        no_cache: args.no_cache,
        no_cache_filter: listed(&args.no_cache_filter),
        cache_from: cache_from(&args.cache_from, &mut warnings)?,
        pull: args.pull,
        rm: args.accepted.rm,
        force_rm: args.accepted.force_rm,
        memory: limits.memory,
        memory_swap: limits.memory_swap,
        cpu_shares: limits.cpu_shares,
        cpu_period: limits.cpu_period,
        cpu_quota: limits.cpu_quota,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        cgroup_parent: limits.cgroup_parent.clone(),
        ulimits: limits.ulimit.clone(),
        shm_size: limits.shm_size,
        build_args: arguments(&args.build_arg, variable, defaults)?,
        labels: words::map(&args.label),
        network_mode: limits.network.clone(),
        extra_hosts: args.add_host.clone(),
        platform: platform(&args.platform)?,
        target: args.target.clone(),
        squash: args.squash,
        outputs: outputs.iter().map(|output| output.ask.clone()).collect(),
        allow: listed(&args.allow),
        contexts: contexts(&args.build_context)?,
        events: true,
        ..BuildOptions::default()
    };
    without_effect(args, &mut warnings)?;
    Ok(Order { options, outputs, push, warnings })
}

/// Values that may be given apart or with commas.
fn listed(values: &[String]) -> Vec<String> {
    let words = values.iter().flat_map(|value| value.split(','));
    words.map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `NAME=VALUE`; a bare name takes its value from the environment, or has none.
fn arguments(
    given: &[String],
    variable: impl Fn(&str) -> Option<String>,
    defaults: impl Iterator<Item = (String, String)>,
) -> Result<BTreeMap<String, Option<String>>, String> {
    let mut all: BTreeMap<String, Option<String>> =
        defaults.map(|(name, value)| (name, Some(value))).collect();
    for text in given {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), variable(text)),
        };
        if name.is_empty() {
            return Err(format!("invalid build argument: {text}"));
        }
        all.insert(name.to_owned(), value);
    }
    Ok(all)
}

fn platform(given: &[String]) -> Result<String, String> {
    let all = listed(given);
    match all.as_slice() {
        [] => Ok(String::new()),
        [only] => Ok(only.clone()),
        _ => Err("only one platform can be built at a time: build each under a name of its own, and join them with isopod manifest create".to_owned()),
    }
}

/// Image names, also in BuildKit's words: `type=registry,ref=NAME`.
fn cache_from(given: &[String], warnings: &mut Vec<String>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for text in given {
        if !text.contains('=') {
            all.extend(listed(std::slice::from_ref(text)));
            continue;
        }
        let fields = words::map(&words::csv(text)?);
        match (fields.get("type").map(String::as_str), fields.get("ref")) {
            (Some("registry"), Some(name)) => all.push(name.clone()),
            (Some("registry"), None) => return Err("a registry cache needs ref=NAME".to_owned()),
            (kind, _) => warnings.push(format!(
                "--cache-from of type {} is not supported and has no effect",
                kind.unwrap_or("local")
            )),
        }
    }
    Ok(all)
}

fn contexts(given: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    for text in given {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .ok_or_else(|| format!("invalid context value: {text}, expected key=value"))?;
        if value.starts_with("oci-layout://") {
            return Err("contexts from an OCI layout are not supported: load it, and use docker-image://NAME".to_owned());
        }
        let remote = value.starts_with("docker-image://") || super::source::is_remote(value);
        if !remote {
            return Err(format!(
                "the context {name} is a directory, which is not supported: copy it into PATH, or use an image (docker-image://NAME) or a URL"
            ));
        }
        all.insert(name.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// Says which options change nothing, and refuses those whose result somebody would miss.
fn without_effect(args: &Args, warnings: &mut Vec<String>) -> Result<(), String> {
    let accepted = &args.accepted;
    let wants =
        |value: &Option<String>| value.as_deref().is_some_and(|value| truth(value) != Some(false));
    if !accepted.annotation.is_empty() {
        return Err("--annotation is not supported: use --label".to_owned());
    }
    if !accepted.attest.is_empty() || wants(&accepted.sbom) || wants(&accepted.provenance) {
        warnings.push(
            "attestations are not made; --attest, --sbom and --provenance have no effect"
                .to_owned(),
        );
    }
    if accepted.cache_to.iter().any(|value| !value.contains("type=inline")) {
        warnings.push(
            "--cache-to has no effect: push the image, and name it with --cache-from".to_owned(),
        );
    }
    if !accepted.security_opt.is_empty() {
        warnings.push("--security-opt has no effect: use RUN --security".to_owned());
    }
    if accepted.isolation.as_deref().is_some_and(|kind| !matches!(kind, "" | "default" | "process"))
    {
        return Err("--isolation: only process is supported for builds".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};

    fn read(line: &[&str]) -> Result<Order, String> {
        let command = Args::augment_args(clap::Command::new("build"));
        let words = ["build"].iter().chain(line);
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let args = Args::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        let variable = |name: &str| match name {
            "SET" => Some("from outside".to_owned()),
            EPOCH => Some("1600000000".to_owned()),
            _ => None,
        };
        order(&args, variable, vec![("HTTP_PROXY".to_owned(), "http://p".to_owned())])
    }

    #[test]
    fn what_was_ordered_is_asked() {
        let line = [
            "-t",
            "a:1",
            "-t",
            "b",
            "--build-arg",
            "X=1=2",
            "--build-arg",
            "SET",
            "--build-arg",
            "UNSET",
            "--label",
            "l=v",
            "--no-cache",
            "--no-cache-filter",
            "one,two",
            "--pull",
            "--platform",
            "linux/arm64",
            "-m",
            "64m",
            "--ulimit",
            "nofile=5:6",
            "--add-host",
            "h:1.2.3.4",
            "--cache-from",
            "type=registry,ref=c:1",
            "--cache-from",
            "d",
            "--target",
            "final",
            "--build-context",
            "base=docker-image://busybox",
            "--allow",
            "network.host",
            ".",
        ];
        let order = read(&line).expect("valid");
        let options = order.options;
        assert_eq!(options.tags, ["a:1", "b"]);
        let argument = |name: &str| options.build_args[name].as_deref();
        assert_eq!(argument("X"), Some("1=2"));
        assert_eq!(argument("SET"), Some("from outside"));
        assert_eq!(argument("UNSET"), None);
        assert_eq!(argument(EPOCH), Some("1600000000"));
        let other = read(&["--build-arg", "SOURCE_DATE_EPOCH=5", "."]).expect("valid").options;
        assert_eq!(other.build_args[EPOCH].as_deref(), Some("5"));
        assert_eq!(argument("HTTP_PROXY"), Some("http://p"));
        assert_eq!(options.labels["l"], "v");
        assert!(options.no_cache && options.pull && options.rm && options.events);
        assert_eq!(options.no_cache_filter, ["one", "two"]);
        assert_eq!(options.cache_from, ["c:1", "d"]);
        assert_eq!((options.platform.as_str(), options.memory), ("linux/arm64", 64 << 20));
        assert_eq!(options.extra_hosts, ["h:1.2.3.4"]);
        assert_eq!(options.contexts["base"], "docker-image://busybox");
        assert!(order.warnings.is_empty(), "{:?}", order.warnings);
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        let refused = [
            &["--platform", "linux/amd64,linux/arm64", "."][..],
            &["--push", "."],
            &["--build-arg", "=x", "."],
            &["--build-context", "a=./dir", "."],
            &["--annotation", "a=b", "."],
            &["-t", "Upper", "."],
        ];
        for line in refused {
            assert!(read(line).is_err(), "{line:?}");
        }
        let order = read(&["--sbom", "--cache-to", "type=gha", "--provenance=false", "."]);
        assert_eq!(order.expect("valid").warnings.len(), 2);
        assert!(read(&["--provenance=false", "."]).expect("valid").warnings.is_empty());
    }
}
