//! Work that several may wait for and that is done once: the download of a layer.
//!
//! ```text
//!  join ─► nobody does it: start ──► end ─► outcome, and what it holds, for all who joined
//!     └──► somebody does: wait ──────┘
//!  the last one leaves before the end ─► the work is told to stop
//! ```
//!
//! Work that was told to stop keeps its place until it has stopped, so that two never write the
//! same partial download.

use std::collections::HashMap;
use std::mem::discriminant;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use types::Error;
use types::digest::Digest;

use super::LayerState;
use crate::lock;

/// What is under way, by what it fetches. `T` is what the work holds for those who wait.
#[derive(Debug)]
pub(crate) struct Flights<T> {
    table: Mutex<HashMap<Digest, Arc<Flight<T>>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { table: Mutex::default() }
    }
}

/// How far a flight is: every state it was in, the last with its newest figures.
#[derive(Clone, Debug, Default)]
struct News {
    states: Vec<LayerState>,
    outcome: Option<Result<(), Error>>,
}

#[derive(Debug)]
struct Flight<T> {
    /// What is to come of it. Only who wants the same may join.
    aim: Digest,
    news: watch::Sender<News>,
    /// Nobody waits any more. Changes under the table's lock only.
    deserted: watch::Sender<bool>,
    /// Changes under the table's lock only.
    passengers: Mutex<usize>,
    held: Mutex<Option<T>>,
}

/// For the one who does the work.
#[derive(Debug)]
pub(crate) struct Cockpit<T>(Arc<Flight<T>>);

impl<T> Clone for Cockpit<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Cockpit<T> {
    /// Tells how far the work is.
    pub(crate) fn report(&self, state: LayerState) {
        self.0.news.send_modify(|news| match news.states.last_mut() {
            Some(last) if discriminant(last) == discriminant(&state) => *last = state,
            _ => news.states.push(state),
        });
    }

    /// Waits until nobody wants the work any more.
    pub(crate) async fn deserted(&self) {
        let mut deserted = self.0.deserted.subscribe();
        // The sender is in the flight, which `self` keeps.
        let _ = deserted.wait_for(|deserted| *deserted).await;
    }
}

/// A place among those who wait. What the work holds is kept until this is dropped.
#[derive(Debug)]
pub(crate) struct Seat<T> {
    flights: Arc<Flights<T>>,
    flight: Arc<Flight<T>>,
    /// Whether this one began the work.
    pub(crate) pilot: bool,
}

impl<T: Send + 'static> Flights<T> {
    /// Waits with those who want `aim` of `key` too, or begins the work with `start`.
    pub(crate) async fn join<F>(
        self: &Arc<Self>,
        key: &Digest,
        aim: &Digest,
        start: impl FnOnce(Cockpit<T>) -> F,
    ) -> Seat<T>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let flight = loop {
            let other = {
                let mut table = lock(&self.table);
                match table.get(key) {
                    Some(flight) if !*flight.deserted.borrow() && flight.aim == *aim => {
                        *lock(&flight.passengers) += 1;
                        let (flights, flight) = (Arc::clone(self), Arc::clone(flight));
                        return Seat { flights, flight, pilot: false };
                    }
                    Some(flight) => Arc::clone(flight),
                    None => {
                        let flight = Arc::new(Flight {
                            aim: aim.clone(),
                            news: watch::Sender::new(News::default()),
                            deserted: watch::Sender::new(false),
                            passengers: Mutex::new(1),
                            held: Mutex::new(None),
                        });
                        table.insert(key.clone(), Arc::clone(&flight));
                        break flight;
                    }
                }
            };
            let mut news = other.news.subscribe();
            let _ = news.wait_for(|news| news.outcome.is_some()).await;
        };
        let work = start(Cockpit(Arc::clone(&flight)));
        self.fly(key.clone(), Arc::clone(&flight), work);
        Seat { flights: Arc::clone(self), flight, pilot: true }
    }

    fn fly<F>(self: &Arc<Self>, key: Digest, flight: Arc<Flight<T>>, work: F)
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let flights = Arc::clone(self);
        tokio::spawn(async move {
            // On a task of its own, so that a panic ends as an outcome too.
            let outcome = match tokio::spawn(work).await {
                Ok(outcome) => outcome,
                Err(error) => Err(Error::system(format!("a task of the engine failed: {error}"))),
            };
            let outcome = outcome.map(|held| {
                *lock(&flight.held) = Some(held);
            });
            lock(&flights.table).remove(&key);
            flight.news.send_modify(|news| news.outcome = Some(outcome));
        });
    }
}

impl<T> Seat<T> {
    /// What can be seen from here.
    pub(crate) fn window(&self) -> Window {
        Window { news: self.flight.news.subscribe(), told: Vec::new() }
    }
}

/// How far a flight is, for one who waits.
#[derive(Debug)]
pub(crate) struct Window {
    news: watch::Receiver<News>,
    told: Vec<LayerState>,
}

