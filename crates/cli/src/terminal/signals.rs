//! Signals that we get and the container should.

use docker_api::client::{Client, Target};
use tokio::signal::unix::{Signal, SignalKind, signal};

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
}

impl Proxy {
    /// Begins to catch signals, so that none is lost between here and [`Proxy::forward`].
    pub(crate) fn catch() -> std::io::Result<Self> {
        let mut caught = Vec::new();
        for (number, name) in FORWARDED {
            caught.push((signal(SignalKind::from_raw(*number))?, *name));
        }
        Ok(Self { caught })
    }

    async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|cx| {
            for (signal, name) in &mut self.caught {
                if signal.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Passes signals on, for ever. A container that has ended cannot take them, which is fine.
    pub(crate) async fn forward(&mut self, client: &Client, id: &str) {
        loop {
            let name = self.next().await;
            let target = Target::named("/containers", id, "/kill").with("signal", name);
            let _ = client.post_empty(&target).await;
        }
    }
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
