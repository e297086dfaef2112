//! From a query's bytes to a reply's, as far as that can be said without asking anybody.

use crate::wire::{self, Code, Kind, Query, Record, Unreadable};
use crate::zones::{Found, Zones};

/// How a container asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// In a datagram, to which a reply may only be as long as the asker says.
    pub datagram: bool,
    /// Its questions about the world are passed on.
    pub forwards: bool,
    /// But not those for names without a dot.
    pub keeps_short: bool,
}

/// What is to be done about a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Silence,
    /// Send this back.
    Reply(Vec<u8>),
    /// Ask a name server.
    Forward,
}

/// Answers what `asker` asks, by its container's id. `turn` is any number: where a name has
/// several addresses, it decides which one comes first.
pub fn answer(zones: &Zones, asker: &str, manner: Manner, bytes: &[u8], turn: u32) -> Outcome {
    let query = match Query::read(bytes) {
        Ok(query) => query,
        Err(Unreadable::Nonsense) => return Outcome::Silence,
        Err(Unreadable::Refused(code)) => return Outcome::Reply(wire::refusal(bytes, code)),
    };
    if query.is_of_the_future() {
        return Outcome::Reply(query.bad_version());
    }
    let room = if manner.datagram { query.room() } else { usize::from(u16::MAX) };
    let name = query.name.as_deref().filter(|name| query.internet && !name.is_empty());
    let found = name.map_or(Found::Unknown, |name| zones.find(asker, name, query.kind));
    match found {
        Found::Addresses(mut addresses) => {
            let first = turn as usize % addresses.len();
            addresses.rotate_left(first);
            let records: Vec<_> = addresses.into_iter().map(Record::Address).collect();
            Outcome::Reply(query.reply(Code::FINE, &records, room))
        }
        Found::Name(name) => {
            Outcome::Reply(query.reply(Code::FINE, &[Record::Pointer(&name)], room))
        }
        Found::Nothing => Outcome::Reply(query.reply(Code::FINE, &[], room)),
        Found::Unknown if !manner.forwards => Outcome::Reply(failed(&query)),
        Found::Unknown => {
            let address = matches!(query.kind, Kind::A | Kind::AAAA);
            let short = name.is_some_and(|name| !name.contains('.'));
            if manner.keeps_short && address && short {
                return Outcome::Reply(query.reply(Code::NO_SUCH_NAME, &[], room));
            }
            Outcome::Forward
        }
    }
}

/// The reply that nobody could be asked, or that nobody answered.
pub fn failed(query: &Query<'_>) -> Vec<u8> {
    query.reply(Code::FAILED, &[], usize::MAX)
}
