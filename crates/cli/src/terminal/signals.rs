//! Signals that we get and the container should.

use std::convert::Infallible;

use docker_api::client::{Client, Target};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Signals that are passed on, with the names that the API takes.
const FORWARDED: &[(libc_numbers::Number, &str)] = &[
    (libc_numbers::HUP, "SIGHUP"),
    (libc_numbers::INT, "SIGINT"),
    (libc_numbers::QUIT, "SIGQUIT"),
    (libc_numbers::USR1, "SIGUSR1"),
    (libc_numbers::USR2, "SIGUSR2"),
    (libc_numbers::ALRM, "SIGALRM"),
    (libc_numbers::TERM, "SIGTERM"),
    (libc_numbers::CONT, "SIGCONT"),
    (libc_numbers::TSTP, "SIGTSTP"),
];

/// Linux's numbers of signals, the same on every architecture we build for.
mod libc_numbers {
    pub(super) type Number = i32;
    pub(super) const HUP: Number = 1;
    pub(super) const INT: Number = 2;
    pub(super) const QUIT: Number = 3;
    pub(super) const USR1: Number = 10;
    pub(super) const USR2: Number = 12;
    pub(super) const ALRM: Number = 14;
    pub(super) const TERM: Number = 15;
    pub(super) const CONT: Number = 18;
    pub(super) const TSTP: Number = 20;
}

/// Signals that are caught from now on.
pub(crate) struct Proxy {
    caught: Vec<(Signal, &'static str)>,
    ends: Ends,
}

/// SIGINT and SIGTERM, counted apart: a daemon that does not answer holds up what is passed on.
struct Ends {
    signals: [Signal; 2],
    seen: u32,
}

/// How many of them end us, whatever the container does.
const ENOUGH: u32 = 3;

impl Ends {
    fn catch() -> std::io::Result<Self> {
        let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        Ok(Self { signals, seen: 0 })
    }

    async fn enough(&mut self) {
        while self.seen < ENOUGH {
            let [interrupt, terminate] = &mut self.signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            self.seen += 1;
        }
    }
}

impl Proxy {
    /// Begins to catch signals, so that none is lost between here and [`Proxy::forward`].
    pub(crate) fn catch() -> std::io::Result<Self> {
        let mut caught = Vec::new();
        for (number, name) in FORWARDED {
            caught.push((signal(SignalKind::from_raw(*number))?, *name));
        }
        Ok(Self { caught, ends: Ends::catch()? })
    }
}

/// Passes signals on, if any are caught, until it is enough of them.
pub(crate) async fn forward(proxy: Option<&mut Proxy>, client: &Client, id: &str) -> anyhow::Error {
    let Some(Proxy { caught, ends }) = proxy else { return std::future::pending().await };
    tokio::select! {
        () = ends.enough() => {
            Failure::with(1, "\ngot 3 SIGTERM/SIGINTs, forcefully exiting")
        }
        never = pass(caught, client, id) => match never {},
    }
}

/// Passes signals on. A container that has ended cannot take them, which is fine.
async fn pass(caught: &mut [(Signal, &'static str)], client: &Client, id: &str) -> Infallible {
    loop {
        let name = next(caught).await;
        let target = Target::named("/containers", id, "/kill").with("signal", name);
        let _ = client.post_empty(&target).await;
    }
}

async fn next(caught: &mut [(Signal, &'static str)]) -> &'static str {
    std::future::poll_fn(|cx| {
        for (signal, name) in &mut *caught {
            if signal.poll_recv(cx).is_ready() {
                return std::task::Poll::Ready(*name);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Tells the daemon the terminal's size, now and whenever it changes. `noun` is `/containers`
/// or `/exec`.
pub(crate) async fn follow_size(client: &Client, noun: &str, id: &str) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return std::future::pending().await;
    };
    let mut first = true;
    loop {
        if let Some([rows, columns]) = super::size() {
            let target = Target::named(noun, id, "/resize")
                .with("h", rows.to_string())
                .with("w", columns.to_string());
            let mut sent = client.post_empty(&target).await;
            // Right after the start the terminal may not be there yet.
            for pause in [10, 50, 200] {
                if sent.is_ok() || !first {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                sent = client.post_empty(&target).await;
            }
            first = false;
        }
        if changes.recv().await.is_none() {
            return std::future::pending().await;
        }
    }
}
