//! `build` against a scripted daemon: what it sends, what it shows, what it answers in the session.

mod scripted;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};

use docker_api::build::session::{Decoder, Frame, Kind};
use docker_api::build::{BuildEvent, BuildStep};
use docker_api::progress::JsonMessage;
use scripted::{Daemon, Line, Request, text};
use types::Timestamp;

const ID: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn step(number: u32, kind: &str, name: &str, index: u32) -> BuildStep {
    let stage = if index > 0 { "stage-0" } else { "" };
    BuildStep {
        number,
        kind: kind.to_owned(),
        stage: stage.to_owned(),
        name: name.to_owned(),
        index,
        of: 2,
        line: index,
    }
}

fn at(tenths: i64) -> Timestamp {
    Timestamp(1_700_000_000_000_000_000 + tenths * 100_000_000)
}

fn event(event: &BuildEvent) -> JsonMessage {
    let aux = serde_json::to_value(event).expect("JSON");
    JsonMessage { aux: Some(aux), ..JsonMessage::default() }
}

/// Answers with messages; the end of the connection is the end of the answer.
fn tell(line: &mut Line, messages: &[JsonMessage]) {
    line.stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").expect("written");
    for message in messages {
        let text = serde_json::to_string(message).expect("JSON");
        line.stream.write_all(format!("{text}\r\n").as_bytes()).expect("written");
    }
    line.close();
}

fn good() -> Vec<JsonMessage> {
    [
        BuildEvent::Plan {
            steps: vec![
                step(0, "internal", "load build definition", 0),
                step(1, "pull", "FROM busybox", 1),
                step(2, "step", "RUN echo hi", 2),
            ],
        },
        BuildEvent::Started { step: 0, at: at(0) },
        BuildEvent::Finished { step: 0, cached: false, at: at(1) },
        BuildEvent::Finished { step: 1, cached: true, at: at(1) },
        BuildEvent::Started { step: 2, at: at(2) },
        BuildEvent::Log { step: 2, stream: 1, data: "hi".to_owned() },
        BuildEvent::Finished { step: 2, cached: false, at: at(7) },
        BuildEvent::Warning { message: "use json".to_owned(), line: 3, column: 1 },
        BuildEvent::Built { id: ID.to_owned(), names: vec!["app:latest".to_owned()] },
    ]
    .iter()
    .map(event)
    .collect()
}

fn context(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("made");
        fs::write(path, text).expect("written");
    }
    directory
}

/// The files of a tar.
fn files(tar: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar");
    entries
        .map(|entry| {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a path").to_string_lossy().into_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            (name, text)
        })
        .collect()
}

/// What was said behind the step that is the client's own, whose time and size are no matter.
fn behind_the_context(said: &[u8]) -> String {
    let said = text(said);
    let start = "#1 [internal] load build context\n#1 transferring context: ";
    let (own, rest) = said.split_once("\n\n").expect("several steps");
    assert!(own.starts_with(start) && own.contains("B done\n#1 DONE "), "{own}");
    rest.to_owned()
}

fn path(directory: &Path) -> &str {
    directory.to_str().expect("text")
}

#[test]
fn a_build_is_told_as_buildkit_tells_it() {
    let seen = Arc::new(Mutex::new(None::<Request>));
    let asked = Arc::clone(&seen);
    let daemon = Daemon::new(move |request, line| {
        *asked.lock().expect("unpoisoned") = Some(request.clone());
        tell(line, &good());
    });
    let at = context(&[
        ("Dockerfile", "FROM busybox"),
        (".dockerignore", "*.o\nDockerfile"),
        ("a.o", "object"),
        ("b.c", "source"),
    ]);
    let ids = at.path().join("id");
    let metadata = at.path().join("metadata");
    let output = daemon.run(&[
        "build",
        "-t",
        "app",
        "--build-arg",
        "A=1",
        "--iidfile",
        path(&ids),
        "--metadata-file",
        path(&metadata),
        path(at.path()),
    ]);
    assert_eq!(text(&output.stdout), "");
    assert_eq!(
        behind_the_context(&output.stderr),
        "#2 [internal] load build definition\n#2 DONE 0.1s\n\n#3 [1/2] FROM busybox\n#3 CACHED\n\n\
         #4 [2/2] RUN echo hi\n#4 0.500 hi\n#4 DONE 0.5s\n\n 1 warning found:\n - use json (line 3)\n"
    );
    assert_eq!(output.status.code(), Some(0));
    let request = seen.lock().expect("unpoisoned").take().expect("asked");
    assert!(request.target.starts_with("/build?"), "{}", request.target);
    for part in ["t=app", "dockerfile=Dockerfile", "progress=events", "rm=1"] {
        assert!(request.target.contains(part), "{part}: {}", request.target);
    }
    assert!(request.head.contains("x-registry-config:"), "{}", request.head);
    let sent = files(&request.body);
    let names: Vec<&str> = sent.keys().map(String::as_str).collect();
    assert_eq!(names, [".dockerignore", "Dockerfile", "b.c"], "the rules' own files are needed");
    assert_eq!(fs::read_to_string(ids).expect("written"), ID);
    let known: serde_json::Value =
        serde_json::from_slice(&fs::read(metadata).expect("written")).expect("JSON");
    assert_eq!(known["containerimage.config.digest"], ID);
    assert_eq!(known["containerimage.digest"], ID);
    assert_eq!(known["image.name"], "app:latest");
}

