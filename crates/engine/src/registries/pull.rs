//! Pulling images.

use distribution::manifest::{
    Descriptor, Document, ImageManifest, Limits, Platform, choose, media_type,
};
use distribution::{Credentials, Fetched, Repository};
use futures_util::future::try_join_all;
use image::{Ingest, PulledImage};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use types::Error;
use types::digest::Digest;
use types::event::Subject;
use types::reference::Reference;

use super::find::wanted;
use super::layer::{Wanted, fetch};
use super::{LayerState, TransferStep, plainly};
use crate::{Engine, blocking, from_image};

/// Steps that may wait for whoever looks.
pub(super) const QUEUE: usize = 64;
/// Bytes of a configuration that are read.
const MAX_CONFIG: u64 = 8 << 20;
/// Indexes within indexes.
const MAX_DEPTH: usize = 4;

/// What is to be pulled.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// Which image: one by tag or digest, or all tags of a repository.
    pub reference: Reference,
    /// `os/arch[/variant]`; the host's if `None`.
    pub platform: Option<String>,
    /// Who asks.
    pub credentials: Option<Credentials>,
}

/// Whom a pull or a push tells what it does.
#[derive(Clone, Debug)]
pub(super) struct Listener(pub(super) mpsc::Sender<Result<TransferStep, Error>>);

impl Listener {
    /// Somebody who has gone is noticed elsewhere.
    async fn tell(&self, step: TransferStep) {
        drop(self.0.send(Ok(step)).await);
    }

    pub(super) async fn line(&self, text: String) {
        self.tell(TransferStep::Line(text)).await;
    }

    pub(super) async fn layer(&self, digest: &Digest, state: LayerState) {
        self.tell(TransferStep::Layer { id: digest.short().to_owned(), state }).await;
    }

    pub(super) async fn tag(&self, tag: String, text: String) {
        self.tell(TransferStep::Tag { tag, text }).await;
    }

    pub(super) async fn pushed(&self, tag: String, digest: Digest, size: u64) {
        self.tell(TransferStep::Pushed { tag, digest, size }).await;
    }
}

/// What a name stands for on one platform.
struct Chosen {
    manifest: ImageManifest,
    document: image::Document,
    index: Option<image::Document>,
    /// The digest that the name stands for: the index's, if there is one.
    digest: Digest,
}

/// Runs an operation for as long as somebody listens to it.
pub(super) fn heard<F, W>(work: W) -> mpsc::Receiver<Result<TransferStep, Error>>
where
    W: FnOnce(Listener) -> F + Send + 'static,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = work(Listener(sender.clone())) => outcome,
            () = sender.closed() => return,
        };
        if let Err(error) = outcome {
            drop(sender.send(Err(error)).await);
        }
    });
    receiver
}

impl Engine {
    /// Pulls an image, or all tags of a repository. What happens comes from the channel; an error
    /// is the last that comes. When the receiver is dropped the pull ends, unless the image is
    /// being named already; layers that another pull wants too go on.
    pub fn pull(&self, request: PullRequest) -> mpsc::Receiver<Result<TransferStep, Error>> {
        let engine = self.clone();
        heard(move |listener| async move { engine.pull_all(request, &listener).await })
    }

