//! Finding a container's monitor, if it has one.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use proto::control::{Hello, Reply, Request};
use types::ContainerId;

use crate::Engine;
use crate::link::{Link, Notices};

/// How long a monitor may take to say who it is. It answers within a turn of its loop, so this
/// is for monitors that are stopped, and for hosts that are.
const ANSWER: Duration = Duration::from_secs(5);

/// Whether a monitor is there.
#[derive(Debug)]
pub(crate) enum Contact {
    /// It is, and says how its container is.
    Alive { link: Arc<Link>, notices: Notices, hello: Box<Hello> },
    /// It is, and does not answer.
    Silent,
    /// It is not.
    Gone,
}

impl Engine {
    /// Asks a container's monitor who it is.
    pub(crate) async fn contact(&self, id: &ContainerId) -> Contact {
        let directory = self.config.monitor_dir(id.as_str());
        let socket = match sys::stream::connect_in(&directory, "sock") {
            Ok(socket) => socket,
            // It has accepted nobody for long.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Contact::Silent,
            // One that has ended, or ends now, refuses or breaks the connection.
            Err(_) => return Contact::Gone,
        };
        let Ok((link, notices)) = Link::new(socket) else { return Contact::Gone };
        match tokio::time::timeout(ANSWER, link.ask(Request::Hello, None)).await {
            Ok(Ok(Reply::Hello(hello))) => Contact::Alive { link, notices, hello },
            Ok(Err(_)) => Contact::Gone,
            Ok(Ok(_)) | Err(_) => {
                tracing::warn!(container = id.short(), "its monitor is there but does not answer");
                Contact::Silent
            }
        }
    }
}
