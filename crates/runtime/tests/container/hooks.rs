//! OCI hooks.

use serde_json::{Value, json};

use crate::fixture::Fixture;

#[test]
fn privileged_hooks_run_in_order_with_the_state() {
    // The container's own program writes elsewhere: it runs beside the last hook.
    let fixture = Fixture::sh("echo main > /main");
    let log = fixture.root().join("log");
    let hook = |name: &str, file: &str| {
        let script = format!("echo {name} >> {file}; cat >> {file}; echo >> {file}");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 5}])
    };
    let host = log.to_str().unwrap();
    let fixture = fixture.with(|s| {
        s["annotations"] = json!({"k": "v"});
        s["hooks"] = json!({
            "prestart": hook("prestart", host),
            "createRuntime": hook("createRuntime", host),
            "createContainer": hook("createContainer", host),
            "startContainer": hook("startContainer", "/log"),
            "poststart": hook("poststart", host),
        });
    });
    fixture.run().ok();
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let names: Vec<&str> = lines.iter().copied().filter(|l| !l.starts_with('{')).collect();
    assert_eq!(
        names,
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"]
    );
    assert_eq!(std::fs::read_to_string(fixture.root().join("main")).unwrap(), "main\n");
    let state: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(state["id"], json!(fixture.id));
    assert_eq!(state["status"], "creating");
    assert_eq!(state["annotations"]["k"], "v");
    assert_eq!(state["bundle"], json!(fixture.dir.path()));
    assert!(state["pid"].as_i64().unwrap() > 0);
}

#[test]
fn privileged_failing_hooks_stop_the_start() {
    let with = |stage: &str, script: &str, timeout: u32| {
        Fixture::new(&["true"]).with(|s| {
            s["hooks"] = json!({stage: [
                {"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": timeout}
            ]});
        })
    };
    let error = with("createRuntime", "echo broken >&2; exit 3", 5).fails();
    assert!(
        error
            .to_string()
            .starts_with("error running createRuntime hook #0: /bin/sh: exit status: 3"),
        "{error}"
    );
    assert!(error.to_string().ends_with("stderr: broken"), "{error}");
    let error = with("createContainer", "exit 3", 5).fails();
    assert!(error.to_string().contains("createContainer"), "{error}");
    let error = with("startContainer", "exit 3", 5).fails();
    assert!(error.to_string().contains("startContainer"), "{error}");
    let error = with("prestart", "exec sleep 100", 1).fails();
    assert!(error.to_string().contains("timeout"), "{error}");
}
