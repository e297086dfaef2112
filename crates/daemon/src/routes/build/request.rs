//! The query of `POST /build`.

use std::collections::BTreeMap;

use docker_api::build::BuildOutput;
use engine::builder::{Export, Request};
use serde::de::DeserializeOwned;
use types::Error;
use types::reference::Reference;
use types::resources::Resources;

use crate::http::call::Call;
use crate::http::platform;

/// Reads it.
pub(super) fn read(call: &Call) -> Result<Request, Error> {
    if call.text("version") == "2" {
        let message = "this daemon has no BuildKit: set DOCKER_BUILDKIT=0, or use isopod build";
        return Err(Error::invalid(message));
    }
    let isolation = call.text("isolation");
    if !["", "default", "process"].contains(&isolation.to_lowercase().as_str()) {
        let message = format!("unsupported isolation: {isolation:?}: builds run processes");
        return Err(Error::invalid(message));
    }
    let names = call.params.all("t").filter(|name| !name.is_empty());
    let names = names.map(named).collect::<Result<Vec<_>, _>>()?;
    let host = engine::builder_platform();
    let platform = call.some("platform").map(platform::either).transpose()?;
    let platform = platform.unwrap_or_default().to_lowercase();
    let target_platform = match platform.split('/').count() {
        1 if platform.is_empty() => host.clone(),
        // An operating system alone, or an architecture alone.
        1 if platform == "linux" => host.clone(),
        1 => format!("linux/{platform}"),
        _ => platform.clone(),
    };
    let arguments: BTreeMap<String, Option<String>> = json(call, "buildargs")?;
    let labels: BTreeMap<String, String> = json(call, "labels")?;
    let cache_from: Vec<String> = json(call, "cachefrom")?;
    let events = call.text("progress") == "events";
    let number = |name: &str| Ok::<i64, Error>(call.number(name)?.unwrap_or(0));
    let hosts = call.params.all("extrahosts").flat_map(|hosts| hosts.split(','));
    Ok(Request {
        dockerfile: call.text("dockerfile").to_owned(),
        names,
        target: call.text("target").to_owned(),
        arguments: arguments.into_iter().filter_map(|(k, v)| Some((k, v?))).collect(),
        labels,
        target_platform,
        platform,
        build_platform: host,
        contexts: json(call, "contexts")?,
        no_cache: call.flag("nocache"),
        no_cache_filter: json(call, "nocachefilter")?,
        only_cache_from: !events && !cache_from.is_empty(),
        cache_from,
        pull: call.flag("pull"),
        network: match call.text("networkmode") {
            "" => "default".to_owned(),
            mode => mode.to_owned(),
        },
        extra_hosts: hosts.filter(|host| !host.is_empty()).map(str::to_owned).collect(),
        resources: Resources {
            memory: number("memory")?,
            memory_swap: number("memswap")?,
            cpu_shares: number("cpushares")?,
            cpu_period: number("cpuperiod")?,
            cpu_quota: number("cpuquota")?,
            cpuset_cpus: call.text("cpusetcpus").to_owned(),
            cpuset_mems: call.text("cpusetmems").to_owned(),
            cgroup_parent: call.text("cgroupparent").to_owned(),
            ulimits: json(call, "ulimits")?,
            ..Resources::default()
        },
        shm_size: number("shmsize")?,
        allow_insecure: call.params.all("allow").any(|right| right == "security.insecure"),
        squash: call.flag("squash"),
        outputs: outputs(json(call, "outputs")?)?,
    })
}

/// A value that is JSON; what is absent or `null` says nothing.
fn json<T: DeserializeOwned + Default>(call: &Call, name: &str) -> Result<T, Error> {
    let Some(text) = call.some(name) else { return Ok(T::default()) };
    let value: Option<T> = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("error reading {name}: {error}")))?;
    Ok(value.unwrap_or_default())
}

fn named(name: &str) -> Result<Reference, Error> {
    let wrong = |reason: String| Error::invalid(format!("invalid argument {name:?}: {reason}"));
    let reference = Reference::parse(name).map_err(|error| wrong(error.to_string()))?;
    if reference.digest().is_some() {
        return Err(wrong("refusing to create a tag with a digest reference".to_owned()));
    }
    Ok(reference.or_latest())
}

fn outputs(asked: Vec<BuildOutput>) -> Result<Vec<Export>, Error> {
    if asked.is_empty() {
        return Ok(vec![Export::Image(Vec::new())]);
    }
    let one = |(index, output): (usize, BuildOutput)| {
        let names = output.attrs.get("name").map(String::as_str).unwrap_or_default();
        let names = names.split(',').filter(|name| !name.is_empty()).map(named);
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let pushes = output.attrs.get("push").is_some_and(|push| push == "true");
        Ok(match output.kind.as_str() {
            "image" | "registry" if pushes || output.kind == "registry" => {
                let message = "an output cannot push: build the image, then push it";
                return Err(Error::not_implemented(message));
            }
            "image" => Export::Image(names),
            "tar" | "local" => Export::Files(index, output.kind),
            "docker" | "oci" => Export::Archive(index, output.kind, names),
            "cacheonly" => Export::Nothing,
            other => return Err(Error::invalid(format!("exporter {other:?} could not be found"))),
        })
    };
    asked.into_iter().enumerate().map(one).collect()
}
