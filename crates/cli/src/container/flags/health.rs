//! How to find out whether it is well.

use types::container::ContainerConfig;
use types::health::HealthConfig;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Command that finds out whether it is well
    #[arg(long, default_value = "", hide_default_value = true)]
    health_cmd: String,
    /// Time between two checks
    #[arg(long, value_parser = types::duration::parse, default_value = "0s", hide_default_value = true)]
    health_interval: i64,
    /// Failures in a row that make it unhealthy
    #[arg(long, default_value = "0", hide_default_value = true)]
    health_retries: i64,
    /// Time between two checks in the start period
    #[arg(long, value_parser = types::duration::parse, default_value = "0s", hide_default_value = true)]
    health_start_interval: i64,
    /// Time from the start in which failures do not count
    #[arg(long, value_parser = types::duration::parse, default_value = "0s", hide_default_value = true)]
    health_start_period: i64,
    /// Time after which a check has failed
    #[arg(long, value_parser = types::duration::parse, default_value = "0s", hide_default_value = true)]
    health_timeout: i64,
    /// Disable the image's health check
    #[arg(long)]
    no_healthcheck: bool,
}

impl Flags {
    pub(super) fn apply(&self, config: &mut ContainerConfig) -> Result<(), String> {
        let asked = !self.health_cmd.is_empty()
            || self.health_interval != 0
            || self.health_timeout != 0
            || self.health_start_period != 0
            || self.health_start_interval != 0
            || self.health_retries != 0;
        if self.no_healthcheck {
            if asked {
                return Err("--no-healthcheck conflicts with --health-* options".to_owned());
            }
            config.healthcheck =
                Some(HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() });
            return Ok(());
        }
        if !asked {
            return Ok(());
        }
        for (name, value) in [
            ("--health-interval", self.health_interval),
            ("--health-timeout", self.health_timeout),
            ("--health-retries", self.health_retries),
            ("--health-start-period", self.health_start_period),
            ("--health-start-interval", self.health_start_interval),
        ] {
            if value < 0 {
                return Err(format!("{name} cannot be negative"));
            }
        }
        let test = if self.health_cmd.is_empty() {
            Vec::new()
        } else {
            vec!["CMD-SHELL".to_owned(), self.health_cmd.clone()]
        };
        config.healthcheck = Some(HealthConfig {
            test,
            interval: self.health_interval,
            timeout: self.health_timeout,
            retries: self.health_retries,
            start_period: self.health_start_period,
            start_interval: self.health_start_interval,
        });
        Ok(())
    }
}