#[test]
fn the_metadata_of_a_pushed_image_names_what_the_registry_has() {
    const PUSHED: &str = "sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    let at = context(&[("Dockerfile", "FROM busybox")]);
    let metadata = at.path().join("metadata");
    let (place, failing) = (metadata.clone(), Arc::new(Mutex::new(false)));
    let fails = Arc::clone(&failing);
    let daemon = Daemon::new(move |request, line| {
        if !request.target.contains("/push") {
            return tell(line, &good());
        }
        assert!(!place.exists(), "it is not pushed yet");
        if *fails.lock().expect("unpoisoned") {
            return tell(line, &[JsonMessage::error("denied")]);
        }
        let aux = serde_json::json!({"Tag": "latest", "Digest": PUSHED, "Size": 1});
        tell(line, &[JsonMessage { aux: Some(aux), ..JsonMessage::default() }]);
    });
    let args =
        ["build", "-t", "app", "--push", "--metadata-file", path(&metadata), path(at.path())];
    assert!(daemon.run(&args).status.success());
    let known: serde_json::Value =
        serde_json::from_slice(&fs::read(&metadata).expect("written")).expect("JSON");
    assert_eq!(known["containerimage.digest"], PUSHED);
    assert_eq!(known["containerimage.config.digest"], ID);
    *failing.lock().expect("unpoisoned") = true;
    assert_eq!(daemon.run(&args).status.code(), Some(1));
    assert!(!metadata.exists());
}

#[test]
fn quiet_builds_print_the_id_and_raw_ones_the_events() {
    let daemon = Daemon::new(|_, line| tell(line, &good()));
    let at = context(&[("Dockerfile", "FROM busybox")]);
    let output = daemon.run(&["build", "-q", path(at.path())]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), (format!("{ID}\n"), String::new()));
    let output = daemon.run(&["builder", "build", "--progress=rawjson", path(at.path())]);
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), good().len());
    assert!(said.lines().all(|line| serde_json::from_str::<BuildEvent>(line).is_ok()), "{said}");
}

#[test]
fn a_failure_shows_the_output_and_the_line() {
    let daemon = Daemon::new(|_, line| {
        let mut messages: Vec<JsonMessage> = [
            BuildEvent::Plan { steps: vec![step(0, "step", "RUN false", 2)] },
            BuildEvent::Started { step: 0, at: at(0) },
            BuildEvent::Log { step: 0, stream: 2, data: "oh no".to_owned() },
            BuildEvent::Failed {
                step: 0,
                message: "exit code: 1".to_owned(),
                cancelled: false,
                at: at(3),
            },
            BuildEvent::Source {
                file: "Dockerfile".to_owned(),
                line: 2,
                column: 1,
                excerpt: vec![(1, "FROM busybox".to_owned()), (2, "RUN false".to_owned())],
            },
        ]
        .iter()
        .map(event)
        .collect();
        messages.push(JsonMessage::error("process \"/bin/sh -c false\" failed: exit code: 1"));
        tell(line, &messages);
    });
    let at = context(&[("Dockerfile", "FROM busybox\nRUN false\n")]);
    let ids = at.path().join("id");
    fs::write(&ids, "of an older build").expect("written");
    let output = daemon.run(&["build", "--iidfile", path(&ids), path(at.path())]);
    assert_eq!(output.status.code(), Some(1));
    let want = "\
#2 [2/2] RUN false
#2 0.300 oh no
#2 ERROR: exit code: 1
------
 > [2/2] RUN false:
0.300 oh no
------
Dockerfile:2:1
--------------------
   1 |     FROM busybox
   2 | >>> RUN false
--------------------
ERROR: process \"/bin/sh -c false\" failed: exit code: 1
";
    assert_eq!(behind_the_context(&output.stderr), want);
    assert!(!ids.exists(), "nobody takes the old id for this build's");
    let output = daemon.run(&["build", "-q", path(at.path())]);
    assert!(text(&output.stderr).contains("oh no"), "quiet builds say why they fail as well");
}

