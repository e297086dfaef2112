//! How answers looked in earlier versions of the API: fields that have come, gone or lost their
//! emptiness since. The shapes of the newest version are in `docker-api`; what is done here is said
//! by version in the API's own history.

use serde_json::{Map, Value, json};
use types::container::ContainerConfig;
use types::network::EndpointSettings;

use crate::http::version::Version;

/// The default bridge's place in a container's networks, beside the list of them.
const BRIDGE: &[&str] = &[
    "Bridge",
    "HairpinMode",
    "LinkLocalIPv6Address",
    "LinkLocalIPv6PrefixLen",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
];

/// What an image's configuration had in 1.50 and 1.51 also where nothing was set.
const IMAGE_CONFIG: &[&str] =
    &["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir"];

/// What an image had before 1.52 also where nothing was set.
const IMAGE_TEXTS: &[&str] = &["Parent", "Comment", "DockerVersion", "Author"];

fn fields<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    value.get_mut(name).and_then(Value::as_object_mut)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn drop_empty(fields: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        if fields.get(*name).is_some_and(is_empty) {
            fields.remove(*name);
        }
    }
}

/// Whether a network mode names a network that a user has made.
pub(super) fn is_user_defined(mode: &str) -> bool {
    !matches!(mode, "" | "default" | "bridge" | "host" | "none") && !mode.starts_with("container:")
}

/// Before 1.45 a container's id and host name were among its aliases.
pub(super) fn alias(settings: &mut EndpointSettings, short: &str, hostname: &str) {
    for name in [short, hostname] {
        if !name.is_empty() && !settings.aliases.iter().any(|alias| alias == name) {
            settings.aliases.push(name.to_owned());
        }
    }
}

/// `GET /containers/{id}/json`.
pub(super) fn container(value: &mut Value, version: Version) {
    if let Some(host) = fields(value, "HostConfig") {
        if !version.at_least(42) {
            // Since then they are absent where they are not set.
            host.entry("KernelMemory").or_insert_with(|| json!(0));
            host.entry("KernelMemoryTCP").or_insert_with(|| json!(0));
        }
        if version.at_least(52) {
            host.remove("KernelMemoryTCP");
        }
    }
    if !version.at_least(52) {
        return;
    }
    if let Some(settings) = fields(value, "NetworkSettings") {
        for name in BRIDGE {
            settings.remove(*name);
        }
    }
    if let Some(config) = fields(value, "Config") {
        drop_empty(config, &["OnBuild"]);
        config.remove("MacAddress");
    }
}

/// What earlier versions say of an image and the newest shape has no room for.
#[derive(Default)]
pub(super) struct FullImage {
    pub(super) config: Option<ContainerConfig>,
    pub(super) container: String,
    pub(super) container_config: Option<ContainerConfig>,
}

/// `GET /images/{name}/json`.
pub(super) fn image(value: &mut Value, full: FullImage, version: Version) {
    if !version.at_least(50)
        && let Some(config) = full.config
    {
        // Before 1.50 every setting of a container was there, set or not.
        value["Config"] = serde_json::to_value(config).unwrap_or_default();
    }
    if version.at_least(50)
        && !version.at_least(52)
        && let Some(config) = fields(value, "Config")
    {
        for name in IMAGE_CONFIG {
            let empty =
                if matches!(*name, "User" | "WorkingDir") { json!("") } else { json!(null) };
            config.entry(*name).or_insert(empty);
        }
    }
    let Some(image) = value.as_object_mut() else { return };
    if version.at_least(52) {
        drop_empty(image, IMAGE_TEXTS);
    } else {
        for name in IMAGE_TEXTS {
            image.entry(*name).or_insert_with(|| json!(""));
        }
    }
    if !version.at_least(44) {
        image.entry("Created").or_insert_with(|| json!("0001-01-01T00:00:00Z"));
    }
    if !version.at_least(45) {
        // Before 1.45 the container that an image was committed from was there.
        image.insert("Container".to_owned(), full.container.into());
    }
    if !version.at_least(52) {
        // So was its configuration. Compose 1.29, which Debian 12 has, asks in the version that it
        // is offered and cannot do without, so it stays until nobody is offered such a version.
        let config = serde_json::to_value(full.container_config.unwrap_or_default());
        image.insert("ContainerConfig".to_owned(), config.unwrap_or_default());
    }
}

