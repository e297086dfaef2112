//! The table of everything that can be configured: one row a directive, from which the flags, the
//! known keys of the configuration file and the search for conflicts between both are made.

/// How a directive's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Words.
    Text,
    /// Yes or no; the flag may stand alone.
    Switch,
    /// A whole number.
    Number,
    /// A repeatable flag; a list in the file.
    List,
    /// A repeatable `key=value` flag; an object in the file.
    Map,
    /// `--default-ulimit nofile=1024:2048`.
    Ulimits,
    /// `--default-address-pool base=10.0.0.0/8,size=24`.
    Pools,
}

/// One directive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directive {
    /// The long flag, without dashes; empty when only the file has it.
    pub(crate) flag: &'static str,
    /// The short flag.
    pub(crate) short: Option<char>,
    /// The key in the file.
    pub(crate) key: &'static str,
    /// How its value is written.
    pub(crate) kind: Kind,
    /// What the value is, in the help.
    pub(crate) value: &'static str,
    /// One line for the help.
    pub(crate) help: &'static str,
}

const fn row(
    flag: &'static str,
    key: &'static str,
    kind: Kind,
    value: &'static str,
    help: &'static str,
) -> Directive {
    Directive { flag, short: None, key, kind, value, help }
}

const fn short(mut directive: Directive, letter: char) -> Directive {
    directive.short = Some(letter);
    directive
}

use Kind::{List, Map, Number, Pools, Switch, Text, Ulimits};

