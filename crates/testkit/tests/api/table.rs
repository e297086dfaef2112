//! `docs/api.md`: what a running daemon answers to a minimal request of every operation that the
//! API's definition has. Run with `ISOPOD_REWRITE_DOCS=1` to write the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use testkit::shape::operations;
use testkit::{Daemon, Response};

/// Since which version operations are there, where that is after 1.24.
const SINCE: &[(&str, &[&str])] = &[
    (
        "1.25",
        &[
            "POST /containers/prune",
            "POST /images/prune",
            "POST /networks/prune",
            "POST /volumes/prune",
            "GET /system/df",
            "/plugins",
            "/secrets",
        ],
    ),
    ("1.26", &["POST /plugins/{name}/upgrade"]),
    ("1.29", &["GET /services/{id}/logs", "GET /tasks/{id}/logs"]),
    ("1.30", &["/configs", "GET /distribution/{name}/json"]),
    ("1.31", &["POST /session", "POST /build/prune"]),
    ("1.40", &["HEAD /_ping"]),
    ("1.42", &["PUT /volumes/{name}"]),
    ("1.55", &["GET /images/{name}/attestations"]),
];

/// What a probe needs beyond the names in its path: a query and a body.
const PROBES: &[(&str, &str, &str)] = &[
    ("GET /events", "until=1", ""),
    ("GET /images/search", "term=x", ""),
    ("POST /images/create", "fromImage=127.0.0.1:1/x&tag=1", ""),
    ("GET /containers/{id}/logs", "stdout=1", ""),
    ("GET /containers/{id}/archive", "path=/", ""),
    ("HEAD /containers/{id}/archive", "path=/", ""),
    ("PUT /containers/{id}/archive", "path=/", ""),
    ("POST /containers/{id}/resize", "h=1&w=1", ""),
    ("POST /containers/{id}/rename", "name=x", ""),
    ("POST /exec/{id}/resize", "h=1&w=1", ""),
    ("POST /commit", "container=nope", ""),
    ("GET /services/{id}/logs", "stdout=1", ""),
    ("GET /tasks/{id}/logs", "stdout=1", ""),
    ("POST /nodes/{id}/update", "version=1", "{}"),
    ("POST /services/{id}/update", "version=1", "{}"),
    ("POST /secrets/{id}/update", "version=1", "{}"),
    ("POST /configs/{id}/update", "version=1", "{}"),
    ("POST /swarm/update", "version=1", "{}"),
    ("POST /swarm/init", "", r#"{"ListenAddr":"0.0.0.0:2377"}"#),
    ("POST /swarm/join", "", r#"{"ListenAddr":"0.0.0.0:2377"}"#),
    ("GET /plugins/privileges", "remote=x", ""),
    ("POST /plugins/pull", "remote=x", "[]"),
    ("POST /plugins/create", "name=x", ""),
    ("POST /plugins/{name}/enable", "timeout=0", ""),
    ("POST /plugins/{name}/upgrade", "remote=x", "[]"),
    ("POST /plugins/{name}/set", "", "[]"),
    ("POST /networks/create", "", r#"{"Name":"probed"}"#),
    ("GET /images/{name}/attestations", "", ""),
];

/// What is not as the definition says, or not there.
const REMARKS: &[(&str, &str)] = &[
    ("POST /containers/{id}/start", "`checkpoint` is refused (501)."),
    (
        "POST /build",
        "The builder is our own; `version=2` (BuildKit) is refused with what to do instead.",
    ),
    ("POST /session", "There is no BuildKit: 400 without `Upgrade`, page not found with it."),
    (
        "GET /images/json",
        "`identity` brings the manifests; nothing is known of who vouches for an image.",
    ),
    ("GET /images/{name}/json", "No `Identity`: nothing is known of who vouches for an image."),
    (
        "GET /images/{name}/attestations",
        "The store keeps no attestations; as dockerd's store of layers says.",
    ),
    ("GET /images/{name}/get", "Images have one platform each; two of them are refused (400)."),
    ("GET /images/get", "Images have one platform each; two of them are refused (400)."),
    ("POST /images/load", "Images have one platform each; two of them are refused (400)."),
    ("GET /info", "No `Containerd`, `NRI` and `DiscoveredDevices`: there are none."),
    ("POST /networks/create", "Networks of swarms are refused (501)."),
    ("GET /networks/{id}", "`verbose` shows no services: there are none."),
    ("POST /volumes/create", "`ClusterVolumeSpec` is for swarms and not looked at."),
];

/// What we have beyond the definition.
const OWN: &[(&str, &str)] = &[
    ("POST /system/check", "Verifies all images and layers, and repairs them with `repair`."),
    ("GET /images/tree", "The layers of all images as a tree."),
    ("GET /images/{name}/oci", "An image's own documents."),
    ("GET /images/{name}/diff", "What another image (`other`) has otherwise."),
    ("POST /images/{name}/squash", "A new image of fewer layers."),
    ("POST /build/session", "What builds ask our command line for: files, secrets, keys."),
    ("POST /build/cancel", "Ends a build."),
    ("GET /isopod/secrets", "Secrets without a swarm; create, inspect and remove beside it."),
    ("GET /isopod/configs", "Configs without a swarm; create, inspect and remove beside it."),
    (
        "POST /isopod/machines/templates/build",
        "Has the template for machines of a size (`memory`, `nanocpus`, `architecture`).",
    ),
    (
        "GET /isopod/machines/snapshots",
        "Snapshots of machines' disks; create and remove beside it.",
    ),
    ("POST /volumes/{name}/clone", "A copy of a volume."),
    ("POST /volumes/{name}/snapshot", "A copy that nobody may write to."),
    ("GET /volumes/{name}/export", "A volume's files as a tar."),
    ("POST /volumes/{name}/import", "A volume from a tar."),
];

/// The newest version there is, as the refusal of a newer one says.
fn newest(daemon: &Daemon) -> String {
    let client = daemon.engine().client();
    let refusal = client.request("GET", "/v1.999/info", &[], b"").expect(400).message();
    format!("/v{}", refusal.rsplit(' ').next().unwrap())
}

fn probe(daemon: &Daemon, operation: &str) -> Response {
    let (method, path) = operation.split_once(' ').unwrap();
    let (_, query, body) =
        PROBES.iter().find(|(name, ..)| *name == operation).copied().unwrap_or_default();
    let mut path = path.replace("{id}", "nope").replace("{name}", "nope");
    if !query.is_empty() {
        path = format!("{path}?{query}");
    }
    let known = operations().get(operation).map(|known| &known["parameters"]["body"]);
    let wants = known.is_some_and(Value::is_array);
    let body = if body.is_empty() && wants && !path.contains("archive") { "{}" } else { body };
    let headers = [("Content-Type", "application/json")];
    let headers = if body.is_empty() { &[][..] } else { &headers };
    let path = format!("{}{path}", newest(daemon));
    daemon.engine().client().request(method, &path, headers, body.as_bytes())
}

/// In a word, what an answer says about its operation.
fn verdict(answer: &Response) -> &'static str {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = said["message"].as_str().unwrap_or_default();
    match answer.status {
        404 | 405 if said == "page not found" => "not there",
        404 if said.starts_with("plugin ") => "none there",
        501 => "refused",
        400 if said == "no upgrade proto in request" => "refused",
        503 if said.contains("swarm") => "outside a swarm",
        _ => "yes",
    }
}

fn since(operation: &str) -> &'static str {
    let path = operation.split_once(' ').unwrap().1;
    let fits = |name: &&str| *name == operation || name.starts_with('/') && path.starts_with(*name);
    // The most exact comes last.
    let found = SINCE.iter().rev().find(|(_, names)| names.iter().any(&fits));
    found.map_or("", |(version, _)| version)
}

fn generate(daemon: &Daemon) -> String {
    let version = daemon.engine().get("/version").json();
    let (usual, oldest) = (&version["ApiVersion"], &version["MinAPIVersion"]);
    let mut rows = BTreeMap::<&str, Vec<String>>::new();
    let mut counts = BTreeMap::<&str, usize>::new();
    for (operation, known) in operations() {
        let verdict = verdict(&probe(daemon, operation));
        *counts.entry(verdict).or_default() += 1;
        let remark = REMARKS.iter().find(|(name, _)| name == operation);
        let remark = remark.map_or("", |(_, remark)| remark);
        let (method, path) = operation.split_once(' ').unwrap();
        let noun = path.split('/').nth(1).unwrap();
        let names = |place: &str| -> Vec<String> {
            let list = known["parameters"][place].as_array().into_iter().flatten();
            list.map(|name| format!("`{}`", name.as_str().unwrap())).collect()
        };
        let row = format!(
            "| `{method} {path}` | {verdict} | {} | {} | {remark} |",
            since(operation),
            names("query").join(" ")
        );
        rows.entry(noun).or_default().push(row);
    }
    let mut text = format!(
        "# The Engine API, operation by operation\n\n\
         Written by `crates/testkit/tests/api/table.rs` from what a running daemon answers to a minimal\n\
         request of each operation in the API's definition (1.56); the test fails when this file is not\n\
         what it would write, and writes it when `ISOPOD_REWRITE_DOCS=1` is set. Versions {} to {} are\n\
         spoken, and {} to those who ask for none: later ones lack what many clients still read. What\n\
         differs between them is tested in `versions.rs` beside it.\n\n\
         Of {} operations:\n\n",
        oldest.as_str().unwrap(),
        newest(daemon).trim_start_matches("/v"),
        usual.as_str().unwrap(),
        operations().len(),
    );
    for (verdict, meaning) in [
        ("yes", "served as documented, but for what is remarked"),
        ("outside a swarm", "answered as by a dockerd that is not in a swarm (503)"),
        ("none there", "answered as by a dockerd without plugins (404)"),
        ("refused", "refused, as there is no such thing here (501, or as remarked)"),
        ("not there", "page not found"),
    ] {
        let count = counts.remove(verdict).unwrap_or_default();
        let _ = writeln!(text, "- **{verdict}** ({count}): {meaning}.");
    }
    assert!(counts.is_empty(), "{counts:?}");
    for (noun, rows) in rows {
        let _ = writeln!(
            text,
            "\n## {noun}\n\n| operation | served | since | query | remarks |\n| --- | --- | --- | --- | --- |\n{}",
            rows.join("\n")
        );
    }
    text.push_str(
        "\n## Beyond the definition\n\nOur own, for our own command line.\n\n| operation | what it does |\n| --- | --- |\n",
    );
    for (operation, what) in OWN {
        let answer = probe(daemon, operation);
        assert_ne!(verdict(&answer), "not there", "{operation}: {}", answer.text());
        let _ = writeln!(text, "| `{operation}` | {what} |");
    }
    text
}

#[test]
fn privileged_the_table_of_the_api_is_what_is_served() {
    for (name, _) in REMARKS {
        assert!(operations().contains_key(*name), "{name} is not in the definition");
    }
    let daemon = Daemon::isopod();
    let text = generate(&daemon);
    daemon.stop().unwrap();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    if std::env::var_os("ISOPOD_REWRITE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let wrong = text.lines().zip(found.lines().chain(std::iter::repeat(""))).find(|(a, b)| a != b);
    assert!(
        found == text,
        "docs/api.md is not what is served; ISOPOD_REWRITE_DOCS=1 writes it: {wrong:?}"
    );
}
