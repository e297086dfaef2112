use super::*;

fn settings(args: &[&str], file: &str) -> Result<(Settings, Vec<String>), ConfigError> {
    let words = std::iter::once("isopod daemon").chain(args.iter().copied());
    let flags =
        flags::parse(words.map(OsString::from).collect()).expect("a grammatical command line")?;
    settle(&flags.set, Path::new("/etc/isopod/daemon.json"), file)
}

fn error(args: &[&str], file: &str) -> String {
    settings(args, file).expect_err("must be refused").to_string()
}

#[test]
fn nothing_said_means_the_defaults() {
    let (settings, warnings) = settings(&[], "").expect("valid");
    assert!(warnings.is_empty());
    assert_eq!(settings.data_root(), PathBuf::from("/var/lib/isopod"));
    assert_eq!(settings.level().expect("valid"), LogLevel::Info);
    let hosts = settings.hosts().expect("valid");
    assert_eq!(hosts, [crate::host::Host::Unix("/run/isopod/isopod.sock".into())]);
}

#[test]
fn flags_are_read_as_dockerds() {
    let args = [
        "-H",
        "unix:///a",
        "--host=tcp://127.0.0.1:1",
        "-D",
        "--iptables=false",
        "--init",
        "--log-opt",
        "max-size=10m",
        "--log-opt",
        "max-file=3",
        "--default-ulimit",
        "nofile=64:128",
        "--default-address-pool",
        "base=10.9.0.0/16,size=24",
        "--mtu",
        "1400",
        "--label",
        "a=b",
        "--default-shm-size",
        "32M",
    ];
    let (settings, _) = settings(&args, "").expect("valid");
    assert_eq!(settings.hosts, ["unix:///a", "tcp://127.0.0.1:1"]);
    assert_eq!(settings.level().expect("valid"), LogLevel::Debug);
    assert_eq!(settings.iptables, Some(false));
    assert!(settings.init);
    assert_eq!(settings.log_opts["max-file"], "3");
    assert_eq!(settings.default_ulimits["nofile"].hard, 128);
    assert_eq!(settings.default_address_pools[0].size, 24);
    assert_eq!(settings.mtu, Some(1400));
    assert_eq!(settings.default_shm_size, Some(32 << 20));
}

#[test]
fn the_file_has_dockerds_keys() {
    let file = r#"{
        "data-root": "/srv/isopod", "debug": true, "hosts": ["unix:///a"], "labels": ["x=1"],
        "log-driver": "local", "log-opts": {"max-size": "1m"}, "bip": null,
        "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000},
                            "core": {"Hard": 0, "Soft": 0}},
        "default-address-pools": [{"base": "10.8.0.0/16", "size": 24}],
        "exec-opts": ["native.cgroupdriver=systemd"], "default-shm-size": 1048576,
        "registry-mirrors": ["https://mirror.example"], "live-restore": false
    }"#;
    let (settings, warnings) = settings(&[], file).expect("valid");
    assert_eq!(settings.data_root(), PathBuf::from("/srv/isopod"));
    assert_eq!(settings.default_ulimits["nofile"].soft, 64000);
    assert_eq!(settings.default_ulimits["core"].name, "core");
    assert!(settings.systemd_cgroup().expect("valid"));
    assert_eq!(settings.default_shm_size, Some(1 << 20));
    assert_eq!(settings.label_pairs().expect("valid")["x"], "1");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(settings.registry_mirrors, ["https://mirror.example"]);
}

#[test]
fn kernels_and_agents_of_machines_are_one_or_several() {
    let file = r#"{"vm-kernel": "/boot/vmlinuz", "vm-agent": null}"#;
    let (found, _) = settings(&[], file).expect("valid");
    assert_eq!(found.vm_kernel, [PathBuf::from("/boot/vmlinuz")]);
    let args = ["--vm-kernel", "/a", "--vm-kernel=/b"];
    let (found, _) = settings(&args, r#"{"vm-agent": ["/c", "/d"]}"#).expect("valid");
    assert_eq!(found.vm_kernel, ["/a", "/b"].map(PathBuf::from));
    assert_eq!(found.vm_agent, ["/c", "/d"].map(PathBuf::from));
}

#[test]
fn registries_are_configured_as_dockerds() {
    let file = r#"{"insecure-registries": ["10.0.0.0/8", "r:5000"], "max-concurrent-downloads": 3,
        "proxies": {"http-proxy": "http://p:1", "no-proxy": "localhost"}, "keep-blobs": false,
        "allow-nondistributable-artifacts": ["x"], "max-layer-size": "1g"}"#;
    let args = ["--registry-mirror", "http://m:5000", "--max-concurrent-uploads=2"];
    let (settings, warnings) = settings(&args, file).expect("valid");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let found = registry::registries(&settings).expect("valid");
    assert_eq!(found.insecure, ["10.0.0.0/8", "r:5000"]);
    assert_eq!(found.mirrors, ["http://m:5000/"]);
    assert_eq!((found.downloads, found.uploads), (3, 2));
    assert_eq!(found.http_proxy.as_deref(), Some("http://p:1"));
    assert_eq!(found.no_proxy.as_deref(), Some("localhost"));
    assert_eq!(settings.keep_blobs, Some(false));
    assert_eq!(settings.max_layer_size, Some(1 << 30));
    let twice = error(&["--http-proxy", "http://q"], r#"{"proxies":{"http-proxy":"http://p"}}"#);
    assert!(twice.contains("http-proxy: (from flag"), "{twice}");
}

#[test]
fn a_directive_in_both_places_is_refused() {
    let message = error(
        &["--log-level", "debug", "-H", "unix:///a"],
        r#"{"log-level":"info","hosts":["unix:///b"]}"#,
    );
    assert!(
        message.contains("specified both as a flag and in the configuration file"),
        "{message}"
    );
    assert!(message.contains("log-level: (from flag: debug, from file: info)"), "{message}");
    assert!(
        message.contains("hosts: (from flag: [unix:///a], from file: [unix:///b])"),
        "{message}"
    );
}

#[test]
fn nonsense_in_the_file_is_refused() {
    assert!(
        error(&[], r#"{"data_root":"/x","foo":1}"#)
            .contains("any configuration option: data_root, foo")
    );
    assert!(error(&[], "[]").contains("is not valid"));
    assert!(error(&[], "{").contains("is not valid"));
    assert!(error(&[], r#"{"debug":"yes"}"#).contains("invalid configuration"));
    assert!(error(&[], r#"{"authorization-plugins":["x"]}"#).contains("not supported"));
}

#[test]
fn nonsense_in_values_is_refused() {
    for (args, word) in [
        (&["--log-level", "loud"][..], "--log-level"),
        (&["-H", "http://x"], "--host"),
        (&["--bridge", "br0", "--bip", "10.0.0.1/24"], "exclude"),
        (&["--exec-opt", "x=y"], "--exec-opt"),
        (&["--label", "x"], "--label"),
        (&["--label", "x=1", "--label", "x=2"], "--label"),
        (&["--log-driver", "syslog"], "--log-driver"),
        (&["--data-root", "x"], "--data-root"),
        (&["--default-ulimit", "x=1"], "--default-ulimit"),
        (&["--default-shm-size", "0"], "--default-shm-size"),
        (&["--storage-driver", "btrfs"], "--storage-driver"),
    ] {
        let message = error(args, "");
        assert!(message.contains(word), "{args:?}: {message}");
    }
}

#[test]
fn an_unknown_flag_is_claps_business() {
    assert!(flags::parse(vec!["isopod daemon".into(), "--nonsense".into()]).is_err());
    command().debug_assert();
}
