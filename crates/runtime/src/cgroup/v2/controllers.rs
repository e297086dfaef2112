//! Turning controllers on: a directory has a controller when its parent lists it in
//! `cgroup.subtree_control`.

use crate::cgroup::Warning;
use crate::cgroup::files::Dir;

/// Makes `parent` pass the controllers on to its children. Those that it cannot are told: the kernel says
/// EBUSY when `parent` itself has processes and is not the root, ENOENT when its own parent does not
/// pass the controller on.
pub(in crate::cgroup) fn enable(parent: &Dir, wanted: &[&str]) -> Vec<Warning> {
    let now = parent.text("cgroup.subtree_control").unwrap_or_default();
    let lacking = lacking(&now, wanted);
    if lacking.is_empty() {
        return Vec::new();
    }
    let together: Vec<_> = lacking.iter().map(|name| format!("+{name}")).collect();
    if parent.write("cgroup.subtree_control", &together.join(" ")).is_ok() {
        return Vec::new();
    }
    // All or nothing failed: one by one, what can be had.
    let mut warnings = Vec::new();
    for name in lacking {
        if let Err(error) = parent.write("cgroup.subtree_control", &format!("+{name}")) {
            let (controller, why) = (name.to_owned(), error.to_string());
            warnings.push(Warning::ControllerUnavailable { controller, why });
        }
    }
    warnings
}

fn lacking<'a>(now: &str, wanted: &[&'a str]) -> Vec<&'a str> {
    let on: Vec<&str> = now.split_whitespace().collect();
    wanted.iter().copied().filter(|name| !on.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_what_is_not_on_yet() {
        assert_eq!(super::lacking("cpu io", &["cpu", "memory", "io"]), ["memory"]);
    }
}
