//! What a container is asked to be: the portable part ([`ContainerConfig`]) and what this host
//! is asked for ([`HostConfig`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::health::HealthConfig;
use crate::json::Words;
use crate::mount::Mount;
use crate::network::PortMap;
use crate::resources::Resources;

/// A JSON object that says nothing: the value type of Docker's sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A set as Docker's JSON has it: an object whose values are empty objects.
pub type Set = BTreeMap<String, Empty>;

docker_json! {
/// The portable part of a container's specification; also an image's `config`.
pub struct ContainerConfig {
    /// Host name inside the UTS namespace.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// The client means to attach to standard input.
    pub attach_stdin: bool,
    /// The client means to attach to standard output.
    pub attach_stdout: bool,
    /// The client means to attach to standard error.
    pub attach_stderr: bool,
    /// Ports the image offers, as `port/protocol`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: Set,
    /// Give the process a terminal.
    pub tty: bool,
    /// Keep standard input open without a client.
    pub open_stdin: bool,
    /// Close standard input once the first client has gone.
    pub stdin_once: bool,
    /// `NAME=value`; a bare `NAME` removes an inherited one.
    pub env: Vec<String>,
    /// Arguments, or the command where there is no entrypoint.
    pub cmd: Option<Words>,
    /// How to find out whether it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Windows only: the command is already escaped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// The image, as the user named it.
    pub image: String,
    /// Paths that become anonymous volumes.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub volumes: Set,
    /// Working directory of the process.
    pub working_dir: String,
    /// The program, before [`ContainerConfig::cmd`]; `[""]` on input removes the image's.
    pub entrypoint: Option<Words>,
    /// Create without a network interface.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub network_disabled: bool,
    /// MAC address (deprecated since API 1.44, still accepted).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Triggers that a build on top of the image runs.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub on_build: Vec<String>,
    /// Free key-value pairs.
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the container to end.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds between that signal and SIGKILL; `None` means 10, negative means for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of a Dockerfile's shell form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// What this host is asked for.
pub struct HostConfig {
    /// `source:target[:options]`.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub binds: Vec<String>,
    /// Where the client writes the id; the daemon only remembers it.
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    /// Which log driver, and its options.
    pub log_config: LogConfig,
    /// `default`, `bridge`, `none`, `host`, `container:X` or a network's name.
    pub network_mode: String,
    /// Which host ports lead to which container ports.
    pub port_bindings: PortMap,
    /// When to start it again by itself.
    pub restart_policy: RestartPolicy,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// Driver of volumes that are named in `binds`.
    pub volume_driver: String,
    /// Containers whose volumes are taken over.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub volumes_from: Vec<String>,
    /// Mounts in the long form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// The terminal's first size: rows, columns.
    pub console_size: [u32; 2],
    /// OCI annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Capabilities beyond the default set.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub cap_add: Vec<String>,
    /// Capabilities to take away.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub cap_drop: Vec<String>,
    /// `private` or `host`; empty means the daemon's default.
    pub cgroupns_mode: String,
    /// Name servers.
    pub dns: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// `name:address` lines for /etc/hosts.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub extra_hosts: Vec<String>,
    /// Supplementary groups.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub group_add: Vec<String>,
    /// `private`, `shareable`, `host`, `none` or `container:X`.
    pub ipc_mode: String,
    /// Unused; kept because clients send it.
    pub cgroup: String,
    /// Legacy links, `container:alias`.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub links: Vec<String>,
    /// How eagerly the kernel kills it when memory runs out, -1000 to 1000.
    pub oom_score_adj: i32,
    /// `host`, `container:X` or empty.
    pub pid_mode: String,
    /// No wall but the namespaces.
    pub privileged: bool,
    /// Publish every exposed port on a free host port.
    pub publish_all_ports: bool,
    /// Mount the root file system read-only.
    pub readonly_rootfs: bool,
    /// `seccomp=`, `apparmor=`, `label=`, `no-new-privileges`, `systempaths=`.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub security_opt: Vec<String>,
    /// Options of the storage driver (`size`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_opt: BTreeMap<String, String>,
    /// Target to options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    /// `host` or empty.
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    /// `host` turns the daemon's remapping off for this container.
    pub userns_mode: String,
    /// Bytes of /dev/shm; 0 means 64 MiB.
    pub shm_size: i64,
    /// Kernel parameters inside the namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Which runtime; empty means the default.
    pub runtime: String,
    /// Which wall: `default`, `process` or `vm`.
    pub isolation: String,
    /// Paths hidden from the container; `None` means the default list, `[]` none.
    pub masked_paths: Option<Vec<String>>,
    /// Paths made read-only; `None` means the default list, `[]` none.
    pub readonly_paths: Option<Vec<String>>,
    /// Run an init as PID 1 that forwards signals and reaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// A plain directory of the host as the root file system instead of an image
    /// (Isopod's own; `--rootfs`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rootfs: String,
    /// A disk that it boots instead of running an image (Isopod's own; `isopod vm run`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<WholeMachine>,
    /// Secrets that it sees as files (Isopod's own; `--secret`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<FileUse>,
    /// Configs that it sees as files (Isopod's own; `--config`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<FileUse>,
    ;
    /// The limits.
    pub resources: Resources,
}

/// A machine that boots a disk of its own.
pub struct WholeMachine {
    /// The absolute path of an image on the daemon's host, or the name of a snapshot.
    pub disk: String,
    /// Bytes of its disk; 0: as many as the image has.
    pub disk_size: u64,
    /// What cloud-init is to do in it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_data: String,
    /// Public keys that may log in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
}

/// A secret or a config as a file of a container. One of id and name says which.
pub struct FileUse {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where the file is; a relative path is below /run/secrets, of a config below /.
    pub target: String,
    /// The file's owner as a number; empty: root.
    #[serde(rename = "UID", skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The file's group.
    #[serde(rename = "GID", skip_serializing_if = "String::is_empty")]
    pub gid: String,
    /// Its permission bits; 0444 if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// Which log driver, and its options.
pub struct LogConfig {
    /// `json-file`, `local` or `none`; empty means the daemon's default.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `max-size`, `max-file`, `mode`, …
    pub config: BTreeMap<String, String>,
}

/// When to start a container again by itself.
pub struct RestartPolicy {
    /// Which rule.
    pub name: RestartRule,
    /// With [`RestartRule::OnFailure`]: give up after so many (0: never).
    pub maximum_retry_count: i64,
}
}

/// The rule of a restart policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum RestartRule {
    /// Never.
    #[default]
    No,
    /// Whenever it ends, and at the daemon's start.
    Always,
    /// As [`RestartRule::Always`], but not after the user stopped it.
    UnlessStopped,
    /// When it ends with a status other than 0.
    OnFailure,
}

impl From<RestartRule> for &'static str {
    fn from(rule: RestartRule) -> Self {
        rule.as_str()
    }
}

