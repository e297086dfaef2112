//! What the classic builder does not have.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::context::{Build, Built, Context, caches};
use super::run;
use testkit::engine::VERSION;
use testkit::http::Hijacked;
use testkit::registry::{Options, Registry};
use testkit::{Daemon, Engine, Value, eventually, image, json, unique};

const SOON: Duration = Duration::from_secs(60);

fn alone(text: &str) -> Context {
    Context::new().file("Dockerfile", text)
}

/// What builds leave behind, if they leave anything.
fn remains(engine: &Engine) -> Vec<String> {
    let temporary = std::fs::read_dir(engine.data_root.join("build")).unwrap();
    let names = temporary.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("tmp-")).collect()
}

/// Waits until what there is now is gone: directories go soon after their build has ended. Others
/// build on the same engine, and what they begin later does not count.
fn nothing_remains(engine: &Engine) {
    let mut left = remains(engine);
    eventually("the builds' directories are gone", SOON, || {
        let now = remains(engine);
        left.retain(|name| now.contains(name));
        left.is_empty().then_some(())
    });
}

#[test]
fn privileged_mounts_and_documents_serve_their_step_only() {
    let engine = Engine::isopod();
    let id = unique("cache");
    let context = alone(&format!(
        "FROM busybox AS other\nRUN mkdir /o && echo other > /o/f\n\
         FROM busybox\n\
         RUN --mount=type=cache,id={id},target=/cache echo x >> /cache/n && wc -l < /cache/n > /count\n\
         RUN --mount=from=other,source=/o,target=/m/deep,rw cat /m/deep/f > /got && echo y > /m/deep/new\n\
         RUN --mount=type=tmpfs,target=/t touch /t/x\n\
         RUN --mount=type=bind,target=/c,rw ls -A /c > /context && touch /c/new\n\
         RUN <<END\nset -e\necho one > /one\necho two >> /one\nEND\n\
         RUN <<S\n#!/bin/sh\necho $0 > /script\nS\n\
         COPY <<A <<\"B\" /docs/\n$PATH\nA\n$PATH\nB\n\
         RUN --network=none ls /sys/class/net > /net\n"
    ));
    let built = Build::of(&engine, &context).done();
    let _ = Build::of(&engine, &context).query("nocache", "1").done();
    let script = "cat /count /got /context /one /script /net; cat /docs/B; ls -d /cache /c /m /t /run /dev/pipes 2>&1 \
                  | grep -vc 'No such'; true";
    assert_eq!(
        run(&engine, &built.id(), script),
        "1\nother\nDockerfile\none\ntwo\n/dev/pipes/S\nlo\n$PATH\n0\n"
    );
    let second = Build::of(&engine, &context).query("nocache", "1").done();
    assert_eq!(run(&engine, &second.id(), "cat /count"), "3\n");
    nothing_remains(&engine);
}

/// Where every container is put into a machine, the steps of a build are not: their layer is what they
/// wrote on the host.
#[test]
fn privileged_steps_are_processes_whatever_the_daemon_prefers() {
    let daemon = crate::vm::daemon_with(&["--isolation", "vm", "--vm-spares=0"]);
    let engine = daemon.engine();
    let context = alone(
        "FROM busybox\n\
         RUN --mount=type=cache,target=/cache echo kept > /cache/n && cp /cache/n /kept\n\
         RUN true\n",
    );
    let built = Build::of(&engine, &context).done();
    let said = built.text();
    assert_eq!(said.matches("run as processes on this host, not in machines").count(), 1, "{said}");
    let config = json!({"Image": built.id(), "HostConfig": {"Isolation": "process"}});
    assert_eq!(engine.sh("cat /kept", config), "kept\n");
    // Whoever wants them elsewhere hears that.
    let refused = engine.upload("/build?isolation=vm", &[0; 1024]);
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("unsupported isolation: \\\"vm\\\""), "{}", refused.text());
    daemon.stop().unwrap();
}

/// A client's end of a session, by hand.
struct Session {
    stream: Hijacked,
    waiting: Vec<u8>,
}

const SECRET: u8 = 1;
const OUTPUT: u8 = 3;
const ACCEPT: u8 = 4;
const REFUSE: u8 = 5;
const DATA: u8 = 6;
const CLOSE: u8 = 7;

