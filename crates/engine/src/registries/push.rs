//! Pushing images.
//!
//! An image that was pulled goes out byte for byte as it came, if the blobs of its manifest are
//! here or the registry has or can borrow them; otherwise a manifest is composed of the forms in
//! which its layers are sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use distribution::{Credentials, Repository, Source};
use futures_util::future::try_join_all;
use image::{Document, Elsewhere, Form, PushLayer, Pushable};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use types::Error;
use types::digest::Digest;
use types::reference::Reference;

use super::pull::{Listener, heard};
use super::upload::{Compressed, Few, Kept, Progress, Seen};
use super::{LayerState, TransferStep, plainly};
use crate::images::provides;
use crate::{Engine, blocking, from_image, lock};

/// Repositories that are asked to lend a layer.
const LENDERS: usize = 3;
/// Forms of a layer that the registry is asked for.
const FORMS: usize = 4;

/// What is to be pushed.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The repository.
    pub repository: Reference,
    /// Which tag; all that are here if `None`.
    pub tag: Option<String>,
    /// Insist on this platform.
    pub platform: Option<String>,
    /// Who asks.
    pub credentials: Option<Credentials>,
}

impl Engine {
    /// Pushes an image, or all tags of a repository. What happens comes from the channel; an error
    /// is the last that comes. When the receiver is dropped the push ends.
    pub fn push(&self, request: PushRequest) -> mpsc::Receiver<Result<TransferStep, Error>> {
        let engine = self.clone();
        heard(move |listener| async move { engine.push_all(request, &listener).await })
    }

    async fn push_all(&self, request: PushRequest, listener: &Listener) -> Result<(), Error> {
        let repository = request.repository.without_tag();
        listener.line(format!("The push refers to repository [{}]", repository.name())).await;
        let here = self.tags_of(&repository).await?;
        if here.is_empty() {
            let name = repository.familiar_name();
            let text = format!("An image does not exist locally with the tag: {name}");
            return Err(Error::not_found(text));
        }
        let chosen = match &request.tag {
            None => here,
            Some(tag) => {
                let tagged = repository.with_tag(tag);
                let tagged = tagged.map_err(|error| Error::invalid(error.to_string()))?;
                if !here.contains(&tagged) {
                    let text = format!("tag does not exist: {}", tagged.familiar());
                    return Err(Error::not_found(text));
                }
                vec![tagged]
            }
        };
        let target = self.registries.client()?.repository(&repository, request.credentials);
        for tagged in chosen {
            self.push_one(&target, &tagged, request.platform.as_deref(), listener).await?;
        }
        Ok(())
    }

    /// The tags of a repository that are here, sorted.
    async fn tags_of(&self, repository: &Reference) -> Result<Vec<Reference>, Error> {
        let (engine, wanted) = (self.clone(), repository.clone());
        blocking(move || {
            let filter = image::ListFilter { all: true, ..image::ListFilter::default() };
            let images = engine.images.list(&filter).map_err(from_image)?;
            let names = images.iter().flat_map(|image| &image.repo_tags);
            let mut tags: Vec<Reference> = names
                .filter_map(|name| Reference::parse(name).ok())
                .filter(|name| name.name() == wanted.name())
                .collect();
            tags.sort();
            Ok(tags)
        })
        .await
    }

    async fn push_one(
        &self,
        target: &Repository,
        tagged: &Reference,
        platform: Option<&str>,
        listener: &Listener,
    ) -> Result<(), Error> {
        let id = self.images.resolve(&tagged.to_string()).map_err(from_image)?;
        let config = self.images.config(&id).map_err(from_image)?;
        if let Some(platform) = platform.filter(|text| !text.is_empty()) {
            provides(&tagged.familiar(), &config, platform)?;
        }
        let engine = self.clone();
        let image = blocking(move || engine.images.pushable(&id).map_err(from_image)).await?;
        let image = Arc::new(image);
        for layer in image.layers.iter().rev() {
            listener.layer(&layer.diff_id, LayerState::Preparing).await;
        }
        let manifest = self.push_content(target, tagged, &image, listener).await?;
        let tag = tagged.tag().unwrap_or(types::reference::DEFAULT_TAG).to_owned();
        let size = manifest.bytes.len() as u64;
        let digest = manifest.digest();
        target
            .put_manifest(&tag, &manifest.media_type, Bytes::from(manifest.bytes))
            .await
            .map_err(|error| plainly(error.plain()))?;
        let (engine, name) = (self.clone(), tagged.with_digest(digest.clone()));
        let id = image.id.clone();
        // The image may have been removed meanwhile: what is pushed is pushed all the same.
        drop(blocking(move || engine.images.add_repo_digest(&id, &name).map_err(from_image)).await);
        listener.pushed(tag, digest, size).await;
        self.tell_transfer("push", tagged, &config);
        Ok(())
    }

