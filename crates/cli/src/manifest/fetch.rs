//! Manifests from a registry.

use anyhow::Context as _;
use distribution::manifest::{Descriptor, Document, Limits, Platform};
use distribution::{Client, Fetched, Repository};
use types::reference::Reference;

use super::store::Entry;
use crate::session::Session;

/// The longest configuration that is read for the platform that it names.
const LONGEST: usize = 4 << 20;

/// Registries as this command reaches them.
pub(super) struct Registries<'a> {
    session: &'a Session,
    client: Client,
}

/// What a registry has under a name.
pub(super) enum Found {
    /// An image.
    Image(Box<Entry>),
    /// A list of them, as it came.
    List(Fetched, Box<Document>),
}

impl<'a> Registries<'a> {
    /// `insecure` says that the registry of `name` need not prove who it is.
    pub(super) fn new(
        session: &'a Session,
        name: &Reference,
        insecure: bool,
    ) -> anyhow::Result<Self> {
        let open = if insecure { vec![name.domain().to_owned()] } else { Vec::new() };
        Ok(Self { session, client: crate::registry::client(open)? })
    }

    pub(super) fn repository(&self, name: &Reference) -> anyhow::Result<Repository> {
        let credentials = self.session.credentials_for(&name.to_string())?;
        Ok(self.client.repository(name, Some(credentials)))
    }

    /// What the registry has under a name.
    pub(super) async fn find(&self, name: &Reference) -> anyhow::Result<Found> {
        let repository = self.repository(name)?;
        let wanted = name.digest().map(|digest| digest.as_str()).or(name.tag());
        let wanted = wanted.context("a tag or a digest is needed")?;
        let fetched = repository
            .manifest(wanted)
            .await
            .with_context(|| format!("no such manifest: {}", name.familiar()))?;
        let document = Document::parse(&fetched.media_type, &fetched.bytes, &Limits::default())?;
        match &document {
            Document::Index(_) => Ok(Found::List(fetched, Box::new(document))),
            Document::Manifest(manifest) => {
                let mut descriptor = Descriptor::new(
                    document.media_type(),
                    fetched.digest.clone(),
                    fetched.bytes.len() as u64,
                );
                descriptor.platform = platform(&repository, &manifest.config).await?;
                let entry = Entry::new(name.clone(), descriptor, &fetched.bytes)?;
                Ok(Found::Image(Box::new(entry)))
            }
        }
    }

    /// An image; a list is refused.
    pub(super) async fn image(&self, name: &Reference) -> anyhow::Result<Entry> {
        match self.find(name).await? {
            Found::Image(entry) => Ok(*entry),
            Found::List(..) => anyhow::bail!("{name} is a manifest list"),
        }
    }
}

/// What an image runs on, as its configuration says.
async fn platform(
    repository: &Repository,
    config: &Descriptor,
) -> anyhow::Result<Option<Platform>> {
    if config.size > LONGEST as u64 {
        return Ok(None);
    }
    let mut stream = repository.blob(config, 0).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.chunk().await? {
        anyhow::ensure!(bytes.len() + chunk.len() <= LONGEST, "the configuration is too long");
        bytes.extend_from_slice(&chunk);
    }
    // Artifacts that are no images have no platform.
    let platform: Option<Platform> = serde_json::from_slice(&bytes).ok();
    Ok(platform.filter(|platform| !platform.is_unknown()))
}
