//! Users, capabilities, limits, labels.

use oci_spec::runtime::{Capability, PosixRlimitType};
use runtime::Step;
use serde_json::json;

use crate::fixture::Fixture;

/// A field of `/proc/self/status` of a container.
fn status(fixture: Fixture, field: &str) -> String {
    let out = fixture.with(|s| s["process"]["args"] = json!(["cat", "/proc/self/status"])).run();
    let text = out.ok();
    let line = text.lines().find(|l| l.starts_with(&format!("{field}:"))).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

/// Docker's default set.
const DEFAULT: &str = "00000000a80425fb";

#[test]
fn privileged_capabilities() {
    for (field, want) in [
        ("CapPrm", DEFAULT),
        ("CapEff", DEFAULT),
        ("CapBnd", DEFAULT),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ] {
        assert_eq!(status(Fixture::new(&[]), field), want, "{field}");
    }
    let none = || Fixture::new(&[]).with(|s| s["process"]["capabilities"] = json!(null));
    assert_eq!(status(none(), "CapEff"), "0000000000000000");
    assert_eq!(status(none(), "CapBnd"), "0000000000000000");
}

#[test]
fn privileged_capabilities_of_other_users() {
    let user =
        || Fixture::new(&[]).with(|s| s["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    assert_eq!(status(user(), "CapEff"), "0000000000000000");
    assert_eq!(status(user(), "CapBnd"), DEFAULT);
    let ambient = user().with(|s| {
        for set in ["inheritable", "ambient"] {
            s["process"]["capabilities"][set] = json!(["CAP_NET_BIND_SERVICE"]);
        }
    });
    assert_eq!(status(ambient, "CapEff"), "0000000000000400");
}

#[test]
fn privileged_capabilities_that_the_host_lacks() {
    let own = sys::process::get_caps().unwrap().permitted;
    let missing = (0..=sys::process::last_cap()).find(|cap| own & 1 << cap == 0);
    let Some(missing) = missing else { return };
    assert_eq!(missing, 24, "written for hosts without CAP_SYS_RESOURCE");
    let with = || {
        Fixture::new(&["true"]).with(|s| {
            for set in ["bounding", "effective", "permitted"] {
                let set = s["process"]["capabilities"][set].as_array_mut().unwrap();
                set.push(json!("CAP_SYS_RESOURCE"));
            }
        })
    };
    let out = with().run();
    assert_eq!(out.warnings, ["not available on this host and left out: CAP_SYS_RESOURCE"]);
    let mut asked = with();
    asked.asked.capabilities = vec![Capability::SysResource];
    let error = asked.fails();
    assert_eq!(error.step(), Step::Capabilities);
    assert_eq!(
        error.to_string(),
        "unable to apply caps: CAP_SYS_RESOURCE is not available on this host"
    );
}

#[test]
fn privileged_no_new_privs_and_seccomp() {
    let with = |nnp: bool| {
        Fixture::new(&[]).with(|s| {
            s["process"]["noNewPrivileges"] = json!(nnp);
            s["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]
            });
        })
    };
    for nnp in [false, true] {
        assert_eq!(status(with(nnp), "NoNewPrivs"), if nnp { "1" } else { "0" });
        assert_eq!(status(with(nnp), "Seccomp"), "2");
        // A user without any rights, too: the filter is installed before they are gone.
        let user = with(nnp).with(|s| s["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
        assert_eq!(status(user, "Seccomp"), "2");
        let out = with(nnp).with(|s| s["process"]["args"] = json!(["mkdir", "/tmp/x"])).run();
        assert!(out.stderr.contains("Cannot assign requested address"), "{}", out.stderr);
    }
}

#[test]
fn privileged_user_groups_umask_home() {
    let out =
        Fixture::sh("id; umask; echo $HOME; touch /tmp/f; stat -c %a /tmp/f; echo w > /dev/stdout")
            .with(|s| {
                s["process"]["user"] =
                    json!({"uid": 1000, "gid": 2000, "umask": 0o77, "additionalGids": [5, 6]});
                s["mounts"].as_array_mut().unwrap().push(
                    json!({"destination": "/tmp", "type": "tmpfs", "options": ["mode=1777"]}),
                );
            })
            .run()
            .ok();
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with("uid=1000(u) gid=2000 groups=2000,5,6")
            || lines[0].contains("groups=5,6"),
        "{out}"
    );
    assert_eq!(lines[1..], ["0077", "/home/u", "600", "w"]);
}

#[test]
fn privileged_rlimits() {
    let with = |typ: &str, soft: u64, hard: u64| {
        Fixture::sh("ulimit -n; ulimit -Hn; ulimit -c").with(|s| {
            s["process"]["rlimits"] = json!([{"type": typ, "soft": soft, "hard": hard}]);
        })
    };
    let out = with("RLIMIT_NOFILE", 30, 40).run();
    assert!(out.warnings.is_empty());
    assert!(out.ok().starts_with("30\n40\n"));
    let (_, hard) = sys::process::get_rlimit(7).unwrap();
    if sys::process::get_caps().unwrap().permitted & 1 << 24 != 0 {
        return;
    }
    let out = with("RLIMIT_NOFILE", hard + 2, hard + 2).run();
    assert_eq!(out.warnings.len(), 1);
    assert!(out.warnings[0].contains("RLIMIT_NOFILE cannot be raised"), "{:?}", out.warnings);
    assert!(out.ok().starts_with(&format!("{hard}\n{hard}\n")));
    let mut asked = with("RLIMIT_NOFILE", hard + 2, hard + 2);
    asked.asked.rlimits = vec![PosixRlimitType::RlimitNofile];
    let error = asked.fails();
    assert_eq!(error.step(), Step::Rlimit);
    assert_eq!(error.errno(), Some(sys::errno::EPERM), "{error}");
}

#[test]
fn privileged_oom_score() {
    let with = |adj: i32| {
        Fixture::sh("cat /proc/self/oom_score_adj")
            .with(|s| s["process"]["oomScoreAdj"] = json!(adj))
    };
    assert_eq!(with(321).run().ok(), "321\n");
    if sys::process::get_caps().unwrap().permitted & 1 << 24 != 0 {
        return;
    }
    let out = with(-999).run();
    assert_eq!(out.warnings.len(), 1, "{:?}", out.warnings);
    let mut asked = with(-999);
    asked.asked.oom_score_adj = true;
    let error = asked.fails();
    assert!(error.to_string().contains("failed to set oom_score_adj to -999"), "{error}");
}

#[test]
fn privileged_labels_that_the_host_lacks() {
    let error = Fixture::new(&["true"])
        .with(|s| s["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0"))
        .fails();
    assert_eq!(error.step(), Step::Label, "{error}");
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        let error = Fixture::new(&["true"])
            .with(|s| s["process"]["apparmorProfile"] = json!("docker-default"))
            .fails();
        assert!(error.to_string().contains("AppArmor is not enabled on this host"), "{error}");
    }
}

#[test]
fn privileged_scheduling() {
    let out =
        Fixture::sh("cut -d' ' -f19 /proc/self/stat; grep Cpus_allowed_list /proc/self/status")
            .with(|s| {
                s["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
                s["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
                s["process"]["execCPUAffinity"] = json!({"final": "0"});
            })
            .run()
            .ok();
    assert_eq!(out, "5\nCpus_allowed_list:\t0\n");
}

#[test]
fn privileged_signals_are_reset() {
    let masks = ["SigBlk", "SigIgn", "SigCgt"].map(|field| status(Fixture::new(&[]), field));
    assert_eq!(masks[..2], ["0000000000000000", "0000000000000000"]);
}
