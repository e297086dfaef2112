//! Commands about registries, and who we are to them.

mod login;
mod logout;
mod search;

use std::collections::BTreeMap;

use base64::Engine as _;
use distribution::credentials::{ConfigFile, HUB, ProgramError, StoreError, host_of};
use distribution::{Client, Credentials, Proxies, Settings};
use docker_api::client::Target;
use types::reference::Reference;

use crate::session::Session;
use crate::verbs::{Verb, verb};

/// The commands; they belong to no noun.
pub(crate) static VERBS: &[Verb] = &[
    verb!("login", [], 0..=1, "[OPTIONS] [SERVER]", "Tell a registry who you are, and keep it",
        login::Args => login::login),
    verb!("logout", [], 0..=1, "[SERVER]", "Forget who you are to a registry",
        logout::Args => logout::logout),
    verb!("search", [], 1..=1, "[OPTIONS] TERM", "Look for images in a registry",
        search::Args => search::search),
];

/// A client that speaks to registries by itself, as this machine's environment says.
/// `insecure` are registries that need no good certificate.
pub(crate) fn client(insecure: Vec<String>) -> anyhow::Result<Client> {
    Ok(Client::new(Settings { insecure, proxies: Proxies::from_env(), ..Settings::default() })?)
}

/// The name under which a server's credentials are kept: Docker Hub's own, the host otherwise.
fn server_name(given: &str) -> String {
    let host = host_of(given);
    match host {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// Why credentials could not be had or kept. Of a program that is not there Go says where it looked.
fn worded(error: &StoreError) -> String {
    match error {
        StoreError::Program(ProgramError::Start { program, source })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            format!(
                "error getting credentials - err: exec: {program:?}: executable file not found in $PATH"
            )
        }
        other => docker_api::plain(&other.to_string()),
    }
}

impl Session {
    /// What is kept of credentials.
    pub(crate) fn credentials(&self) -> anyhow::Result<ConfigFile> {
        Ok(ConfigFile::load(self.directory.file_path())?)
    }

    /// Who we are to the registry of an image. A name that is none is for the daemon to refuse; a
    /// program that fails makes us nobody, which may be enough.
    pub(crate) fn credentials_for(&self, image: &str) -> anyhow::Result<Credentials> {
        let Ok(reference) = Reference::parse(image) else { return Ok(Credentials::default()) };
        let found = self.credentials()?.for_reference(&reference);
        let found = found.inspect_err(|error| self.warn(&format!("WARNING: {}", worded(error))));
        Ok(found.ok().flatten().unwrap_or_default())
    }

    /// Tells the daemon who we are to the registry of an image.
    pub(crate) fn with_credentials(&self, target: Target, image: &str) -> anyhow::Result<Target> {
        let credentials = self.credentials_for(image)?;
        Ok(target.header("x-registry-auth", credentials.encode_header()))
    }

    /// Tells the daemon who we are to all registries, for a build may pull from any. Programs
    /// that fail are complained about: the build may not need them.
    pub(crate) fn with_all_credentials(&self, target: Target) -> anyhow::Result<Target> {
        let (all, failures) = self.credentials()?.all();
        for failure in failures {
            self.warn(&format!("WARNING: {}", worded(&failure)));
        }
        let all: BTreeMap<_, _> = all.into_iter().collect();
        let json = serde_json::to_vec(&all)?;
        let text = base64::engine::general_purpose::URL_SAFE.encode(json);
        Ok(target.header("x-registry-config", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_known_by_their_hosts() {
        assert_eq!(server_name(""), HUB);
        assert_eq!(server_name("docker.io"), HUB);
        assert_eq!(server_name("https://index.docker.io/v1/"), HUB);
        assert_eq!(server_name("reg.example:5000"), "reg.example:5000");
        assert_eq!(server_name("https://reg.example/v2/"), "reg.example");
    }
}