/// `GET /info`.
pub(super) fn info(value: &mut Value, version: Version) {
    let Some(info) = value.as_object_mut() else { return };
    if !version.at_least(25) {
        let names = |option: &Value| {
            let text = option.as_str()?;
            let name = text.split(',').find_map(|pair| pair.strip_prefix("name="));
            Some(json!(name.unwrap_or(text)))
        };
        if let Some(Value::Array(options)) = info.get_mut("SecurityOptions") {
            *options = options.iter().filter_map(names).collect();
        }
        info.insert("ExecutionDriver".to_owned(), json!("<not supported>"));
    }
    if !version.at_least(42) {
        // Since then they are absent where the host has not got them.
        info.entry("KernelMemory").or_insert(json!(false));
        info.entry("KernelMemoryTCP").or_insert(json!(false));
    }
    if !version.at_least(49) {
        info.remove("FirewallBackend");
        for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            if let Some(commit) = info.get_mut(name).and_then(Value::as_object_mut) {
                let id = commit.get("ID").cloned().unwrap_or_default();
                commit.insert("Expected".to_owned(), id);
            }
        }
        if let Some(registries) = info.get_mut("RegistryConfig").and_then(Value::as_object_mut) {
            // Every layer is pushed, so there is no list of registries that get them.
            let none = if version.at_least(48) { json!(null) } else { json!([]) };
            for name in
                ["AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames"]
            {
                registries.insert(name.to_owned(), none.clone());
            }
        }
    }
    if version.at_least(50) {
        info.remove("BridgeNfIptables");
        info.remove("BridgeNfIp6tables");
    }
    if version.at_least(52) {
        info.remove("KernelMemoryTCP");
    }
}

/// `GET /system/df`: lists before 1.52, sums since, and both in 1.52 unless they are `verbose`.
pub(super) fn disk_usage(value: &mut Value, version: Version, verbose: bool) {
    let Some(usage) = value.as_object_mut() else { return };
    if !version.at_least(42) {
        usage.insert("BuilderSize".to_owned(), json!(0));
    }
    if version.at_least(53) || version.at_least(52) && verbose {
        for name in ["LayersSize", "Images", "Containers", "Volumes", "BuildCache"] {
            usage.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &Value) -> Vec<&str> {
        value
            .as_object()
            .map(|fields| fields.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    #[test]
    fn containers_lose_what_was_of_the_default_bridge() {
        let whole = json!({
            "HostConfig": {"Memory": 0}, "Config": {"OnBuild": null, "MacAddress": "x"},
            "NetworkSettings": {"Bridge": "", "IPAddress": "1.2.3.4", "Networks": {}},
        });
        let at = |minor| {
            let mut value = whole.clone();
            container(&mut value, Version(1, minor));
            value
        };
        assert_eq!(names(&at(52)["NetworkSettings"]), ["Networks"]);
        assert!(names(&at(52)["Config"]).is_empty());
        assert_eq!(at(51)["NetworkSettings"]["IPAddress"], "1.2.3.4");
        assert_eq!(at(51)["Config"], whole["Config"]);
        assert_eq!(at(41)["HostConfig"]["KernelMemoryTCP"], 0);
        assert_eq!(names(&at(42)["HostConfig"]), ["Memory"]);
    }

    #[test]
    fn images_lose_what_is_not_set() {
        let at = |minor| {
            let mut value = json!({"Id": "x", "Comment": "", "Config": {"Cmd": ["a"]}});
            let cmd = Some(types::Words(vec!["a".to_owned()]));
            let full = FullImage {
                config: Some(ContainerConfig { cmd, ..ContainerConfig::default() }),
                container: "c".to_owned(),
                container_config: None,
            };
            image(&mut value, full, Version(1, minor));
            value
        };
        assert_eq!(at(52), json!({"Id": "x", "Config": {"Cmd": ["a"]}}));
        assert_eq!(at(51)["Config"]["Cmd"], json!(["a"]));
        assert_eq!(at(51)["ContainerConfig"]["Tty"], false);
        assert_eq!(at(50)["Config"]["User"], "");
        assert_eq!(at(49)["Config"]["Tty"], false);
        assert_eq!(at(49)["Config"]["Cmd"], json!(["a"]));
        assert_eq!(at(49)["Author"], "");
        assert!(at(45).get("Container").is_none());
        assert_eq!(at(44)["Container"], "c");
        assert_eq!(at(43)["Created"], "0001-01-01T00:00:00Z");
    }

    #[test]
    fn the_daemon_loses_what_no_longer_means_anything() {
        let at = |minor| {
            let mut value = json!({
                "SecurityOptions": ["name=seccomp,profile=builtin", "odd"], "RuncCommit": {"ID": "a"},
                "FirewallBackend": {"Driver": "nftables"}, "BridgeNfIptables": false,
                "KernelMemoryTCP": true, "RegistryConfig": {},
            });
            info(&mut value, Version(1, minor));
            value
        };
        assert_eq!(at(24)["SecurityOptions"], json!(["seccomp", "odd"]));
        assert_eq!(at(41)["KernelMemory"], false);
        assert_eq!(at(48)["RuncCommit"]["Expected"], "a");
        let registries = &at(48)["RegistryConfig"];
        assert_eq!(names(registries).len(), 2);
        assert!(registries.as_object().is_some_and(|all| all.values().all(Value::is_null)));
        assert_eq!(at(49)["FirewallBackend"]["Driver"], "nftables");
        assert!(
            at(50).get("BridgeNfIptables").is_none() && at(52).get("KernelMemoryTCP").is_none()
        );
    }
}
