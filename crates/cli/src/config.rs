//! Docker's client configuration (`~/.docker/config.json`) and contexts, which we share.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use docker_api::client::{Endpoint, TlsFiles};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use crate::globals::Globals;

/// Where our daemon listens unless told otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "unix:///run/isopod/isopod.sock";

/// The part of `config.json` that means something here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConfigFile {
    pub(crate) current_context: String,
    pub(crate) detach_keys: String,
    pub(crate) ps_format: String,
    pub(crate) images_format: String,
    pub(crate) networks_format: String,
    pub(crate) volumes_format: String,
    pub(crate) stats_format: String,
    #[serde(rename = "HttpHeaders")]
    pub(crate) http_headers: BTreeMap<String, String>,
    pub(crate) proxies: BTreeMap<String, Proxy>,
}

/// Proxy settings that new containers get as environment variables.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Proxy {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
}

impl Proxy {
    /// The environment variables, each in both spellings.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (name, value) in [
            ("HTTP_PROXY", &self.http_proxy),
            ("HTTPS_PROXY", &self.https_proxy),
            ("NO_PROXY", &self.no_proxy),
            ("FTP_PROXY", &self.ftp_proxy),
            ("ALL_PROXY", &self.all_proxy),
        ] {
            if !value.is_empty() {
                all.push((name.to_owned(), value.clone()));
                all.push((name.to_lowercase(), value.clone()));
            }
        }
        all
    }
}