/// Every directive, in the order of the help.
#[rustfmt::skip]
pub(crate) const DIRECTIVES: &[Directive] = &[
    row("data-root", "data-root", Text, "DIR", "Where everything that survives a reboot is kept [default: /var/lib/isopod]"),
    row("exec-root", "exec-root", Text, "DIR", "Where what runs now is kept; a tmpfs [default: /run/isopod]"),
    short(row("host", "hosts", List, "HOST", "Listen on unix://PATH, tcp://ADDRESS:PORT or fd:// (repeatable) [default: unix://EXEC-ROOT/isopod.sock]"), 'H'),
    short(row("group", "group", Text, "GROUP", "Group of the unix socket [default: isopod, or docker where there is no such group]"), 'G'),
    row("pidfile", "pidfile", Text, "PATH", "Where the daemon writes its process id [default: EXEC-ROOT/isopod.pid]"),
    row("log-level", "log-level", Text, "LEVEL", "debug, info, warn, error or fatal [default: info]"),
    short(row("debug", "debug", Switch, "", "The same as --log-level debug"), 'D'),
    row("metrics-addr", "metrics-addr", Text, "ADDRESS:PORT", "Serve metrics in Prometheus' text format at /metrics"),
    row("tls", "tls", Switch, "", "Encrypt TCP connections; implied by --tlsverify"),
    row("tlsverify", "tlsverify", Switch, "", "Encrypt TCP connections and demand a certificate of the client"),
    row("tlscacert", "tlscacert", Text, "PATH", "Trust clients whose certificates this authority signed [default: /etc/isopod/ca.pem]"),
    row("tlscert", "tlscert", Text, "PATH", "The daemon's certificate [default: /etc/isopod/cert.pem]"),
    row("tlskey", "tlskey", Text, "PATH", "The daemon's key [default: /etc/isopod/key.pem]"),
    row("client-access", "client-access", Map, "SUBJECT=LEVEL", "What clients with a certificate may do: full, read-only or none for CN:NAME, OU:NAME, SAN:NAME, SHA256:FINGERPRINT or * (repeatable) [default: full]"),
    row("allow-insecure-tcp", "allow-insecure-tcp", Switch, "", "Serve plain TCP on other addresses than loopback: whoever reaches them is root here"),
    row("shutdown-timeout", "shutdown-timeout", Number, "SECONDS", "How long requests in flight may take when the daemon ends [default: 15]"),
    row("live-restore", "live-restore", Switch, "", "Accepted for Docker's sake: containers always outlive the daemon"),
    short(row("bridge", "bridge", Text, "NAME", "Link name of the default bridge, or none [default: isopod0, or one made of --exec-root where that is not the default]"), 'b'),
    row("bip", "bip", Text, "CIDR", "Address of the default bridge"),
    row("fixed-cidr", "fixed-cidr", Text, "CIDR", "Part of the bridge's subnet that containers get addresses from"),
    row("fixed-cidr-v6", "fixed-cidr-v6", Text, "CIDR", "IPv6 subnet of the default bridge"),
    row("mtu", "mtu", Number, "BYTES", "MTU of networks [default: 1500]"),
    row("default-address-pool", "default-address-pools", Pools, "base=CIDR,size=N", "Where networks get their subnets from (repeatable)"),
    row("iptables", "iptables", Switch, "", "Have firewall rules (in a table of our own) [default: true]"),
    row("ip-forward", "ip-forward", Switch, "", "Turn on forwarding in the kernel [default: true]"),
    row("ip-masq", "ip-masq", Switch, "", "Masquerade what leaves a bridge [default: true]"),
    row("icc", "icc", Switch, "", "Containers of the default bridge may talk to each other [default: true]"),
    row("allow-spoofing", "allow-spoofing", Switch, "", "Containers may use addresses that are not theirs, on networks that do not say"),
    row("allow-metadata", "allow-metadata", Switch, "", "Containers may ask for the machine's metadata (169.254.169.254), on networks that do not say"),
    row("allow-host-loopback", "allow-host-loopback", Switch, "", "The gateway's address stands for the host's 127.0.0.1, on networks that do not say"),
    row("direct", "direct", Switch, "", "Containers of a network reach each other past its bridge, on networks that do not say [default: true]"),
    row("ip", "ip", Text, "ADDRESS", "Host address of published ports that name none [default: 0.0.0.0]"),
    row("host-gateway-ip", "host-gateway-ip", Text, "ADDRESS", "What host-gateway stands for in --add-host"),
    row("log-driver", "log-driver", Text, "DRIVER", "Log driver of containers: json-file, local or none [default: json-file]"),
    row("log-opt", "log-opts", Map, "KEY=VALUE", "Option of the log driver (repeatable)"),
    row("default-ulimit", "default-ulimits", Ulimits, "NAME=SOFT[:HARD]", "Resource limit of containers (repeatable)"),
    row("default-shm-size", "default-shm-size", Text, "SIZE", "Size of /dev/shm [default: 64m]"),
    row("default-ipc-mode", "default-ipc-mode", Text, "MODE", "IPC namespace of containers: private or shareable [default: private]"),
    row("default-cgroupns-mode", "default-cgroupns-mode", Text, "MODE", "Cgroup namespace of containers: private or host [default: host on cgroup v1, private on v2]"),
    row("cgroup-parent", "cgroup-parent", Text, "PATH", "Parent cgroup of containers"),
    row("exec-opt", "exec-opts", List, "KEY=VALUE", "native.cgroupdriver=cgroupfs or native.cgroupdriver=systemd (repeatable)"),
    row("isolation", "default-isolation", Text, "WALL", "What containers are behind that do not say: process or vm [default: process]"),
    row("vm-kernel", "vm-kernel", List, "PATH", "Kernel of virtual machines: a file, or a directory with boot and lib/modules (repeatable: one for each architecture) [default: an installed one]"),
    row("vm-agent", "vm-agent", List, "PATH", "The program guest-agent (repeatable: one for each architecture) [default: beside this program, or in /usr/lib/isopod]"),
    row("vm-memory", "vm-memory", Text, "SIZE", "Memory of virtual machines whose container has no limit [default: 512m]"),
    row("vm-cpus", "vm-cpus", Number, "N", "Processors of virtual machines whose container has no limit [default: 1]"),
    row("vm-disk-size", "vm-disk-size", Text, "SIZE", "What a container in a virtual machine can write; the file grows with what is written [default: 20g]"),
    row("vm-templates", "vm-templates", Text, "HOW", "Clone virtual machines from templates: make, use (only if there is one) or never [default: make]"),
    row("vm-spares", "vm-spares", Number, "N", "After a virtual machine was started from a template, have one ready for the next container; up to so many when several start at once [default: 3]"),
    row("vm-accelerator", "vm-accelerator", Text, "HOW", "auto, kvm or emulation [default: auto]"),
    row("init", "init", Switch, "", "Run an init in containers that forwards signals and reaps processes"),
    row("userns-remap", "userns-remap", Text, "USER[:GROUP]", "Remap users of containers through /etc/subuid and /etc/subgid"),
    row("seccomp-profile", "seccomp-profile", Text, "PATH", "Seccomp profile of containers, builtin or unconfined [default: builtin]"),
    row("no-new-privileges", "no-new-privileges", Switch, "", "Forbid new privileges in containers"),
    row("default-runtime", "default-runtime", Text, "NAME", "Runtime of containers [default: isopod]"),
    row("label", "labels", List, "KEY=VALUE", "Label of the daemon (repeatable)"),
    row("dns", "dns", List, "ADDRESS", "Name server of containers (repeatable)"),
    row("dns-opt", "dns-opts", List, "OPTION", "Resolver option of containers (repeatable)"),
    row("dns-search", "dns-search", List, "DOMAIN", "Search domain of containers (repeatable)"),
    short(row("storage-driver", "storage-driver", Text, "DRIVER", "Accepted for Docker's sake: overlay2 is all there is"), 's'),
    row("experimental", "experimental", Switch, "", "Say that experimental features are on"),
    row("insecure-registry", "insecure-registries", List, "HOST|CIDR", "Speak plain HTTP, or unchecked TLS, with this registry (repeatable)"),
    row("registry-mirror", "registry-mirrors", List, "URL", "Ask here before Docker Hub (repeatable)"),
    row("allow-nondistributable-artifacts", "allow-nondistributable-artifacts", List, "HOST|CIDR", "Accepted for Docker's sake: every layer is pushed"),
    row("max-concurrent-downloads", "max-concurrent-downloads", Number, "N", "Layers that are pulled at once [default: 6]"),
    row("max-concurrent-uploads", "max-concurrent-uploads", Number, "N", "Layers that are pushed at once [default: 6]"),
    row("max-download-attempts", "max-download-attempts", Number, "N", "How often a download is tried [default: 5]"),
    row("http-proxy", "http-proxy", Text, "URL", "Proxy to registries that speak HTTP [default: $HTTP_PROXY]"),
    row("https-proxy", "https-proxy", Text, "URL", "Proxy to registries that speak HTTPS [default: $HTTPS_PROXY]"),
    row("no-proxy", "no-proxy", Text, "HOSTS", "Hosts that are reached without a proxy [default: $NO_PROXY]"),
    row("keep-blobs", "keep-blobs", Switch, "", "Keep layers as they were pulled too, so that they can be pushed on unchanged [default: true]"),
    row("push-compression-level", "push-compression-level", Number, "N", "Gzip's level, 1 (fast) to 9 (small), for layers that were built or loaded [default: 1]"),
    row("max-layer-size", "max-layer-size", Text, "SIZE", "The most that a layer may hold when it is unpacked [default: 256g]"),
    row("image-gc-high-percent", "image-gc-high-percent", Number, "PERCENT", "Remove images that nobody uses, oldest first, when the disk is fuller than this [default: never]"),
    row("image-gc-low-percent", "image-gc-low-percent", Number, "PERCENT", "Stop removing images when the disk is as empty as this [default: ten less]"),
    row("secret-key-file", "secret-key-file", Text, "PATH", "Key that secrets are encrypted with; made if it is missing [default: in the data root]"),
];