impl TryFrom<String> for RestartRule {
    type Error = String;

    /// Docker's words for a rule that it does not know, since they stand in its answer.
    fn try_from(word: String) -> Result<Self, String> {
        Ok(match word.as_str() {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure,
            other => {
                return Err(format!(
                    "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', \
                     'on-failure', or 'unless-stopped'"
                ));
            }
        })
    }
}

impl RestartRule {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure => "on-failure",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_body_is_read_as_go_reads_it() {
        let config: ContainerConfig = serde_json::from_str(
            r#"{"Image":"busybox","Cmd":"ls","Entrypoint":null,"Env":null,"Nonsense":1,
                "ExposedPorts":{"80/tcp":{}},"Labels":null,"StopTimeout":null}"#,
        )
        .expect("valid");
        assert_eq!(config.cmd, Some(vec!["ls".to_owned()].into()));
        assert_eq!(config.entrypoint, None);
        assert!(config.exposed_ports.contains_key("80/tcp"));
        assert!(serde_json::from_str::<ContainerConfig>(r#"{"Tty":"yes"}"#).is_err());
    }

    #[test]
    fn limits_stand_beside_the_other_host_settings() {
        let host: HostConfig = serde_json::from_str(
            r#"{"Memory":1048576,"RestartPolicy":{"Name":""},"ConsoleSize":null,"Init":true}"#,
        )
        .expect("valid");
        assert_eq!(host.resources.memory, 1 << 20);
        assert_eq!(host.restart_policy.name, RestartRule::No);
        assert_eq!(host.init, Some(true));
        let text = serde_json::to_value(&host).expect("serialises");
        assert_eq!(text["Memory"], 1_048_576);
        assert!(text["Binds"].is_null());
        for wrong in [r#"{"Memory":"x","CpuShares":5}"#, r#"{"PidsLimit":{}}"#] {
            assert!(serde_json::from_str::<HostConfig>(wrong).is_err(), "{wrong}");
        }
    }
}
