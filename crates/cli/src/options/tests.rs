use super::*;
use proptest::prelude::*;
use types::mount::MountKind;

#[test]
fn sizes() {
    for (text, want) in [
        ("0", 0),
        ("1024", 1024),
        ("1k", 1024),
        ("1KB", 1024),
        ("1.5g", 3 << 29),
        ("2 MiB", 2 << 20),
        ("64m", 64 << 20),
        ("12b", 12),
    ] {
        assert_eq!(size::bytes(text), Ok(want), "{text}");
    }
    for bad in ["", "k", "-1", "1x", "1kk", "abc", ".5m", "1 k b", "99999999p"] {
        assert_eq!(size::bytes(bad), Err(format!("invalid size: '{bad}'")));
    }
    assert_eq!(size::bytes_or_unlimited("-1"), Ok(-1));
    assert_eq!(size::cpus("1.5"), Ok(1_500_000_000));
    assert_eq!(size::cpus(".5"), Ok(500_000_000));
    assert_eq!(size::cpus("1.0000000001"), Err("value is too precise".into()));
    assert!(size::cpus("x").is_err());
}

#[test]
fn durations() {
    for (text, want) in [
        ("1m30s", 90_000_000_000),
        ("500ms", 500_000_000),
        ("1.5h", 5_400_000_000_000),
        ("0", 0),
        ("-1s", -1_000_000_000),
    ] {
        assert_eq!(types::duration::parse(text), Ok(want), "{text}");
    }
    for bad in ["", "x", "1", "1y", ".s", "1.2.3s"] {
        assert!(types::duration::parse(bad).is_err(), "{bad}");
    }
    let now = types::Timestamp(100_000_000_000);
    assert_eq!(moment::read("10s", now), Ok("90.000000000".into()));
    assert_eq!(moment::read("1234.5", now), Ok("1234.5".into()));
    assert_eq!(moment::read("1970-01-01T00:01:00Z", now), Ok("60.000000000".into()));
    assert!(moment::read("yesterday", now).is_err());
}

#[test]
fn ports() {
    let show = |text: &str| -> Result<String, String> {
        let mut ports = port::Ports::default();
        port::publish(text, &mut ports)?;
        let all = ports.bindings.iter().map(|(port, bindings)| {
            let b: Vec<String> = bindings
                .iter()
                .flatten()
                .map(|b| format!("{}|{}", b.host_ip, b.host_port))
                .collect();
            format!("{port}={}", b.join(","))
        });
        Ok(all.collect::<Vec<_>>().join(" "))
    };
    for (text, want) in [
        ("80", "80/tcp=|"),
        ("8080:80", "80/tcp=|8080"),
        ("8080:80/UDP", "80/udp=|8080"),
        ("127.0.0.1:8080:80", "80/tcp=127.0.0.1|8080"),
        ("127.0.0.1::80", "80/tcp=127.0.0.1|"),
        ("[::1]:8080:80", "80/tcp=::1|8080"),
        ("8080-8081:80-81", "80/tcp=|8080 81/tcp=|8081"),
        ("8000-8100:80", "80/tcp=|8000-8100"),
        ("target=80,published=8080,protocol=udp", "80/udp=|8080"),
    ] {
        assert_eq!(show(text).as_deref(), Ok(want), "{text}");
    }
    for (text, want) in [
        ("abc", "invalid containerPort: abc"),
        ("x:80", "invalid hostPort: x"),
        ("80/foo", "invalid proto: foo"),
        ("1.2.3:1:1", "invalid IP address: 1.2.3"),
        ("80-82:90-91", "invalid ranges specified for container and host Ports: 90-91 and 80-82"),
        ("8080:", "no port specified: 8080:<empty>"),
    ] {
        assert_eq!(show(text), Err(want.into()), "{text}");
    }
}

