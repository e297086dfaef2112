//! Who may do what: everybody, those in a password file, or those with a token.

mod htpasswd;
mod jwt;
mod token;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

pub(crate) use htpasswd::{Htpasswd, HtpasswdError, line as htpasswd_line};
pub(crate) use token::{TokenError, TokenSettings, Tokens};

use crate::error::Error;
use crate::name::Name;

/// What may be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// What a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// To be somebody.
    Login,
    /// To see all repositories.
    Catalog,
    /// To do all of this with a repository.
    Repository(Name, &'static [Action]),
}

/// Who decides.
#[derive(Debug)]
pub(crate) enum Access {
    /// Everybody may do everything.
    Open,
    /// Whoever is in the file may do everything.
    Htpasswd(Htpasswd),
    /// A token says what its bearer may do.
    Tokens(Tokens),
}

impl Access {
    /// Lets a request pass, or says how to ask again.
    pub(crate) async fn admit(&self, headers: &HeaderMap, need: &Need) -> Result<(), Error> {
        match self {
            Self::Open => Ok(()),
            Self::Htpasswd(users) => {
                if let Some((name, password)) = basic(headers)
                    && users.knows(&name, &password).await
                {
                    return Ok(());
                }
                Err(Error::Unauthorized { challenge: "Basic realm=\"isopod registry\"".into() })
            }
            Self::Tokens(tokens) => {
                tokens.admit(bearer(headers), need, types::Timestamp::now().seconds())
            }
        }
    }
}

fn credentials<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let decoded = STANDARD.decode(credentials(headers, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}
