//! Health checks: probes on a timer, and what follows from them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use types::Timestamp;
use types::health::{Health, HealthConfig, HealthResult, HealthStatus};
use types::state::Status;

use super::Container;
use crate::Engine;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: i64 = 3;
/// Results that are kept.
const KEPT: usize = 5;
/// Bytes of output that are kept.
const OUTPUT: usize = 4096;

/// A health check, with the defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: i64,
}

impl Plan {
    /// `None` where there is nothing to check.
    fn new(config: &HealthConfig, shell: &[String]) -> Option<Self> {
        let (kind, rest) = config.test.split_first()?;
        let command = match kind.as_str() {
            "NONE" => return None,
            "CMD" => rest.to_vec(),
            "CMD-SHELL" => {
                let shell: Vec<String> = if shell.is_empty() {
                    vec!["/bin/sh".to_owned(), "-c".to_owned()]
                } else {
                    shell.to_vec()
                };
                shell.into_iter().chain(rest.iter().cloned()).collect()
            }
            _ => return None,
        };
        let or = |nanoseconds: i64, default: Duration| match u64::try_from(nanoseconds) {
            Ok(0) | Err(_) => default,
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
        };
        Some(Self {
            command,
            interval: or(config.interval, INTERVAL),
            timeout: or(config.timeout, TIMEOUT),
            start_period: or(config.start_period, Duration::ZERO),
            start_interval: or(config.start_interval, START_INTERVAL),
            retries: if config.retries == 0 { RETRIES } else { config.retries },
        })
    }

    /// How long to wait before the next probe.
    fn pause(&self, starting: bool, age: Duration) -> Duration {
        if starting && age < self.start_period { self.start_interval } else { self.interval }
    }

    /// The state after a result. A failure in the start period does not count.
    fn judge(&self, health: &mut Health, result: HealthResult, age: Duration) {
        if result.exit_code == 0 {
            health.failing_streak = 0;
            health.status = HealthStatus::Healthy;
        } else if !(health.status == HealthStatus::Starting && age < self.start_period) {
            health.failing_streak += 1;
            if health.failing_streak >= self.retries {
                health.status = HealthStatus::Unhealthy;
            }
        }
        health.log.push(result);
        let old = health.log.len().saturating_sub(KEPT);
        health.log.drain(..old);
    }
}

impl Engine {
    /// Begins to probe a container that was `started`, if it wants that; to be called before it
    /// is seen running, as who sees that asks how it is.
    pub(crate) fn watch_health(&self, container: &Arc<Container>, started: Timestamp) {
        let plan = {
            let record = container.record();
            let config = record.config.healthcheck.as_ref();
            config.and_then(|config| Plan::new(config, &record.config.shell))
        };
        let Some(plan) = plan else {
            *crate::lock(&container.health) = None;
            return;
        };
        *crate::lock(&container.health) =
            Some(Health { status: HealthStatus::Starting, ..Health::default() });
        let engine = self.clone();
        let subject = Arc::clone(container);
        // Ended by `stop_health` at the latest.
        let task = tokio::spawn(async move {
            loop {
                let starting = crate::lock(&subject.health)
                    .as_ref()
                    .is_some_and(|health| health.status == HealthStatus::Starting);
                tokio::time::sleep(plan.pause(starting, since(started))).await;
                let running = subject.record().state.status == Status::Running;
                if running && !subject.frozen.load(Ordering::SeqCst) {
                    engine.check(&subject, &plan, started).await;
                }
            }
        });
        container.set_probes(Some(task.abort_handle()));
    }

    async fn check(&self, container: &Arc<Container>, plan: &Plan, run: Timestamp) {
        let start = Timestamp::now();
        let probe = self.probe(container, plan.command.clone(), OUTPUT);
        let (exit_code, output) = match tokio::time::timeout(plan.timeout, probe).await {
            Ok(Ok(probe)) => (i64::from(probe.code), probe.output),
            Ok(Err(error)) => (-1, error.message),
            Err(_) => {
                (-1, format!("Health check exceeded timeout ({}ms)", plan.timeout.as_millis()))
            }
        };
        if container.record().state.started_at != run || container.record().state.pid == 0 {
            return;
        }
        let result = HealthResult { start, end: Timestamp::now(), exit_code, output };
        let (before, after) = {
            let mut health = crate::lock(&container.health);
            let Some(health) = health.as_mut() else { return };
            let before = health.status;
            plan.judge(health, result, since(run));
            (before, health.status)
        };
        if before != after {
            self.tell_container(container, &format!("health_status: {}", after.as_str()), &[]);
        }
    }

    /// The container has ended, and so do its probes; as in Docker it is not healthy then.
    pub(crate) fn stop_health(&self, container: &Container) {
        container.set_probes(None);
        if let Some(health) = crate::lock(&container.health).as_mut() {
            health.status = HealthStatus::Unhealthy;
        }
    }
}

fn since(time: Timestamp) -> Duration {
    Duration::from_nanos(u64::try_from(Timestamp::now().0 - time.0).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(retries: i64, start_period: i64) -> Plan {
        let config = HealthConfig {
            test: vec!["CMD-SHELL".into(), "true".into()],
            retries,
            start_period,
            ..HealthConfig::default()
        };
        Plan::new(&config, &[]).expect("a plan")
    }

    fn result(exit_code: i64) -> HealthResult {
        HealthResult { exit_code, ..HealthResult::default() }
    }

    #[test]
    fn failures_in_a_row_make_it_unhealthy() {
        let plan = plan(2, 0);
        let mut health = Health { status: HealthStatus::Starting, ..Health::default() };
        plan.judge(&mut health, result(1), Duration::ZERO);
        assert_eq!(health.status, HealthStatus::Starting);
        plan.judge(&mut health, result(1), Duration::ZERO);
        assert_eq!(health.status, HealthStatus::Unhealthy);
        plan.judge(&mut health, result(0), Duration::ZERO);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        for _ in 0..10 {
            plan.judge(&mut health, result(0), Duration::ZERO);
        }
        assert_eq!(health.log.len(), KEPT);
    }

    #[test]
    fn the_start_period_forgives() {
        let plan = plan(1, 10_000_000_000);
        let mut health = Health { status: HealthStatus::Starting, ..Health::default() };
        plan.judge(&mut health, result(1), Duration::from_secs(5));
        assert_eq!(health.status, HealthStatus::Starting);
        plan.judge(&mut health, result(1), Duration::from_secs(11));
        assert_eq!(health.status, HealthStatus::Unhealthy);
    }

    #[test]
    fn commands_have_two_forms() {
        assert_eq!(plan(0, 0).command, ["/bin/sh", "-c", "true"]);
        let none = HealthConfig { test: vec!["NONE".into()], ..HealthConfig::default() };
        assert_eq!(Plan::new(&none, &[]), None);
        assert_eq!(Plan::new(&HealthConfig::default(), &[]), None);
    }
}