impl Window {
    /// Waits for news: the states that were not told yet, or the outcome after the last of them.
    pub(crate) async fn next(&mut self) -> Result<Vec<LayerState>, Result<(), Error>> {
        loop {
            let now = self.news.borrow_and_update().clone();
            let known = self.told.len().saturating_sub(1);
            let fresh = now.states.iter().enumerate().skip(known);
            let fresh = fresh.filter(|(at, state)| self.told.get(*at) != Some(*state));
            let fresh: Vec<LayerState> = fresh.map(|(_, state)| state.clone()).collect();
            self.told = now.states;
            if !fresh.is_empty() {
                return Ok(fresh);
            }
            if let Some(outcome) = now.outcome {
                return Err(outcome);
            }
            if self.news.changed().await.is_err() {
                return Err(Err(Error::system("a download ended without an outcome")));
            }
        }
    }
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        let _table = lock(&self.flights.table);
        let mut passengers = lock(&self.flight.passengers);
        *passengers -= 1;
        if *passengers == 0 {
            self.flight.deserted.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::oneshot;

    fn key() -> Digest {
        Digest::from_sha256([7; 32])
    }

    async fn ride<T>(seat: &Seat<T>) -> (Vec<LayerState>, Result<(), Error>) {
        let (mut window, mut states) = (seat.window(), Vec::new());
        loop {
            match window.next().await {
                Ok(fresh) => states.extend(fresh),
                Err(outcome) => return (states, outcome),
            }
        }
    }

    async fn is_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending()))
            .await
    }

    fn failing() -> impl Future<Output = Result<(), Error>> + Send + 'static {
        std::future::ready(Err(Error::system("no")))
    }

    #[tokio::test]
    async fn what_two_want_is_done_once_and_held_for_both() {
        let flights = Arc::new(Flights::<Arc<()>>::default());
        let starts = AtomicUsize::new(0);
        let held = Arc::new(());
        let (land, landed) = oneshot::channel::<()>();
        let first = flights
            .join(&key(), &key(), |cockpit| {
                starts.fetch_add(1, Ordering::Relaxed);
                let held = Arc::clone(&held);
                async move {
                    cockpit.report(LayerState::Downloading { done: 1, total: 2 });
                    cockpit.report(LayerState::Downloading { done: 2, total: 2 });
                    landed.await.expect("told to land");
                    cockpit.report(LayerState::Verifying);
                    cockpit.report(LayerState::Pulled);
                    Ok(held)
                }
            })
            .await;
        let second = flights
            .join(&key(), &key(), |_| {
                starts.fetch_add(1, Ordering::Relaxed);
                std::future::ready(Err(Error::system("not again")))
            })
            .await;
        assert!(first.pilot && !second.pilot);
        land.send(()).expect("in flight");
        for seat in [&first, &second] {
            let (states, outcome) = ride(seat).await;
            assert_eq!(outcome, Ok(()));
            let last = [LayerState::Verifying, LayerState::Pulled];
            assert!(states.ends_with(&last), "no state is skipped: {states:?}");
        }
        assert_eq!(starts.load(Ordering::Relaxed), 1);
        drop(first);
        assert_eq!(Arc::strong_count(&held), 2, "kept for the second");
        drop(second);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn the_last_one_to_leave_stops_the_work_and_the_next_waits_for_that() {
        let flights = Arc::new(Flights::<()>::default());
        let (stopped, stop) = oneshot::channel::<()>();
        let seat = flights
            .join(&key(), &key(), |cockpit| async move {
                cockpit.deserted().await;
                stop.await.expect("told to stop");
                Err(Error::system("stopped"))
            })
            .await;
        let other = flights.join(&key(), &key(), |_| std::future::ready(Ok(()))).await;
        drop(seat);
        assert!(!*other.flight.deserted.borrow(), "one still waits");
        drop(other);
        let (own, aim) = (key(), key());
        let again = flights.join(&own, &aim, |_| std::future::ready(Ok(())));
        tokio::pin!(again);
        assert!(is_pending(again.as_mut()).await, "the old one has not stopped yet");
        stopped.send(()).expect("still there");
        assert_eq!(ride(&again.await).await.1, Ok(()));
    }

    #[tokio::test]
    async fn a_failure_is_everybodys_and_does_not_stay() {
        let flights = Arc::new(Flights::<()>::default());
        let seat = flights.join(&key(), &key(), |_| failing()).await;
        assert_eq!(ride(&seat).await.1, Err(Error::system("no")));
        let seat = flights.join(&key(), &key(), |_| std::future::ready(Ok(()))).await;
        assert_eq!(ride(&seat).await.1, Ok(()));
    }

    #[tokio::test]
    async fn who_expects_something_else_of_it_does_not_join() {
        let flights = Arc::new(Flights::<()>::default());
        let (end, ended) = oneshot::channel::<()>();
        let _liar = flights
            .join(&key(), &Digest::from_sha256([1; 32]), |_| async move {
                ended.await.expect("told to end");
                failing().await
            })
            .await;
        let (own, aim) = (key(), Digest::from_sha256([2; 32]));
        let mine = flights.join(&own, &aim, |_| std::future::ready(Ok(())));
        tokio::pin!(mine);
        assert!(is_pending(mine.as_mut()).await);
        end.send(()).expect("still there");
        assert_eq!(ride(&mine.await).await.1, Ok(()));
    }
}
