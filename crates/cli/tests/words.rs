//! What the program says and how it ends where a daemon, a user or a shell asks little of it.

mod scripted;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use scripted::{Daemon, program, text};

fn said(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn failed(words: &str) -> (Option<i32>, String, String) {
    (Some(1), String::new(), format!("{words}\n"))
}

#[test]
fn a_copy_to_where_none_can_be_says_why() {
    let daemon = Daemon::new(|request, line| match request.method.as_str() {
        // An answer to `HEAD` has no words.
        "HEAD" => line.answer("500 Internal Server Error", ""),
        "PUT" => line.answer("400 Bad", r#"{"message":"extraction point is not a directory"}"#),
        _ if request.target.contains("/gone/") => {
            line.answer("404 Not Found", r#"{"message":"No such container: gone"}"#);
        }
        _ => line.answer("200 OK", "{}"),
    });
    let file = daemon.directory.path().join("file");
    std::fs::write(&file, "hi").expect("written");
    for (target, words) in [
        ("web:/etc/passwd/x", "Error response from daemon: extraction point is not a directory"),
        ("web:/file/", "no such directory"),
        ("web:", "no such directory"),
        ("gone:/x", "Error response from daemon: No such container: gone"),
    ] {
        let output = daemon.run(&["cp", file.to_str().expect("text"), target]);
        assert_eq!(said(&output), failed(words), "{target}");
    }
}

#[test]
fn a_no_to_a_prune_ends_it_well() {
    let daemon = Daemon::new(|_, line| line.answer("200 OK", "{}"));
    for noun in ["builder", "container", "image", "network", "system", "volume"] {
        let mut command = daemon.program(&[noun, "prune"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("ran");
        child.stdin.take().expect("piped").write_all(b"n\n").expect("written");
        let output = child.wait_with_output().expect("ended");
        let (status, stdout, stderr) = said(&output);
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{noun}");
        assert!(stdout.ends_with("[y/N] "), "{stdout}");
    }
    assert!(daemon.log().is_empty(), "{:?}", daemon.log());
}

#[test]
fn what_is_not_there_is_named_as_docker_names_it() {
    let daemon = Daemon::new(|request, line| {
        if request.target.contains("/nope/") {
            line.answer("404 Not Found", r#"{"message":"No such container: nope"}"#);
        } else {
            line.answer("200 OK", "{}");
        }
    });
    let nope = "Error response from daemon: No such container: nope";
    let invalid = r#"Error: invalid port (abc): strconv.ParseUint: parsing "abc": invalid syntax"#;
    let large =
        r#"Error: invalid port (99999): strconv.ParseUint: parsing "99999": value out of range"#;
    let renamed = format!("{nope}\nError: failed to rename container named nope");
    for (args, words) in [
        (&["stats", "--no-stream", "nope"][..], nope),
        (&["stats", "--no-stream", "web", "nope"], nope),
        (&["port", "nope"], nope),
        (&["port", "web", "80"], "Error: No public port '80' published for web"),
        (&["port", "web", "abc"], invalid),
        (&["port", "web", "99999"], large),
        (&["rename", "nope", "x"], &renamed),
        (&["rename", "web", ""], "Error: Neither old nor new names may be empty"),
        (&["context", "rm", "nope"], "context \"nope\" does not exist"),
        (
            &["completion", "foo"],
            "invalid argument \"foo\" for SHELL: there are scripts for bash, elvish, fish, powershell, zsh",
        ),
    ] {
        assert_eq!(said(&daemon.run(args)), failed(words), "{args:?}");
    }
}

#[test]
fn sizes_on_disk_are_shown_as_docker_shows_them() {
    let daemon = Daemon::new(|_, line| {
        line.answer(
            "200 OK",
            r#"{"Containers":[{"Id":"0123456789abcdef","Names":["/web"],"State":"exited","SizeRw":32,"SizeRootFs":1980000}],
                "BuildCache":[{"ID":"a","Size":2}]}"#,
        );
    });
    let whole = text(&daemon.run(&["system", "df", "-v"]).stdout);
    assert!(whole.contains(" 32B ") && !whole.contains("virtual"), "{whole}");
    let args = ["system", "df", "--format", "{{.Type}} {{.Reclaimable}}"];
    let lines = text(&daemon.run(&args).stdout);
    assert!(lines.contains("Containers 32B (100%)\n"), "{lines}");
    assert!(lines.contains("Build Cache 2B\n"), "{lines}");
}

/// A daemon that has a few things.
fn inhabited() -> Daemon {
    Daemon::new(|request, line| {
        let body = match request.target.split('?').next().unwrap_or_default() {
            "/containers/json" => {
                r#"[{"Names":["/web"],"Image":"nginx","State":"running","Status":"Up 2 minutes"},
                    {"Names":["/worker","/web/worker"],"Image":"job","State":"exited","Status":"Exited (0)"}]"#
            }
            "/images/json" => {
                r#"[{"RepoTags":["nginx:latest"],"Size":1000},{"RepoTags":["<none>:<none>"]}]"#
            }
            "/networks" => {
                r#"[{"Name":"bridge","Driver":"bridge"},{"Name":"front","Driver":"bridge"}]"#
            }
            _ => r#"{"Volumes":[{"Name":"data","Driver":"local"}]}"#,
        };
        line.answer("200 OK", body);
    })
}

#[test]
fn shells_are_told_the_names_of_what_there_is() {
    let daemon = inhabited();
    for (words, lines) in [
        (&["rm", ""][..], "web\tnginx, Up 2 minutes\nworker\tjob, Exited (0)\n"),
        (&["rm", "web", "w"], "worker\tjob, Exited (0)\n"),
        (&["stop", ""], "web\tnginx, Up 2 minutes\n"),
        (&["start", ""], "worker\tjob, Exited (0)\n"),
        (&["run", "--network", "f"], "front\tbridge\n"),
        (&["run", "--network=f"], "--network=front\tbridge\n"),
        (&["run", ""], "nginx:latest\t1kB\n"),
        (&["volume", "rm", ""], "data\tlocal\n"),
        (&["inspect", "d"], "data\tlocal\n"),
        (&["context", "use", ""], "default\t\n"),
    ] {
        let output = daemon.run(&[&["__complete"], words].concat());
        assert_eq!(said(&output), (Some(0), lines.to_owned(), String::new()), "{words:?}");
    }
    let files = daemon.run(&["__complete", "cp", ""]);
    assert_eq!(said(&files), (Some(1), String::new(), String::new()));
    // Whose daemon does not answer hears nothing.
    let lost = program(&["__complete", "-H", "unix:///nonexistent/s", "rm", ""]).output();
    assert_eq!(said(&lost.expect("ran")), (Some(0), String::new(), String::new()));
}

#[test]
fn bash_replaces_what_it_takes_for_the_word() {
    let daemon = inhabited();
    let client = program(&[]).get_program().to_owned();
    // Where it takes `=` and `:` for words of their own.
    for (words, reply) in [
        (&["run", "--network", "=", "f"][..], "front"),
        (&["run", "--network", "="], "bridge front"),
        (&["rmi", "nginx", ":"], "latest"),
        (&["rmi", "ng"], "nginx:latest"),
        (&["rm", ""], "web worker"),
        (&["logs", "nope"], ""),
    ] {
        let script = r#"source <("$1" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _isopod; echo "${COMPREPLY[*]}""#;
        let output = Command::new("/bin/bash")
            .args(["-c", script, "bash"])
            .arg(&client)
            .args(words)
            .env("DOCKER_HOST", format!("unix://{}", daemon.directory.path().join("s").display()))
            .output()
            .expect("ran");
        assert_eq!(said(&output), (Some(0), format!("{reply}\n"), String::new()), "{words:?}");
    }
}