    /// Pushes layers and configuration; returns the manifest that goes with them.
    async fn push_content(
        &self,
        target: &Repository,
        tagged: &Reference,
        image: &Arc<Pushable>,
        listener: &Listener,
    ) -> Result<Document, Error> {
        let job = Job { engine: self, target, tagged, image, listener };
        if let Some(manifest) = &image.manifest
            && job.layers(true).await?.is_some()
        {
            job.config().await?;
            return Ok(manifest.clone());
        }
        if let Some(elsewhere) = &image.elsewhere
            && job.borrows(elsewhere).await?
            && job.layers(true).await?.is_some()
        {
            job.config().await?;
            return Ok(elsewhere.manifest.clone());
        }
        let forms = job.layers(false).await?;
        let forms = forms.ok_or_else(|| Error::system("a layer has no form that can be sent"))?;
        job.config().await?;
        Ok(image.compose(&forms))
    }
}

/// One image on its way to one repository.
struct Job<'a> {
    engine: &'a Engine,
    target: &'a Repository,
    tagged: &'a Reference,
    image: &'a Arc<Pushable>,
    listener: &'a Listener,
}

/// Progress of an upload goes here.
fn progress() -> (Progress, Seen) {
    watch::channel((0, 0))
}

fn failed(error: distribution::Error) -> Error {
    plainly(error.plain())
}

