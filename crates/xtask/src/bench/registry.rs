//! Our registry beside Debian's `docker-registry`: large blobs in and out, many at once, and small
//! requests. The client writes and reads plain sockets and checks nothing, so that the servers are
//! what is measured.

use super::Request;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::distribution::Server;
use testkit::distribution::content::{digest, location, noise, with};

/// Bytes of the large blob.
const LARGE: usize = 512 << 20;
/// More rounds than this say nothing new and take minutes.
const ROUNDS: usize = 7;
/// Clients that pull at once.
const CLIENTS: usize = 4;
/// Small requests, one after the other.
const SMALL: usize = 500;
/// Small blobs that are pushed, one after the other.
const BLOBS: usize = 50;

type Measure = fn(&Server, &mut Material) -> Result<Duration>;

/// What is measured, and over how many bytes or of what.
const MEASURES: &[(&str, Measure, Unit)] = &[
    ("push 512 MiB (POST, PATCH, PUT)", push_large, Unit::Bytes(LARGE)),
    ("pull 512 MiB", pull_large, Unit::Bytes(LARGE)),
    ("4 pull 512 MiB at once", pull_at_once, Unit::Bytes(LARGE * CLIENTS)),
    ("push 50 blobs of 4 KiB", push_small, Unit::Times(BLOBS)),
    ("HEAD a manifest 500 times", heads, Unit::Times(SMALL)),
];

#[derive(Clone, Copy)]
enum Unit {
    Bytes(usize),
    Times(usize),
}

impl Unit {
    fn shown(self, took: Duration) -> String {
        let seconds = took.as_secs_f64();
        match self {
            Self::Bytes(bytes) => format!("{:.0} MB/s", bytes as f64 / 1e6 / seconds),
            Self::Times(times) => format!("{:.0}/s", times as f64 / seconds),
        }
    }
}

/// Content that is new in each round.
struct Material {
    large: Vec<u8>,
    round: u64,
}

impl Material {
    fn next(&mut self) {
        self.round += 1;
        self.large[..8].copy_from_slice(&self.round.to_le_bytes());
    }
}

pub(super) fn run(request: &Request, binary: &Path) -> Result<()> {
    let contestants = [
        ("isopod registry", Server::isopod_by(binary, &[])),
        ("docker-registry", Server::docker()),
    ];
    let mut material = Material { large: noise(1, LARGE), round: 0 };
    for (_, server) in &contestants {
        server.push_image("bench", "v1", b"a small layer");
    }
    let rounds = request.runs.min(ROUNDS);
    println!("Medians of {rounds} rounds.\n");
    println!("| | {} | {} | times ours |", contestants[0].0, contestants[1].0);
    println!("| --- | ---: | ---: | ---: |");
    for (what, measure, unit) in MEASURES.iter().filter(|(what, ..)| request.wants(what)) {
        let mut times = [Vec::new(), Vec::new()];
        // The first round warms up and does not count.
        for round in 0..=rounds {
            for ((_, server), times) in contestants.iter().zip(&mut times) {
                let took = measure(server, &mut material)?;
                if round > 0 {
                    times.push(took);
                }
            }
        }
        let [ours, theirs] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        });
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        println!("| {what} | {} | {} | {ratio:.1} |", unit.shown(ours), unit.shown(theirs));
    }
    println!("\n`sha256` of what is pushed: {}.", hashing(&material.large));
    Ok(())
}

/// How fast this machine hashes: the limit of a push by one client.
fn hashing(bytes: &[u8]) -> String {
    let began = Instant::now();
    let _ = std::hint::black_box(digest(bytes));
    Unit::Bytes(bytes.len()).shown(began.elapsed())
}

fn push(server: &Server, bytes: &[u8], digest: &str) -> Result<()> {
    let answer = server.request("PATCH", &server.begin("bench"), &[], bytes).expect(202);
    let place = with(&location(&answer), &format!("digest={digest}"));
    let _ = server.request("PUT", &place, &[], &[]).expect(201);
    Ok(())
}

fn push_large(server: &Server, material: &mut Material) -> Result<Duration> {
    material.next();
    let digest = digest(&material.large);
    let began = Instant::now();
    push(server, &material.large, &digest)?;
    let took = began.elapsed();
    // Room for the next.
    let path = format!("/v2/bench/blobs/{digest}");
    let _ = server.request("DELETE", &path, &[], &[]).expect(202);
    let file = blob_file(server, &digest);
    std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
    Ok(took)
}

/// Where a blob is kept: ours and theirs.
fn blob_file(server: &Server, digest: &str) -> std::path::PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    let ours = server.root().join("blobs/sha256").join(hex);
    if ours.exists() {
        return ours;
    }
    let blobs = server.root().join("docker/registry/v2/blobs/sha256");
    blobs.join(&hex[..2]).join(hex).join("data")
}

/// The large blob as it was at first, which is pushed once.
fn pulled(server: &Server, material: &mut Material) -> Result<String> {
    material.large[..8].fill(7);
    let digest = digest(&material.large);
    if !server.has_blob("bench", &digest) {
        push(server, &material.large, &digest)?;
    }
    Ok(format!("/v2/bench/blobs/{digest}"))
}

fn pull_large(server: &Server, material: &mut Material) -> Result<Duration> {
    let path = pulled(server, material)?;
    let began = Instant::now();
    pull(server, &path)?;
    Ok(began.elapsed())
}

fn pull_at_once(server: &Server, material: &mut Material) -> Result<Duration> {
    let path = pulled(server, material)?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| pull(server, &path))).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client"))
    })?;
    Ok(began.elapsed())
}

/// Reads a blob and forgets it.
fn pull(server: &Server, path: &str) -> Result<()> {
    let mut stream = server.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut buffer = vec![0; 1 << 20];
    let mut all = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            count => all += count,
        }
    }
    ensure!(all > LARGE, "{all} bytes came");
    Ok(())
}

fn push_small(server: &Server, material: &mut Material) -> Result<Duration> {
    material.next();
    let blobs: Vec<Vec<u8>> =
        (0..BLOBS).map(|n| noise(material.round * 1000 + n as u64, 4096)).collect();
    let began = Instant::now();
    for blob in &blobs {
        server.push_blob("bench", blob);
    }
    Ok(began.elapsed())
}

fn heads(server: &Server, _: &mut Material) -> Result<Duration> {
    let mut reader = BufReader::new(server.connect());
    let began = Instant::now();
    for _ in 0..SMALL {
        head(&mut reader)?;
    }
    Ok(began.elapsed())
}

/// One request on a connection that stays.
fn head(reader: &mut BufReader<TcpStream>) -> Result<()> {
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let request =
        format!("HEAD /v2/bench/manifests/v1 HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
    reader.get_mut().write_all(request.as_bytes())?;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    ensure!(line.contains(" 200 "), "{line}");
    while line.trim() != "" {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "the connection ended");
    }
    Ok(())
}
