//! Counters in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::{Method, StatusCode};

use crate::socket::Traffic;

/// Upper bounds in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

#[derive(Debug, Default)]
struct Histogram {
    counts: [u64; BUCKETS.len()],
    sum: f64,
    all: u64,
}

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(&'static str, &'static str, u16), u64>,
    durations: BTreeMap<(&'static str, &'static str), Histogram>,
}

/// What has been counted since the server began.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
    /// Bytes of all connections.
    pub(crate) traffic: Arc<Traffic>,
    /// Open connections.
    pub(crate) connections: AtomicU64,
    /// Bytes of blobs that came in.
    pub(crate) uploaded: AtomicU64,
    /// Asked of the cache and there.
    pub(crate) hits: AtomicU64,
    /// Asked of the cache and fetched.
    pub(crate) misses: AtomicU64,
}

impl Metrics {
    /// Counts an answered request.
    pub(crate) fn request(
        &self,
        method: &Method,
        route: &'static str,
        status: StatusCode,
        took: Duration,
    ) {
        // Clients may invent methods, but not metrics.
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            _ => "other",
        };
        let seconds = took.as_secs_f64();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.requests.entry((method, route, status.as_u16())).or_default() += 1;
        let histogram = counts.durations.entry((method, route)).or_default();
        histogram.all += 1;
        histogram.sum += seconds;
        for (bound, count) in BUCKETS.iter().zip(&mut histogram.counts) {
            *count += u64::from(seconds <= *bound);
        }
    }

    /// Everything as text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        self.render_requests(&mut text);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            ("isopod_registry_connections", "gauge", "Open connections", load(&self.connections)),
            (
                "isopod_registry_received_bytes_total",
                "counter",
                "Bytes read from clients",
                load(&self.traffic.read),
            ),
            (
                "isopod_registry_sent_bytes_total",
                "counter",
                "Bytes written to clients",
                load(&self.traffic.written),
            ),
            (
                "isopod_registry_uploaded_bytes_total",
                "counter",
                "Bytes of blobs that were pushed",
                load(&self.uploaded),
            ),
            (
                "isopod_registry_cache_hits_total",
                "counter",
                "Answers that the cache gave from what it had",
                load(&self.hits),
            ),
            (
                "isopod_registry_cache_misses_total",
                "counter",
                "Answers that the cache fetched from upstream",
                load(&self.misses),
            ),
        ] {
            head(&mut text, name, kind, help);
            line(&mut text, name, value);
        }
        let name = "isopod_registry_info";
        head(&mut text, name, "gauge", "The registry's version");
        line(&mut text, &format!("{name}{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
        text
    }

    fn render_requests(&self, text: &mut String) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "isopod_registry_requests_total";
        head(text, name, "counter", "Answered requests");
        for ((method, route, status), count) in &counts.requests {
            let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
            line(text, &format!("{name}{{{labels}}}"), count);
        }
        let name = "isopod_registry_request_duration_seconds";
        head(text, name, "histogram", "Time from a request's head to the answer's");
        for ((method, route), histogram) in &counts.durations {
            let labels = format!("method=\"{method}\",route=\"{route}\"");
            for (bound, count) in BUCKETS.iter().zip(histogram.counts) {
                line(text, &format!("{name}_bucket{{{labels},le=\"{bound}\"}}"), count);
            }
            line(text, &format!("{name}_bucket{{{labels},le=\"+Inf\"}}"), histogram.all);
            line(text, &format!("{name}_sum{{{labels}}}"), histogram.sum);
            line(text, &format!("{name}_count{{{labels}}}"), histogram.all);
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_prometheus() {
        let metrics = Metrics::default();
        metrics.request(&Method::GET, "blob", StatusCode::OK, Duration::from_millis(4));
        metrics.request(&Method::GET, "blob", StatusCode::OK, Duration::from_secs(200));
        metrics.request(&Method::TRACE, "none", StatusCode::NOT_FOUND, Duration::ZERO);
        metrics.hits.fetch_add(3, Ordering::Relaxed);
        let text = metrics.render();
        for line in [
            "isopod_registry_requests_total{method=\"GET\",route=\"blob\",status=\"200\"} 2",
            "isopod_registry_requests_total{method=\"other\",route=\"none\",status=\"404\"} 1",
            "isopod_registry_request_duration_seconds_bucket{method=\"GET\",route=\"blob\",le=\"0.005\"} 1",
            "isopod_registry_request_duration_seconds_bucket{method=\"GET\",route=\"blob\",le=\"+Inf\"} 2",
            "isopod_registry_cache_hits_total 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
