//! `COPY` and `ADD`.

use super::heredoc::{Heredoc, heredoc_of};
use super::words::{FlagTexts, Problem, arguments, problem};

/// `COPY` or `ADD`: one reading serves both, for they differ in flags and sources only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// What is copied, as written.
    pub sources: Vec<CopySource>,
    /// Where to, as written.
    pub destination: String,
    /// `--from`, as written: a stage's name or number, or an image. `COPY` only.
    pub from: Option<String>,
    /// `--chown`, as written.
    pub chown: Option<String>,
    /// `--chmod`, as written.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`: the sources' directories are kept. `COPY` only.
    pub parents: bool,
    /// `--exclude`, each as written.
    pub exclude: Vec<String>,
    /// `--checksum`, as written. `ADD` only.
    pub checksum: Option<String>,
    /// `--keep-git-dir`. `ADD` only.
    pub keep_git_dir: bool,
    /// `--unpack`: archives from the network are unpacked, or none is. `ADD` only.
    pub unpack: Option<bool>,
}

/// One thing to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path or pattern within the source; for `ADD` also an address.
    Path(String),
    /// A here-document.
    Inline(Inline),
}

/// A file that stands in the Dockerfile itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    /// Its name: what it is called when the destination is a directory.
    pub name: String,
    /// Its content.
    pub content: String,
    /// Variables in the content are replaced.
    pub expand: bool,
}

/// Reads what follows `COPY` or `ADD` (`keyword`).
pub(super) fn parse(
    keyword: &'static str,
    rest: &str,
    heredocs: Vec<Heredoc>,
) -> Result<Copy, Problem> {
    let (texts, rest_at) = FlagTexts::take(rest);
    let flags = texts.flags();
    let mut copy = Copy::default();
    for flag in &flags.0 {
        match (flag.name, keyword) {
            ("from", "COPY") => copy.from = Some(flag.value()?.to_owned()),
            ("chown", _) => copy.chown = Some(flag.value()?.to_owned()),
            ("chmod", _) => copy.chmod = Some(flag.value()?.to_owned()),
            ("link", _) => copy.link = flag.boolean()?,
            ("parents", "COPY") => copy.parents = flag.boolean()?,
            ("exclude", _) => copy.exclude.push(flag.value()?.to_owned()),
            ("checksum", "ADD") => copy.checksum = Some(flag.value()?.to_owned()),
            ("keep-git-dir", "ADD") => copy.keep_git_dir = flag.boolean()?,
            ("unpack", "ADD") => copy.unpack = Some(flag.boolean()?),
            _ => return Err(flag.unknown(known(keyword))),
        }
        if flag.name != "exclude" {
            flags.only_once(flag)?;
        }
    }
    if copy.from.as_ref().is_some_and(|from| from.contains('$')) {
        return Err(problem(
            flags.offset_of("from"),
            "variable expansion is not supported for --from, define a new stage with FROM using \
             ARG from global scope as a workaround",
        ));
    }
    let mut words = arguments(rest, rest_at)?;
    let destination = match words.pop() {
        Some(last) if !words.is_empty() => last,
        _ => {
            return Err(problem(
                rest_at,
                format!(
                    "{keyword} requires at least two arguments, but only one was provided. \
                     Destination could not be determined"
                ),
            ));
        }
    };
    if let Some(heredoc) = heredoc_of(&destination) {
        return Err(problem(
            rest_at,
            format!("{keyword} cannot accept a heredoc as a destination: {}", heredoc.name),
        ));
    }
    let mut heredocs = heredocs.into_iter();
    for word in words {
        let inline = heredoc_of(&word).and_then(|_| heredocs.next());
        copy.sources.push(match inline {
            Some(heredoc) => CopySource::Inline(Inline {
                content: heredoc.content_without_tabs(),
                name: heredoc.name,
                expand: heredoc.expand,
            }),
            None => CopySource::Path(word),
        });
    }
    copy.destination = destination;
    Ok(copy)
}

fn known(keyword: &str) -> &'static [&'static str] {
    if keyword == "ADD" {
        &["checksum", "chmod", "chown", "exclude", "keep-git-dir", "link", "unpack"]
    } else {
        &["chmod", "chown", "exclude", "from", "link", "parents"]
    }
}
