//! Tokens: short-lived proofs of who we are, from a service that the registry names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use types::null_default;

use super::{Base, Registry, basic_or_none};
use crate::challenge::Challenge;
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::patience::Patience;
use crate::wire::{Outgoing, Request, Url, escape};

/// How we call ourselves to token services; they know Docker's clients by this name.
const CLIENT_ID: &str = "docker";
/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 1 << 20;
/// The life of a token that does not say how long it lives, and the least of any.
const LEAST_LIFE: u64 = 60;
/// The longest life that is believed, in seconds.
const MOST_LIFE: u64 = 24 * 3600;
/// How long before its end a token is replaced.
const MARGIN: Duration = Duration::from_secs(10);
/// Tokens that are kept.
const MOST: usize = 1024;

/// A token service, as a challenge names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Service {
    realm: Url,
    service: String,
}

/// Whether a token is also wanted that can be kept in place of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offline {
    /// For one operation.
    No,
    /// For a login.
    Yes,
}

/// What a service has given.
#[derive(Clone)]
pub(crate) struct Token {
    /// For `Authorization: Bearer`.
    pub(crate) value: String,
    /// To be kept, if one was wanted and given.
    pub(crate) refresh: String,
    until: Instant,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Answered {
    #[serde(deserialize_with = "null_default")]
    token: String,
    #[serde(deserialize_with = "null_default")]
    access_token: String,
    #[serde(deserialize_with = "null_default")]
    refresh_token: String,
    #[serde(deserialize_with = "null_default")]
    expires_in: f64,
}

impl Service {
    /// The service of a challenge.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it names none, [`Error::Redirect`] if a password for a registry
    /// behind TLS would travel in the open.
    pub(crate) async fn of(
        registry: &Registry,
        base: &Base,
        challenge: &Challenge,
        request: &str,
    ) -> Result<Self> {
        let realm = challenge.parameter("realm").ok_or_else(|| Error::Protocol {
            request: request.to_owned(),
            what: "the registry wants a token and does not say where from",
        })?;
        let realm = Url::parse(realm)?;
        let open = base.origin.https && base.verify && !realm.origin.https;
        if open && !registry.client().insecure.names(&realm.origin).await {
            return Err(Error::Redirect {
                request: request.to_owned(),
                reason: "the registry speaks TLS and its token service does not",
            });
        }
        let service = challenge.parameter("service").unwrap_or_default().to_owned();
        Ok(Self { realm, service })
    }

    /// Asks for a token, as often as that may help. `request` is what it is for.
    ///
    /// # Errors
    /// [`Error::Token`] with the service's words.
    pub(crate) async fn token(
        &self,
        registry: &Registry,
        scopes: &[String],
        offline: Offline,
        request: &str,
    ) -> Result<Token> {
        let mut patience = Patience::new(&registry.client().settings);
        loop {
            match self.ask(registry, scopes, offline, request).await {
                Ok(token) => return Ok(token),
                Err(failure) => patience.again(failure).await?,
            }
        }
    }

    /// One attempt.
    async fn ask(
        &self,
        registry: &Registry,
        scopes: &[String],
        offline: Offline,
        request: &str,
    ) -> Result<Token> {
        let (question, body) = self.question(registry.credentials(), scopes, offline);
        let (mut answer, _) = registry.follow(question, body).await?;
        if !answer.status.is_success() {
            let refusal = Box::new(answer.refusal().await);
            return Err(Error::Token { request: request.to_owned(), refusal });
        }
        let bytes = answer.bytes(MAX_ANSWER).await?;
        let read: Answered = serde_json::from_slice(&bytes)
            .map_err(|source| Error::Json { request: answer.request.clone(), source })?;
        let value = if read.token.is_empty() { read.access_token } else { read.token };
        if value.is_empty() || HeaderValue::from_str(&value).is_err() {
            return Err(
                answer.protocol("authorization server did not include a token in the response")
            );
        }
        // The conversion is exact enough and keeps within bounds whatever the number is.
        let life = (read.expires_in as u64).clamp(LEAST_LIFE, MOST_LIFE);
        let until = Instant::now() + Duration::from_secs(life) - MARGIN;
        Ok(Token { value, refresh: read.refresh_token, until })
    }

    /// The question: with a password in the query's companion header, or with a refresh token in
    /// a form.
    fn question(
        &self,
        credentials: Option<&Credentials>,
        scopes: &[String],
        offline: Offline,
    ) -> (Request, Outgoing) {
        let refresh = credentials.map(|c| c.identity_token.as_str()).filter(|t| !t.is_empty());
        if let Some(refresh) = refresh {
            let mut form = String::from("grant_type=refresh_token");
            let access = if offline == Offline::Yes { "offline" } else { "" };
            for (name, value) in [
                ("service", self.service.as_str()),
                ("client_id", CLIENT_ID),
                ("access_type", access),
                ("scope", &scopes.join(" ")),
                ("refresh_token", refresh),
            ] {
                if !value.is_empty() {
                    form.push_str(&format!("&{name}="));
                    escape(value, &mut form);
                }
            }
            let request = Request::new(Method::POST, self.realm.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(ACCEPT, "application/json")
                .header(ACCEPT_ENCODING, "identity");
            return (request, Outgoing::bytes(Bytes::from(form)));
        }
        let mut url = self.realm.clone();
        if !self.service.is_empty() {
            url = url.with("service", &self.service);
        }
        for scope in scopes {
            url = url.with("scope", scope);
        }
        if offline == Offline::Yes {
            url = url.with("offline_token", "true").with("client_id", CLIENT_ID);
        }
        let basic = basic_or_none(credentials);
        if basic.is_some() {
            let account = credentials.map(|c| c.username.as_str()).unwrap_or_default();
            url = url.with("account", account);
        }
        let mut request = Request::new(Method::GET, url)
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "identity");
        if let Some(basic) = basic {
            request = request.authorization(&basic);
        }
        (request, Outgoing::empty())
    }
}

/// A service, the rights, and a fingerprint of who asks.
type Key = (Service, Vec<String>, [u8; 32]);
/// A token, or the place where the first who needs it puts it while others wait.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// Tokens that can be used again.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<Key, Slot>>);

impl Cache {
    /// A token that is good for a while and is not `old`, which was refused.
    pub(super) async fn get(
        &self,
        registry: &Registry,
        service: &Service,
        scopes: &[String],
        old: Option<&str>,
        request: &str,
    ) -> Result<String> {
        let key = (service.clone(), scopes.to_vec(), fingerprint(registry.credentials()));
        let slot = self.slot(key);
        let mut slot = slot.lock().await;
        if let Some(token) = &*slot
            && token.until > Instant::now()
            && old != Some(token.value.as_str())
        {
            return Ok(token.value.clone());
        }
        // Who needs the token tries again, and this with it.
        let token = service.ask(registry, scopes, Offline::No, request).await?;
        let value = token.value.clone();
        *slot = Some(token);
        Ok(value)
    }

    fn slot(&self, key: Key) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST {
            let now = Instant::now();
            slots.retain(|_, slot| match slot.try_lock() {
                Ok(token) => token.as_ref().is_some_and(|token| token.until > now),
                Err(_) => true,
            });
        }
        if slots.len() >= MOST {
            slots.clear();
        }
        Arc::clone(slots.entry(key).or_default())
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

/// Tells people apart without keeping their passwords.
fn fingerprint(credentials: Option<&Credentials>) -> [u8; 32] {
    let mut hash = Sha256::new();
    if let Some(who) = credentials {
        for part in [&who.username, &who.password, &who.identity_token] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}
