//! Giving an image out, as a push needs it.
//!
//! A pulled image goes out as it came: its manifest byte for byte, as long as every blob is here
//! or the other side has it. Otherwise a manifest is composed of the layers' known compressed
//! forms, or of forms that are made now; which those were is remembered with the layer, so that
//! the next push need not compress what a registry has.

mod compress;

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use manifest::{Descriptor, ImageManifest, media_type};
use sys::fs::{Mode, OFlags, Root};
use types::digest::Digest;
use types::reference::Reference;

use crate::catalog::Source;
use crate::error::{Error, Result, Step};
use crate::ingest::Document;
use crate::layer::{Form, add_form};
use crate::store::Store;
use crate::stream::{Compression, HashingWriter};

use compress::Compressor;

/// An image on its way out. Whatever is collected meanwhile, its layers and blobs stay.
#[derive(Debug)]
pub struct Pushable {
    store: Arc<Store>,
    held: Vec<Digest>,
    /// The image.
    pub id: Digest,
    /// Its configuration document.
    pub config: Vec<u8>,
    /// The manifest that it was pulled by, if all of its layers' blobs are here or are forms of
    /// the layers that registries are known to have. Push it as it is, so that its digest stays.
    pub manifest: Option<Document>,
    /// The manifest that it was pulled by, if not all of its layers' blobs are here: some layers
    /// were here already, as other blobs or none. A registry that has the blobs can take it.
    pub elsewhere: Option<Elsewhere>,
    /// Its layers, bottom first.
    pub layers: Vec<PushLayer>,
}

/// A manifest whose blobs are not all here. That they unpack to the image's layers is only its
/// publisher's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The manifest.
    pub manifest: Document,
    /// Repositories (`host/path`) that the image came from or went to.
    pub repositories: Vec<String>,
}

/// A layer on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushLayer {
    /// Digest of its tar.
    pub diff_id: Digest,
    /// Bytes of its tar.
    pub size: u64,
    /// What [`Pushable::manifest`], or else [`Pushable::elsewhere`], calls it.
    pub descriptor: Option<Descriptor>,
    /// The blob of that descriptor is here.
    pub blob: bool,
    /// Compressed forms that are known, the latest last; see [`Pushable::has`] for which are here.
    pub forms: Vec<Form>,
}

/// A compressed layer, readable from the beginning as often as need be.
#[derive(Debug)]
pub struct LayerBlob {
    /// Its digest, size and compression.
    pub form: Form,
    file: File,
}

impl LayerBlob {
    /// A reader of its own position.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(&self) -> Result<File> {
        // Opened again and not duplicated: a duplicate shares the position.
        File::open(sys::fs::proc_fd_path(&self.file)).step("open a blob")
    }
}

impl Store {
    /// Everything that a push of an image needs.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::MissingLayer`], damaged documents.
    pub fn pushable(self: &Arc<Self>, id: &Digest) -> Result<Pushable> {
        let (record, held, repositories) = {
            let state = self.state();
            let record = state.catalog.images.get(id);
            let record = record.cloned().ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
            let held: Vec<Digest> = std::iter::once(id)
                .chain(&record.layers)
                .chain(record.content())
                .cloned()
                .collect();
            let names = state.catalog.names.iter();
            let digests = names.filter(|(name, image)| *image == id && name.digest().is_some());
            let repositories: Vec<String> = digests.map(|(name, _)| name.name()).collect();
            (record, held, repositories)
        };
        for digest in &held {
            self.keep(digest);
        }
        let mut out = Pushable {
            store: Arc::clone(self),
            held,
            id: id.clone(),
            config: Vec::new(),
            manifest: None,
            elsewhere: None,
            layers: Vec::new(),
        };
        // Held now; the image may have gone just before.
        out.config = self.config_text(id)?;
        for diff_id in &record.layers {
            let meta = self.layer(diff_id).ok_or_else(|| Error::MissingLayer(diff_id.clone()))?;
            out.layers.push(PushLayer {
                diff_id: diff_id.clone(),
                size: meta.tar_size,
                descriptor: None,
                blob: false,
                forms: self.layers.forms(diff_id),
            });
        }
        let sources = || record.sources.iter().rev();
        let whole = sources().find_map(|source| out.read(source, true));
        if let Some((manifest, layers)) = whole {
            out.manifest = Some(manifest);
            out.describe(layers);
        } else if let Some((manifest, layers)) =
            sources().find_map(|source| out.read(source, false))
        {
            out.elsewhere = Some(Elsewhere { manifest, repositories });
            out.describe(layers);
        }
        Ok(out)
    }

