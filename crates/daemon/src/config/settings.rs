//! The settings after flags and file are one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use types::resources::Ulimit;

use super::ConfigError;
use super::values::{Pool, check_ulimit, parse_size};
use crate::access::Rules;
use crate::host::Host;

/// Everything that can be configured, under the keys of the file. Absent: the default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) data_root: Option<PathBuf>,
    pub(crate) exec_root: Option<PathBuf>,
    pub(crate) hosts: Vec<String>,
    pub(crate) group: Option<String>,
    pub(crate) pidfile: Option<PathBuf>,
    pub(crate) log_level: Option<String>,
    pub(crate) debug: bool,
    pub(crate) metrics_addr: Option<String>,
    pub(crate) tls: Option<bool>,
    pub(crate) tlsverify: bool,
    pub(crate) tlscacert: Option<PathBuf>,
    pub(crate) tlscert: Option<PathBuf>,
    pub(crate) tlskey: Option<PathBuf>,
    pub(crate) client_access: BTreeMap<String, String>,
    pub(crate) allow_insecure_tcp: bool,
    pub(crate) shutdown_timeout: Option<i64>,
    pub(crate) live_restore: Option<bool>,
    pub(crate) bridge: Option<String>,
    pub(crate) bip: Option<String>,
    pub(crate) fixed_cidr: Option<String>,
    pub(crate) fixed_cidr_v6: Option<String>,
    pub(crate) mtu: Option<u32>,
    pub(crate) default_address_pools: Vec<Pool>,
    pub(crate) iptables: Option<bool>,
    pub(crate) ip_forward: Option<bool>,
    pub(crate) ip_masq: Option<bool>,
    pub(crate) icc: Option<bool>,
    pub(crate) allow_spoofing: Option<bool>,
    pub(crate) allow_metadata: Option<bool>,
    pub(crate) allow_host_loopback: Option<bool>,
    pub(crate) direct: Option<bool>,
    pub(crate) ip: Option<String>,
    pub(crate) host_gateway_ip: Option<String>,
    pub(crate) log_driver: Option<String>,
    pub(crate) log_opts: BTreeMap<String, String>,
    pub(crate) default_ulimits: BTreeMap<String, Ulimit>,
    #[serde(deserialize_with = "size")]
    pub(crate) default_shm_size: Option<i64>,
    pub(crate) default_ipc_mode: Option<String>,
    pub(crate) default_cgroupns_mode: Option<String>,
    pub(crate) cgroup_parent: Option<String>,
    pub(crate) default_isolation: Option<String>,
    #[serde(deserialize_with = "paths")]
    pub(crate) vm_kernel: Vec<PathBuf>,
    #[serde(deserialize_with = "paths")]
    pub(crate) vm_agent: Vec<PathBuf>,
    pub(crate) vm_memory: Option<String>,
    pub(crate) vm_cpus: Option<i64>,
    pub(crate) vm_disk_size: Option<String>,
    pub(crate) vm_accelerator: Option<String>,
    pub(crate) vm_templates: Option<String>,
    pub(crate) vm_spares: Option<i64>,
    pub(crate) exec_opts: Vec<String>,
    pub(crate) init: bool,
    pub(crate) userns_remap: Option<String>,
    pub(crate) seccomp_profile: Option<String>,
    pub(crate) no_new_privileges: bool,
    pub(crate) default_runtime: Option<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) dns_opts: Vec<String>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) storage_driver: Option<String>,
    pub(crate) experimental: bool,
    pub(crate) insecure_registries: Vec<String>,
    pub(crate) registry_mirrors: Vec<String>,
    pub(crate) allow_nondistributable_artifacts: Vec<String>,
    pub(crate) max_concurrent_downloads: Option<i64>,
    pub(crate) max_concurrent_uploads: Option<i64>,
    pub(crate) max_download_attempts: Option<i64>,
    pub(crate) http_proxy: Option<String>,
    pub(crate) https_proxy: Option<String>,
    pub(crate) no_proxy: Option<String>,
    pub(crate) keep_blobs: Option<bool>,
    pub(crate) push_compression_level: Option<i64>,
    #[serde(deserialize_with = "size")]
    pub(crate) max_layer_size: Option<i64>,
    pub(crate) image_gc_high_percent: Option<i64>,
    pub(crate) image_gc_low_percent: Option<i64>,
    pub(crate) secret_key_file: Option<PathBuf>,
}

/// A size as a number of bytes or as text with a unit.
/// One path, or a list of them.
fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(PathBuf),
        All(Vec<PathBuf>),
    }
    Ok(match Option::<Either>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Either::One(path)) => vec![path],
        Some(Either::All(paths)) => paths,
    })
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Bytes(i64),
        Text(String),
    }
    match Option::<Either>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Either::Bytes(bytes)) => Ok(Some(bytes)),
        Some(Either::Text(text)) => match parse_size(&text) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(serde::de::Error::custom(format!("{text:?} is not a size"))),
        },
    }
}

