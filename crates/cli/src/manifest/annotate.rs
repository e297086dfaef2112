//! `annotate`.

use super::reference;
use super::store::Store;
use crate::session::Session;

/// `annotate`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Architecture: amd64, arm64, …
    #[arg(long, default_value = "", hide_default_value = true)]
    arch: String,
    /// Operating system: linux, …
    #[arg(long, default_value = "", hide_default_value = true)]
    os: String,
    /// What the operating system must offer
    #[arg(long)]
    os_features: Vec<String>,
    /// Version of the operating system
    #[arg(long, default_value = "", hide_default_value = true)]
    os_version: String,
    /// Variant of the architecture: v7, v8, …
    #[arg(long, default_value = "", hide_default_value = true)]
    variant: String,
    /// List, and an image of it
    #[arg(value_name = "MANIFEST")]
    names: Vec<String>,
}

/// The operating systems that Docker knows, and the architectures of each, by Go's names.
const KNOWN: &[(&str, &[&str])] = &[
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm"]),
    (
        "linux",
        &["386", "amd64", "arm", "arm64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x"],
    ),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("windows", &["386", "amd64"]),
];

fn is_known(os: &str, architecture: &str) -> bool {
    KNOWN.iter().any(|(name, all)| *name == os && all.contains(&architecture))
}

pub(crate) async fn annotate(session: &Session, args: Args) -> anyhow::Result<u8> {
    let [list, image] = args.names.as_slice() else {
        anyhow::bail!("a list and an image of it are needed");
    };
    let (list, image) = (reference(list)?, reference(image)?);
    let store = Store::of(session);
    let Some(mut entry) = store.get(&list, &image)? else {
        anyhow::bail!("manifest for image {image} does not exist in {list}");
    };
    let platform = entry.descriptor.platform.get_or_insert_default();
    for (given, field) in [
        (args.os, &mut platform.os),
        (args.arch, &mut platform.architecture),
        (args.variant, &mut platform.variant),
        (args.os_version, &mut platform.os_version),
    ] {
        if !given.is_empty() {
            *field = given;
        }
    }
    for feature in args.os_features.iter().flat_map(|text| text.split(',')) {
        if !platform.os_features.iter().any(|known| known == feature) {
            platform.os_features.push(feature.to_owned());
        }
    }
    if !is_known(&platform.os, &platform.architecture) {
        anyhow::bail!(
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            platform.os,
            platform.architecture
        );
    }
    store.save(&list, &entry)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pairs_of_gos_are_platforms() {
        assert!(is_known("linux", "arm64") && is_known("windows", "amd64"));
        for (os, architecture) in
            [("linux", "foo"), ("plan9", "s390x"), ("", "amd64"), ("linux", "")]
        {
            assert!(!is_known(os, architecture), "{os}/{architecture}");
        }
    }
}
