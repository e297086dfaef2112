//! The one pass over an archive.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read};

use types::digest::Digest;

use super::unpackers::{Unpacked, Unpackers};
use crate::error::{Error, Result};
use crate::layer::Staged;
use crate::model::Progress;
use crate::store::{Hold, Store};
use crate::stream::{CHUNK, Coding, Hashing, sha256};
use crate::tarball::{BLOCK, Entry, Kind, TarReader, looks_like_tar};

/// Documents and names that one archive may hold; both stay in memory.
const MAX_NAMES: usize = 100_000;
const MAX_DOCUMENTS: u64 = 256 << 20;

/// What an archive holds.
#[derive(Default)]
pub(super) struct Content {
    /// JSON documents by clean path.
    pub(super) documents: HashMap<String, Vec<u8>>,
    /// Diff ids of layers by clean path.
    pub(super) layers: HashMap<String, Digest>,
    /// Layers that could not be unpacked: an error only if an image needs them.
    pub(super) broken: HashMap<String, String>,
    /// Symlinks and hard links by clean path: where they lead, clean as well.
    pub(super) links: HashMap<String, String>,
    /// Unpacked, not published.
    staged: HashMap<Digest, Staged>,
    document_bytes: u64,
}

impl Content {
    /// Follows the archive's own links, which old `docker save` made for layers that it had already.
    pub(super) fn follow<'a>(&'a self, path: &'a str) -> &'a str {
        let mut path = path;
        for _ in 0..10 {
            match self.links.get(path) {
                Some(target) => path = target,
                None => break,
            }
        }
        path
    }

    fn names(&self) -> usize {
        self.documents.len() + self.layers.len() + self.links.len()
    }

    /// Takes in what came of a layer.
    fn take(&mut self, layer: Unpacked) -> Result<()> {
        let Unpacked { path, expected, staged } = layer;
        let staged = match staged {
            Ok(staged) => staged,
            // What came in is bad, but perhaps nothing needs it; the disk's and sender's failures
            // are everybody's.
            Err(error @ (Error::BadTar(_) | Error::BadEntry { .. } | Error::BadArchive(_))) => {
                self.broken.insert(path, error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if let (Some(expected), Some(found)) = (expected, &staged.passed.blob) {
            check(&path, &expected, found.clone())?;
        }
        let diff_id = staged.meta.diff_id.clone();
        self.layers.insert(path, diff_id.clone());
        self.staged.entry(diff_id).or_insert(staged);
        Ok(())
    }

    /// Those staged layers that are wanted, each once.
    pub(super) fn take_layers<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a Digest>,
    ) -> Vec<Staged> {
        let mut seen = HashSet::new();
        wanted
            .filter(|layer| seen.insert((*layer).clone()))
            .filter_map(|layer| self.staged.remove(layer))
            .collect()
    }
}

/// Reads an archive to its end. Layers that are there already are held.
pub(super) fn read<'env>(
    store: &'env Store,
    hold: &mut Hold<'env>,
    input: &mut (dyn Read + Send),
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Content> {
    std::thread::scope(|scope| {
        let unpackers = Unpackers::new(scope, store);
        let content = Content::default();
        let mut taking = Taking { store, hold, unpackers, content, progress };
        taking.archive(input)?;
        for layer in taking.unpackers.by_ref() {
            taking.content.take(layer)?;
        }
        Ok(taking.content)
    })
}

/// An archive being taken in.
struct Taking<'scope, 'env, 'a> {
    store: &'env Store,
    /// Layers that were found here stay until the catalog names them.
    hold: &'a mut Hold<'env>,
    unpackers: Unpackers<'scope, 'env>,
    content: Content,
    progress: &'a mut (dyn FnMut(Progress) + Send),
}

impl Taking<'_, '_, '_> {
    fn archive(&mut self, input: &mut (dyn Read + Send)) -> Result<()> {
        let mut buffered = BufReader::with_capacity(CHUNK, input);
        let coding = Coding::sniff(buffered.fill_buf().map_err(Error::Input)?);
        let plain = coding.decoder(buffered)?;
        let mut reader = TarReader::new(BufReader::with_capacity(CHUNK, plain));
        while let Some(entry) = reader.next()? {
            reader.raw().clear();
            let path = String::from_utf8_lossy(&entry.clean_name()?).into_owned();
            if self.content.names() + self.unpackers.len() > MAX_NAMES {
                return Err(Error::BadArchive("it has too many files".into()));
            }
            match entry.kind {
                Kind::File => self.file(&mut reader, &entry, path)?,
                Kind::Symlink => {
                    let target = join(&path, &String::from_utf8_lossy(&entry.link));
                    self.content.links.insert(path, target);
                }
                Kind::HardLink => {
                    let target = String::from_utf8_lossy(&entry.clean_link()?).into_owned();
                    self.content.links.insert(path, target);
                }
                _ => {}
            }
            reader.skip_payload()?;
        }
        // A sender that is cut off before the end would see its connection reset.
        while reader.trailer()? {
            reader.raw().clear();
        }
        Ok(())
    }

