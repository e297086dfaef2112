//! The `unified` map: file names and values that go to the unified tree as they are.

use std::collections::HashMap;

use crate::cgroup::plan::{Step, write};
use crate::cgroup::{Error, Missing};

pub(in crate::cgroup) fn plan(values: &HashMap<String, String>) -> Result<Vec<Step>, Error> {
    let mut files: Vec<_> = values.iter().collect();
    files.sort();
    let mut steps = Vec::new();
    for (file, value) in files {
        // A plain name of a control file: "controller.knob". Moving processes is not a limit.
        let plain = file.contains('.') && !file.starts_with('.') && !file.contains(['/', '\0']);
        if !plain || matches!(file.as_str(), "cgroup.procs" | "cgroup.threads") {
            return Err(Error::Value { what: "unified cgroup file name", value: file.clone() });
        }
        for line in value.lines() {
            steps.push(write(file.clone(), line, Missing::Unified).into());
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans() {
        let map = |file: &str| HashMap::from([(file.to_owned(), "8:0 rbps=1\n8:16 rbps=2".into())]);
        assert_eq!(
            plan(&map("io.max")).unwrap(),
            [
                write("io.max", "8:0 rbps=1", Missing::Unified).into(),
                write("io.max", "8:16 rbps=2", Missing::Unified).into()
            ]
        );
        for bad in ["../x.y", "a/b.c", "..", "", "memory", "cgroup.procs", ".hidden"] {
            assert!(plan(&map(bad)).is_err(), "{bad}");
        }
    }
}
