//! Addresses that are no registry's: what `ADD https://…` and remote build contexts name. They go
//! through the same proxies, and nobody is told who we are.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LAST_MODIFIED, LOCATION};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::wire::{Answer, Outgoing, Request, Url};

/// Redirects that are followed.
const MOST: usize = 10;

/// What an address has; its body is still to be read.
#[derive(Debug)]
pub struct Page(Answer);

impl Client {
    /// Opens an `http` or `https` address; redirects are followed, but not from `https` to `http`.
    ///
    /// # Errors
    /// [`Error::Refused`] for every status but 200; [`Error::Redirect`], [`Error::Transport`].
    pub async fn fetch(&self, address: &str) -> Result<Page> {
        let mut request = Request::new(Method::GET, Url::parse(address)?);
        let first = request.to_string();
        for _ in 0..=MOST {
            let verify = !self.0.insecure.names(&request.url.origin).await;
            let answer = self.0.wire.send(&request, verify, Outgoing::empty()).await?;
            match answer.status.as_u16() {
                200 => return Ok(Page(answer)),
                301 | 302 | 303 | 307 | 308 => {}
                _ => return Err(Error::Refused(Box::new(answer.refusal().await))),
            }
            let reason = "redirected to nowhere";
            let refused = |reason| Error::Redirect { request: first.clone(), reason };
            let next = request.url.join(answer.header(LOCATION).ok_or_else(|| refused(reason))?)?;
            if request.url.origin.https && !next.origin.https {
                return Err(refused("redirected from https to plain http"));
            }
            request.url = next;
            answer.discard().await;
        }
        Err(Error::Redirect { request: first, reason: "stopped after 10 redirects" })
    }
}

impl Page {
    /// Its length, if the server says so.
    pub fn length(&self) -> Option<u64> {
        self.0.length()
    }

    /// Its type; empty if the server does not say.
    pub fn media_type(&self) -> &str {
        self.0.header(CONTENT_TYPE).unwrap_or_default()
    }

    /// When it was last changed, in seconds since the epoch.
    pub fn modified(&self) -> Option<i64> {
        let text = self.0.header(LAST_MODIFIED)?;
        Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second())
    }

    /// The file name that the server suggests.
    pub fn name(&self) -> Option<String> {
        let parts = self.0.header(CONTENT_DISPOSITION)?.split(';');
        let name = parts.filter_map(|part| part.trim().strip_prefix("filename=")).next()?;
        let name = name.trim_matches('"').rsplit('/').next().unwrap_or_default();
        (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Transport`] when nothing comes in time or the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        self.0.chunk().await
    }
}