    /// Remembers that a compressed form stands for a layer, and which repository (`host/path`) has
    /// it. Only for bytes that were made of, or decompressed to, the layer's tar.
    ///
    /// # Errors
    /// [`Error::MissingLayer`], [`Error::Io`].
    pub fn remember_form(&self, diff_id: &Digest, form: Form) -> Result<()> {
        // Under the lock, so that the layer cannot go and two forms are both remembered.
        let state = self.state();
        if !state.layers.contains_key(diff_id) {
            return Err(Error::MissingLayer(diff_id.clone()));
        }
        let mut forms = self.layers.forms(diff_id);
        if add_form(&mut forms, form) {
            self.layers.write_forms(diff_id, &forms)?;
        }
        Ok(())
    }

    /// Gives an image a name with a digest, as a push does that a registry has taken.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::NotATag`] for a name without a digest.
    pub fn add_repo_digest(&self, image: &Digest, name: &Reference) -> Result<()> {
        let Some(digest) = name.digest() else {
            return Err(Error::NotATag(format!("{} has no digest", name.familiar())));
        };
        let name = name.with_digest(digest.clone());
        let mut state = self.state();
        if !state.catalog.images.contains_key(image) {
            return Err(Error::NoSuchImage(image.to_string()));
        }
        self.change(&mut state, |catalog| {
            catalog.names.insert(name, image.clone());
            Ok(())
        })
    }
}

impl Pushable {
    /// A manifest that the image was pulled by, and its layers; with `whole` only if nothing of
    /// it is lost.
    fn read(&self, source: &Source, whole: bool) -> Option<(Document, Vec<Descriptor>)> {
        let limit = self.store.options.max_json_bytes;
        let bytes = self.store.content.get(&source.manifest.digest, limit).ok()?;
        let manifest = serde_json::from_slice::<ImageManifest>(&bytes).ok()?;
        if manifest.layers.len() != self.layers.len() {
            return None;
        }
        let known = |layer: &PushLayer, wanted: &Descriptor| {
            let known = |form: &Form| form.digest == wanted.digest && !form.repositories.is_empty();
            self.has(&wanted.digest) || layer.forms.iter().any(known)
        };
        let mut pairs = self.layers.iter().zip(&manifest.layers);
        if whole && !pairs.all(|(layer, wanted)| known(layer, wanted)) {
            return None;
        }
        let media_type = source.manifest.media_type.clone();
        Some((Document { media_type, bytes }, manifest.layers))
    }

    fn describe(&mut self, layers: Vec<Descriptor>) {
        for (at, descriptor) in layers.into_iter().enumerate() {
            self.layers[at].blob = self.has(&descriptor.digest);
            self.layers[at].descriptor = Some(descriptor);
        }
    }

    /// Whether a blob is here.
    pub fn has(&self, blob: &Digest) -> bool {
        self.store.content.blobs().size(blob).is_ok_and(|size| size.is_some())
    }

    /// The descriptor of the configuration, for a composed manifest.
    pub fn config_descriptor(&self) -> Descriptor {
        Descriptor::new(media_type::DOCKER_CONFIG, self.id.clone(), self.config.len() as u64)
    }

    /// A blob of the image as it came.
    ///
    /// # Errors
    /// [`Error::NoSuchBlob`], [`Error::Io`].
    pub fn open_blob(&self, blob: &Digest) -> Result<File> {
        self.store.content.blobs().open_blob(blob)
    }