impl Session {
    fn open(engine: &Engine, id: &str) -> Self {
        let path = format!("{VERSION}/build/session?id={id}");
        let stream = engine.client().hijack(&path, true, b"").expect("a session");
        Self { stream, waiting: Vec::new() }
    }

    fn say(&mut self, kind: u8, number: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
        frame.push(kind);
        frame.extend(number.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).unwrap();
    }

    /// The next frame; nothing once the engine has closed the session.
    fn hear(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        loop {
            if let Some((head, rest)) = self.waiting.split_first_chunk::<9>() {
                let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
                if rest.len() >= length {
                    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    let frame = (head[4], number, rest[..length].to_vec());
                    self.waiting.drain(..9 + length);
                    return Some(frame);
                }
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece).unwrap_or(0) {
                0 => return None,
                count => self.waiting.extend(&piece[..count]),
            }
        }
    }
}

#[test]
fn privileged_secrets_stay_secret_and_results_come_through_the_session() {
    let engine = Engine::isopod();
    let (name, hush) = (unique("session"), unique("hush"));
    let mut session = Session::open(&engine, &name);
    let serving = std::thread::spawn({
        let hush = hush.clone();
        move || {
            let mut tar = Vec::new();
            while let Some((kind, number, payload)) = session.hear() {
                match kind {
                    SECRET if payload == b"known" => {
                        session.say(DATA, number, hush.as_bytes());
                        session.say(CLOSE, number, b"");
                    }
                    SECRET => session.say(REFUSE, number, b"no such secret"),
                    OUTPUT => session.say(ACCEPT, number, b""),
                    DATA => tar.extend(payload),
                    CLOSE => {
                        session.say(CLOSE, number, b"");
                        return tar;
                    }
                    other => panic!("a frame of kind {other}"),
                }
            }
            panic!("the session ended");
        }
    });
    let context = alone(
        "FROM busybox AS b\n\
         RUN --mount=type=secret,id=known,mode=0440,uid=5 stat -c '%a %u' /run/secrets/known > /seen; \
             wc -c < /run/secrets/known >> /seen\n\
         RUN --mount=type=secret,id=known,env=HUSH test -n \"$HUSH\" && env | grep -c HUSH > /env\n\
         RUN --mount=type=secret,id=unknown ls /run/secrets > /none 2>&1 || true\n\
         FROM scratch\nCOPY --from=b /seen /env /none /\n",
    );
    let built = Build::of(&engine, &context)
        .query("session", &name)
        .query("progress", "events")
        .query("outputs", r#"[{"Type":"tar","Attrs":{"dest":"-"}},{"Type":"image"}]"#)
        .done();
    let tar = serving.join().unwrap();
    let mut archive = tar::Archive::new(&tar[..]);
    let mut files = std::collections::BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        let path = entry.path().unwrap().display().to_string();
        entry.read_to_string(&mut text).unwrap();
        files.insert(path.trim_start_matches("./").to_owned(), text);
    }
    assert_eq!(files["seen"], format!("440 5\n{}\n", hush.len()));
    assert_eq!(files["env"], "1\n");
    assert!(files["none"].contains("No such file"), "{}", files["none"]);
    // Neither the image nor what is remembered has it.
    let saved = engine.get(&format!("/images/{}/get", built.id())).expect(200).body;
    let cache = std::fs::read(engine.data_root.join("build/cache.json")).unwrap();
    for place in [saved, cache] {
        assert!(!place.windows(hush.len()).any(|window| window == hush.as_bytes()));
    }
    let required = alone("FROM busybox\nRUN --mount=type=secret,id=a,required true\n");
    let (_, message) = Build::of(&engine, &required).failed();
    assert!(message.contains("secret \"a\": not found"), "{message}");
}

#[test]
fn privileged_a_build_that_is_hung_up_on_leaves_nothing() {
    let engine = Engine::isopod();
    let mark = unique("cancelled");
    let context = alone(&format!(
        "FROM busybox\nRUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t echo up; sleep 600; : {mark}\n"
    ));
    let build = Build::of(&engine, &context);
    let headers = [("Content-Type", "application/x-tar")];
    let path = build.path();
    let mut open = engine.client().open("POST", &path, &headers, &context.bytes());
    while !open.line().expect("more text").contains("up\\n") {}
    let runs = || {
        let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(&mark)).count()
    };
    assert!(runs() > 0);
    assert!(!engine.get("/containers/json?all=1").expect(200).text().contains(&mark));
    drop(open);
    eventually("the step has ended", SOON, || (runs() == 0).then_some(()));
    nothing_remains(&engine);
}

