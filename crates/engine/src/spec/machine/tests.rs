use super::*;

#[test]
fn a_machine_is_as_large_as_its_limits_and_its_kernel() {
    let mut limits = Resources::default();
    let mut machines = MachineSettings { memory: 512 << 20, cpus: 1, ..MachineSettings::default() };
    let mebibytes = |memory: u64, cpus| MachineSize { memory: memory << 20, cpus };
    assert_eq!(size(&limits, &machines), mebibytes(512, 1));
    limits.memory = 64 << 20;
    limits.nano_cpus = 1_500_000_000;
    assert_eq!(size(&limits, &machines), mebibytes(192, 2), "64 and 96, in steps of 64");
    limits.nano_cpus = 0;
    (limits.cpu_quota, limits.cpu_period) = (50_000, 0);
    machines.cpus = 4;
    assert_eq!(size(&limits, &machines).cpus, 1);
    limits.cpu_quota = i64::MAX;
    let cpus = size(&limits, &machines).cpus;
    assert_eq!(cpus, 1, "more than there can be is no number of processors");
}

#[test]
fn what_is_the_hosts_is_refused_by_its_name() {
    let refused = |change: fn(&mut HostConfig)| {
        let mut host = HostConfig::default();
        change(&mut host);
        check(&host).map_err(|error| error.message)
    };
    assert_eq!(refused(|_| {}), Ok(()));
    let message = refused(|host| host.network_mode = "host".to_owned());
    let expected = "network mode \"host\" cannot be used with --isolation vm: the container has \
                    a kernel of its own";
    assert_eq!(message, Err(expected.to_owned()));
    assert!(refused(|host| host.pid_mode = "container:x".to_owned()).is_err());
    assert!(refused(|host| host.ipc_mode = "host".to_owned()).is_err());
    assert!(refused(|host| host.rootfs = "/srv".to_owned()).is_err());
    assert!(refused(|host| host.ipc_mode = "private".to_owned()).is_ok());
}

#[test]
fn a_machine_has_the_architecture_of_its_image() {
    assert_eq!(architecture("").ok(), Some(image::host_architecture().0));
    for (image, expected) in
        [("amd64", "amd64"), ("386", "amd64"), ("arm64", "arm64"), ("arm", "arm64")]
    {
        assert_eq!(architecture(image).ok(), Some(expected), "{image}");
    }
    let error = architecture("s390x").expect_err("no such machine");
    let expected = "the platform linux/s390x cannot be used with --isolation vm: machines are amd64 \
                    or arm64; choose an image for one of these";
    assert_eq!((error.kind, error.message.as_str()), (types::ErrorKind::Invalid, expected));
}

#[test]
fn mounts_are_lent_once_and_named_as_the_machine_has_them() {
    let place = tempfile::tempdir().expect("directory");
    let own = place.path().join("container");
    let data = place.path().join("data");
    std::fs::create_dir_all(&own).expect("made");
    std::fs::create_dir_all(&data).expect("made");
    std::fs::write(own.join("hosts"), "h").expect("written");
    std::fs::write(place.path().join("one"), "1").expect("written");
    let bind = |target: &str, source: PathBuf, options: &[&str]| {
        super::super::mounts::mount(target, "bind", source, options)
    };
    let mut spec = Spec::default();
    spec.set_mounts(Some(vec![
        bind("/etc/hosts", own.join("hosts"), &["rbind", "rprivate", "rw"]),
        bind("/a", data.clone(), &["rbind", "rprivate"]),
        bind("/b", data.clone(), &["rbind", "rprivate"]),
        bind("/c", data.clone(), &["rbind", "ro", "rro"]),
        bind("/d", place.path().join("one"), &["rbind"]),
    ]));
    let lent = adapt(&mut spec, &own).expect("lent");
    assert_eq!(lent.files.len(), 1);
    let shares: Vec<_> =
        lent.shares.iter().map(|share| (share.tag.as_str(), share.read_only)).collect();
    assert_eq!(shares, [("share0", false), ("share1", true), ("share2", false)]);
    let sources: Vec<_> = spec
        .mounts()
        .iter()
        .flatten()
        .map(|mount| mount.source().clone().unwrap_or_default().display().to_string())
        .collect();
    let expected = [
        "/run/isopod/files/hosts",
        "/run/isopod/shares/share0/directory",
        "/run/isopod/shares/share0/directory",
        "/run/isopod/shares/share1/directory",
        "/run/isopod/shares/share2/file",
    ];
    assert_eq!(sources, expected);
    // What is nowhere on the host is not looked for there.
    let mut lent = lent;
    let plain = |place: &str| Plain {
        place: place.into(),
        content: b"s".to_vec(),
        mode: 0o400,
        owner: (5, 6),
    };
    show(&mut spec, &mut lent, vec![plain("/run/secrets/sub/key"), plain("/conf")]);
    let added = spec.mounts().iter().flatten().skip(expected.len());
    let added: Vec<_> = added
        .map(|mount| (mount.destination().clone(), mount.source().clone().unwrap_or_default()))
        .collect();
    let pair = |place: &str, file: &str| (PathBuf::from(place), PathBuf::from(file));
    let expected = [
        pair("/conf", "/run/isopod/files/plain0"),
        pair("/run/secrets/sub/key", "/run/isopod/files/plain1"),
    ];
    assert_eq!(added, expected);
    assert_eq!((lent.files[2].name.as_str(), lent.files[2].uid), ("plain1", 5));
    let mut spec = Spec::default();
    spec.set_mounts(Some(vec![bind("/v", "descriptor:0".into(), &["rbind"])]));
    assert!(adapt(&mut spec, &own).is_err(), "a detached mount cannot be lent");
    let socket = place.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("socket");
    let mut spec = Spec::default();
    spec.set_mounts(Some(vec![bind("/var/run/docker.sock", socket, &["rbind"])]));
    let error = adapt(&mut spec, &own).expect_err("a socket cannot be lent").message;
    assert!(error.contains("/var/run/docker.sock") && error.contains("socket"), "{error}");
}

#[test]
fn a_machine_is_always_limited_on_the_host() {
    let size = MachineSize { memory: 512 << 20, cpus: 2 };
    let limits = limits(&LinuxResources::default(), size, 3);
    let memory = limits.memory().as_ref().and_then(|memory| memory.limit());
    assert_eq!(memory, Some((512 + 256) << 20));
    assert_eq!(limits.pids().as_ref().map(|pids| pids.limit()), Some(256 + 32 + 240));
}
