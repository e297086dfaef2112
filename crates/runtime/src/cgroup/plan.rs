//! A plan is what the planners of `v1` and `v2` return and what [`execute`] does: file and value
//! in the order to write them. Planners decide, this module writes.

use std::borrow::Cow;
use std::io;

use super::files::Dir;
use super::{Error, Missing, OnMissing, Warning};

/// One value for one control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) file: Cow<'static, str>,
    /// Another name of the same knob, tried when the first does not exist.
    pub(super) or: Option<&'static str>,
    pub(super) value: String,
    /// What it means when the file does not exist, or the kernel does not implement it.
    pub(super) missing: Missing,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Write(Write),
    /// Values that the kernel checks against each other (EINVAL), so that the right order depends on
    /// the values that are there now.
    AnyOrder(Vec<Write>),
    /// Nothing to write: this generation of cgroups has no such knob.
    Lacks(Missing),
}

pub(super) fn write(
    file: impl Into<Cow<'static, str>>,
    value: impl ToString,
    missing: Missing,
) -> Write {
    Write { file: file.into(), or: None, value: value.to_string(), missing }
}

impl Write {
    pub(super) fn or(mut self, file: &'static str) -> Write {
        self.or = Some(file);
        self
    }
}

impl From<Write> for Step {
    fn from(write: Write) -> Step {
        Step::Write(write)
    }
}

/// Does every step; a missing knob is an error or a warning as `on_missing` says.
pub(super) fn execute(
    dir: &Dir,
    steps: Vec<Step>,
    on_missing: OnMissing,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    for step in steps {
        let outcome = match step {
            Step::Write(one) => attempt(dir, &one),
            Step::AnyOrder(many) => any_order(dir, many),
            Step::Lacks(missing) => Err(Error::Unsupported(missing)),
        };
        match outcome {
            Ok(()) => {}
            Err(Error::Unsupported(missing)) => lack(missing, on_missing, warnings)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A missing knob, as the caller wants to hear about it.
pub(super) fn lack(
    missing: Missing,
    on_missing: OnMissing,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    if on_missing == OnMissing::Fail {
        return Err(Error::Unsupported(missing));
    }
    let warning = Warning::Missing(missing);
    if !warnings.contains(&warning) {
        warnings.push(warning);
    }
    Ok(())
}

fn attempt(dir: &Dir, one: &Write) -> Result<(), Error> {
    let mut outcome = dir.write(&one.file, &one.value);
    let mut file: &str = &one.file;
    if let (Err(error), Some(or)) = (&outcome, one.or)
        && error.kind() == io::ErrorKind::NotFound
    {
        file = or;
        outcome = dir.write(or, &one.value);
    }
    outcome.map_err(|source| match source.raw_os_error() {
        // ENOENT: the file is not there. EOPNOTSUPP (95) and ENOTSUPP (524, which should never
        // leave the kernel but does for memory.kmem.limit_in_bytes in 5.16): it is there, in name.
        Some(2 | 95 | 524) => Error::Unsupported(one.missing),
        _ => Error::Write { path: dir.file(file), value: one.value.clone(), source },
    })
}

/// Writes what the kernel takes and tries the refused rest again, as long as that gets us further.
fn any_order(dir: &Dir, mut pending: Vec<Write>) -> Result<(), Error> {
    while !pending.is_empty() {
        let before = pending.len();
        let mut refused = Vec::new();
        let mut first = None;
        for one in pending {
            match attempt(dir, &one) {
                Ok(()) => {}
                Err(error) if error.errno() == Some(22) => {
                    refused.push(one);
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match first {
            Some(error) if refused.len() == before => return Err(error),
            _ => pending = refused,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_name_is_tried_and_missing_files_become_warnings() {
        let tmp = std::env::temp_dir().join(format!("isopod-plan-{}", std::process::id()));
        std::fs::create_dir(&tmp).unwrap();
        std::fs::write(tmp.join("b"), "").unwrap();
        let dir = Dir(tmp.clone());
        let mut warnings = Vec::new();
        let steps = vec![
            write("a", 7, Missing::BlkioWeight).or("b").into(),
            write("c", 1, Missing::CpuIdle).into(),
            Step::AnyOrder(vec![write("c", 2, Missing::CpuIdle)]),
            Step::Lacks(Missing::Rdma),
        ];
        let outcome = execute(&dir, steps.clone(), OnMissing::Warn, &mut warnings);
        let text = std::fs::read_to_string(tmp.join("b")).unwrap();
        let strict = execute(&dir, steps, OnMissing::Fail, &mut Vec::new());
        std::fs::remove_dir_all(&tmp).unwrap();
        outcome.unwrap();
        assert_eq!(text, "7");
        assert_eq!(warnings, [Warning::Missing(Missing::CpuIdle), Warning::Missing(Missing::Rdma)]);
        assert!(matches!(strict, Err(Error::Unsupported(Missing::CpuIdle))));
    }
}