#[test]
fn privileged_a_cache_that_is_not_here_is_fetched() {
    let daemon = Daemon::isopod();
    let engine = daemon.engine();
    let base = image::busybox(&["busybox:latest"]);
    let _ = engine.upload("/images/load?quiet=1", &base.tar).expect(200);
    let netns = engine.netns.as_deref();
    let registry = Registry::start(&Options { netns, ..Options::default() });
    let name = format!("{}/cache:1", registry.host());
    let context = alone("FROM busybox\nRUN echo long > /made\n");
    let first = Build::of(&engine, &context).tag(&name).done().id();
    let path = format!("/images/{}/push?tag=1", name.trim_end_matches(":1"));
    let told = engine.client().request("POST", &path, &[("X-Registry-Auth", "e30=")], b"");
    assert!(!told.expect(200).text().contains("error"));
    let forget = || {
        let _ = engine.delete(&format!("/images/{first}?force=1")).expect(200);
        let _ = engine.act("/build/prune?all=1").expect(200);
    };
    let build = |from: &str| {
        let from = json!([from]).to_string();
        Build::of(&engine, &context).query("progress", "events").query("cachefrom", &from).done()
    };
    let cached = |built: &Built| {
        let made = |event: &&Value| event["event"] == "finished" && event["cached"] == true;
        built.events().iter().filter(made).count()
    };
    forget();
    let again = build(&name);
    assert_eq!((again.id(), cached(&again)), (first.clone(), 2));
    forget();
    // One that cannot be had is told of, and the build goes on.
    let without = build("127.0.0.1:1/nothing");
    assert_eq!(cached(&without), 1);
    let told = without.events().into_iter().find(|event| event["event"] == "warning");
    let message = told.unwrap()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("no cache was imported from 127.0.0.1:1/nothing"), "{message}");
}

#[test]
fn privileged_the_same_epoch_gives_the_same_image() {
    let engine = Engine::isopod();
    let mark = unique("epoch");
    let context = Context::new()
        .file("Dockerfile", &format!("FROM busybox\nLABEL m={mark}\nWORKDIR /w\nCOPY f .\nRUN date > /dev/null; touch made\n"))
        .file("f", "x");
    let build = || {
        Build::of(&engine, &context)
            .query("nocache", "1")
            .query("buildargs", r#"{"SOURCE_DATE_EPOCH":"1234567890"}"#)
            .done()
            .id()
    };
    let first = build();
    let _ = engine.delete(&format!("/images/{first}?force=1")).expect(200);
    assert_eq!(build(), first);
    assert_eq!(run(&engine, &first, "stat -c %Y /w/made"), "1234567890\n");
}

#[test]
fn privileged_independent_stages_are_done_at_once_and_events_say_so() {
    let engine = Engine::isopod();
    let mark = unique("both");
    // Each waits for the other: one after the other they would never end.
    let meet = |mine: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,id={mark},target=/c : > /c/{mine}; \
             n=0; while ! test -e /c/{other}; do n=$((n+1)); test $n -lt 3000 || exit 9; usleep 10000; done; : > /{mine}\n"
        )
    };
    let dockerfile = format!(
        "FROM busybox AS a\n{}FROM busybox AS b\n{}FROM busybox AS unneeded\nRUN exit 1\n\
         FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        meet("a", "b"),
        meet("b", "a"),
    );
    let built = Build::of(&engine, &alone(&dockerfile)).query("progress", "events").done();
    assert_eq!(run(&engine, &built.id(), "ls /a /b"), "/a\n/b\n");
    let events = built.events();
    let steps = events[0]["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert!(!names.contains(&"RUN exit 1"), "{names:?}");
    let of = |event: &str| {
        let chosen = events.iter().filter(|found| found["event"] == event);
        chosen.filter_map(|found| found["step"].as_u64()).collect::<std::collections::BTreeSet<_>>()
    };
    let all: std::collections::BTreeSet<u64> =
        steps.iter().filter_map(|step| step["number"].as_u64()).collect();
    assert_eq!(of("started"), all);
    assert_eq!(of("finished"), all);
}