/// How much the daemon logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl Settings {
    /// The data root.
    pub(crate) fn data_root(&self) -> PathBuf {
        self.data_root.clone().unwrap_or_else(|| PathBuf::from("/var/lib/isopod"))
    }

    /// The exec root.
    pub(crate) fn exec_root(&self) -> PathBuf {
        self.exec_root.clone().unwrap_or_else(|| PathBuf::from("/run/isopod"))
    }

    /// Where the daemon writes its process id.
    pub(crate) fn pidfile(&self) -> PathBuf {
        self.pidfile.clone().unwrap_or_else(|| self.exec_root().join("isopod.pid"))
    }

    /// Whether TCP connections are encrypted.
    pub(crate) fn encrypts(&self) -> bool {
        self.tls.unwrap_or(self.tlsverify)
    }

    /// The addresses to listen on.
    ///
    /// # Errors
    /// When one makes no sense.
    pub(crate) fn hosts(&self) -> Result<Vec<Host>, ConfigError> {
        if self.hosts.is_empty() {
            return Ok(vec![Host::Unix(self.exec_root().join("isopod.sock"))]);
        }
        self.hosts
            .iter()
            .map(|text| {
                Host::parse(text, self.encrypts())
                    .map_err(|error| ConfigError::value("--host", text, error.reason))
            })
            .collect()
    }

    /// How much to log.
    ///
    /// # Errors
    /// When the level has no known name.
    pub(crate) fn level(&self) -> Result<LogLevel, ConfigError> {
        if self.debug {
            return Ok(LogLevel::Debug);
        }
        match self.log_level.as_deref().unwrap_or("info") {
            "debug" | "trace" => Ok(LogLevel::Debug),
            "info" => Ok(LogLevel::Info),
            "warn" | "warning" => Ok(LogLevel::Warn),
            "error" | "fatal" | "panic" => Ok(LogLevel::Error),
            other => {
                let reason = "use debug, info, warn, error or fatal";
                Err(ConfigError::value("--log-level", other, reason))
            }
        }
    }

    /// Whether systemd makes the cgroups.
    ///
    /// # Errors
    /// When `--exec-opt` says something else than which cgroup driver.
    pub(crate) fn systemd_cgroup(&self) -> Result<bool, ConfigError> {
        let mut systemd = false;
        for option in &self.exec_opts {
            systemd = match option.as_str() {
                "native.cgroupdriver=cgroupfs" => false,
                "native.cgroupdriver=systemd" => true,
                other => {
                    let reason = "use native.cgroupdriver=cgroupfs or native.cgroupdriver=systemd";
                    return Err(ConfigError::value("--exec-opt", other, reason));
                }
            };
        }
        Ok(systemd)
    }

    /// The daemon's labels as pairs.
    ///
    /// # Errors
    /// When one is no pair, or a key has two values.
    pub(crate) fn label_pairs(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut pairs = BTreeMap::new();
        for label in &self.labels {
            let wrong = |reason| ConfigError::value("--label", label, reason);
            let (key, value) = label.split_once('=').ok_or_else(|| wrong("write KEY=VALUE"))?;
            let before = pairs.insert(key.to_owned(), value.to_owned());
            if before.is_some_and(|before| before != value) {
                return Err(wrong("another label of this key has another value"));
            }
        }
        Ok(pairs)
    }

    /// What clients with certificates may do.
    ///
    /// # Errors
    /// When a rule makes no sense, or nobody has to show a certificate.
    pub(crate) fn access(&self) -> Result<Rules, ConfigError> {
        let demands = self.tlsverify && self.encrypts();
        if !self.client_access.is_empty() && !demands {
            // Without a certificate everybody would have full access after all.
            return Err(ConfigError::Unsupported {
                directive: "client-access",
                reason: "it looks at certificates of clients, which --tlsverify has to demand"
                    .to_owned(),
            });
        }
        Rules::read(&self.client_access).map_err(|(rule, reason)| {
            ConfigError::value("--client-access", rule, reason.to_string())
        })
    }

    /// Whether everything makes sense.
    ///
    /// # Errors
    /// The first thing that does not.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.hosts()?;
        self.level()?;
        self.systemd_cgroup()?;
        self.label_pairs()?;
        self.access()?;
        super::registry::check(self)?;
        let one_of = |directive, value: &Option<String>, known: &[&str]| match value {
            Some(value) if !known.contains(&value.as_str()) => {
                let reason = format!("use {}", known.join(" or "));
                Err(ConfigError::value(directive, value, reason))
            }
            _ => Ok(()),
        };
        one_of("--log-driver", &self.log_driver, &["json-file", "local", "none"])?;
        one_of("--default-ipc-mode", &self.default_ipc_mode, &["private", "shareable"])?;
        one_of("--default-cgroupns-mode", &self.default_cgroupns_mode, &["private", "host"])?;
        one_of("--storage-driver", &self.storage_driver, &["overlay2", "overlay", "overlayfs"])?;
        one_of(
            "--default-runtime",
            &self.default_runtime,
            &["isopod", "runc", "io.containerd.runc.v2"],
        )?;
        if self.bridge.is_some() && self.bip.is_some() {
            return Err(ConfigError::Exclusive("--bridge", "--bip"));
        }
        for (name, limit) in &self.default_ulimits {
            check_ulimit(limit)
                .map_err(|reason| ConfigError::value("--default-ulimit", name, reason))?;
        }
        if self.default_shm_size.is_some_and(|bytes| bytes <= 0) {
            return Err(ConfigError::value("--default-shm-size", "0", "must be more than nothing"));
        }
        if self.shutdown_timeout.is_some_and(|seconds| seconds < -1) {
            let reason = "a number of seconds, or -1 for no end";
            return Err(ConfigError::value("--shutdown-timeout", "negative", reason));
        }
        let absolute = |directive, path: PathBuf| {
            if path.is_absolute() {
                Ok(())
            } else {
                Err(ConfigError::value(directive, path.display().to_string(), "must be absolute"))
            }
        };
        absolute("--data-root", self.data_root())?;
        if let Some(file) = &self.secret_key_file {
            absolute("--secret-key-file", file.clone())?;
        }
        absolute("--exec-root", self.exec_root())
    }
}
