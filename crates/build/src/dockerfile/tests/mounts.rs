//! `RUN --mount`.

use super::super::*;

fn mount(text: &str) -> Mount {
    Mount::parse(text).unwrap()
}

fn refused(text: &str) -> String {
    Mount::parse(text).unwrap_err().to_string()
}

#[test]
fn all_fields_of_all_kinds() {
    assert_eq!(
        mount("type=bind,source=a,target=/b,from=c,rw"),
        Mount {
            kind: MountKind::Bind,
            source: Some("a".into()),
            target: Some("/b".into()),
            from: Some("c".into()),
            ..Mount::default()
        }
    );
    assert!(mount("target=/b").read_only);
    assert!(mount("dst=/b,ro=true").read_only && !mount("destination=/b,readonly=false").read_only);
    let cache =
        mount("type=CACHE,id=i,target=/c,ro,sharing=locked,from=x,src=y,mode=0700,uid=1,gid=2");
    assert_eq!(
        cache,
        Mount {
            kind: MountKind::Cache,
            id: Some("i".into()),
            target: Some("/c".into()),
            read_only: true,
            sharing: Sharing::Locked,
            from: Some("x".into()),
            source: Some("y".into()),
            mode: Some(0o700),
            uid: Some(1),
            gid: Some(2),
            ..Mount::default()
        }
    );
    assert!(!mount("type=cache,target=/c").read_only);
    assert_eq!(mount("type=tmpfs,target=/t,size=1Kb").size, Some(1024));
    let secret = mount("type=secret,id=s,required,env=E");
    assert!(secret.required && secret.env.as_deref() == Some("E"));
    assert!(!mount("type=ssh,required=false,mode=0600").required);
    // Values may hold what divides when they are quoted.
    assert_eq!(mount("\"target=/a,b\",\"source=x\"\"y\"").source.as_deref(), Some("x\"y"));
}

#[test]
fn names_and_places_by_default() {
    for (text, id, target) in [
        ("type=cache,target=/a/b", "/a/b", Some("/a/b")),
        ("type=cache,id=x,target=/a/b", "x", Some("/a/b")),
        ("type=secret,id=x", "x", Some("/run/secrets/x")),
        ("type=secret,target=/a/b", "b", Some("/a/b")),
        ("type=secret,source=s,target=/a/b", "s", Some("/a/b")),
        ("type=secret,id=x,env=E", "x", None),
        ("type=secret,env=E", "E", None),
        ("type=secret,id=x,env=E,target=/t", "x", Some("/t")),
        ("type=ssh", "default", Some("/run/buildkit/ssh_agent.3")),
        ("type=ssh,id=k,target=/s", "k", Some("/s")),
    ] {
        let mount = mount(text);
        assert_eq!((mount.id(), mount.target(3).as_deref()), (id, target), "{text}");
    }
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("512", 512),
        ("1b", 1),
        ("2k", 2048),
        ("3MiB", 3 << 20),
        ("1 GB", 1 << 30),
        ("1t", 1 << 40),
    ] {
        assert_eq!(mount(&format!("type=tmpfs,target=/t,size={text}")).size, Some(bytes));
    }
    for text in ["", "x", "-1", "1x", "1.5g", "99999999999999999999", "99999999999t"] {
        assert!(
            refused(&format!("type=tmpfs,target=/t,size={text}"))
                .starts_with("invalid value for size")
        );
    }
}

#[test]
fn what_makes_no_sense() {
    for (text, message) in [
        ("type=bid,target=/x", "unsupported mount type \"bid\" (did you mean bind?)"),
        ("type=npipe,target=/x", "unsupported mount type \"npipe\""),
        ("", "unexpected key '' in ''"),
        ("target=/x,taget=/y", "unexpected key 'taget' in 'taget=/y' (did you mean target?)"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("type=bind", "mount requires target to be set"),
        ("type=bind,target=", "mount requires target to be set"),
        ("type=cache,target=/", "invalid mount target \"/\""),
        ("type=bind,target=/x,size=1", "unexpected key 'size' for mount type 'bind'"),
        ("type=bind,target=/x,required", "invalid field 'required' must be a key=value pair"),
        ("type=tmpfs,target=/x,from=y", "unexpected key 'from' for mount type 'tmpfs'"),
        ("type=cache,target=/x,sharing=all", "invalid value for sharing: all"),
        ("type=cache,target=/x,mode=9", "invalid value for mode: 9"),
        ("type=cache,target=/x,uid=-1", "invalid value for uid: -1"),
        ("target=/x,ro=maybe", "invalid value for ro: maybe"),
        ("type=secret", "mount requires id or target to be set"),
        (
            "target=/x,from=$y",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
        (
            "target=/x,\"source=y",
            "failed to parse mount \"target=/x,\\\"source=y\": a quote has no end",
        ),
        (
            "target=\"/x\"",
            "failed to parse mount \"target=\\\"/x\\\"\": a quote within a bare field",
        ),
    ] {
        assert_eq!(refused(text), message, "{text}");
    }
}
