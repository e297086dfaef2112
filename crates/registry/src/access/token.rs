//! Docker's token authentication: a service elsewhere knows the users and signs what each may do;
//! the registry knows the service's key and nothing else.

use std::path::PathBuf;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;

use super::jwt::{self, InvalidJwt, Key};
use super::{Action, Need};
use crate::error::Error;

/// By so many seconds the clocks of the service and of the registry may differ.
const LEEWAY: i64 = 60;

/// Where tokens come from.
#[derive(Clone, Debug)]
pub(crate) struct TokenSettings {
    /// The URL that clients get tokens from.
    pub(crate) realm: String,
    /// What the registry is called in tokens.
    pub(crate) service: String,
    /// Who issues tokens.
    pub(crate) issuer: String,
    /// A file with certificates or public keys of the issuer (PEM).
    pub(crate) certificates: PathBuf,
}

/// Why tokens cannot be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The file cannot be read, or is no PEM.
    #[error("cannot read the issuer's certificates {path}: {source}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// Nothing is in it.
    #[error("there is neither a certificate nor a public key in {0}")]
    NoKeys(PathBuf),
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Jwt(#[from] InvalidJwt),
    #[error("its claims cannot be read")]
    Claims,
    #[error("issued by somebody else")]
    Issuer,
    #[error("meant for another service")]
    Audience,
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    Early,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: i64,
    #[serde(default)]
    nbf: i64,
    #[serde(default)]
    access: Option<Vec<Grant>>,
}

#[derive(Debug, Deserialize)]
struct Grant {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    actions: Option<Vec<String>>,
}

impl Claims {
    fn allow(&self, kind: &str, name: &str, action: &str) -> bool {
        self.access.iter().flatten().any(|grant| {
            // `repository(plugin)` is a repository as well.
            let same = grant.kind.split('(').next() == Some(kind) && grant.name == name;
            same && grant.actions.iter().flatten().any(|found| found == action || found == "*")
        })
    }

    fn satisfy(&self, need: &Need) -> bool {
        match need {
            Need::Login => true,
            Need::Catalog => self.allow("registry", "catalog", "*"),
            Need::Repository(name, actions) => actions
                .iter()
                .all(|action| self.allow("repository", name.as_str(), action.as_str())),
        }
    }
}

/// Checks tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    settings: TokenSettings,
    keys: Vec<Key>,
}

impl Tokens {
    /// Reads the issuer's keys.
    pub(crate) fn open(settings: TokenSettings) -> Result<Self, TokenError> {
        let path = &settings.certificates;
        let failed = |source| TokenError::Pem { path: path.clone(), source };
        let mut keys = Vec::new();
        for found in CertificateDer::pem_file_iter(path).map_err(failed)? {
            keys.push(Key::Certificate(found.map_err(failed)?));
        }
        for found in SubjectPublicKeyInfoDer::pem_file_iter(path).map_err(failed)? {
            keys.push(Key::Public(found.map_err(failed)?));
        }
        if keys.is_empty() {
            return Err(TokenError::NoKeys(path.clone()));
        }
        Ok(Self { settings, keys })
    }

    /// Lets a bearer do what its token says.
    pub(crate) fn admit(&self, token: Option<&str>, need: &Need, now: i64) -> Result<(), Error> {
        let problem = match token.map(|token| self.claims(token, now)) {
            None => None,
            Some(Ok(claims)) if claims.satisfy(need) => return Ok(()),
            Some(Ok(_)) => Some("insufficient_scope"),
            Some(Err(refusal)) => {
                tracing::info!("a token was refused: {refusal}");
                Some("invalid_token")
            }
        };
        Err(Error::Unauthorized { challenge: self.challenge(need, problem) })
    }

    fn claims(&self, token: &str, now: i64) -> Result<Claims, Refusal> {
        let bytes = jwt::verified(token, &self.keys)?;
        let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| Refusal::Claims)?;
        if claims.iss != self.settings.issuer {
            return Err(Refusal::Issuer);
        }
        let service = &self.settings.service;
        let meant = match &claims.aud {
            Audience::One(one) => one == service,
            Audience::Many(many) => many.contains(service),
        };
        if !meant {
            return Err(Refusal::Audience);
        }
        if now > claims.exp.saturating_add(LEEWAY) {
            return Err(Refusal::Expired);
        }
        if now < claims.nbf.saturating_sub(LEEWAY) {
            return Err(Refusal::Early);
        }
        Ok(claims)
    }

    fn challenge(&self, need: &Need, problem: Option<&str>) -> String {
        let quoted = |text: &str| text.replace(['"', '\\', '\r', '\n'], "");
        let mut challenge = format!(
            "Bearer realm=\"{}\",service=\"{}\"",
            quoted(&self.settings.realm),
            quoted(&self.settings.service)
        );
        match need {
            Need::Login => {}
            Need::Catalog => challenge.push_str(",scope=\"registry:catalog:*\""),
            Need::Repository(name, actions) => {
                let actions: Vec<&str> = actions.iter().copied().map(Action::as_str).collect();
                let scope = format!(",scope=\"repository:{name}:{}\"", actions.join(","));
                challenge.push_str(&scope);
            }
        }
        if let Some(problem) = problem {
            challenge.push_str(&format!(",error=\"{problem}\""));
        }
        challenge
    }
}

#[cfg(test)]
mod tests;