    /// Decides what a file is by its first bytes, and takes it in.
    fn file<R: BufRead + Send>(
        &mut self,
        reader: &mut TarReader<R>,
        entry: &Entry,
        path: String,
    ) -> Result<()> {
        let expected = blob_digest(&path);
        let mut head = Vec::with_capacity(BLOCK);
        let mut payload = Payload { reader, failed: None };
        let read = (&mut payload).take(BLOCK as u64).read_to_end(&mut head);
        read.map_err(|error| payload.explain(error))?;
        let is_layer = match Coding::sniff(&head) {
            Coding::Plain => looks_like_tar(&head),
            Coding::Gzip | Coding::Bzip2 | Coding::Xz | Coding::Zstd => true,
        };
        if !is_layer {
            return self.document(&mut payload, entry.payload, path, expected, head);
        }
        // A blob that is known by its digest need not be unpacked again, but must be what it says.
        if let Some(expected) = &expected
            && let Some(diff_id) = self.hold.known_layer(expected)
        {
            let mut hashing = Hashing::new(io::Cursor::new(head).chain(&mut payload), true);
            io::copy(&mut hashing, &mut io::sink()).map_err(Error::Input)?;
            let found = hashing.finish().map_err(Error::Input)?;
            if let Some(found) = found {
                check(&path, expected, found)?;
            }
            (self.progress)(Progress::LayerDone { diff_id: diff_id.clone(), existed: true });
            self.content.layers.insert(path, diff_id);
            return Ok(());
        }
        self.layer(reader, entry, path, expected, &head)
    }

    fn document<R: BufRead>(
        &mut self,
        payload: &mut Payload<'_, R>,
        size: u64,
        path: String,
        expected: Option<Digest>,
        mut text: Vec<u8>,
    ) -> Result<()> {
        let content = &mut self.content;
        let max = self.store.options.max_json_bytes;
        if size > max || content.document_bytes + size > MAX_DOCUMENTS {
            // No document of ours is that large; whatever it is, nothing may refer to it.
            content.broken.insert(path, "it is neither a layer nor a document".into());
            return Ok(());
        }
        content.document_bytes += size;
        payload.read_to_end(&mut text).map_err(|error| payload.explain(error))?;
        if let Some(expected) = expected {
            check(&path, &expected, sha256(&text))?;
        }
        content.documents.insert(path, text);
        Ok(())
    }

    /// Hands a layer's bytes to a pipeline of its own; `head` has been read already.
    fn layer<R: BufRead>(
        &mut self,
        reader: &mut TarReader<R>,
        entry: &Entry,
        path: String,
        expected: Option<Digest>,
        head: &[u8],
    ) -> Result<()> {
        /// Often enough for a bar that moves.
        const STEP: u64 = 1 << 20;
        let total = entry.payload;
        let name = expected.as_ref().map_or_else(|| path.clone(), ToString::to_string);
        let mut tell = |done| {
            (self.progress)(Progress::Layer { name: name.clone(), done, total });
            done
        };
        let mut told = tell(0);
        let (feed, ended) = self.unpackers.begin(path, expected);
        for layer in ended {
            self.content.take(layer)?;
        }
        let mut done = head.len() as u64;
        let mut wanted = feed.send(head);
        while wanted {
            let bytes = reader.payload(CHUNK as u64)?;
            let n = bytes.len();
            if n == 0 {
                break;
            }
            wanted = feed.send(bytes);
            reader.used(n);
            done += n as u64;
            if done - told >= STEP {
                told = tell(done);
            }
        }
        tell(total);
        Ok(())
    }
}

/// Where a relative link in a file's directory leads, by its text.
fn join(path: &str, link: &str) -> String {
    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let whole = if link.starts_with('/') { link.to_owned() } else { format!("{dir}/{link}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The digest that a blob's path promises.
fn blob_digest(path: &str) -> Option<Digest> {
    Digest::from_sha256_hex(path.strip_prefix("blobs/sha256/")?).ok()
}

fn check(path: &str, expected: &Digest, found: Digest) -> Result<()> {
    if *expected == found {
        return Ok(());
    }
    Err(Error::WrongDigest { what: path.to_owned(), expected: expected.clone(), found })
}

/// The payload of the current entry as a reader.
struct Payload<'a, R> {
    reader: &'a mut TarReader<R>,
    failed: Option<Error>,
}

impl<R> Payload<'_, R> {
    /// The error that a failed read stands for.
    fn explain(&mut self, error: io::Error) -> Error {
        self.failed.take().unwrap_or(Error::Input(error))
    }
}

impl<R: BufRead> Read for Payload<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.payload(buffer.len() as u64) {
            Ok(bytes) => {
                let n = bytes.len();
                buffer[..n].copy_from_slice(bytes);
                self.reader.used(n);
                Ok(n)
            }
            Err(error) => {
                let shown = io::Error::new(io::ErrorKind::UnexpectedEof, error.to_string());
                self.failed = Some(error);
                Err(shown)
            }
        }
    }
}
