use std::sync::PoisonError;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use hyper::{Method, StatusCode};
use types::digest::Digest;

use super::manifests::{DIGEST, digest_like};
use super::{DELETE, PUSH, Repository};
use crate::error::{Error, Result};
use crate::patience::Patience;
use crate::wire::{Answer, Outgoing, Request, Url};

impl Repository {
    /// Asks the registry to take a blob over from another of its repositories (a path such as
    /// `library/busybox`). `false` if it wants it uploaded; the upload that it then has begun
    /// is used by the next [`Self::upload`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mount(&self, digest: &Digest, from_repository: &str) -> Result<bool> {
        let registry = self.registry();
        let url = registry.base().await?.url(&self.path("blobs/uploads/"));
        let url = url.with("mount", digest.as_str()).with("from", from_repository);
        let mut scopes = self.scopes(PUSH);
        scopes.push(format!("repository:{from_repository}:pull"));
        let request = Request::new(Method::POST, url).header(CONTENT_LENGTH, "0");
        let answer = match registry.fetch(request, &scopes).await {
            Ok(answer) => answer,
            // Who may not read the other repository uploads as if there were none.
            Err(Error::Refused(refusal)) if matches!(refusal.status, 400..=405) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if answer.status == StatusCode::CREATED {
            answer.discard().await;
            return Ok(true);
        }
        if answer.status == StatusCode::ACCEPTED {
            let session = self.location(&answer, &answer_url(&answer)?).await?;
            let mut begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
            begun.push(session);
        }
        Ok(false)
    }

    /// Where an answer's `Location` points.
    ///
    /// Registries behind proxies often name themselves as they see themselves, in plain HTTP:
    /// the same host is spoken to as before.
    pub(super) async fn location(&self, answer: &Answer, from: &Url) -> Result<Url> {
        let text = answer.required(LOCATION, "the registry does not say where to upload")?;
        let mut url = from.join(text)?;
        let ours = &self.registry().base().await?.origin;
        let usual = |port| matches!(port, 80 | 443);
        let same_port = url.origin.port == ours.port || usual(url.origin.port);
        if url.origin.host == ours.host && same_port {
            url.origin = ours.clone();
        }
        if ours.https && !url.origin.https {
            return Err(Error::Redirect {
                request: answer.request.clone(),
                reason: "the registry speaks TLS and wants the upload without it",
            });
        }
        Ok(url)
    }

    /// Puts a manifest under a tag or its digest.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Digest`] if the registry has something else than was sent.
    pub async fn put_manifest(
        &self,
        tag_or_digest: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest> {
        let registry = self.registry();
        let url = registry.base().await?.url(&self.path(&format!("manifests/{tag_or_digest}")));
        let request = Request::new(Method::PUT, url).header(CONTENT_TYPE, media_type);
        let mut patience = Patience::new(&registry.client().settings);
        let answer = loop {
            let body = Outgoing::bytes(bytes.clone());
            let sent = registry.send(request.clone(), body, &self.scopes(PUSH)).await;
            let failure = match sent {
                Ok(answer) => match answer.successful().await {
                    Ok(answer) => break answer,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            patience.again(failure).await?;
        };
        let said: Option<Digest> = answer.header(DIGEST).and_then(|text| text.parse().ok());
        answer.discard().await;
        let asked: Option<Digest> = tag_or_digest.parse().ok();
        let digest = match asked {
            Some(asked) => digest_like(&asked, &bytes),
            None => digest_like(&Digest::from_sha256([0; 32]), &bytes),
        };
        if let Some(said) = said.filter(|said| *said != digest && same_kind(said, &digest)) {
            let (expected, got) = (digest.to_string(), said.to_string());
            return Err(Error::Digest { what: "manifest", expected, got });
        }
        Ok(digest)
    }

    /// Deletes a manifest by digest, or a tag where the registry allows that.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_manifest(&self, tag_or_digest: &str) -> Result<()> {
        self.delete(&format!("manifests/{tag_or_digest}")).await
    }

    /// Deletes a blob.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_blob(&self, digest: &Digest) -> Result<()> {
        self.delete(&format!("blobs/{digest}")).await
    }

    async fn delete(&self, what: &str) -> Result<()> {
        let registry = self.registry();
        let url = registry.base().await?.url(&self.path(what));
        let request = Request::new(Method::DELETE, url);
        registry.fetch(request, &self.scopes(DELETE)).await?.discard().await;
        Ok(())
    }
}

/// Whether two digests can be compared.
pub(super) fn same_kind(one: &Digest, other: &Digest) -> bool {
    one.algorithm() == other.algorithm()
}

/// The URL that an answer is for, against which its `Location` is read.
pub(super) fn answer_url(answer: &Answer) -> Result<Url> {
    Url::parse(answer.request.split('"').nth(1).unwrap_or_default())
}