#[test]
fn a_classic_stream_is_shown_as_it_comes() {
    let daemon = Daemon::new(|_, line| {
        let mut messages = vec![
            JsonMessage::stream("Step 1/1 : FROM busybox\n"),
            JsonMessage { aux: Some(serde_json::json!({"ID": ID})), ..JsonMessage::default() },
        ];
        messages.push(JsonMessage::stream("Successfully built 0123456789ab\n"));
        tell(line, &messages);
    });
    let at = context(&[("Dockerfile", "FROM busybox")]);
    let ids = at.path().join("id");
    let output = daemon.run(&["build", "--iidfile", path(&ids), path(at.path())]);
    assert_eq!(text(&output.stdout), "Step 1/1 : FROM busybox\nSuccessfully built 0123456789ab\n");
    assert_eq!(fs::read_to_string(ids).expect("written"), ID);
}

#[test]
fn a_dockerfile_from_elsewhere_goes_along_under_a_name_of_its_own() {
    let daemon = Daemon::new(|request, line| {
        let sent = files(&request.body);
        let names: Vec<&str> = sent.keys().map(String::as_str).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        let (name, text) =
            sent.iter().find(|(name, _)| name.starts_with(".dockerfile.")).expect("it");
        assert_eq!(text, "FROM scratch\n");
        assert!(request.target.contains(&format!("dockerfile={name}")), "{}", request.target);
        assert!(sent[".dockerignore"].contains(name.as_str()), "it is no part of the context");
        tell(line, &good());
    });
    let at = context(&[("a", "b")]);
    let mut command = daemon.program(&["build", "-f", "-", path(at.path())]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("started");
    child.stdin.take().expect("piped").write_all(b"FROM scratch\n").expect("written");
    assert!(child.wait().expect("ended").success());
}

/// What the build waits for: the session's end.
type Said = Arc<(Mutex<Option<Vec<Frame>>>, Condvar)>;

/// A daemon that asks one thing in the session and ends the build when the conversation is over.
fn asking(frames: Vec<Frame>, ends: usize) -> (Daemon, Said) {
    let said: Said = Arc::default();
    let heard = Arc::clone(&said);
    let daemon = Daemon::new(move |request, line| {
        if request.target.starts_with("/build/session") {
            line.hijack();
            for frame in &frames {
                line.stream.write_all(&frame.encode()).expect("written");
            }
            let (mut decoder, mut answers, mut buffer) =
                (Decoder::default(), Vec::new(), [0; 4096]);
            let over = |answers: &[Frame]| {
                answers.iter().filter(|f| matches!(f.kind, Kind::Close | Kind::Refuse)).count()
            };
            while over(&answers) < ends {
                let count = line.reader.read(&mut buffer).expect("read");
                assert!(count > 0, "the session broke off: {answers:?}");
                decoder.push(&buffer[..count]);
                while let Some(frame) = decoder.frame().expect("a frame") {
                    answers.push(frame);
                }
            }
            *heard.0.lock().expect("unpoisoned") = Some(answers);
            heard.1.notify_all();
            // The session is open as long as the build.
            let _ = line.reader.read(&mut buffer);
        } else {
            assert!(request.target.contains("session="), "{}", request.target);
            let guard = heard.0.lock().expect("unpoisoned");
            drop(heard.1.wait_while(guard, |answers| answers.is_none()).expect("unpoisoned"));
            tell(line, &good());
        }
    });
    (daemon, said)
}

#[test]
fn secrets_are_sent_when_they_are_asked_for_and_no_others() {
    let ask = |number, id: &str| Frame::new(Kind::Secret, number, id.as_bytes());
    let (daemon, said) = asking(vec![ask(1, "token"), ask(2, "file"), ask(3, "other")], 3);
    let at = context(&[("Dockerfile", "FROM busybox"), ("secret", "from a file")]);
    let file = format!("id=file,src={}", path(&at.path().join("secret")));
    let mut command = daemon.program(&[
        "build",
        "--secret",
        "id=token,env=TOKEN",
        "--secret",
        &file,
        path(at.path()),
    ]);
    let output = command.env("TOKEN", "from outside").stdin(Stdio::null()).output().expect("ran");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answers = said.0.lock().expect("unpoisoned").take().expect("heard");
    let data = |number: u32| -> String {
        let parts = answers.iter().filter(|f| f.number == number && f.kind == Kind::Data);
        parts.map(|frame| text(&frame.payload)).collect()
    };
    assert_eq!((data(1).as_str(), data(2).as_str()), ("from outside", "from a file"));
    let refused = answers.iter().find(|frame| frame.kind == Kind::Refuse).expect("refused");
    assert_eq!(refused.number, 3);
    assert!(text(&refused.payload).contains("--secret id=other"), "it says what to do");
}

#[test]
fn results_go_where_they_were_wanted() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o640);
    header.set_mtime(0);
    header.set_size(5);
    builder.append_data(&mut header, "bin/tool", &b"tool\n"[..]).expect("added");
    let tar = builder.into_inner().expect("whole");
    let frames = |kind: &str| {
        let head = format!("{{\"Index\":0,\"Type\":\"{kind}\"}}");
        vec![
            Frame::new(Kind::Output, 1, head),
            Frame::new(Kind::Data, 1, tar.clone()),
            Frame::new(Kind::Close, 1, []),
        ]
    };
    let at = context(&[("Dockerfile", "FROM busybox")]);
    let out = at.path().join("out/deep");
    let (daemon, _) = asking(frames("local"), 1);
    let output = daemon.run(&["build", "-o", path(&out), path(at.path())]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(out.join("bin/tool")).expect("there"), "tool\n");
    let file = at.path().join("result.tar");
    let (daemon, _) = asking(frames("tar"), 1);
    let wanted = format!("type=tar,dest={}", path(&file));
    assert!(daemon.run(&["build", "-o", &wanted, path(at.path())]).status.success());
    assert_eq!(fs::read(&file).expect("there"), tar);
    let (daemon, _) = asking(frames("tar"), 1);
    let output = daemon.run(&["build", "-o", "-", path(at.path())]);
    assert_eq!(output.stdout, tar, "nothing else goes to standard output");
    // The parent is a file: the daemon hears why, so that the build fails there.
    let (daemon, said) = asking(frames("tar"), 1);
    let wanted = format!("type=tar,dest={}/x", path(&file));
    let _ = daemon.run(&["build", "-o", &wanted, path(at.path())]);
    let answers = said.0.lock().expect("unpoisoned").take().expect("heard");
    let refused = answers.iter().find(|frame| frame.kind == Kind::Refuse).expect("refused");
    assert!(text(&refused.payload).contains("result.tar/x"), "{}", text(&refused.payload));
}

#[test]
fn a_context_that_cannot_be_read_is_named() {
    let daemon = Daemon::new(|_, line| tell(line, &good()));
    let output = daemon.run(&["build", "/no/such/place"]);
    assert_eq!(
        text(&output.stderr),
        "unable to prepare context: path \"/no/such/place\" not found\n"
    );
    let at = context(&[("x", "y")]);
    let output = daemon.run(&["build", path(at.path())]);
    assert!(text(&output.stderr).contains("/Dockerfile: no such file or directory"));
    assert_eq!(daemon.log().len(), 0, "nobody was asked");
    let refusing = Daemon::new(|request, line| match request.target.contains("session") {
        true => line.answer("404 Not Found", "{\"message\":\"page not found\"}"),
        false => tell(line, &good()),
    });
    let at = context(&[("Dockerfile", "FROM busybox")]);
    let output = refusing.run(&["build", "-o", "out", path(at.path())]);
    assert!(text(&output.stderr).contains("cannot take secrets"), "{}", text(&output.stderr));
}
