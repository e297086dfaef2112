//! `--output`: where a result goes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use docker_api::build::BuildOutput;

use crate::options::words;

/// One `--output`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Output {
    /// What the daemon is asked for.
    pub(super) ask: BuildOutput,
    /// Where this machine puts it; `None` for what stays with the daemon.
    pub(super) place: Option<Place>,
    /// Whether the image goes on to its registry.
    pub(super) push: bool,
}

/// A place on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The files go into a directory.
    Directory(PathBuf),
    /// An archive becomes a file.
    File(PathBuf),
    /// An archive goes to standard output.
    Stdout,
}

/// Reads one `--output`.
pub(super) fn parse(text: &str) -> Result<Output, String> {
    let fields = words::csv(text)?;
    let short = matches!(fields.as_slice(), [only] if !only.contains('='));
    let mut attrs = BTreeMap::new();
    if short {
        let kind = if text == "-" { "tar" } else { "local" };
        attrs.insert("type".to_owned(), kind.to_owned());
        attrs.insert("dest".to_owned(), text.to_owned());
    } else {
        for field in &fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid value {field}: expected NAME=VALUE"))?;
            attrs.insert(key.trim().to_lowercase(), value.to_owned());
        }
    }
    let kind = attrs.remove("type").ok_or("type is required for output")?;
    let dest = attrs.remove("dest").filter(|dest| !dest.is_empty());
    let push = kind == "registry"
        || attrs.remove("push").is_some_and(|push| crate::globals::truth(&push) == Some(true));
    let (kind, place) = match (kind.as_str(), dest) {
        ("local", None) => return Err("dest is required for local output".to_owned()),
        ("local", Some(dest)) if dest == "-" => {
            return Err("dest cannot be stdout for local output".to_owned());
        }
        ("local", Some(dest)) => ("local", Some(Place::Directory(dest.into()))),
        // Without a place to go, `docker` means the daemon's images.
        ("docker" | "image" | "registry", None) => ("image", None),
        ("tar" | "oci", None) => (kind.as_str(), Some(Place::Stdout)),
        ("tar" | "oci" | "docker", Some(dest)) => {
            let place = if dest == "-" { Place::Stdout } else { Place::File(dest.into()) };
            (kind.as_str(), Some(place))
        }
        ("image" | "registry", Some(_)) => {
            return Err(format!("dest is not supported for {kind} output"));
        }
        ("cacheonly", _) => ("cacheonly", None),
        _ => {
            return Err(format!(
                "unsupported output type {kind:?}: use local, tar, docker, oci, image, registry or cacheonly"
            ));
        }
    };
    Ok(Output { ask: BuildOutput { kind: kind.to_owned(), attrs }, place, push })
}

/// Reads all of them.
///
/// # Errors
/// One that cannot be read, two that want standard output.
pub(super) fn parse_all(texts: &[String]) -> Result<Vec<Output>, String> {
    let all: Vec<Output> = texts.iter().map(|text| parse(text)).collect::<Result<_, _>>()?;
    if all.iter().filter(|output| output.place == Some(Place::Stdout)).count() > 1 {
        return Err("only one output can go to standard output".to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_a_directory_a_file_or_the_daemons() {
        let place = |text: &str| parse(text).map(|output| (output.ask.kind, output.place));
        let file = |path: &str| Some(Place::File(path.into()));
        assert_eq!(place("out"), Ok(("local".into(), Some(Place::Directory("out".into())))));
        assert_eq!(place("-"), Ok(("tar".into(), Some(Place::Stdout))));
        assert_eq!(place("type=tar,dest=x.tar"), Ok(("tar".into(), file("x.tar"))));
        assert_eq!(place("type=oci,dest=x"), Ok(("oci".into(), file("x"))));
        assert_eq!(place("type=docker"), Ok(("image".into(), None)));
        assert_eq!(place("type=cacheonly"), Ok(("cacheonly".into(), None)));
        assert!(parse("type=registry").expect("valid").push);
        let named = parse("type=image,name=a:1,push=true").expect("valid");
        assert!(named.push);
        assert_eq!(named.ask.attrs["name"], "a:1");
        for bad in ["type=local", "dest=x", "type=zip,dest=x", "type=image,dest=x", "a,b", ""] {
            assert!(parse(bad).is_err() || bad.is_empty(), "{bad}");
        }
        assert!(parse_all(&["-".to_owned(), "type=oci".to_owned()]).is_err());
    }
}
