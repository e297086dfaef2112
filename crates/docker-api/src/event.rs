//! `GET /events`: one JSON object an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventMessage {
    /// Legacy: the action, for containers and images only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Legacy: the actor's id, for containers and images only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Legacy: the container's image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `container`, `image`, `network`, `volume`, `daemon`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened.
    #[serde(rename = "Action")]
    pub action: String,
    /// To what.
    #[serde(rename = "Actor")]
    pub actor: EventActor,
    /// `local`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Seconds since the epoch.
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub time: i64,
    /// Nanoseconds since the epoch.
    #[serde(rename = "timeNano", skip_serializing_if = "crate::json::is_zero")]
    pub time_nano: i64,
}

/// What something happened to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventActor {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels, name, image, exit code and the like.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

impl From<types::event::Event> for EventMessage {
    /// Docker's shape of one of the engine's events, with the legacy fields where Docker has them.
    fn from(event: types::event::Event) -> Self {
        use types::event::Subject;
        let legacy = matches!(event.subject, Subject::Container | Subject::Image);
        let from = if event.subject == Subject::Container {
            event.attributes.get("image").cloned().unwrap_or_default()
        } else {
            String::new()
        };
        Self {
            status: if legacy { event.action.clone() } else { String::new() },
            id: if legacy { event.id.clone() } else { String::new() },
            from,
            kind: event.subject.as_str().to_owned(),
            action: event.action,
            actor: EventActor { id: event.id, attributes: event.attributes },
            scope: "local".to_owned(),
            time: event.time.seconds(),
            time_nano: event.time.0,
        }
    }
}
