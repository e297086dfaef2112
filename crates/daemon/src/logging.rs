//! The daemon's own log: lines on standard error.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::LogLevel;

/// Changes how much is logged.
#[derive(Clone, Debug)]
pub(crate) struct Logging(reload::Handle<LevelFilter, Registry>);

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

/// Begins to log.
pub(crate) fn begin(level: LogLevel) -> Logging {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    let subscriber = Registry::default().with(filter).with(lines);
    // It fails when a test has set another one.
    drop(tracing::subscriber::set_global_default(subscriber));
    Logging(handle)
}

impl Logging {
    /// Logs as much as this level says from now on.
    pub(crate) fn set(&self, level: LogLevel) {
        // It fails only when there is no log any more.
        drop(self.0.reload(filter(level)));
    }
}
