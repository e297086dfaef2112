use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use hyper::Method;
use hyper::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use tokio::time::timeout;
use types::digest::Digest;

use super::{PULL, PUSH, Repository};
use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::patience::Patience;
use crate::registry::Registry;
use crate::wire::{Answer, Request};

/// How long the end of a body is waited for when all that is wanted has come.
const FAREWELL: Duration = Duration::from_secs(1);
/// So much progress shows that a registry means well: its failures are forgotten.
const PROGRESS: u64 = 1 << 20;

/// A blob on its way. Interruptions are survived by asking for the rest.
#[derive(Debug)]
pub struct BlobStream {
    repository: Repository,
    digest: Digest,
    size: u64,
    position: u64,
    body: Option<Answer>,
    patience: Patience,
    /// Where the last failure was.
    failed_at: u64,
    request: String,
}

impl Repository {
    /// Fetches a blob from the byte `from` on.
    ///
    /// # Errors
    /// [`Error`]; [`Error::WrongLength`] if the registry's blob is not as long as the
    /// descriptor says.
    pub async fn blob(&self, descriptor: &Descriptor, from: u64) -> Result<BlobStream> {
        let patience = Patience::new(&self.registry().client().settings);
        let mut stream = BlobStream {
            repository: self.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            position: from,
            body: None,
            patience: patience.clone(),
            failed_at: from,
            request: format!("Get \"{}\"", descriptor.digest),
        };
        if from > descriptor.size {
            return Err(stream.wrong_length(from));
        }
        if from < descriptor.size {
            while let Err(failure) = stream.connect().await {
                stream.patience.again(failure).await?;
            }
        }
        stream.patience = patience.stubborn();
        Ok(stream)
    }

