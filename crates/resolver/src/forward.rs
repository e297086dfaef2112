//! Questions that name servers are asked.

use crate::events::{Source, Wish};
use crate::flight::{Begun, Flight, Origin, Progress};
use crate::serve::Resolver;
use crate::slab::Key;
use crate::wire::Query;

/// Questions of one container that may be with name servers at a time, and of all.
const FLIGHTS: usize = 128;
const ALL_FLIGHTS: usize = 4096;

impl Resolver {
    /// Asks name servers; `false`: that is too much.
    pub(crate) fn forward(&mut self, key: Key, origin: Origin, bytes: &[u8]) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        if client.flights >= FLIGHTS || self.flights.len() >= ALL_FLIGHTS {
            return false;
        }
        let order = client.order(std::time::Instant::now());
        client.flights += 1;
        let flight = self.flights.insert(Flight::new(key, origin, bytes.to_vec(), order));
        if let Origin::Stream(stream) = origin
            && let Some(stream) = self.streams.get_mut(stream)
        {
            stream.wait_for_answer();
        }
        self.ask_next(flight);
        true
    }

    /// Has a flight ask its next server, or ends it.
    fn ask_next(&mut self, key: Key) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        let Some(client) = self.clients.get_mut(flight.client) else { return };
        match flight.begin(client, self.random.next()) {
            Begun::NobodyLeft => self.land(key, None),
            Begun::NoSocket => client.waiting.push_back(key),
            Begun::Away { write } => {
                let Some(asking) = &flight.asked else { return };
                let wish = if write { Wish::Write } else { Wish::Read };
                if self.events.add(&asking.socket, Source::Flight(key), wish).is_err() {
                    self.flight_failed(key);
                }
            }
        }
    }

    /// A server has said something, or can be told more.
    pub(crate) fn go_on_flying(&mut self, key: Key) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        match flight.go_on(&mut self.buffer) {
            Progress::Failed => self.flight_failed(key),
            Progress::Waits { write } => {
                let Some(asking) = &flight.asked else { return };
                let wish = if write { Wish::Write } else { Wish::Read };
                if self.events.change(&asking.socket, Source::Flight(key), wish).is_err() {
                    self.flight_failed(key);
                }
            }
            Progress::Answered(answer) => {
                self.end_attempt(key, true);
                if Flight::is_poor(&answer)
                    && let Some(flight) = self.flights.get_mut(key)
                {
                    flight.fallback = Some(answer);
                    return self.ask_next(key);
                }
                self.land(key, Some(answer));
            }
        }
    }

    /// The server that is being asked does not answer: on to the next.
    pub(crate) fn flight_failed(&mut self, key: Key) {
        let waited = self.flights.get(key).is_some_and(|flight| flight.asked.is_none());
        self.end_attempt(key, false);
        // Who has waited for a socket in vain has waited long enough.
        if waited { self.land(key, None) } else { self.ask_next(key) }
    }

    fn end_attempt(&mut self, key: Key, answered: bool) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        let Some(client) = self.clients.get_mut(flight.client) else { return };
        let Some(asking) = &flight.asked else {
            client.waiting.retain(|other| *other != key);
            return;
        };
        self.events.remove(&asking.socket);
        client.judge(asking.number, asking.server, answered);
        flight.put_down(client);
        // The socket is free for who waits for one.
        if let Some(next) = client.waiting.pop_front() {
            self.ask_next(next);
        }
    }

    /// Ends a flight, with an answer or without.
    fn land(&mut self, key: Key, answer: Option<Vec<u8>>) {
        let Some(flight) = self.flights.remove(key) else { return };
        if let Some(client) = self.clients.get_mut(flight.client) {
            client.flights = client.flights.saturating_sub(1);
        }
        let Ok(query) = Query::read(&flight.query) else { return };
        let reply = match answer.or(flight.fallback) {
            None => crate::answer::failed(&query),
            // A server that heeds what the asker can take sends no more than that.
            Some(answer)
                if matches!(flight.origin, Origin::Datagram(_)) && answer.len() > query.room() =>
            {
                query.too_long()
            }
            Some(answer) => answer,
        };
        self.reply(flight.client, flight.origin, &reply);
        if let Origin::Stream(stream) = flight.origin {
            self.go_on_with(stream);
        }
    }
}
