use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResourcesBuilder};

use super::*;

#[test]
fn paths() {
    let path = |text: &str| Unit::named(text).map(|unit| unit.cgroup_path());
    assert_eq!(path("system.slice:isopod:abc").unwrap(), "system.slice/isopod-abc.scope");
    assert_eq!(path(":docker:x").unwrap(), "system.slice/docker-x.scope");
    assert_eq!(path("a-b.slice::x").unwrap(), "a.slice/a-b.slice/x.scope");
    assert_eq!(path("-.slice:p:x").unwrap(), "p-x.scope");
    for bad in
        ["/isopod/x", "a.slice:b", "a/b.slice:c:d", "a--b.slice:c:d", "a:b:c", "::", "::../x"]
    {
        assert!(path(bad).is_err(), "{bad}");
    }
}

#[test]
fn without_systemd_the_error_says_what_to_do() {
    if Path::new("/run/systemd/system").is_dir() {
        return;
    }
    let error = Unit::start("system.slice:isopod:abc", Version::V2).unwrap_err();
    assert!(error.to_string().contains("use cgroupfs"), "{error}");
}

#[test]
fn masks() {
    assert_eq!(bit_mask("0-2,8"), Some(vec![7, 1]));
    assert_eq!(bit_mask("3"), Some(vec![8]));
    assert_eq!(bit_mask(""), None);
    assert_eq!(bit_mask("0-99999999999"), None);
}

#[test]
fn limits() {
    let resources = LinuxResourcesBuilder::default()
        .memory(LinuxMemoryBuilder::default().limit(100).swap(300).build().unwrap())
        .cpu(LinuxCpuBuilder::default().shares(1024u64).quota(50_001).build().unwrap())
        .build()
        .unwrap();
    assert_eq!(
        limit_properties(&resources, Version::V2),
        [
            ("MemoryMax", Value::U64(100)),
            ("MemorySwapMax", Value::U64(200)),
            ("CPUWeight", Value::U64(100)),
            ("CPUQuotaPerSecUSec", Value::U64(510_000)),
        ]
    );
    assert_eq!(limit_properties(&resources, Version::Hybrid)[0].0, "MemoryLimit");
    assert_eq!(quota_per_second(-1, 100_000), u64::MAX);
}
