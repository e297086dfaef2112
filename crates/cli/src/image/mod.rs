//! Commands about images, one file a command.

mod compare;
mod history;
mod import;
mod load;
mod ls;
mod prune;
mod pull;
mod push;
mod rm;
mod save;
mod show;
mod squash;
mod tree;

pub(crate) use ls::{LIST_FIELDS, list_line, list_names};
pub(crate) use prune::prune as prune_all;
pub(crate) use pull::pull_for_run;
pub(crate) use push::push_for_build;
pub(crate) use show::fetch as fetch_inspect;

use docker_api::client::Target;

use crate::session::Session;
use crate::verbs::{MANY, Verb, verb};

/// The commands.
pub(crate) static VERBS: &[Verb] = &[
    verb!("build", [], 1..=1, "[OPTIONS] PATH | URL | -", "Build an image from a Dockerfile",
        crate::build::Args => crate::build::build),
    verb!("diff", [], 2..=2, "[OPTIONS] IMAGE IMAGE", "Show which files are not the same in two images",
        compare::Args => compare::diff),
    verb!("history", [], 1..=1, "[OPTIONS] IMAGE", "Show how an image was made",
        history::Args => history::history),
    verb!("import", [], 1..=2, "[OPTIONS] FILE|URL|- [REPOSITORY[:TAG]]", "Make an image of a tar archive of files",
        import::Args => import::import),
    verb!("inspect", [], 1..=MANY, "[OPTIONS] IMAGE [IMAGE...]", "Show all that is known of images",
        show::Args => show::inspect),
    verb!("load", [], 0..=0, "[OPTIONS]", "Read images from an archive that save wrote",
        load::Args => load::load),
    verb!("ls", ["list"], 0..=1, "[OPTIONS] [REPOSITORY[:TAG]]", "List images", ls::Args => ls::ls),
    verb!("prune", [], 0..=0, "[OPTIONS]", "Remove images that nobody uses", prune::Args => prune::command),
    verb!("pull", [], 1..=1, "[OPTIONS] NAME[:TAG|@DIGEST]", "Fetch an image from a registry",
        pull::Args => pull::pull),
    verb!("push", [], 1..=1, "[OPTIONS] NAME[:TAG]", "Send an image to a registry",
        push::Args => push::push),
    verb!("rm", ["remove"], 1..=MANY, "[OPTIONS] IMAGE [IMAGE...]", "Remove images", rm::Args => rm::rm),
    verb!("save", [], 1..=MANY, "[OPTIONS] IMAGE [IMAGE...]", "Write images to an archive",
        save::Args => save::save),
    verb!("squash", [], 1..=1, "[OPTIONS] IMAGE", "Make an image with one layer of an image with many",
        squash::Args => squash::squash),
    verb!("tag", [], 2..=2, "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Give an image a further name",
        TagArgs => tag),
];

/// Repository and tag (or digest) of a name; the tag is empty when there is none.
pub(crate) fn split_tag(name: &str) -> (&str, &str) {
    if let Some((repository, digest)) = name.split_once('@') {
        return (repository, digest);
    }
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, ""),
    }
}

/// The tag that a pull or a push means: none for all tags, `latest`, which is said, if none is given.
fn meant_tag<'a>(
    session: &Session,
    tag: &'a str,
    all_tags: bool,
    quiet: bool,
) -> anyhow::Result<&'a str> {
    match (tag, all_tags) {
        ("", true) => Ok(""),
        (_, true) => anyhow::bail!("tag can't be used with --all-tags/-a"),
        ("", false) => {
            if !quiet {
                session.line("Using default tag: latest");
            }
            Ok("latest")
        }
        (tag, false) => Ok(tag),
    }
}

/// The name with the tag that is meant when none is given.
pub(crate) fn familiar(name: &str) -> String {
    if split_tag(name).1.is_empty() { format!("{name}:latest") } else { name.to_owned() }
}

/// `tag`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct TagArgs {
    /// Image and its new name
    #[arg(value_name = "IMAGE")]
    names: Vec<String>,
}

async fn tag(session: &Session, args: TagArgs) -> anyhow::Result<u8> {
    let [source, target] = args.names.as_slice() else {
        anyhow::bail!("an image and its new name are needed");
    };
    if target.contains('@') {
        anyhow::bail!("refusing to create a tag with a digest reference");
    }
    let (repository, tag) = split_tag(target);
    let tag = if tag.is_empty() { "latest" } else { tag };
    let target = Target::named("/images", source, "/tag").with("repo", repository).with("tag", tag);
    session.client()?.post_empty(&target).await?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split_tag("reg:5000/a"), ("reg:5000/a", ""));
        assert_eq!(split_tag("reg:5000/a:1"), ("reg:5000/a", "1"));
        assert_eq!(split_tag("a@sha256:0"), ("a", "sha256:0"));
        assert_eq!(familiar("a"), "a:latest");
    }
}
