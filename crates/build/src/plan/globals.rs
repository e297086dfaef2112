//! Variables that are there before the first `FROM`.

use std::collections::BTreeMap;

use super::{Options, PlanError, Reason};
use crate::dockerfile::{Dockerfile, Warning};
use crate::expand;

/// Proxies: every `RUN` sees those that were given, no `ARG` needed, and they count for no cache.
pub(super) const PROXIES: [&str; 10] = [
    "ALL_PROXY",
    "FTP_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "ftp_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Arguments that are for the builder itself.
pub(super) fn is_for_builder(name: &str) -> bool {
    name == "SOURCE_DATE_EPOCH" || name.starts_with("BUILDKIT_")
}

/// What the platforms are called; arguments of the same name win.
pub(super) fn platforms(options: &Options) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (prefix, platform) in
        [("BUILD", &options.build_platform), ("TARGET", &options.target_platform)]
    {
        let mut parts = platform.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        values.insert(format!("{prefix}PLATFORM"), platform.clone());
        values.insert(format!("{prefix}OS"), part());
        values.insert(format!("{prefix}ARCH"), part());
        values.insert(format!("{prefix}VARIANT"), part());
    }
    for (name, value) in &mut values {
        if let Some(given) = options.arguments.get(name) {
            value.clone_from(given);
        }
    }
    let stage = options.target.clone().unwrap_or_else(|| "default".to_owned());
    values.insert("TARGETSTAGE".to_owned(), stage);
    values
}

/// Works out the `ARG`s before the first `FROM`.
pub(super) fn values(
    file: &Dockerfile,
    options: &Options,
    warnings: &mut Vec<Warning>,
) -> Result<BTreeMap<String, String>, PlanError> {
    let mut values = platforms(options);
    for node in &file.arguments {
        for argument in &node.value {
            let value = match (options.arguments.get(&argument.name), &argument.default) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => {
                    let done = expand::word(default, file.directives.escape, &values).map_err(
                        |error| {
                            let reason = Reason::Word(default.clone(), error);
                            PlanError::at(node.span_of(default), reason)
                        },
                    )?;
                    super::scope::undefined(&done.unset, node.span, warnings);
                    done.text
                }
                (None, None) => continue,
            };
            values.insert(argument.name.clone(), value);
        }
    }
    Ok(values)
}
