//! `diff`: what is not the same in two images.

use docker_api::client::Target;
use docker_api::layers::ImageChange;

use crate::session::Session;
use crate::show::human;

/// `diff`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to show them: json or nothing
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show sizes, and what of each file has changed
    #[arg(short, long)]
    verbose: bool,
    /// Images
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) async fn diff(session: &Session, args: Args) -> anyhow::Result<u8> {
    let [old, new] = args.images.as_slice() else { anyhow::bail!("two images are needed") };
    let target = Target::named("/images", old, "/diff").with("other", new);
    let changes: Vec<ImageChange> = session.client()?.get(&target).await?;
    match args.format.as_str() {
        "" => {}
        "json" => {
            session.line(&serde_json::to_string(&changes)?);
            return Ok(0);
        }
        other => anyhow::bail!("unknown format {other:?}: only json is supported"),
    }
    let text: String = changes.iter().map(|change| line(change, args.verbose)).collect();
    session.text(&text);
    Ok(0)
}

/// `C /path`, as for containers; with sizes and reasons behind it if they are wanted.
fn line(change: &ImageChange, verbose: bool) -> String {
    let letter = match change.kind {
        0 => 'C',
        1 => 'A',
        _ => 'D',
    };
    let path = &change.path;
    if !verbose {
        return format!("{letter} {path}\n");
    }
    let size = |bytes| human::size(bytes, 3);
    let detail = match change.kind {
        0 if change.old_size == change.size => change.what.join(", "),
        0 => {
            let sizes = format!("{} → {}", size(change.old_size), size(change.size));
            let words = change.what.iter().cloned().chain([sizes]);
            words.collect::<Vec<_>>().join(", ")
        }
        1 => size(change.size),
        _ => size(change.old_size),
    };
    format!("{letter} {path} ({detail})\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_as_those_of_containers() {
        let change = ImageChange {
            path: "/etc/x".to_owned(),
            kind: 0,
            old_size: 10,
            size: 2_000,
            what: vec!["content".to_owned(), "mode".to_owned()],
        };
        assert_eq!(line(&change, false), "C /etc/x\n");
        assert_eq!(line(&change, true), "C /etc/x (content, mode, 10B → 2kB)\n");
        let added = ImageChange { kind: 1, ..change.clone() };
        assert_eq!(line(&added, true), "A /etc/x (2kB)\n");
        let removed = ImageChange { kind: 2, ..change };
        assert_eq!(line(&removed, true), "D /etc/x (10B)\n");
    }
}