#[test]
fn privileged_failures_name_their_place() {
    let engine = Engine::isopod();
    let context = alone("FROM busybox\n\nRUN true && \\\n    exit 3\n");
    let headers = [("Content-Type", "application/x-tar")];
    let path = Build::of(&engine, &context).query("progress", "events").path();
    let answer = engine.client().request("POST", &path, &headers, &context.bytes()).expect(200);
    let source = answer.text();
    let source = source.lines().find(|line| line.contains("\"source\"")).expect("a place");
    let source: Value = serde_json::from_str(source).unwrap();
    assert_eq!(source["aux"]["line"], 3);
    assert_eq!(source["aux"]["column"], 1);
    assert_eq!(source["aux"]["excerpt"][2][1], "RUN true && \\");
}

#[test]
fn privileged_a_prune_frees_what_no_image_has() {
    let engine = Engine::isopod();
    let (tag, mark) = (unique("pruned"), unique("m"));
    let context = alone(&format!("FROM busybox\nRUN echo {mark} > /{mark}\n"));
    let _: Built = Build::of(&engine, &context).tag(&tag).done();
    let known = || {
        let df = engine.get("/system/df").expect(200).json();
        let records = df["BuildCache"].as_array().unwrap().clone();
        records.into_iter().find(|record| record["Description"].as_str().unwrap().contains(&mark))
    };
    let record = known().expect("a record");
    assert_eq!(record["Shared"], true);
    let _ = engine.delete(&format!("/images/{tag}")).expect(200);
    let record = known().expect("a record");
    assert_eq!((&record["Shared"], &record["InUse"]), (&Value::Bool(false), &Value::Bool(false)));
    let id = record["ID"].as_str().unwrap();
    let filters = testkit::engine::filters(&testkit::json!({"id": [id]}));
    let pruned = engine.act(&format!("/build/prune?{filters}")).expect(200).json();
    assert_eq!(pruned["CachesDeleted"], testkit::json!([id]));
    assert!(pruned["SpaceReclaimed"].as_u64().unwrap() > 0, "{pruned}");
    assert!(known().is_none());
}

/// Serves the repositories below a directory where the engine's network is; gives the port.
fn git_server(engine: &Engine, folder: &Path) -> u16 {
    let listener = engine.on_its_network(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let base = format!("--base-path={}", folder.display());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut git = Command::new("git");
            git.args(["daemon", "--inetd", "--export-all", &base]);
            git.stdin(OwnedFd::from(stream.try_clone().unwrap())).stdout(OwnedFd::from(stream));
            std::thread::spawn(move || drop(git.stderr(Stdio::null()).status()));
        }
    });
    port
}

#[test]
fn privileged_a_commit_is_the_same_context_each_time() {
    let engine = Engine::isopod();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("repository");
    std::fs::create_dir_all(place.join("sub")).unwrap();
    let mark = unique("git");
    let text = format!("FROM busybox\nCOPY . /{mark}\nRUN ls -A /{mark} > /names\n");
    std::fs::write(place.join("Dockerfile"), &text).unwrap();
    std::fs::write(place.join("sub/Dockerfile"), &text).unwrap();
    for line in [
        &["init", "-q", "-b", "main"][..],
        &["add", "-A"],
        &["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "first"],
        &["tag", "v1"],
    ] {
        assert!(Command::new("git").args(line).current_dir(&place).status().unwrap().success());
    }
    let address = format!("git://127.0.0.1:{}/repository", git_server(&engine, folder.path()));
    let build = |address: &str| Build::of(&engine, &Context::new()).query("remote", address);
    let first = build(&address).done();
    assert_eq!(run(&engine, &first.id(), "cat /names"), "Dockerfile\nsub\n");
    let again = build(&format!("{address}#main")).done();
    assert_eq!((caches(&again.text()), again.id()), (2, first.id()), "{}", again.text());
    let below = build(&format!("{address}#v1:sub")).done();
    assert_eq!(run(&engine, &below.id(), "cat /names"), "Dockerfile\n");
    let keep = r#"{"BUILDKIT_CONTEXT_KEEP_GIT_DIR":"1"}"#;
    let kept = build(&address).query("buildargs", keep).done();
    assert_eq!(run(&engine, &kept.id(), "cat /names"), ".git\nDockerfile\nsub\n");
    let answer = build(&format!("{address}#nowhere")).answer();
    assert!(answer.message().contains("has no nowhere"), "{}", answer.text());
}
