//! Counters for Prometheus, under dockerd's names where dockerd has them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};

/// Upper bounds of the buckets, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Routes whose duration dockerd tells as that of an action on a container.
const ACTIONS: [(&str, &str, &str); 9] = [
    ("POST", "/containers/create", "create"),
    ("POST", "/containers/{id}/start", "start"),
    ("POST", "/containers/{id}/stop", "stop"),
    ("POST", "/containers/{id}/restart", "restart"),
    ("POST", "/containers/{id}/kill", "kill"),
    ("DELETE", "/containers/{id}", "delete"),
    ("GET", "/containers/{id}/changes", "changes"),
    ("POST", "/commit", "commit"),
    ("POST", "/exec/{id}/start", "exec_start"),
];

/// How many containers stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct States {
    pub(crate) running: u64,
    pub(crate) paused: u64,
    pub(crate) stopped: u64,
}

#[derive(Clone, Debug, Default)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        // A handful of bounds: a search from the front is as good as any.
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            line(text, &format!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}}"), bucket);
        }
        line(text, &format!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}}"), self.count);
        line(text, &format!("{name}_sum{{{labels}}}"), self.sum);
        line(text, &format!("{name}_count{{{labels}}}"), self.count);
    }
}

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(String, String, u16), u64>,
    durations: BTreeMap<(String, String), Histogram>,
    actions: BTreeMap<&'static str, Histogram>,
}

/// What has been counted since the daemon began.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counts>);

impl Metrics {
    /// Counts an answered request. The route is empty when there was none.
    pub(crate) fn request(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Clients may invent methods, but not metrics.
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE") => known,
            _ => "other",
        };
        let route = if route.is_empty() { "none" } else { route };
        let key = (method.to_owned(), route.to_owned());
        *counts.requests.entry((key.0.clone(), key.1.clone(), status.as_u16())).or_default() += 1;
        counts.durations.entry(key).or_default().observe(seconds);
        let action = ACTIONS.iter().find(|(m, r, _)| *m == method && *r == route);
        if let Some((_, _, action)) = action
            && !status.is_client_error()
            && !status.is_server_error()
        {
            counts.actions.entry(action).or_default().observe(seconds);
        }
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(&self, states: States) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        let name = "engine_daemon_container_states_containers";
        head(&mut text, name, "gauge", "The count of containers in various states");
        for (state, count) in
            [("paused", states.paused), ("running", states.running), ("stopped", states.stopped)]
        {
            line(&mut text, &format!("{name}{{state=\"{state}\"}}"), count);
        }
        let name = "engine_daemon_container_actions_seconds";
        head(
            &mut text,
            name,
            "histogram",
            "The number of seconds it takes to process each container action",
        );
        for (action, histogram) in &counts.actions {
            histogram.write(&mut text, name, &format!("action=\"{action}\""));
        }
        let name = "isopod_http_requests_total";
        head(&mut text, name, "counter", "Answered requests of the API");
        for ((method, route, status), count) in &counts.requests {
            let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
            line(&mut text, &format!("{name}{{{labels}}}"), count);
        }
        let name = "isopod_http_request_duration_seconds";
        head(&mut text, name, "histogram", "Time from a request's head to the answer's");
        for ((method, route), histogram) in &counts.durations {
            histogram.write(&mut text, name, &format!("method=\"{method}\",route=\"{route}\""));
        }
        let name = "engine_daemon_engine_info";
        head(
            &mut text,
            name,
            "gauge",
            "The information related to the engine and the OS it is running on",
        );
        let version = env!("CARGO_PKG_VERSION");
        line(
            &mut text,
            &format!("{name}{{version=\"{version}\",graphdriver=\"overlay2\",os_type=\"linux\"}}"),
            1,
        );
        if let Some(bytes) = resident() {
            let name = "process_resident_memory_bytes";
            head(&mut text, name, "gauge", "Resident memory of the daemon");
            line(&mut text, name, bytes);
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    text.push_str(&format!("{name} {value}\n"));
}

/// Resident bytes of this process, from `/proc/self/status`.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_prometheus() {
        let metrics = Metrics::default();
        let start = "/containers/{id}/start";
        metrics.request(&Method::POST, start, StatusCode::NO_CONTENT, Duration::from_millis(4));
        metrics.request(&Method::POST, start, StatusCode::NOT_FOUND, Duration::from_millis(1));
        metrics.request(&Method::PATCH, "", StatusCode::NOT_FOUND, Duration::ZERO);
        let text = metrics.render(States { running: 2, paused: 0, stopped: 1 });
        for line in [
            "engine_daemon_container_states_containers{state=\"running\"} 2",
            "engine_daemon_container_actions_seconds_bucket{action=\"start\",le=\"0.0025\"} 0",
            "engine_daemon_container_actions_seconds_bucket{action=\"start\",le=\"0.005\"} 1",
            "engine_daemon_container_actions_seconds_count{action=\"start\"} 1",
            "isopod_http_requests_total{method=\"POST\",route=\"/containers/{id}/start\",status=\"404\"} 1",
            "isopod_http_requests_total{method=\"other\",route=\"none\",status=\"404\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes "));
    }
}
