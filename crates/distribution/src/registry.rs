//! One registry: how it is reached, who we are to it, and where it sends us.
//!
//! ```text
//! send ─► base (https, or plain for the insecure) ─► authorization (if one is known)
//!   ▲                                                        │
//!   └── once more, with what the 401 asks for ◄── follow redirects ──► answer
//! ```

mod authorization;
mod insecure;
mod redirect;
mod token;

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use tokio::sync::OnceCell;
use tokio::time::timeout;

pub(crate) use authorization::{Authorizations, basic_or_none};
pub(crate) use insecure::Insecure;
pub(crate) use token::{Offline, Service};

use crate::client::Inner;
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::patience::Patience;
use crate::wire::{Answer, Origin, Outgoing, Request, Url};

/// How long an insecure registry may take to show that it speaks TLS; Go programs wait as long.
const PROBE: Duration = Duration::from_secs(10);

/// A registry, with what we tell it about ourselves.
#[derive(Debug)]
pub(crate) struct Registry {
    client: Arc<Inner>,
    /// As it was configured; kept as an error if that made no sense, until it is used.
    place: std::result::Result<Place, (String, &'static str)>,
    credentials: Option<Credentials>,
    base: OnceCell<Base>,
}

#[derive(Clone, Debug)]
struct Place {
    origin: Origin,
    /// What comes before `/v2/`; for mirrors.
    prefix: String,
    /// Whether plain HTTP was asked for by a URL.
    plain: bool,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// The server.
    pub(crate) origin: Origin,
    /// Whether its certificate counts.
    pub(crate) verify: bool,
    prefix: String,
}

impl Base {
    /// The URL of a path that begins after the slash.
    pub(crate) fn url(&self, path: &str) -> Url {
        Url { origin: self.origin.clone(), path: format!("{}/{path}", self.prefix) }
    }
}

impl Registry {
    /// The registry at `host[:port]`.
    pub(crate) fn at(
        client: Arc<Inner>,
        authority: &str,
        credentials: Option<Credentials>,
    ) -> Self {
        let place = match Origin::parse(true, authority) {
            Ok(origin) => Ok(Place { origin, prefix: String::new(), plain: false }),
            Err(Error::Address { address, reason }) => Err((address, reason)),
            Err(_) => Err((authority.to_owned(), "it is no host")),
        };
        Self { client, place, credentials, base: OnceCell::new() }
    }

    /// The mirror at a URL. It learns nothing about us.
    pub(crate) fn mirror(client: Arc<Inner>, url: Url) -> Self {
        let path = url.path.split('?').next().unwrap_or_default();
        let prefix = path.trim_end_matches('/').to_owned();
        let plain = !url.origin.https;
        let place = Ok(Place { origin: url.origin, prefix, plain });
        Self { client, place, credentials: None, base: OnceCell::new() }
    }

    /// Whom the client's settings belong to.
    pub(crate) fn client(&self) -> &Arc<Inner> {
        &self.client
    }

    /// What we tell the registry about ourselves.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Where requests go. For an insecure registry this is found out by asking, as dockerd
    /// does: HTTPS without checks, then plain HTTP.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub(crate) async fn base(&self) -> Result<&Base> {
        self.base.get_or_try_init(|| self.find_base()).await
    }

    async fn find_base(&self) -> Result<Base> {
        let place =
            self.place.clone().map_err(|(address, reason)| Error::Address { address, reason })?;
        let Place { origin, prefix, plain } = place;
        let insecure = self.client.insecure.names(&origin).await;
        let base = Base { origin, verify: !insecure, prefix };
        if plain || !insecure {
            return Ok(base);
        }
        let request = Request::new(Method::GET, base.url("v2/"));
        let probe = self.client.wire.send(&request, false, Outgoing::empty());
        match timeout(PROBE, probe).await {
            Ok(Ok(answer)) => {
                answer.discard().await;
                Ok(base)
            }
            Ok(Err(error)) if !matches!(error, Error::Transport { .. }) => Err(error),
            // Some servers of plain HTTP wait for the rest of what TLS says for ever.
            _ => {
                tracing::debug!("{} speaks no TLS", base.origin);
                Ok(Base { origin: base.origin.plain(), ..base })
            }
        }
    }

    /// Sends one request, follows redirects and answers the question who we are. What comes back
    /// may still be a refusal.
    ///
    /// `scopes` are the rights that it needs. A body that cannot be sent twice must come after a
    /// request with the same scopes that needed none.
    ///
    /// # Errors
    /// [`Error`], but not for statuses.
    pub(crate) async fn send(
        &self,
        request: Request,
        body: Outgoing,
        scopes: &[String],
    ) -> Result<Answer> {
        let base = self.base().await?;
        // Not everybody to whom a registry sends us may know who we are.
        let ours = request.url.origin == base.origin;
        if !ours {
            return self.follow(request, body).await.map(|(answer, _)| answer);
        }
        let known = self.client.authorizations.known(self, base, scopes).await?;
        let again = body.again();
        let first = match &known {
            Some(value) => request.clone().authorization(value),
            None => request.clone(),
        };
        let (answer, from) = self.follow(first, body).await?;
        if answer.status.as_u16() != 401 || from != base.origin {
            return Ok(answer);
        }
        let Some(body) = again else { return Ok(answer) };
        let challenges = answer.challenges();
        let asked = self
            .client
            .authorizations
            .answer(self, base, scopes, &challenges, known.as_deref(), &request.to_string())
            .await?;
        match asked {
            None => Ok(answer),
            Some(value) => {
                answer.discard().await;
                let (answer, _) = self.follow(request.authorization(&value), body).await?;
                Ok(answer)
            }
        }
    }

    /// The same for requests that may be repeated: passing failures are waited out, and what is
    /// no success is an error.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) async fn fetch(&self, request: Request, scopes: &[String]) -> Result<Answer> {
        let mut patience = Patience::new(&self.client.settings);
        loop {
            let failure = match self.once(request.clone(), scopes).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            patience.again(failure).await?;
        }
    }

    /// One attempt of [`Self::fetch`].
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) async fn once(&self, request: Request, scopes: &[String]) -> Result<Answer> {
        self.send(request, Outgoing::empty(), scopes).await?.successful().await
    }

    /// As [`Self::fetch`], but with the `Authorization` that the request has or has not.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) async fn fetch_openly(&self, request: Request) -> Result<Answer> {
        let mut patience = Patience::new(&self.client.settings);
        loop {
            let sent = self.follow(request.clone(), Outgoing::empty()).await;
            let failure = match sent {
                Ok((answer, _)) => match answer.successful().await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            patience.again(failure).await?;
        }
    }
}
