//! The seccomp filter of a container and its execs: compiled once.

use std::borrow::Cow;

use oci_spec::runtime::Spec;
use proto::seccomp::{Machine, bounding, default_profile, kernel_version};
use runtime::seccomp::{Error, Filter, compile};
use types::capability::CapabilitySet;

/// The default profile for the capabilities that nearly every container has, compiled before any
/// monitor was forked.
#[derive(Debug)]
pub(crate) struct Shared {
    filter: Filter,
}

fn of_capabilities(capabilities: CapabilitySet) -> Result<Filter, Error> {
    // Without a release nothing that needs a newer kernel is allowed.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    compile(&default_profile(capabilities, kernel_version(&release), Machine::NATIVE))
}

impl Shared {
    /// Compiles it.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { filter: of_capabilities(CapabilitySet::default_set())? })
    }
}

/// The filter for a container: the default one, that of its specification, or none.
pub(crate) fn of_container<'s>(
    spec: &Spec,
    default: bool,
    shared: Option<&'s Shared>,
) -> Result<Option<Cow<'s, Filter>>, Error> {
    if let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        return compile(profile).map(Cow::Owned).map(Some);
    }
    if !default {
        return Ok(None);
    }
    let capabilities = bounding(spec);
    match shared {
        Some(shared) if capabilities == CapabilitySet::default_set() => {
            Ok(Some(Cow::Borrowed(&shared.filter)))
        }
        _ => of_capabilities(capabilities).map(Cow::Owned).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(capabilities: &[String]) -> Spec {
        serde_json::from_value(serde_json::json!({
            "ociVersion": "1.2.0",
            "process": {
                "cwd": "/", "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": capabilities},
            },
        }))
        .expect("a specification")
    }

    #[test]
    fn the_usual_container_takes_what_is_there() {
        let shared = Shared::new().expect("compiles");
        let usual = spec(&CapabilitySet::default_set().names());
        let filter = of_container(&usual, true, Some(&shared)).expect("compiles");
        assert!(matches!(filter, Some(Cow::Borrowed(_))));
        let other = spec(&["CAP_SYS_ADMIN".to_owned()]);
        assert_eq!(bounding(&other).names(), ["CAP_SYS_ADMIN"]);
        let filter = of_container(&other, true, Some(&shared)).expect("compiles");
        assert!(matches!(filter, Some(Cow::Owned(own)) if own != shared.filter));
        assert!(of_container(&usual, false, Some(&shared)).expect("compiles").is_none());
    }
}
