//! How a command ends other than well: an exit status and, mostly, a sentence.

use docker_api::client;

use crate::session::Session;

/// Ends the program with a status, and says something on standard error if there is something
/// to say.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) status: u8,
    /// Empty when everything has been said already.
    pub(crate) message: String,
}

impl Failure {
    /// A status that needs no words.
    pub(crate) fn silent(status: u8) -> anyhow::Error {
        Self { status, message: String::new() }.into()
    }

    /// A status and its reason.
    pub(crate) fn with(status: u8, message: impl Into<String>) -> anyhow::Error {
        Self { status, message: message.into() }.into()
    }
}

/// Exit status of an error: its own, or 1.
pub(crate) fn status(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Failure>().map_or(1, |failure| failure.status)
}

/// The error as the user should read it, without a line end.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    match error.downcast_ref::<client::Error>() {
        Some(failure) => describe_client(failure),
        None => docker_api::plain(&format!("{error:#}")),
    }
}

/// An error of the client as the user should read it.
pub(crate) fn describe_client(error: &client::Error) -> String {
    match error {
        client::Error::Status { message, .. } => format!("Error response from daemon: {message}"),
        client::Error::NotFound(name) => format!("Error: No such object: {name}"),
        client::Error::Connect { endpoint, source } => cannot_connect(endpoint, source),
        client::Error::Http(cause) if cause.is_parse() => {
            "the daemon does not answer in plain HTTP; if it expects TLS, use --tlsverify or set \
             DOCKER_TLS_VERIFY"
                .to_owned()
        }
        other => {
            let mut text = other.to_string();
            let mut cause = std::error::Error::source(other);
            while let Some(inner) = cause {
                let words = inner.to_string();
                if !text.ends_with(&words) {
                    text.push_str(": ");
                    text.push_str(&words);
                }
                cause = inner.source();
            }
            text
        }
    }
}

fn cannot_connect(endpoint: &client::Endpoint, source: &std::io::Error) -> String {
    if source.kind() == std::io::ErrorKind::PermissionDenied {
        return format!(
            "permission denied while trying to connect to the Isopod daemon at {endpoint}.\n\
             Try again with sudo, or join the group that owns the socket."
        );
    }
    if source.kind() == std::io::ErrorKind::InvalidData {
        return format!(
            "Cannot trust the daemon at {endpoint}: {source}. --tlscacert, or ca.pem in \
             DOCKER_CERT_PATH, names the authority that signed its certificate."
        );
    }
    let remedy = match endpoint {
        client::Endpoint::Unix(_) => {
            "Is the isopod daemon running? If not, start one: sudo isopod daemon"
        }
        client::Endpoint::Tcp { .. } => {
            "Is a daemon listening there? DOCKER_HOST, -H and the current context decide where to look."
        }
        client::Endpoint::Ssh(_) => "Is ssh installed here?",
    };
    let reason = match source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => String::new(),
        _ => format!(" ({source})"),
    };
    format!("Cannot connect to the Isopod daemon at {endpoint}{reason}. {remedy}")
}

/// Does something for each of several names; prints what comes out, gathers what fails, and
/// ends with status 1 when anything did.
pub(crate) async fn for_each<F>(
    session: &Session,
    names: &[String],
    mut action: F,
) -> anyhow::Result<u8>
where
    F: AsyncFnMut(&str) -> anyhow::Result<Option<String>>,
{
    let mut failed = Vec::new();
    for name in names {
        match action(name).await {
            Ok(Some(line)) => session.line(&line),
            Ok(None) => {}
            Err(error) => {
                let unreachable = matches!(
                    error.downcast_ref::<client::Error>(),
                    Some(client::Error::Connect { .. })
                );
                if unreachable {
                    return Err(error);
                }
                failed.push(describe(&error));
            }
        }
    }
    if failed.is_empty() { Ok(0) } else { Err(Failure::with(1, failed.join("\n"))) }
}