/// Keys of dockerd's file that are accepted and have no effect, with the reason.
#[rustfmt::skip]
pub(crate) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("builder", "the build cache is collected with the images"),
    ("features", "there are no optional features"),
    ("userland-proxy", "ports are published without a proxy process"),
    ("userland-proxy-path", "ports are published without a proxy process"),
    ("containerd", "there is no containerd"),
    ("containerd-namespace", "there is no containerd"),
    ("raw-logs", "logs have no colours"),
    ("ip6tables", "one table holds the rules of both families"),
    ("firewall-backend", "nftables is all there is"),
    ("runtimes", "the runtime is built in"),
    ("oom-score-adjust", "the service manager sets it"),
];

/// Whether the configuration file may hold this key at the top.
pub(crate) fn is_known(key: &str) -> bool {
    DIRECTIVES.iter().any(|directive| directive.key == key)
        || WITHOUT_EFFECT.iter().any(|(name, _)| *name == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_flag_or_key_stands_for_two_things() {
        let flags: BTreeSet<_> = DIRECTIVES.iter().map(|directive| directive.flag).collect();
        assert_eq!(flags.len(), DIRECTIVES.len());
        let keys: BTreeSet<_> = DIRECTIVES.iter().map(|directive| directive.key).collect();
        assert_eq!(keys.len(), DIRECTIVES.len());
        let letters: Vec<_> = DIRECTIVES.iter().filter_map(|directive| directive.short).collect();
        assert_eq!(letters.iter().collect::<BTreeSet<_>>().len(), letters.len());
    }
}
