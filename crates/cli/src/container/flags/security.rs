//! Capabilities, profiles, privileges, kernel parameters.

use types::container::HostConfig;

use crate::options::words;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Add a capability
    #[arg(long)]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long)]
    cap_drop: Vec<String>,
    /// Take down every wall but the namespaces
    #[arg(long)]
    privileged: bool,
    /// Security option: seccomp=FILE, apparmor=PROFILE, label=…, no-new-privileges, systempaths=unconfined
    #[arg(long)]
    security_opt: Vec<String>,
    /// Set a kernel parameter inside the namespaces: NAME=VALUE
    #[arg(long, value_parser = words::sysctl)]
    sysctl: Vec<String>,
    /// Which wall: process or vm
    #[arg(long, default_value = "", hide_default_value = true)]
    isolation: String,
    /// Which runtime
    #[arg(long, default_value = "", hide_default_value = true)]
    runtime: String,
    /// Accepted for docker's sake
    #[arg(long, hide = true)]
    disable_content_trust: bool,
}

impl Flags {
    pub(super) fn apply(&self, host: &mut HostConfig) -> Result<(), String> {
        host.cap_add = words::capabilities(&self.cap_add);
        host.cap_drop = words::capabilities(&self.cap_drop);
        host.privileged = self.privileged;
        host.sysctls = words::map(&self.sysctl);
        host.isolation = self.isolation.clone();
        host.runtime = self.runtime.clone();
        for option in &self.security_opt {
            if option == "systempaths=unconfined" {
                host.masked_paths = Some(Vec::new());
                host.readonly_paths = Some(Vec::new());
                continue;
            }
            host.security_opt.push(security_option(option)?);
        }
        Ok(())
    }
}

/// A security option as the API takes it: the client reads a seccomp profile and sends it
/// whole, because the daemon may be on another machine.
fn security_option(option: &str) -> Result<String, String> {
    let (key, value) = match option.split_once('=').or_else(|| option.split_once(':')) {
        Some(pair) => pair,
        None if option == "no-new-privileges" => return Ok(option.to_owned()),
        None => return Err(format!("Invalid --security-opt: {option:?}")),
    };
    if key != "seccomp" || matches!(value, "unconfined" | "builtin") {
        return Ok(option.to_owned());
    }
    let text = std::fs::read_to_string(value)
        .map_err(|error| format!("opening seccomp profile ({value}) failed: {error}"))?;
    // Only white space goes: the order of keys and the spelling of numbers stay.
    serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|error| {
        format!("compacting json for seccomp profile ({value}) failed: {error}")
    })?;
    Ok(format!("seccomp={}", compact(&text)))
}

/// JSON without the white space between its tokens.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut inside, mut escaped) = (false, false);
    for c in json.chars() {
        if inside {
            out.push(c);
            inside = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else if !c.is_ascii_whitespace() {
            out.push(c);
            inside = c == '"';
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_tokens_goes() {
        assert_eq!(compact("{ \"a \\\" b\" :\n [1, \"\\\\\" ] }"), "{\"a \\\" b\":[1,\"\\\\\"]}");
    }

    #[test]
    fn security_options_are_read_as_docker_reads_them() {
        assert_eq!(security_option("no-new-privileges").as_deref(), Ok("no-new-privileges"));
        assert_eq!(security_option("label:disable").as_deref(), Ok("label:disable"));
        assert_eq!(security_option("seccomp=unconfined").as_deref(), Ok("seccomp=unconfined"));
        assert_eq!(security_option("foo"), Err("Invalid --security-opt: \"foo\"".into()));
        assert!(security_option("seccomp=/nowhere").is_err());
    }
}
