//! `info`.

use std::fmt::Write as _;

use docker_api::client::Target;
use docker_api::system::Info;

use crate::failure::{Failure, describe_client};
use crate::session::Session;
use crate::show::human;
use crate::template::{self, Mode, Value};

/// `info`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to show it: json or a template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    format: String,
}

pub(crate) async fn info(session: &Session, args: Args) -> anyhow::Result<u8> {
    let target = Target::new("/info");
    if !args.format.is_empty() {
        let mut value: Value = session.client()?.get(&target).await?;
        if let Value::Map(entries) = &mut value {
            entries.push(("ClientInfo".to_owned(), client_info(session)?));
        }
        let text = match args.format.as_str() {
            "json" => serde_json::to_string(&value)?,
            text => template::parse(text)
                .map_err(|error| Failure::with(64, error.to_string()))?
                .execute(&value, None, Mode::Values)?,
        };
        session.line(&text);
        return Ok(0);
    }
    let mut text = format!(
        "Client:\n Version:    {}\n Context:    {}\n Debug Mode: false\n\nServer:\n",
        env!("CARGO_PKG_VERSION"),
        session.destination()?.context
    );
    match session.client()?.get::<Info>(&target).await {
        Ok(info) => {
            server(&mut text, &info);
            session.text(&text);
            for warning in &info.warnings {
                session.warn(warning);
            }
            Ok(0)
        }
        Err(error) => {
            session.text(&text);
            Err(Failure::with(1, format!("ERROR: {}", describe_client(&error))))
        }
    }
}

fn client_info(session: &Session) -> anyhow::Result<Value> {
    Ok(Value::Map(vec![
        ("Debug".into(), Value::Bool(false)),
        ("Version".into(), env!("CARGO_PKG_VERSION").into()),
        ("Context".into(), session.destination()?.context.as_str().into()),
        ("Plugins".into(), Value::List(Vec::new())),
        ("Warnings".into(), Value::Null),
    ]))
}

fn server(out: &mut String, info: &Info) {
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, " {name}: {value}");
    };
    line("Containers", &info.containers.to_string());
    line(" Running", &info.containers_running.to_string());
    line(" Paused", &info.containers_paused.to_string());
    line(" Stopped", &info.containers_stopped.to_string());
    line("Images", &info.images.to_string());
    line("Server Version", &info.server_version);
    line("Storage Driver", &info.driver);
    for [name, value] in &info.driver_status {
        line(&format!(" {name}"), value);
    }
    line("Logging Driver", &info.logging_driver);
    line("Cgroup Driver", &info.cgroup_driver);
    line("Cgroup Version", &info.cgroup_version);
    let _ = writeln!(out, " Plugins:");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, " {name}: {value}");
    };
    line(" Volume", &info.plugins.volume.join(" "));
    line(" Network", &info.plugins.network.join(" "));
    if let Some(authorization) = &info.plugins.authorization
        && !authorization.is_empty()
    {
        line(" Authorization", &authorization.join(" "));
    }
    line(" Log", &info.plugins.log.join(" "));
    line("Swarm", &info.swarm.local_node_state);
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    line("Runtimes", &runtimes.join(" "));
    line("Default Runtime", &info.default_runtime);
    line("Init Binary", &info.init_binary);
    for (name, commit) in [
        ("containerd version", &info.containerd_commit.id),
        ("runc version", &info.runc_commit.id),
        ("init version", &info.init_commit.id),
    ] {
        if !commit.is_empty() {
            line(name, commit);
        }
    }
    host(out, info);
}

fn host(out: &mut String, info: &Info) {
    if !info.security_options.is_empty() {
        let _ = writeln!(out, " Security Options:");
        for option in &info.security_options {
            let mut name = "";
            let mut rest = Vec::new();
            for pair in option.split(',') {
                match pair.split_once('=') {
                    Some(("name", value)) => name = value,
                    Some((key, value)) => rest.push((key, value)),
                    None => name = pair,
                }
            }
            let _ = writeln!(out, "  {name}");
            for (key, value) in rest {
                let key = if key == "profile" { "Profile" } else { key };
                let _ = writeln!(out, "   {key}: {value}");
            }
        }
    }
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, " {name}: {value}");
        }
    };
    line("Kernel Version", &info.kernel_version);
    line("Operating System", &info.operating_system);
    line("OSType", &info.os_type);
    line("Architecture", &info.architecture);
    line("CPUs", &info.n_cpu.to_string());
    #[allow(clippy::cast_precision_loss, reason = "four digits are shown")]
    line("Total Memory", &human::binary(info.mem_total as f64));
    line("Name", &info.name);
    line("ID", &info.id);
    line("Docker Root Dir", &info.docker_root_dir);
    line("Debug Mode", &info.debug.to_string());
    line("HTTP Proxy", &info.http_proxy);
    line("HTTPS Proxy", &info.https_proxy);
    line("No Proxy", &info.no_proxy);
    line("Experimental", &info.experimental_build.to_string());
    if !info.labels.is_empty() {
        let _ = writeln!(out, " Labels:");
        for label in &info.labels {
            let _ = writeln!(out, "  {label}");
        }
    }
    if !info.registry_config.insecure_registry_cidrs.is_empty() {
        let _ = writeln!(out, " Insecure Registries:");
        for range in &info.registry_config.insecure_registry_cidrs {
            let _ = writeln!(out, "  {range}");
        }
    }
    let _ = writeln!(out, " Live Restore Enabled: {}", info.live_restore_enabled);
    if !info.product_license.is_empty() {
        let _ = writeln!(out, " Product License: {}", info.product_license);
    }
    if !info.default_address_pools.is_empty() {
        let _ = writeln!(out, " Default Address Pools:");
        for pool in &info.default_address_pools {
            let _ = writeln!(out, "   Base: {}, Size: {}", pool.base, pool.size);
        }
    }
    let _ = writeln!(out);
}
