use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::token::{Cache, Service};
use super::{Base, Registry};
use crate::challenge::Challenge;
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::wire::Origin;

/// Questions that are remembered.
const MOST: usize = 1024;

/// What registries want to know, and the tokens that satisfy them. Shared by all repositories of
/// a client.
#[derive(Debug, Default)]
pub(crate) struct Authorizations {
    learned: Mutex<HashMap<Question, (Wanted, Instant)>>,
    tokens: Cache,
}

/// A registry, and the rights that a request needs there.
type Question = (Origin, Vec<String>);

/// What a registry wants for a request.
#[derive(Clone, Debug)]
enum Wanted {
    Basic,
    Token(Service, Vec<String>),
}

impl Authorizations {
    /// The value of `Authorization` that an earlier request has shown to be wanted.
    pub(super) async fn known(
        &self,
        registry: &Registry,
        base: &Base,
        scopes: &[String],
    ) -> Result<Option<String>> {
        if let Some(value) = given_token(registry.credentials()) {
            return Ok(Some(value));
        }
        let key = (base.origin.clone(), scopes.to_vec());
        let wanted = {
            let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
            learned.get(&key).map(|(wanted, _)| wanted.clone())
        };
        match wanted {
            None => Ok(None),
            Some(Wanted::Basic) => Ok(basic_or_none(registry.credentials())),
            Some(Wanted::Token(service, scopes)) => {
                // A service that fails here says why when the registry has asked again.
                let request = format!("Get \"{}\"", base.url("v2/"));
                let token = self.tokens.get(registry, &service, &scopes, None, &request).await?;
                Ok(Some(format!("Bearer {token}")))
            }
        }
    }

    /// The value of `Authorization` for a request that was refused with these challenges.
    /// `sent` is what the request had, which was not enough. `None` if nothing more can be said.
    pub(super) async fn answer(
        &self,
        registry: &Registry,
        base: &Base,
        scopes: &[String],
        challenges: &[Challenge],
        sent: Option<&str>,
        request: &str,
    ) -> Result<Option<String>> {
        if given_token(registry.credentials()).is_some() {
            return Ok(None);
        }
        if let Some(challenge) = challenges.iter().find(|challenge| challenge.is_bearer()) {
            let service = Service::of(registry, base, challenge, request).await?;
            let all = united(scopes, challenge.parameter("scope").unwrap_or_default());
            let old = sent.and_then(|sent| sent.strip_prefix("Bearer "));
            let token = self.tokens.get(registry, &service, &all, old, request).await?;
            self.learn(base, scopes.to_vec(), Wanted::Token(service, all));
            return Ok(Some(format!("Bearer {token}")));
        }
        if challenges.iter().any(Challenge::is_basic) {
            let value = basic_or_none(registry.credentials())
                .ok_or_else(|| Error::NoCredentials { request: request.to_owned() })?;
            self.learn(base, scopes.to_vec(), Wanted::Basic);
            return Ok(Some(value).filter(|value| sent != Some(value.as_str())));
        }
        Ok(None)
    }

    fn learn(&self, base: &Base, scopes: Vec<String>, wanted: Wanted) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if learned.len() >= MOST {
            // The older half goes.
            let mut ages: Vec<Instant> = learned.values().map(|(_, when)| *when).collect();
            ages.sort();
            let middle = ages[ages.len() / 2];
            learned.retain(|_, (_, when)| *when > middle);
        }
        learned.insert((base.origin.clone(), scopes), (wanted, Instant::now()));
    }
}

/// A token that the user has, which is sent as it is.
fn given_token(credentials: Option<&Credentials>) -> Option<String> {
    let token = &credentials?.registry_token;
    (!token.is_empty()).then(|| format!("Bearer {token}"))
}

/// Name and password, if there are any.
pub(crate) fn basic_or_none(credentials: Option<&Credentials>) -> Option<String> {
    credentials.and_then(Credentials::basic_header)
}

/// The rights that a request needs and those that the registry names, each thing once.
fn united(needed: &[String], named: &str) -> Vec<String> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    let named = named.split_whitespace().take(16);
    for scope in needed.iter().map(String::as_str).chain(named) {
        // `repository:host:5000/name:pull,push`: the rights come after the last colon.
        let (thing, rights) = scope.rsplit_once(':').unwrap_or((scope, ""));
        let at = all.iter().position(|(known, _)| known == thing).unwrap_or_else(|| {
            all.push((thing.to_owned(), Vec::new()));
            all.len() - 1
        });
        for right in rights.split(',').filter(|right| !right.is_empty()) {
            if !all[at].1.iter().any(|known| known == right) {
                all[at].1.push(right.to_owned());
            }
        }
    }
    all.into_iter().map(|(thing, rights)| format!("{thing}:{}", rights.join(","))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_united() {
        let needed = ["repository:a:pull".to_owned(), "repository:b:pull".to_owned()];
        assert_eq!(
            united(&needed, "repository:a:push,pull registry:catalog:*"),
            ["repository:a:pull,push", "repository:b:pull", "registry:catalog:*"]
        );
        assert_eq!(united(&needed, ""), needed);
        assert_eq!(united(&[], "nonsense"), ["nonsense:"]);
    }
}