    async fn pull_all(&self, request: PullRequest, listener: &Listener) -> Result<(), Error> {
        let PullRequest { reference, platform, credentials } = request;
        let platform = match platform.as_deref().filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let parsed = text.parse::<Platform>();
                Some(parsed.map_err(|error| Error::invalid(error.to_string()))?)
            }
        };
        let repository = self.registries.client()?.repository(&reference, credentials);
        let mut newer = false;
        if reference.is_name_only() {
            let tags = repository.tags().await;
            for tag in tags.map_err(|error| plainly(error.for_pull(&reference)))? {
                // What is no tag by the grammar cannot be a name here.
                let Ok(tagged) = reference.with_tag(&tag) else { continue };
                newer |= self.pull_one(&repository, &tagged, platform.as_ref(), listener).await?;
            }
        } else {
            newer = self.pull_one(&repository, &reference, platform.as_ref(), listener).await?;
        }
        let familiar = reference.familiar();
        listener
            .line(if newer {
                format!("Status: Downloaded newer image for {familiar}")
            } else {
                format!("Status: Image is up to date for {familiar}")
            })
            .await;
        Ok(())
    }

    /// Pulls one image; tells whether the name stood for another one, or none, before.
    async fn pull_one(
        &self,
        repository: &Repository,
        reference: &Reference,
        platform: Option<&Platform>,
        listener: &Listener,
    ) -> Result<bool, Error> {
        let asked = wanted(reference);
        let fetched = repository.manifest(&asked).await;
        let fetched = fetched.map_err(|error| plainly(error.for_pull(reference)))?;
        let subject = match reference.digest() {
            Some(digest) => reference.with_digest(digest.clone()).to_string(),
            None => asked,
        };
        // The path within the registry, without its host.
        listener.tag(subject, format!("Pulling from {}", reference.path())).await;
        let chosen = resolve(repository, fetched, platform, reference).await?;
        let ingest = self.images.ingest();
        let known = self.known(&ingest, &chosen.manifest.config.digest);
        let config = match known.clone() {
            Some(config) => config,
            None => fetch_config(repository, &chosen.manifest.config, reference).await?,
        };
        let parsed = parse_config(&config)?;
        let layers = chosen.manifest.layers.iter().zip(&parsed.rootfs.diff_ids);
        let layers = layers.map(|(blob, diff_id)| Wanted {
            repository: repository.clone(),
            reference: reference.clone(),
            blob: blob.clone(),
            diff_id: diff_id.clone(),
        });
        let layers: Vec<Wanted> = layers.collect();
        if layers.len() != parsed.rootfs.diff_ids.len()
            || layers.len() != chosen.manifest.layers.len()
        {
            return Err(Error::invalid("layers from manifest don't match image configuration"));
        }
        self.bring_all(&ingest, layers, known.is_some(), listener).await?;

        let digest = chosen.digest.clone();
        let name = Some(reference.clone()).filter(|name| name.digest().is_none());
        let repo_digest = reference.with_digest(digest.clone());
        let pulled = PulledImage {
            config,
            manifest: chosen.document,
            index: chosen.index,
            names: name.into_iter().collect(),
            repo_digests: vec![repo_digest],
        };
        let engine = self.clone();
        let lookup = match reference.digest() {
            // A tag beside a digest is not looked at.
            Some(digest) => reference.with_digest(digest.clone()).to_string(),
            None => reference.to_string(),
        };
        let (before, id) = blocking(move || {
            let before = engine.images.resolve(&lookup).ok();
            Ok((before, ingest.finish(pulled).map_err(from_image)?))
        })
        .await?;
        listener.line(format!("Digest: {digest}")).await;
        if let Some(platform) = platform {
            warn_of_platform(reference, platform, &parsed, listener).await;
        }
        self.tell_transfer("pull", reference, &parsed);
        Ok(before != Some(id))
    }

    /// The configuration of an image that is here.
    fn known(&self, ingest: &Ingest, id: &Digest) -> Option<Vec<u8>> {
        let document = ingest.document(id)?;
        self.images.config(id).is_ok().then_some(document)
    }

    /// Tells listeners that an image came or went.
    pub(super) fn tell_transfer(
        &self,
        action: &str,
        reference: &Reference,
        config: &image::ImageConfig,
    ) {
        let name = reference.familiar_name();
        let labels = config.config.as_ref().map(|config| &config.labels);
        let mut attributes: Vec<(&str, &str)> = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        attributes.push(("name", &name));
        self.tell(Subject::Image, action, &reference.familiar(), &attributes);
    }

    /// Brings every layer that is not here, as many at once as the settings allow. Of an image
    /// that is here nobody wants to read the layers that are.
    async fn bring_all(
        &self,
        ingest: &Ingest,
        layers: Vec<Wanted>,
        known: bool,
        listener: &Listener,
    ) -> Result<(), Error> {
        let mut missing = Vec::new();
        for layer in layers {
            if !ingest.has_layer(&layer.diff_id) {
                listener.layer(&layer.blob.digest, LayerState::Wanted).await;
                missing.push(layer);
            } else if !known {
                listener.layer(&layer.blob.digest, LayerState::AlreadyExists).await;
            }
        }
        let mut under_way = Vec::with_capacity(missing.len());
        for layer in missing {
            under_way.push(self.bring(ingest, layer, listener));
        }
        try_join_all(under_way).await.map(drop)
    }

    async fn bring(
        &self,
        ingest: &Ingest,
        layer: Wanted,
        listener: &Listener,
    ) -> Result<(), Error> {
        loop {
            let (engine, wanted) = (self.clone(), layer.clone());
            let start = move |cockpit| fetch(engine, wanted, cockpit);
            let flights = &self.registries.layers;
            let seat = flights.join(&layer.blob.digest, &layer.diff_id, start).await;
            let mut window = seat.window();
            let outcome = loop {
                match window.next().await {
                    Ok(states) => {
                        for state in states {
                            listener.layer(&layer.blob.digest, state).await;
                        }
                    }
                    Err(outcome) => break outcome,
                }
            };
            match outcome {
                // Held here as well before the seat is given up.
                Ok(()) if ingest.has_layer(&layer.diff_id) => return Ok(()),
                Ok(()) if seat.pilot => {
                    return Err(Error::system(format!("layer {} has gone", layer.diff_id)));
                }
                Err(error) if seat.pilot => return Err(error),
                // Somebody else's credentials or registry failed: our own may do.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Follows indexes down to the manifest for a platform.
async fn resolve(
    repository: &Repository,
    mut fetched: Fetched,
    platform: Option<&Platform>,
    reference: &Reference,
) -> Result<Chosen, Error> {
    let digest = fetched.digest.clone();
    let mut index = None;
    for _ in 0..MAX_DEPTH {
        let parsed = Document::parse(&fetched.media_type, &fetched.bytes, &Limits::default())
            .map_err(|error| Error::invalid(error.to_string()))?;
        let document = image::Document {
            media_type: parsed.media_type().to_owned(),
            bytes: fetched.bytes.to_vec(),
        };
        let list = match parsed {
            Document::Manifest(manifest) => {
                check_kind(&manifest, reference)?;
                return Ok(Chosen { manifest, document, index, digest });
            }
            Document::Index(list) => list,
        };
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let Some(child) = choose(&list, wanted) else {
            return Err(Error::not_found(format!(
                "no matching manifest for {wanted} in the manifest list entries"
            )));
        };
        let child_digest = child.digest.clone();
        index = Some(document);
        fetched = repository
            .manifest(child_digest.as_str())
            .await
            .map_err(|error| plainly(error.for_pull(reference)))?;
    }
    Err(Error::invalid("indexes are nested too deeply"))
}

/// Registries hold other things than images too.
fn check_kind(manifest: &ImageManifest, reference: &Reference) -> Result<(), Error> {
    let kind = &manifest.config.media_type;
    if manifest.artifact_type.is_none() && (kind.is_empty() || media_type::is_config(kind)) {
        return Ok(());
    }
    let kind = manifest.artifact_type.as_deref().unwrap_or(kind);
    let name = reference.familiar();
    Err(Error::invalid(format!("Encountered remote {kind:?}(artifact) when fetching {name}")))
}

/// Fetches and checks an image's configuration.
pub(super) async fn fetch_config(
    repository: &Repository,
    descriptor: &Descriptor,
    reference: &Reference,
) -> Result<Vec<u8>, Error> {
    if descriptor.size > MAX_CONFIG {
        let size = descriptor.size;
        let text = format!("image configuration of {size} bytes is larger than {MAX_CONFIG}");
        return Err(Error::invalid(text));
    }
    if descriptor.digest.algorithm() != "sha256" {
        return Err(Error::invalid("an image's configuration is named by its SHA-256"));
    }
    let failed = |error: distribution::Error| plainly(error.for_pull(reference));
    let mut body = repository.blob(descriptor, 0).await.map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&piece);
    }
    let found = Digest::from_sha256(Sha256::digest(&bytes).into());
    if found != descriptor.digest {
        let expected = &descriptor.digest;
        let text = format!("image config verification failed for digest {expected}: it is {found}");
        return Err(Error::system(text));
    }
    Ok(bytes)
}

fn parse_config(bytes: &[u8]) -> Result<image::ImageConfig, Error> {
    let config: image::ImageConfig = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("invalid image configuration: {error}")))?;
    if config.rootfs.diff_ids.is_empty() && config.rootfs.kind.is_empty() {
        return Err(Error::invalid("image config has no rootfs section"));
    }
    if !matches!(config.os.as_str(), "" | "linux") {
        let os = &config.os;
        let text = format!("image operating system {os:?} cannot be used on this platform");
        return Err(Error::invalid(text));
    }
    Ok(config)
}

/// A name may stand for one image only, whatever platform was asked for.
async fn warn_of_platform(
    reference: &Reference,
    wanted: &Platform,
    config: &image::ImageConfig,
    listener: &Listener,
) {
    let actual = Platform::new(&config.os, &config.architecture, &config.variant);
    if actual.serves(wanted).is_none() {
        let text = format!(
            "WARNING: image with reference {} was found but does not match the specified \
             platform: wanted {wanted}, actual: {actual}",
            reference.familiar()
        );
        listener.line(text).await;
    }
}