/// A context as `contexts/meta/<digest>/meta.json` has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StoredContext {
    /// What users call it.
    pub(crate) name: String,
    metadata: Metadata,
    endpoints: BTreeMap<String, StoredEndpoint>,
    #[serde(skip)]
    pub(crate) directory: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Metadata {
    description: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct StoredEndpoint {
    #[serde(rename = "Host")]
    host: String,
    #[serde(rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

impl StoredContext {
    /// Free text.
    pub(crate) fn description(&self) -> &str {
        &self.metadata.description
    }

    /// The daemon's address.
    pub(crate) fn host(&self) -> &str {
        self.endpoints.get("docker").map_or("", |endpoint| &endpoint.host)
    }
}

/// The directory that holds both.
#[derive(Clone, Debug)]
pub(crate) struct ConfigDir(PathBuf);

/// The directory of a context's files: the SHA-256 of its name.
pub(crate) fn directory_name(name: &str) -> String {
    Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where to find the daemon, and why there.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// The socket.
    pub(crate) endpoint: Endpoint,
    /// TLS, when it is used.
    pub(crate) tls: Option<TlsFiles>,
    /// The context's name.
    pub(crate) context: String,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl ConfigDir {
    /// `--config`, `DOCKER_CONFIG`, `~/.docker`.
    pub(crate) fn find(globals: &Globals) -> Self {
        let home = || PathBuf::from(variable("HOME").unwrap_or_else(|| "/".into())).join(".docker");
        let given = globals.config.clone().or_else(|| variable("DOCKER_CONFIG").map(Into::into));
        Self(given.unwrap_or_else(home))
    }

    /// Where `config.json` is.
    pub(crate) fn file_path(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// A path in the directory.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads `config.json`; a missing one is an empty one.
    pub(crate) fn file(&self) -> anyhow::Result<ConfigFile> {
        let path = self.0.join("config.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is not valid", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ConfigFile::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// All stored contexts, by name. Unreadable ones are left out.
    pub(crate) fn contexts(&self) -> Vec<StoredContext> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.0.join("contexts/meta")).into_iter().flatten().flatten() {
            let Ok(text) = fs::read(entry.path().join("meta.json")) else { continue };
            let Ok(mut context) = serde_json::from_slice::<StoredContext>(&text) else { continue };
            context.directory = entry.file_name().to_string_lossy().into_owned();
            all.push(context);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The context's metadata as it is stored.
    pub(crate) fn context_text(&self, context: &StoredContext) -> anyhow::Result<Vec<u8>> {
        let path = self.0.join("contexts/meta").join(&context.directory).join("meta.json");
        fs::read(&path).with_context(|| path.display().to_string())
    }

    /// A stored context.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn context(&self, name: &str) -> anyhow::Result<StoredContext> {
        self.contexts().into_iter().find(|context| context.name == name).with_context(|| {
            format!(
                "context {name:?}: context not found: open {}: no such file or directory",
                self.0.join("contexts/meta").join(directory_name(name)).join("meta.json").display()
            )
        })
    }

    /// Writes the current context's name into `config.json` and leaves all else as it is.
    pub(crate) fn set_current(&self, name: &str) -> anyhow::Result<()> {
        let path = self.0.join("config.json");
        let mut document: serde_json::Map<String, serde_json::Value> = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is not valid", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        if name == "default" {
            document.remove("currentContext");
        } else {
            document.insert("currentContext".into(), name.into());
        }
        fs::create_dir_all(&self.0).with_context(|| self.0.display().to_string())?;
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        serde::Serialize::serialize(
            &document,
            &mut serde_json::Serializer::with_formatter(&mut text, formatter),
        )?;
        write_whole(&path, &text)
    }

    /// Name of the current context, and whether an environment variable chose it.
    pub(crate) fn current(globals: &Globals, file: &ConfigFile) -> (String, Option<&'static str>) {
        if let Some(name) = &globals.context {
            return (name.clone(), None);
        }
        if globals.host.is_some() {
            return ("default".into(), None);
        }
        if variable("DOCKER_HOST").is_some() {
            return ("default".into(), Some("DOCKER_HOST"));
        }
        if let Some(name) = variable("DOCKER_CONTEXT") {
            return (name, Some("DOCKER_CONTEXT"));
        }
        let name = file.current_context.as_str();
        (if name.is_empty() { "default" } else { name }.to_owned(), None)
    }

    /// Where to find the daemon: `-H`, `-c`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current
    /// context, our own socket.
    pub(crate) fn destination(
        &self,
        globals: &Globals,
        file: &ConfigFile,
    ) -> anyhow::Result<Destination> {
        if globals.host.is_some() && globals.context.is_some() {
            anyhow::bail!("conflicting options: cannot specify both --host and --context");
        }
        let (context, _) = Self::current(globals, file);
        if context != "default" {
            let stored = self.context(&context).map_err(|error| {
                let reason = "Failed to initialize: unable to resolve docker endpoint";
                Failure::with(1, format!("{reason}: {error:#}"))
            })?;
            let host = match stored.host() {
                "" => DEFAULT_SOCKET,
                host => host,
            };
            let directory = self.0.join("contexts/tls").join(&stored.directory).join("docker");
            let skip = stored.endpoints.get("docker").is_some_and(|e| e.skip_tls_verify);
            let tls = (directory.exists() || skip || host.starts_with("https://"))
                .then(|| TlsFiles::in_directory(&directory, !skip));
            return Ok(Destination { endpoint: host.parse()?, tls, context });
        }
        let host = globals.host.clone().or_else(|| variable("DOCKER_HOST"));
        let endpoint = host.as_deref().unwrap_or(DEFAULT_SOCKET).parse()?;
        let tls = self.tls(globals, host.as_deref().is_some_and(|h| h.starts_with("https://")));
        Ok(Destination { endpoint, tls, context })
    }

    fn tls(&self, globals: &Globals, implied: bool) -> Option<TlsFiles> {
        let verify = globals.tls_verify || variable("DOCKER_TLS_VERIFY").is_some();
        if !(verify || globals.tls || implied || variable("DOCKER_TLS").is_some()) {
            return None;
        }
        let directory = variable("DOCKER_CERT_PATH").map_or_else(|| self.0.clone(), PathBuf::from);
        let mut files = TlsFiles::in_directory(&directory, verify || implied);
        files.ca = globals.tls_ca.clone().or(files.ca);
        files.cert = globals.tls_cert.clone().or(files.cert);
        files.key = globals.tls_key.clone().or(files.key);
        Some(files)
    }
}

/// Writes a file so that a reader sees the old or the new one.
pub(crate) fn write_whole(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let attempt = || -> std::io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt()
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .with_context(|| path.display().to_string())
}
