//! What our command line asks the daemon is what Docker's asks.
//!
//! `create_bodies.json` holds command lines and the create requests that Docker's own client
//! (28.2) sends for them. Ours must send the same, up to the difference between empty and
//! absent. `cargo test -p isopod-cli --test create_bodies -- --ignored` writes the file anew with
//! the `docker` in the path.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use docker_api::container::CreateBody;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A command line and the request it leads to.
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    args: Vec<String>,
    query: String,
    body: Value,
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/create_bodies.json")
}

/// Answers one connection after another until a create request has come; returns its query and
/// body. The answer is an error, so the client ends.
fn record(listener: &UnixListener) -> (String, Value) {
    loop {
        let (stream, _) = listener.accept().expect("a client");
        if let Some(request) = serve(stream) {
            return request;
        }
    }
}

fn serve(stream: UnixStream) -> Option<(String, Value)> {
    let mut writer = stream.try_clone().expect("a second handle");
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let created = target.contains("/containers/create");
        let (status, text) = if created {
            ("500 Internal Server Error", "{\"message\":\"recorded\"}")
        } else if target.ends_with("/info") {
            ("200 OK", "{\"OSType\":\"linux\"}")
        } else {
            ("200 OK", "OK")
        };
        let head = line.starts_with("HEAD");
        write!(
            writer,
            "HTTP/1.1 {status}\r\nApi-Version: 1.50\r\nOstype: linux\r\nServer: Docker/28.2.2 (linux)\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
            text.len(),
            if head { "" } else { text }
        )
        .ok()?;
        if created {
            let query = target.split_once('?').map_or("", |(_, query)| query).to_owned();
            return Some((query, serde_json::from_slice(&body).expect("JSON")));
        }
    }
}

/// Takes out of a body what a body that asks for nothing has as well.
fn strip(value: Value, default: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(name, value)| default.get(name) != Some(value) && !value.is_null())
                .map(|(name, value)| {
                    let inner = default.get(&name).unwrap_or(&Value::Null);
                    (name.clone(), strip(value, inner))
                })
                .collect(),
        ),
        other => other,
    }
}

/// Where two values differ.
fn differences(ours: &Value, docker: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, docker) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                let at = |map: &serde_json::Map<String, Value>| {
                    map.get(name).cloned().unwrap_or_default()
                };
                differences(&at(a), &at(b), &format!("{path}.{name}"), found);
            }
        }
        _ if ours == docker => {}
        _ => found.push(format!("  {path}: ours {ours}, docker {docker}")),
    }
}

/// Names of fields in a body that nobody of us knows.
fn unknown(sent: &Value, known: &Value, path: &str, names: &mut Vec<String>) {
    if let (Value::Object(sent), Value::Object(known)) = (sent, known) {
        for (name, value) in sent {
            let empty = match value {
                Value::Null => true,
                Value::Bool(truth) => !truth,
                Value::Number(number) => number.as_f64() == Some(0.0),
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(fields) => fields.is_empty(),
            };
            match known.get(name) {
                Some(inner) => unknown(value, inner, &format!("{path}.{name}"), names),
                None if empty => {}
                None => names.push(format!("{path}.{name}")),
            }
        }
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.replace("%2F", "/"))
        })
        .collect()
}