impl Job<'_> {
    /// Pushes every layer, those on top first. With `exact` only in the form that the image's own
    /// manifest names; nothing when one of those cannot be had.
    async fn layers(&self, exact: bool) -> Result<Option<Vec<Form>>, Error> {
        let mut different: BTreeMap<&Digest, &PushLayer> = BTreeMap::new();
        let mut under_way = Vec::new();
        for layer in self.image.layers.iter().rev() {
            if different.insert(&layer.diff_id, layer).is_none() {
                under_way.push(self.layer(layer, exact));
            }
        }
        let forms = try_join_all(under_way).await?;
        let mut found: BTreeMap<Digest, Form> = BTreeMap::new();
        for form in forms {
            let Some((diff_id, form)) = form else { return Ok(None) };
            found.insert(diff_id, form);
        }
        Ok(self.image.layers.iter().map(|layer| found.get(&layer.diff_id).cloned()).collect())
    }

    /// Has the registry lend itself every blob of a manifest that is not here; says whether it has
    /// them all now.
    async fn borrows(&self, elsewhere: &Elsewhere) -> Result<bool, Error> {
        let host = format!("{}/", self.tagged.domain());
        let paths = elsewhere.repositories.iter().filter_map(|name| name.strip_prefix(&host));
        let lenders: Vec<&str> =
            paths.filter(|path| *path != self.tagged.path()).take(LENDERS).collect();
        let absent = self.image.layers.iter().filter(|layer| !layer.blob);
        for blob in absent.filter_map(|layer| layer.descriptor.as_ref()) {
            let mut there = self.target.has_blob(&blob.digest).await.map_err(failed)?.is_some();
            for lender in &lenders {
                // A registry that lends nothing still takes what is uploaded.
                there = there || self.target.mount(&blob.digest, lender).await.unwrap_or(false);
            }
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn layer(&self, layer: &PushLayer, exact: bool) -> Result<Option<(Digest, Form)>, Error> {
        let _permit = self.permit(layer).await?;
        let mut forms: Vec<Form> = match (&layer.descriptor, exact) {
            (Some(wanted), true) => {
                let known = layer.forms.iter().find(|form| form.digest == wanted.digest);
                let repositories = known.map(|form| form.repositories.clone()).unwrap_or_default();
                let compression = known.map_or(image::Compression::Gzip, |form| form.compression);
                let (digest, size) = (wanted.digest.clone(), wanted.size);
                vec![Form { digest, size, compression, repositories }]
            }
            (None, true) => return Ok(None),
            (_, false) => layer.forms.iter().rev().take(FORMS).cloned().collect(),
        };
        for form in &forms {
            if self.target.has_blob(&form.digest).await.map_err(failed)?.is_some() {
                self.tell(layer, LayerState::Present).await;
                return self.known(layer, form.clone()).await;
            }
        }
        for (form, lender) in self.lenders(&forms) {
            // A registry that lends nothing still takes what is uploaded.
            if self.target.mount(&form.digest, &lender).await.unwrap_or(false) {
                self.tell(layer, LayerState::Mounted(lender)).await;
                return self.known(layer, form).await;
            }
        }
        forms.retain(|form| self.image.has(&form.digest));
        let form = match forms.into_iter().next() {
            Some(form) => self.send_kept(layer, form).await?,
            None if exact => return Ok(None),
            None => {
                let form = self.send_compressed(layer).await?;
                self.tell(layer, LayerState::Pushed).await;
                self.remember(layer, &form).await?;
                return Ok(Some((layer.diff_id.clone(), form)));
            }
        };
        self.tell(layer, LayerState::Pushed).await;
        self.known(layer, form).await
    }

    /// Repositories of the same registry that have one of the forms.
    fn lenders(&self, forms: &[Form]) -> Vec<(Form, String)> {
        let host = format!("{}/", self.tagged.domain());
        let mut lenders = Vec::new();
        for form in forms {
            for repository in form.repositories.iter().rev() {
                match repository.strip_prefix(&host) {
                    Some(path) if path != self.tagged.path() => {
                        lenders.push((form.clone(), path.to_owned()));
                    }
                    _ => {}
                }
            }
        }
        lenders.truncate(LENDERS);
        lenders
    }

    /// A form that the registry has now, and that is remembered if it is one of the layer's: a
    /// manifest may lie about that, and the lie would go into the manifests of other images.
    async fn known(&self, layer: &PushLayer, form: Form) -> Result<Option<(Digest, Form)>, Error> {
        if layer.forms.iter().any(|known| known.digest == form.digest) {
            self.remember(layer, &form).await?;
        }
        Ok(Some((layer.diff_id.clone(), form)))
    }

    /// Remembers that this repository has a form of the layer.
    async fn remember(&self, layer: &PushLayer, form: &Form) -> Result<(), Error> {
        let engine = self.engine.clone();
        let diff_id = layer.diff_id.clone();
        let here = Form { repositories: vec![self.tagged.name()], ..form.clone() };
        blocking(move || engine.images.remember_form(&diff_id, here).map_err(from_image)).await
    }

    async fn permit(&self, layer: &PushLayer) -> Result<OwnedSemaphorePermit, Error> {
        let uploads = Arc::clone(&lock(&self.engine.registries.current).uploads);
        if let Ok(permit) = Arc::clone(&uploads).try_acquire_owned() {
            return Ok(permit);
        }
        self.tell(layer, LayerState::Waiting).await;
        uploads.acquire_owned().await.map_err(|_| Error::system("uploads have ended"))
    }

    async fn tell(&self, layer: &PushLayer, state: LayerState) {
        self.listener.layer(&layer.diff_id, state).await;
    }

    async fn send_kept(&self, layer: &PushLayer, form: Form) -> Result<Form, Error> {
        let (sender, receiver) = progress();
        let (image, digest) = (Arc::clone(self.image), form.digest.clone());
        let mut source = Kept { image, digest, size: form.size, progress: sender };
        self.send(layer, &mut source, receiver).await?;
        Ok(form)
    }

    async fn send_compressed(&self, layer: &PushLayer) -> Result<Form, Error> {
        let (sender, receiver) = progress();
        let form = Arc::new(Mutex::new(None));
        let mut source = Compressed {
            image: Arc::clone(self.image),
            diff_id: layer.diff_id.clone(),
            size: layer.size,
            progress: sender,
            form: Arc::clone(&form),
        };
        self.send(layer, &mut source, receiver).await?;
        let form = lock(&form).take();
        form.ok_or_else(|| Error::system("a layer was sent without being compressed"))
    }

    /// Uploads, and tells how far it is.
    async fn send(
        &self,
        layer: &PushLayer,
        source: &mut dyn Source,
        mut progress: Seen,
    ) -> Result<(), Error> {
        let upload = self.target.upload(source);
        tokio::pin!(upload);
        loop {
            tokio::select! {
                outcome = &mut upload => return outcome.map(drop).map_err(failed),
                changed = progress.changed() => {
                    if changed.is_err() {
                        return upload.await.map(drop).map_err(failed);
                    }
                    let (done, total) = *progress.borrow_and_update();
                    self.tell(layer, LayerState::Pushing { done, total }).await;
                }
            }
        }
    }

    async fn config(&self) -> Result<(), Error> {
        let digest = self.image.id.clone();
        if self.target.has_blob(&digest).await.map_err(failed)?.is_some() {
            return Ok(());
        }
        let mut source = Few { bytes: Bytes::from(self.image.config.clone()), digest };
        self.target.upload(&mut source).await.map(drop).map_err(failed)
    }
}