#[test]
fn mounts() {
    let bind = mount::mount("type=bind,source=/a,target=/b,readonly,bind-propagation=rslave")
        .expect("valid");
    assert_eq!(bind.kind, MountKind::Bind);
    assert!(bind.read_only);
    assert_eq!(bind.bind_options.expect("set").propagation, "rslave");
    let tmpfs = mount::mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").expect("valid");
    let options = tmpfs.tmpfs_options.expect("set");
    assert_eq!((options.size_bytes, options.mode), (1 << 20, Some(0o1770)));
    let volume =
        mount::mount("src=v,dst=/v,\"volume-opt=o=addr=1,rw\",volume-nocopy").expect("valid");
    let options = volume.volume_options.expect("set");
    assert!(options.no_copy);
    assert_eq!(options.driver_config.expect("set").options["o"], "addr=1,rw");
    for (text, want) in [
        ("type=bind,source=/a", "target is required"),
        ("type=foo,target=/a", "invalid mount type 'foo'"),
        ("target=/a,nonsense=1", "unexpected key 'nonsense' in 'nonsense=1'"),
        ("target=/a,ro=maybe", "invalid value for ro: maybe"),
        (
            "type=bind,source=/a,target=/b,volume-nocopy",
            "cannot mix 'volume-*' options with mount type 'bind'",
        ),
    ] {
        assert_eq!(mount::mount(text), Err(want.into()), "{text}");
    }
    assert_eq!(mount::volume("/data"), Ok(mount::Volume::Anonymous("/data".into())));
    assert_eq!(mount::volume("/a:/b:ro"), Ok(mount::Volume::Bind("/a:/b:ro".into())));
    let here = std::env::current_dir().expect("somewhere").join("x");
    assert_eq!(mount::volume("./x:/b"), Ok(mount::Volume::Bind(format!("{}:/b", here.display()))));
}

#[test]
fn devices_and_limits() {
    assert_eq!(
        device::device("/dev/a:/dev/b:r"),
        Ok(device::Device::Node(types::resources::DeviceMapping {
            path_on_host: "/dev/a".into(),
            path_in_container: "/dev/b".into(),
            cgroup_permissions: "r".into(),
        }))
    );
    assert_eq!(device::device("v.com/gpu=0"), Ok(device::Device::Interface("v.com/gpu=0".into())));
    assert!(device::device("/dev/a:/b:xyz").is_err());
    let nofile = device::ulimit("nofile=10:20").expect("valid");
    assert_eq!((nofile.soft, nofile.hard), (10, 20));
    assert!(device::ulimit("nofile=20:10").is_err());
    assert!(device::ulimit("foo=1").is_err());
    assert_eq!(device::rate_bytes("/dev/sda:1mb").map(|r| r.rate), Ok(1 << 20));
    assert!(device::weight("/dev/sda:5").is_err());
    assert_eq!(device::gpus("all").map(|r| r.count), Ok(-1));
    assert_eq!(
        device::gpus("\"device=0,1\",capabilities=compute").map(|r| (r.count, r.device_ids)),
        Ok((0, vec!["0".into(), "1".into()]))
    );
    assert_eq!(words::extra_host("a=::1"), Ok("a:::1".into()));
    assert!(words::extra_host("a").is_err());
}

#[test]
fn networks() {
    let network =
        network::parse("name=net,alias=a,alias=b,ip=10.0.0.2,driver-opt=K=V").expect("valid");
    assert_eq!(network.target, "net");
    let endpoint = network.endpoint();
    assert_eq!(endpoint.aliases, ["a", "b"]);
    assert_eq!(endpoint.ipam_config.expect("set").ipv4_address, "10.0.0.2");
    assert_eq!(endpoint.driver_opts["k"], "v");
    assert_eq!(network::parse("container:x").expect("valid").target, "container:x");
    assert!(network::parse("alias=x").is_err());
}

proptest! {
    #[test]
    fn nothing_that_can_be_typed_panics(text in "\\PC{0,40}") {
        let _ = size::bytes(&text);
        let _ = size::cpus(&text);
        let _ = types::duration::parse(&text);
        let _ = moment::read(&text, types::Timestamp(0));
        let _ = mount::mount(&text);
        let _ = mount::volume(&text);
        let _ = device::device(&text);
        let _ = device::ulimit(&text);
        let _ = device::gpus(&text);
        let _ = device::rate_bytes(&text);
        let _ = device::cgroup_rule(&text);
        let _ = network::parse(&text);
        let _ = words::csv(&text);
        let _ = words::extra_host(&text);
        let _ = crate::terminal::detach::parse(&text);
        let mut ports = port::Ports::default();
        let _ = port::publish(&text, &mut ports);
        let _ = port::expose(&text, &mut ports);
    }

    #[test]
    fn no_port_mapping_panics(text in "[0-9:./a-z\\[\\]-]{0,24}") {
        let mut ports = port::Ports::default();
        let _ = port::publish(&text, &mut ports);
        let _ = port::expose(&text, &mut ports);
    }

    #[test]
    fn no_mount_panics(text in "[a-z=,:/\"-]{0,40}") {
        let _ = mount::mount(&text);
        let _ = mount::volume(&text);
    }
}