    /// The bytes of a layer in some form: one that is here if there is one, or compressed now, into
    /// a file without a name. `progress` is told how many bytes of the tar are done. The form is
    /// not remembered before a registry has it: see [`Store::remember_form`].
    ///
    /// # Errors
    /// [`Error::DamagedLayer`], [`Error::MissingLayer`], [`Error::Io`].
    pub fn layer_blob(
        &self,
        layer: &PushLayer,
        compression: Compression,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<LayerBlob> {
        let fits = |form: &&Form| form.compression == compression && self.has(&form.digest);
        if let Some(form) = layer.forms.iter().rev().find(fits) {
            return Ok(LayerBlob { form: form.clone(), file: self.open_blob(&form.digest)? });
        }
        let mut file = nameless(self.store.content.dir())?;
        let form = self.write_layer(&layer.diff_id, compression, &mut file, progress)?;
        file.seek(SeekFrom::Start(0)).step("write a compressed layer")?;
        Ok(LayerBlob { form, file })
    }

    /// Writes a layer in compressed form. The same layer gives the same bytes every time.
    ///
    /// # Errors
    /// As [`Pushable::layer_blob`]; [`Error::Output`].
    pub fn write_layer(
        &self,
        diff_id: &Digest,
        compression: Compression,
        output: &mut (dyn Write + Send),
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Form> {
        let meta = self.store.layer(diff_id).ok_or_else(|| Error::MissingLayer(diff_id.clone()))?;
        let mut counted = Counted { inner: output, written: 0 };
        let mut hashing = HashingWriter::new(&mut counted);
        let level = self.store.options.gzip_level;
        let mut compressor =
            Compressor::new(&mut hashing, compression, level).map_err(Error::Output)?;
        let mut told = Told { inner: &mut compressor, done: 0, progress };
        self.store.layers.reproduce(&meta, &mut told)?;
        compressor.finish().map_err(Error::Output)?;
        let digest = hashing.finish();
        Ok(Form { digest, size: counted.written, compression, repositories: Vec::new() })
    }

    /// A manifest of these layers, in Docker's spelling unless one of them needs OCI's.
    pub fn compose(&self, layers: &[Form]) -> Document {
        let oci = layers.iter().any(|form| form.compression == Compression::Zstd);
        let described = |form: &Form| {
            let media_type = match (form.compression, oci) {
                (Compression::Plain, false) => media_type::DOCKER_LAYER,
                (Compression::Plain, true) => media_type::OCI_LAYER,
                (Compression::Zstd, _) => media_type::OCI_LAYER_ZSTD,
                (Compression::Gzip, false) => media_type::DOCKER_LAYER_GZIP,
                (Compression::Gzip, true) => media_type::OCI_LAYER_GZIP,
            };
            Descriptor::new(media_type, form.digest.clone(), form.size)
        };
        let layers = layers.iter().map(described).collect();
        let mut config = self.config_descriptor();
        let (manifest, media_type) = if oci {
            config.media_type = media_type::OCI_CONFIG.to_owned();
            (ImageManifest::oci(config, layers), media_type::OCI_MANIFEST)
        } else {
            (ImageManifest::docker(config, layers), media_type::DOCKER_MANIFEST)
        };
        Document { media_type: media_type.to_owned(), bytes: manifest.to_bytes() }
    }
}

impl Drop for Pushable {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.store.let_go(held.clone());
        // The image may have been removed while it went out.
        let _ = self.store.collect_blobs(&held.into_iter().collect());
    }
}

/// A file that is gone as soon as nobody has it open.
fn nameless(dir: &Root) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE;
    let fd = dir.open(Path::new("partial"), flags, Mode::from_raw_mode(0o600));
    fd.map(File::from).step("write a compressed layer")
}

/// Counts what passes.
struct Counted<'a> {
    inner: &'a mut (dyn Write + Send),
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Tells what passes.
struct Told<'a, W> {
    inner: &'a mut W,
    done: u64,
    progress: &'a mut (dyn FnMut(u64) + Send),
}

impl<W: Write> Write for Told<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.done += n as u64;
        (self.progress)(self.done);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