#[test]
fn our_requests_are_dockers() {
    let recorded: Vec<Recorded> =
        serde_json::from_slice(&std::fs::read(file()).expect("recorded bodies")).expect("JSON");
    assert!(recorded.len() > 60, "only {} command lines", recorded.len());
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let mut wrong = Vec::new();
    for line in &recorded {
        let mut args = vec![
            "--config".to_owned(),
            directory.path().join("none").to_string_lossy().into_owned(),
            "-H".to_owned(),
            format!("unix://{}", socket.display()),
        ];
        args.extend(line.args.iter().cloned());
        let client = std::thread::spawn(move || cli::main(&args));
        let (sent_query, sent) = record(&listener);
        client.join().expect("no panic");
        let mut ours: CreateBody = serde_json::from_value(sent).expect("a create body");
        let mut theirs: CreateBody =
            serde_json::from_value(line.body.clone()).expect("a create body");
        let mut names = Vec::new();
        let back = serde_json::to_value(&theirs).expect("serialises");
        unknown(&line.body, &back, "", &mut names);
        // Docker's client keeps variables in a map, so their order is chance.
        ours.config.env.sort();
        theirs.config.env.sort();
        // The size of a terminal that neither has.
        theirs.host_config.console_size = ours.host_config.console_size;
        if !names.is_empty() {
            wrong.push(format!("{:?}: unknown fields {names:?}", line.args));
        }
        if ours != theirs {
            let value = |body| serde_json::to_value(body).expect("serialises");
            let mut found = Vec::new();
            differences(&value(ours), &value(theirs), "", &mut found);
            wrong.push(format!("{:?}:\n{}", line.args, found.join("\n")));
        }
        if query(&sent_query) != query(&line.query) {
            wrong.push(format!("{:?}: {sent_query} instead of {}", line.args, line.query));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Writes the file anew; needs Docker's client 28.
#[test]
#[ignore = "records from an installed docker client"]
fn record_docker() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let mut all = Vec::new();
    for line in LINES {
        let args: Vec<String> = words(line);
        let mut client = Command::new("docker")
            .arg("-H")
            .arg(format!("unix://{}", socket.display()))
            .args(&args)
            .env("DOCKER_CONFIG", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker");
        listener.set_nonblocking(true).expect("set");
        let begun = std::time::Instant::now();
        let request = loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("set");
                    if let Some(request) = serve(stream) {
                        break request;
                    }
                }
                Err(_) => {
                    if client.try_wait().expect("waited").is_some() {
                        let mut text = String::new();
                        client
                            .stderr
                            .take()
                            .expect("piped")
                            .read_to_string(&mut text)
                            .expect("text");
                        panic!("{line}: {text}");
                    }
                    assert!(begun.elapsed().as_secs() < 10, "{line}: nothing came");
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
        };
        client.wait().expect("waited");
        let default = serde_json::to_value(CreateBody::default()).expect("serialises");
        all.push(Recorded { args, query: request.0, body: strip(request.1, &default) });
    }
    let lines: Vec<String> =
        all.iter().map(|line| serde_json::to_string(line).expect("serialises")).collect();
    std::fs::write(file(), format!("[\n{}\n]\n", lines.join(",\n"))).expect("written");
}

/// Splits at blanks; a word in single quotes may hold blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').expect("a closing quote"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

const LINES: &[&str] = &[
    "create busybox",
    "create busybox sh -c 'echo hi'",
    "run busybox",
    "run -d busybox sleep 100",
    "run -i busybox cat",
    "run --rm -i --name web busybox cat -n",
    "create -it busybox sh",
    "create -t --interactive=false busybox",
    "create -a stdout -a STDERR busybox",
    "create -i -a stdin busybox",
    "create -e A=1 --env B=2=3 -e ISOPOD_TEST_NOT_SET busybox",
    "create -l a=b --label c --label-file /dev/null busybox",
    "create --annotation a=b --annotation c=d busybox",
    "create -u 1000:1000 -w /srv --group-add 5 --group-add audio busybox",
    "create --entrypoint /bin/ls busybox -l /",
    "create --entrypoint '' busybox",
    "create -p 8080:80 busybox",
    "create -p 127.0.0.1:8080:80/udp -p 443 -p '[::1]:9000:9000' busybox",
    "create -p 8000-8002:80-82 --expose 90-92/udp --expose 53 busybox",
    "create -p 8000-8100:80 busybox",
    "create -p target=80,published=8080,protocol=tcp busybox",
    "create -P busybox",
    "create -v /a:/b:ro -v vol:/c -v /anonymous busybox",
    "create --mount type=bind,source=/a,target=/b,readonly busybox",
    "create --mount type=bind,src=/a,dst=/b,bind-propagation=rslave,bind-recursive=disabled busybox",
    "create --mount type=volume,src=v,dst=/v,volume-nocopy,volume-label=a=b,volume-driver=local,volume-opt=type=tmpfs busybox",
    "create --mount type=volume,dst=/v,volume-subpath=x/y busybox",
    "create --mount type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770 busybox",
    "create --mount type=image,source=alpine,target=/i,image-subpath=etc busybox",
    "create --tmpfs /run:rw,size=64m --tmpfs /x busybox",
    "create --volumes-from a --volumes-from b:ro --volume-driver local busybox",
    "create --read-only --storage-opt size=10G busybox",
    "create --network net busybox",
    "create --network net --network second busybox",
    "create --network none busybox",
    "create --network host busybox",
    "create --network container:web busybox",
    "create --network bridge busybox",
    "create --network net --network-alias a --network-alias b busybox",
    "create --network net --ip 10.0.0.5 --ip6 2001:db8::5 --link-local-ip 169.254.1.1 busybox",
    "create --network name=net,alias=a,ip=10.0.0.5,mac-address=02:42:ac:11:00:02,driver-opt=k=v,gw-priority=5 --network second busybox",
    "create --network net --mac-address 92:d0:c6:0a:29:33 busybox",
    "create --mac-address 92:d0:c6:0a:29:33 busybox",
    "create --link db --link cache:c busybox",
    "create --network net --link db:d busybox",
    "create --add-host a:1.2.3.4 --add-host b=::1 --add-host c:host-gateway busybox",
    "create --dns 8.8.8.8 --dns-search example.com --dns-option ndots:2 --dns-opt timeout:1 busybox",
    "create -h web --domainname example.com busybox",
    "create -m 512m --memory-swap -1 --memory-reservation 256m --memory-swappiness 10 busybox",
    "create --cpus 1.5 -c 512 --cpuset-cpus 0-1 --cpuset-mems 0 busybox",
    "create --cpu-period 50000 --cpu-quota 25000 --cpu-rt-period 1000000 --cpu-rt-runtime 950000 busybox",
    "create --blkio-weight 300 --blkio-weight-device /dev/sda:200 busybox",
    "create --device-read-bps /dev/sda:1mb --device-write-bps /dev/sda:2mb --device-read-iops /dev/sda:10 --device-write-iops /dev/sda:20 busybox",
    "create --pids-limit 100 --oom-kill-disable --oom-score-adj -500 busybox",
    "create --pids-limit -1 --shm-size 128m busybox",
    "create --ulimit nofile=1024:2048 --ulimit nproc=10 --ulimit core=-1 busybox",
    "create --device /dev/null --device /dev/zero:/dev/z:r --device /dev/full:rw busybox",
    "create --device-cgroup-rule 'c 13:* rwm' busybox",
    "create --device vendor.com/class=name busybox",
    "create --gpus all busybox",
    "create --gpus '\"device=0,1\",driver=nvidia,capabilities=compute,options=a=b' busybox",
    "create --cap-add NET_ADMIN --cap-drop ALL --privileged busybox",
    "create --cap-add net_raw --cap-add CAP_SYS_ADMIN --cap-add NET_RAW --cap-drop chown busybox",
    "create --cap-add ALL --cap-add NET_RAW --cap-drop NET_RAW --cap-drop KILL busybox",
    "create --cap-add NET_RAW --cap-drop NET_RAW --cap-drop KILL busybox",
    "create --cap-drop ALL --cap-drop KILL --cap-add KILL busybox",
    "create --security-opt no-new-privileges --security-opt label=disable --security-opt seccomp=unconfined busybox",
    "create --security-opt systempaths=unconfined --security-opt apparmor=x busybox",
    "create --sysctl net.ipv4.ip_forward=1 --sysctl kernel.msgmax=1 busybox",
    "create --ipc host --pid host --uts host --userns host --cgroupns private busybox",
    "create --ipc container:a --pid container:b --cgroup-parent /x busybox",
    "create --init busybox",
    "create --init=false busybox",
    "create --restart always busybox",
    "create --restart on-failure:3 busybox",
    "create --restart unless-stopped busybox",
    "create --log-driver json-file --log-opt max-size=1m --log-opt max-file=3 busybox",
    "create --health-cmd 'curl localhost' --health-interval 5s --health-timeout 1m30s --health-retries 3 --health-start-period 1s --health-start-interval 500ms busybox",
    "create --no-healthcheck busybox",
    "create --stop-signal SIGINT --stop-timeout 30 busybox",
    "create --isolation process --runtime runc busybox",
    "create --platform linux/arm64 --pull never --name a.b-c busybox",
    "create --rm --quiet busybox",
    "create -- busybox -x --name y",
    "run -d --rm -p80:80 -eA=1 -v/a:/b -w=/srv --name=web busybox:1 -it --rm",
];
