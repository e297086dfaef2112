use std::sync::Arc;

use hyper::{Method, StatusCode};

use crate::client::{Client, registry_host};
use crate::credentials::{Credentials, host_of};
use crate::error::{Error, Result, status_line};
use crate::registry::{Offline, Registry, Service, basic_or_none};
use crate::wire::{Answer, Outgoing, Request};

/// What Docker's clients print.
const SUCCESS: &str = "Login Succeeded";

/// What a registry said to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `Login Succeeded`.
    pub status: String,
    /// A token to be kept instead of the password; empty if the registry gives none.
    pub identity_token: String,
}

impl Client {
    /// Asks a registry whether these credentials are good. `server` is a host or a URL;
    /// empty for Docker Hub.
    ///
    /// # Errors
    /// [`types::ErrorKind::Unauthorized`] if they are not.
    pub async fn login(&self, server: &str, credentials: &Credentials) -> Result<Login> {
        let host = registry_host(host_of(server));
        let who = Some(credentials.clone()).filter(|who| !who.is_empty());
        let registry = Registry::at(Arc::clone(&self.0), host, who);
        let base = registry.base().await?;
        let request = Request::new(Method::GET, base.url("v2/"));
        let words = request.to_string();
        let ask = |authorization: Option<String>| {
            let request = match authorization {
                Some(value) => request.clone().authorization(&value),
                None => request.clone(),
            };
            registry.follow(request, Outgoing::empty())
        };
        let (answer, from) = ask(None).await?;
        // Credentials go to the registry alone, not to where it sends us.
        if answer.status != StatusCode::UNAUTHORIZED || from != base.origin {
            return finished(answer, String::new()).await;
        }
        let challenges = answer.challenges();
        answer.discard().await;
        if let Some(challenge) = challenges.iter().find(|challenge| challenge.is_bearer()) {
            let service = Service::of(&registry, base, challenge, &words).await?;
            let token = service.token(&registry, &[], Offline::Yes, &words).await?;
            let (answer, _) = ask(Some(format!("Bearer {}", token.value))).await?;
            return finished(answer, token.refresh).await;
        }
        let basic = basic_or_none(registry.credentials());
        let basic = basic.ok_or(Error::NoCredentials { request: words })?;
        let (answer, _) = ask(Some(basic)).await?;
        finished(answer, String::new()).await
    }
}

async fn finished(answer: Answer, identity_token: String) -> Result<Login> {
    let status = answer.status;
    if status.is_success() {
        answer.discard().await;
        return Ok(Login { status: SUCCESS.to_owned(), identity_token });
    }
    let url = answer.request.split('"').nth(1).unwrap_or_default().to_owned();
    match status.as_u16() {
        429 | 500.. => Err(Error::Refused(Box::new(answer.refusal().await))),
        status => Err(Error::Login { url, status: status_line(status) }),
    }
}
