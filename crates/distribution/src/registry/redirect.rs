use hyper::header::{AUTHORIZATION, LOCATION};
use hyper::{Method, StatusCode};

use super::Registry;
use crate::error::{Error, Result};
use crate::wire::{Answer, Origin, Outgoing, Request, Url};

/// Redirects that are followed for one request.
const MOST: usize = 10;

impl Registry {
    /// Sends a request and goes where its answer points; also says who answered in the end.
    ///
    /// # Errors
    /// [`Error::Redirect`] for circles, for too many, and for those from HTTPS to plain HTTP.
    pub(crate) async fn follow(
        &self,
        mut request: Request,
        mut body: Outgoing,
    ) -> Result<(Answer, Origin)> {
        let first = request.to_string();
        let refused = |reason| Error::Redirect { request: first.clone(), reason };
        let mut seen: Vec<Url> = Vec::new();
        loop {
            let again = body.again();
            let verify = self.verifies(&request.url.origin).await;
            let answer = self.client.wire.send(&request, verify, body).await?;
            if !is_redirect(answer.status) {
                return Ok((answer, request.url.origin));
            }
            let Some(location) = answer.header(LOCATION) else {
                return Err(refused("redirected to nowhere"));
            };
            let next = request.url.join(location)?;
            check(&request.method, answer.status).map_err(refused)?;
            if request.url.origin.https && !next.origin.https {
                let allowed = self.client.insecure.names(&next.origin).await;
                if !allowed {
                    return Err(refused("redirected from https to plain http"));
                }
            }
            seen.push(request.url.clone());
            if seen.contains(&next) {
                return Err(refused("redirected in a circle"));
            }
            if seen.len() > MOST {
                return Err(refused("stopped after 10 redirects"));
            }
            body = again.ok_or_else(|| refused("redirected while uploading"))?;
            if next.origin != request.url.origin {
                // Who we are is for the registry alone, not for where it keeps its blobs.
                request.headers.remove(AUTHORIZATION);
            }
            request.url = next;
            answer.discard().await;
        }
    }

    /// Whether the certificate of a server counts.
    async fn verifies(&self, origin: &Origin) -> bool {
        match self.base.get() {
            Some(base) if base.origin == *origin => base.verify,
            _ => !self.client.insecure.names(origin).await,
        }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether a request may be sent again elsewhere as it is.
fn check(method: &Method, status: StatusCode) -> std::result::Result<(), &'static str> {
    let reading = matches!(*method, Method::GET | Method::HEAD);
    if reading || matches!(status.as_u16(), 307 | 308) {
        return Ok(());
    }
    // Browsers turn these into a GET, which would say that something was stored that was not.
    Err("redirected with a status that changes the method")
}
