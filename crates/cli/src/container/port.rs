//! `port`.

use std::num::IntErrorKind;

use docker_api::client::Target;
use docker_api::container::ContainerInspect;
use types::network::PortBinding;

use crate::session::Session;

/// `port`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Container, and a port of it
    #[arg(value_name = "CONTAINER")]
    words: Vec<String>,
}

fn address(binding: &PortBinding) -> String {
    if binding.host_ip.contains(':') {
        format!("[{}]:{}", binding.host_ip, binding.host_port)
    } else {
        format!("{}:{}", binding.host_ip, binding.host_port)
    }
}

pub(crate) async fn port(session: &Session, args: Args) -> anyhow::Result<u8> {
    let name = args.words.first().map_or("", String::as_str);
    let inspect: ContainerInspect =
        session.client()?.get(&Target::named("/containers", name, "/json")).await?;
    let ports = &inspect.network_settings.ports;
    if let Some(wanted) = args.words.get(1) {
        let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
        if let Err(error) = number.parse::<u16>() {
            let reason = match error.kind() {
                IntErrorKind::PosOverflow => "value out of range",
                _ => "invalid syntax",
            };
            anyhow::bail!(
                "Error: invalid port ({number}): strconv.ParseUint: parsing {number:?}: {reason}"
            );
        }
        let bindings = ports.get(&format!("{number}/{protocol}")).cloned().flatten();
        let bindings = bindings.filter(|bindings| !bindings.is_empty());
        let Some(bindings) = bindings else {
            anyhow::bail!("Error: No public port '{wanted}' published for {name}");
        };
        for binding in &bindings {
            session.line(&address(binding));
        }
        return Ok(0);
    }
    let mut lines: Vec<((u16, String), String)> = Vec::new();
    for (port, bindings) in ports {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        for binding in bindings.iter().flatten() {
            let key = (number.parse().unwrap_or(0), protocol.to_owned());
            lines.push((key, format!("{port} -> {}", address(binding))));
        }
    }
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, line) in lines {
        session.line(&line);
    }
    Ok(0)
}
