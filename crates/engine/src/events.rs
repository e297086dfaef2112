//! What happened, for whoever listens: the last few events and those to come.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::broadcast;
use types::event::Event;
use types::filter::Filters;
use types::{Error, Timestamp};

/// How many past events can still be asked for (as dockerd).
const PAST: usize = 256;
/// How far a listener may lag behind before it misses events.
const LAG: usize = 4096;

/// Past and future events.
#[derive(Debug)]
pub(crate) struct Events {
    past: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

/// Which events a listener wants.
#[derive(Clone, Debug, Default)]
pub struct EventOptions {
    /// From then on; never: only future ones.
    pub since: Timestamp,
    /// Until then; never: without end.
    pub until: Timestamp,
    /// Which of them.
    pub filters: Filters,
}

/// Events for one listener.
#[derive(Debug)]
pub struct EventStream {
    /// Those that have been.
    pub past: Vec<Event>,
    receiver: broadcast::Receiver<Event>,
    options: EventOptions,
}

impl EventStream {
    /// The next event that the listener wants; `None` when the engine has ended.
    ///
    /// A listener that has lagged too far behind loses events but goes on.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) if wanted(&event, &self.options.filters) => return Some(event),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { past: Mutex::new(VecDeque::new()), sender: broadcast::Sender::new(LAG) }
    }

    /// Tells everybody.
    pub(crate) fn tell(&self, event: Event) {
        let mut past = crate::lock(&self.past);
        if past.len() == PAST {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Nobody listens: fine.
        drop(self.sender.send(event));
    }

    pub(crate) fn listen(&self, options: EventOptions) -> Result<EventStream, Error> {
        options.filters.allow(&[
            "config",
            "container",
            "daemon",
            "event",
            "image",
            "label",
            "network",
            "node",
            "plugin",
            "scope",
            "secret",
            "service",
            "type",
            "volume",
        ])?;
        let past = crate::lock(&self.past);
        let receiver = self.sender.subscribe();
        let past = if options.since.is_never() && options.until.is_never() {
            Vec::new()
        } else {
            let until = if options.until.is_never() { Timestamp(i64::MAX) } else { options.until };
            past.iter()
                .filter(|event| (options.since..=until).contains(&event.time))
                .filter(|event| wanted(event, &options.filters))
                .cloned()
                .collect()
        };
        Ok(EventStream { past, receiver, options })
    }
}

/// Whether the filters let an event pass.
fn wanted(event: &Event, filters: &Filters) -> bool {
    let kind = event.subject.as_str();
    let action = event.action.as_str();
    let verb = action.split(':').next().unwrap_or(action);
    let named = |what: &str, image: bool| {
        event.id.starts_with(what)
            || event.attributes.get("name").is_some_and(|name| name == what)
            || image && event.attributes.get("image").is_some_and(|name| is_image(name, what))
    };
    filters.any("event", |wanted| wanted == action || wanted == verb)
        && filters.any("type", |wanted| wanted == kind)
        && filters.any("scope", |wanted| wanted == "local")
        && filters.any("container", |what| kind == "container" && named(what, false))
        && filters.any("image", |what| {
            matches!(kind, "image" | "container") && named(what, true) || is_image(&event.id, what)
        })
        && filters.any("volume", |what| kind == "volume" && named(what, false))
        && filters.any("network", |what| kind == "network" && named(what, false))
        && filters.any("daemon", |what| kind == "daemon" && named(what, false))
        && !["config", "node", "plugin", "secret", "service"].iter().any(|name| filters.has(name))
        && filters.labels("label", &event.attributes)
}

/// Whether `what` names the image, with or without its tag.
fn is_image(name: &str, what: &str) -> bool {
    name == what || name.rsplit_once(':').is_some_and(|(bare, _)| bare == what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use types::event::Subject;

    fn event(action: &str) -> Event {
        Event {
            subject: Subject::Container,
            action: action.to_owned(),
            id: "abc123".to_owned(),
            attributes: BTreeMap::from([
                ("name".to_owned(), "web".to_owned()),
                ("image".to_owned(), "busybox:latest".to_owned()),
            ]),
            time: Timestamp(5),
        }
    }

    fn passes(filters: &str, action: &str) -> bool {
        wanted(&event(action), &Filters::parse(filters).expect("valid filters"))
    }

    #[test]
    fn filters_choose() {
        assert!(passes(r#"{"event":["exec_start"]}"#, "exec_start: sh"));
        assert!(passes(r#"{"container":["web"],"type":["container"]}"#, "start"));
        assert!(passes(r#"{"container":["abc"]}"#, "start"));
        assert!(passes(r#"{"image":["busybox"]}"#, "start"));
        assert!(!passes(r#"{"image":["busy"]}"#, "start"));
        assert!(!passes(r#"{"type":["image"]}"#, "start"));
        assert!(!passes(r#"{"network":["web"]}"#, "start"));
    }

    #[test]
    fn the_past_is_bounded_and_can_be_asked_for() {
        let events = Events::new();
        for _ in 0..PAST + 10 {
            events.tell(event("start"));
        }
        let none = events.listen(EventOptions::default()).expect("listens");
        assert!(none.past.is_empty());
        let options = EventOptions { since: Timestamp(1), ..EventOptions::default() };
        assert_eq!(events.listen(options).expect("listens").past.len(), PAST);
    }
}
