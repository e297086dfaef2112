//! Name, logs, restarts, end.

use docker_api::container::CreateBody;
use types::container::{RestartPolicy, RestartRule};

use crate::options::words;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Write the id to a file, which must not exist
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub(crate) cidfile: String,
    /// Log driver: json-file, local or none
    #[arg(long, default_value = "", hide_default_value = true)]
    log_driver: String,
    /// Option of the log driver: NAME=VALUE
    #[arg(long)]
    log_opt: Vec<String>,
    /// Name
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// Platform of the image: OS[/ARCHITECTURE[/VARIANT]]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) platform: String,
    /// Pull the image first: always, missing or never
    #[arg(long, default_value = "missing")]
    pub(crate) pull: String,
    /// Do not show how the pull goes
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// When to start it again: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, default_value = "no")]
    restart: String,
    /// Remove the container and its anonymous volumes when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Signal that asks it to end
    #[arg(long, default_value = "", hide_default_value = true)]
    stop_signal: String,
    /// Seconds between that signal and SIGKILL
    #[arg(long)]
    stop_timeout: Option<i64>,
}

/// `no`, `always`, `unless-stopped`, `on-failure[:times]`. What is none of these goes to the
/// daemon only by an error here, because our type knows no others.
pub(crate) fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    if name.is_empty() && count.is_some() {
        return Err(format!(
            "invalid restart policy format: no policy provided before colon: {text}"
        ));
    }
    let name = match name {
        "" | "no" => RestartRule::No,
        "always" => RestartRule::Always,
        "unless-stopped" => RestartRule::UnlessStopped,
        "on-failure" => RestartRule::OnFailure,
        other => {
            return Err(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    };
    let maximum_retry_count = match count {
        None => 0,
        Some(count) => count.parse().map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_owned()
        })?,
    };
    Ok(RestartPolicy { name, maximum_retry_count })
}

impl Flags {
    pub(super) fn apply(&self, body: &mut CreateBody) -> Result<(), String> {
        let host = &mut body.host_config;
        host.container_id_file = self.cidfile.clone();
        host.log_config.kind = self.log_driver.clone();
        host.log_config.config = words::map(&self.log_opt);
        if self.log_driver == "none" && !self.log_opt.is_empty() {
            return Err("invalid logging opts for driver none".to_owned());
        }
        host.restart_policy = restart_policy(&self.restart)?;
        host.auto_remove = self.rm;
        if self.rm && host.restart_policy.name != RestartRule::No {
            return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
        }
        body.config.stop_signal = self.stop_signal.clone();
        body.config.stop_timeout = self.stop_timeout;
        Ok(())
    }
}
