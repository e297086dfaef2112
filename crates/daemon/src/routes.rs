//! The API's routes, a file a noun.

mod archive;
mod attach;
mod build;
mod containers;
mod events;
mod exec;
mod images;
mod layers;
mod lifecycle;
mod logs;
mod machines;
mod networks;
mod plugins;
mod registry;
mod secrets;
mod stats;
mod swarm;
mod system;
mod transfer;
mod upkeep;
mod volumes;

use axum::Router;

use crate::api::Api;

/// Every route. Paths carry no version: it is split off before.
pub(crate) fn all(api: Api) -> Router {
    Router::new()
        .merge(system::routes())
        .merge(events::routes())
        .merge(containers::routes())
        .merge(lifecycle::routes())
        .merge(attach::routes())
        .merge(exec::routes())
        .merge(logs::routes())
        .merge(stats::routes())
        .merge(archive::routes())
        .merge(images::routes())
        .merge(layers::routes())
        .merge(registry::routes())
        .merge(transfer::routes())
        .merge(upkeep::routes())
        .merge(volumes::routes())
        .merge(machines::routes())
        .merge(secrets::routes())
        .merge(networks::routes())
        .merge(build::routes())
        .merge(swarm::routes())
        .merge(plugins::routes())
        .with_state(api)
}