    /// The length of a blob if the repository has it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn has_blob(&self, digest: &Digest) -> Result<Option<u64>> {
        let registry = self.registry();
        let url = registry.base().await?.url(&self.path(&format!("blobs/{digest}")));
        let request = Request::new(Method::HEAD, url).header(ACCEPT_ENCODING, "identity");
        // Before a push the repository may not exist, and only who may write is told so. Nobody
        // in particular asks for no more than to read: some services refuse the whole then.
        let rights = if registry.credentials().is_some() { PUSH } else { PULL };
        match registry.fetch(request, &self.scopes(rights)).await {
            Ok(answer) => {
                let what = "the registry does not say how long the blob is";
                answer.length().map(Some).ok_or_else(|| answer.protocol(what))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl BlobStream {
    /// The blob's length in bytes, from its beginning.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many of them have come, those that were skipped included.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes; `None` after the last. Exactly as many come as the descriptor says, less
    /// those that were skipped; whether they are the right ones is for the caller to check.
    ///
    /// # Errors
    /// [`Error`] when all attempts to get the rest have failed, and [`Error::TooLong`] when more
    /// comes than the descriptor says.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.position == self.size {
                return self.farewell().await.map(|()| None);
            }
            let failure = match self.next().await {
                Ok(bytes) if bytes.len() as u64 > self.size - self.position => {
                    return Err(self.too_long());
                }
                Ok(bytes) => {
                    self.position += bytes.len() as u64;
                    if self.position - self.failed_at >= PROGRESS {
                        self.patience.succeeded();
                    }
                    return Ok(Some(bytes));
                }
                Err(failure) => failure,
            };
            self.body = None;
            self.failed_at = self.position;
            self.patience.again(failure).await?;
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send {
        futures_util::stream::try_unfold(self, |mut blob| async move {
            Ok(blob.chunk().await?.map(|bytes| (bytes, blob)))
        })
    }

    /// Bytes from the body, which is asked for if there is none.
    async fn next(&mut self) -> Result<Bytes> {
        if self.body.is_none() {
            self.connect().await?;
        }
        let next = match &mut self.body {
            Some(body) => body.chunk().await?,
            None => None,
        };
        next.ok_or_else(|| Error::Truncated {
            request: self.request.clone(),
            got: self.position,
            expected: self.size,
        })
    }

    /// Asks for the rest of the blob, of one source after the other.
    async fn connect(&mut self) -> Result<()> {
        let repository = self.repository.clone();
        for (position, source) in repository.sources() {
            match self.open(source).await {
                Ok(body) => {
                    self.request.clone_from(&body.request);
                    self.body = Some(body);
                    return Ok(());
                }
                Err(error) => repository.pass_over(position, error)?,
            }
        }
        self.body = Some(self.open(repository.registry()).await?);
        Ok(())
    }

    async fn open(&self, source: &Registry) -> Result<Answer> {
        let path = self.repository.path(&format!("blobs/{}", self.digest));
        let url = source.base().await?.url(&path);
        let mut request = Request::new(Method::GET, url).header(ACCEPT_ENCODING, "identity");
        if self.position > 0 {
            request = request.header(RANGE, &format!("bytes={}-", self.position));
        }
        let answer = source.once(request, &self.repository.scopes(PULL)).await?;
        if answer.is_encoded() {
            return Err(answer.protocol("the blob is encoded although nobody asked for that"));
        }
        if answer.status.as_u16() == 206 {
            let range = answer.header(CONTENT_RANGE).and_then(range_of);
            return match range {
                Some((from, _)) if from != self.position => {
                    Err(answer.protocol("the registry sends another range than was asked for"))
                }
                Some((_, Some(size))) if size != self.size => Err(self.wrong_length(size)),
                Some(_) => self.of_length(answer, self.size - self.position),
                None => Err(answer.protocol("the registry sends a range and does not say which")),
            };
        }
        let answer = self.of_length(answer, self.size)?;
        self.skip(answer).await
    }

    /// The answer, unless it announces another length.
    fn of_length(&self, answer: Answer, expected: u64) -> Result<Answer> {
        match answer.length() {
            Some(length) if length != expected => Err(Error::WrongLength {
                request: answer.request.clone(),
                got: length + (self.size - expected),
                expected: self.size,
            }),
            _ => Ok(answer),
        }
    }

    /// Reads over what is here already: not every registry knows ranges.
    async fn skip(&self, mut answer: Answer) -> Result<Answer> {
        let mut left = self.position;
        while left > 0 {
            let Some(mut bytes) = answer.chunk().await? else {
                return Err(Error::Truncated {
                    request: answer.request.clone(),
                    got: self.position - left,
                    expected: self.size,
                });
            };
            let skipped = left.min(bytes.len() as u64);
            left -= skipped;
            bytes.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
            if !bytes.is_empty() {
                answer.unread(bytes);
            }
        }
        Ok(answer)
    }

    /// Looks whether the body ends where the blob does.
    async fn farewell(&mut self) -> Result<()> {
        let Some(mut body) = self.body.take() else { return Ok(()) };
        if body.is_finished() {
            return Ok(());
        }
        match timeout(FAREWELL, body.chunk()).await {
            Ok(Ok(Some(_))) => Err(self.too_long()),
            // All bytes are here; how their connection ends does not matter.
            _ => Ok(()),
        }
    }

    fn too_long(&self) -> Error {
        Error::TooLong { request: self.request.clone(), limit: self.size }
    }

    fn wrong_length(&self, got: u64) -> Error {
        Error::WrongLength { request: self.request.clone(), got, expected: self.size }
    }
}

/// The first byte and the whole length of `bytes 5-9/10`; the length may be unknown.
fn range_of(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = header.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (from, to) = range.split_once('-')?;
    let (from, to) = (from.trim().parse().ok()?, to.trim().parse::<u64>().ok()?);
    (from <= to).then_some((from, size.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::range_of;

    #[test]
    fn ranges_are_read() {
        assert_eq!(range_of("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range_of("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes */10", "bytes 9-5/10", "5-9/10", "bytes 5-/10", "bytes -5/10"] {
            assert_eq!(range_of(bad), None, "{bad}");
        }
    }
}
