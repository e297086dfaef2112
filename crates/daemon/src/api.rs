//! What all routes share.

use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderMap;
use engine::Engine;

use crate::access::Access;
use crate::metrics::Metrics;
use crate::session::Sessions;

/// Settings that a reload may change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changeable {
    /// The daemon's labels.
    pub(crate) labels: Vec<String>,
    /// Debug messages are logged.
    pub(crate) debug: bool,
}

/// What all routes share. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    /// The engine.
    pub(crate) engine: Engine,
    /// Headers of every answer.
    pub(crate) always: Arc<HeaderMap>,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
    /// Experimental features are on (or so it says).
    pub(crate) experimental: bool,
    /// What users of `docker info` should know.
    pub(crate) warnings: Arc<[String]>,
    /// What clients with certificates may do.
    pub(crate) access: Access,
    /// What builds ask their clients through.
    pub(crate) sessions: Sessions,
    changeable: Arc<RwLock<Changeable>>,
}

impl Api {
    pub(crate) fn new(
        engine: Engine,
        always: Arc<HeaderMap>,
        experimental: bool,
        warnings: Vec<String>,
        changeable: Changeable,
        access: Access,
    ) -> Self {
        let metrics = Arc::new(Metrics::default());
        let changeable = Arc::new(RwLock::new(changeable));
        let sessions = Sessions::default();
        let warnings = warnings.into();
        Self { engine, always, metrics, experimental, warnings, access, sessions, changeable }
    }

    /// The settings as they are now.
    pub(crate) fn changeable(&self) -> Changeable {
        self.changeable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the settings.
    pub(crate) fn change(&self, settings: Changeable) {
        *self.changeable.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }
}
