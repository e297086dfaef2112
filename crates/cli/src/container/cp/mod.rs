//! `cp`: what goes where is decided here; packing and unpacking are next door.

mod pack;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use docker_api::archive::PathStat;
use docker_api::client::{Client, Error, Method, Target, empty, next_data};

use crate::session::Session;
use crate::show::human;
use crate::terminal::{input, output};
use crate::unpack::{self, Route};

/// `cp`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep owners
    #[arg(short, long)]
    archive: bool,
    /// Follow a symbolic link at SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not say how much was copied
    #[arg(short, long)]
    quiet: bool,
    /// From and to; one of them CONTAINER:PATH
    #[arg(value_name = "SRC_PATH")]
    paths: Vec<String>,
}

/// `container:path`, or a path of this machine.
fn split(text: &str) -> (Option<&str>, &str) {
    if text.starts_with('/') || text.starts_with('.') {
        return (None, text);
    }
    match text.split_once(':') {
        Some((container, path)) if !container.is_empty() => (Some(container), path),
        _ => (None, text),
    }
}

/// What is at one end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    path: String,
    exists: bool,
    is_dir: bool,
}

/// Whether the path says that it is a directory: `a/`, `a/.`.
fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path == "." || path.is_empty()
}

/// The directory and the last component; `.` when the path ends in `/.`.
fn split_path(path: &str) -> (String, String) {
    if path == "." || path.is_empty() || path.ends_with("/.") {
        let directory = path.trim_end_matches('.').trim_end_matches('/');
        let directory = match directory {
            "" if path.starts_with('/') => "/",
            "" => ".",
            other => other,
        };
        return (directory.to_owned(), ".".to_owned());
    }
    let bare = path.trim_end_matches('/');
    match bare.rsplit_once('/') {
        None if bare.is_empty() => ("/".to_owned(), "/".to_owned()),
        None => (".".to_owned(), bare.to_owned()),
        Some(("", base)) => ("/".to_owned(), base.to_owned()),
        Some((directory, base)) => (directory.to_owned(), base.to_owned()),
    }
}

/// Docker's rules for where a copy lands.
fn route(source: &Place, target: &Place) -> Result<Route, String> {
    let from = split_path(&source.path).1;
    if target.exists && target.is_dir {
        let directory = target.path.clone();
        return Ok(Route { directory, to: from.clone(), from });
    }
    if target.exists && source.is_dir {
        return Err("cannot copy directory".to_owned());
    }
    if !target.exists && !source.is_dir && asserts_directory(&target.path) {
        return Err("no such directory".to_owned());
    }
    if target.exists && asserts_directory(&target.path) {
        return Err("not a directory".to_owned());
    }
    // A trailing `/` or `/.` of a directory to be made says nothing new.
    let bare = target.path.trim_end_matches("/.").trim_end_matches('/');
    let (directory, to) = split_path(bare);
    Ok(Route { directory, from, to })
}

pub(crate) async fn cp(session: &Session, args: Args) -> anyhow::Result<u8> {
    let [source, target] = args.paths.as_slice() else {
        anyhow::bail!("a source and a destination are needed");
    };
    if source.is_empty() {
        anyhow::bail!("source can not be empty");
    }
    if target.is_empty() {
        anyhow::bail!("destination can not be empty");
    }
    let (bytes, destination) = match (split(source), split(target)) {
        ((Some(_), _), (Some(_), _)) => {
            anyhow::bail!("copying between containers is not supported")
        }
        ((None, _), (None, _)) => anyhow::bail!("must specify at least one container source"),
        ((Some(container), path), (None, local)) => {
            let bytes = from_container(session, &args, container, path, local).await?;
            if local == "-" {
                return Ok(0);
            }
            (bytes, absolute(local).to_string_lossy().into_owned())
        }
        ((None, local), (Some(container), path)) => {
            (to_container(session, &args, local, container, path).await?, target.clone())
        }
    };
    if !args.quiet && std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        let size = human::size(i64::try_from(bytes).unwrap_or(i64::MAX), 3);
        session.warn(&format!("Successfully copied {size} to {destination}"));
    }
    Ok(0)
}

fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}

/// What is at a path. A refusal has no words: it is an answer to `HEAD`.
async fn stat(client: &Client, container: &str, path: &str) -> Result<PathStat, Error> {
    let target = Target::named("/containers", container, "/archive").with("path", path);
    let headers = client.head(&target).await?;
    headers
        .get(PathStat::HEADER)
        .and_then(|value| value.to_str().ok())
        .and_then(PathStat::from_header)
        .ok_or_else(|| Error::Status {
            status: 500,
            message: format!("the daemon did not say what {path} is"),
        })
}

/// A path from the root on. An empty one is none.
fn rooted(path: &str) -> String {
    if path.is_empty() || path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Where a link in the container leads: its target, seen from its own directory.
fn link_target(link: &str, stat: &PathStat) -> String {
    if stat.link_target.starts_with('/') {
        return stat.link_target.clone();
    }
    let (directory, _) = split_path(link);
    format!("{}/{}", directory.trim_end_matches('/'), stat.link_target)
}

async fn from_container(
    session: &Session,
    args: &Args,
    container: &str,
    path: &str,
    local: &str,
) -> anyhow::Result<u64> {
    let client = session.client()?;
    let mut path = rooted(path);
    let mut renamed = None;
    // What is wrong with the path is said when it is read.
    if args.follow_link
        && let Ok(found) = stat(client, container, &path).await
        && found.is_symlink()
    {
        renamed = Some(split_path(&path).1);
        path = link_target(&path, &found);
    }
    let target = Target::named("/containers", container, "/archive").with("path", &path);
    if local == "-" {
        session.refuse_terminal("copy")?;
        let answer = client.stream(Method::GET, &target, None, empty()).await?;
        let mut body = answer.into_body();
        while let Some(data) = next_data(&mut body).await? {
            output::stdout(&data)?;
        }
        return Ok(0);
    }
    let answer = client.stream(Method::GET, &target, None, empty()).await?;
    let header = answer.headers().get(PathStat::HEADER).and_then(|value| value.to_str().ok());
    let found = header
        .and_then(PathStat::from_header)
        .with_context(|| format!("the daemon did not say what {path} is"))?;
    let here = Path::new(local);
    let mut place = Place { path: local.to_owned(), exists: here.exists(), is_dir: here.is_dir() };
    if place.exists && place.is_dir {
        place.path = here.canonicalize()?.to_string_lossy().into_owned();
    }
    let source = Place { path: path.clone(), exists: true, is_dir: found.is_dir() };
    let mut route = route(&source, &place).map_err(anyhow::Error::msg)?;
    if let Some(name) = renamed
        && place.is_dir
    {
        route.to = name;
    }
    if !Path::new(&route.directory).is_dir() {
        anyhow::bail!(
            "invalid output path: directory {:?} does not exist",
            absolute(&route.directory)
        );
    }
    unpack::unpack(answer.into_body(), route).await
}

async fn to_container(
    session: &Session,
    args: &Args,
    local: &str,
    container: &str,
    path: &str,
) -> anyhow::Result<u64> {
    let client = session.client()?;
    let path = rooted(path);
    let mut place = Place { path: path.clone(), exists: false, is_dir: false };
    match stat(client, container, &path).await {
        Ok(found) if found.is_symlink() => {
            place.path = link_target(&path, &found);
            if let Ok(behind) = stat(client, container, &place.path).await {
                place.exists = true;
                place.is_dir = behind.is_dir();
            }
        }
        Ok(found) => {
            place.exists = true;
            place.is_dir = found.is_dir();
        }
        Err(Error::Status { .. }) => {
            // The path may be anything; the container may not be missing.
            client.get_bytes(&Target::named("/containers", container, "/json")).await?;
        }
        Err(error) => return Err(error.into()),
    }
    let put = |directory: &str| {
        Target::named("/containers", container, "/archive")
            .with("path", directory)
            .with("noOverwriteDirNonDir", "true")
            .maybe("copyUIDGID", args.archive.then_some("true"))
    };
    if local == "-" {
        if !place.is_dir {
            anyhow::bail!("destination \"{container}:{path}\" must be a directory");
        }
        let body = input::stdin_body();
        client.stream(Method::PUT, &put(&place.path), Some("application/x-tar"), body).await?;
        return Ok(0);
    }
    let source = pack::source(local, args.follow_link)
        .with_context(|| format!("lstat {}", absolute(local).display()))?;
    let route = route(&source.place, &place).map_err(anyhow::Error::msg)?;
    let target = put(&route.directory);
    let (body, count) = pack::body(source, route);
    client.stream(Method::PUT, &target, Some("application/x-tar"), body).await?;
    Ok(count.load(std::sync::atomic::Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, exists: bool, is_dir: bool) -> Place {
        Place { path: path.to_owned(), exists, is_dir }
    }

    fn went(source: &Place, target: &Place) -> Result<(String, String, String), String> {
        route(source, target).map(|r| (r.directory, r.from, r.to))
    }

    #[test]
    fn arguments_name_a_container_or_not() {
        assert_eq!(split("web:/etc"), (Some("web"), "/etc"));
        assert_eq!(split("./a:b"), (None, "./a:b"));
        assert_eq!(split("/a:b"), (None, "/a:b"));
        assert_eq!(split("-"), (None, "-"));
        assert_eq!(split("file"), (None, "file"));
    }

    #[test]
    fn copies_land_where_dockers_rules_say() {
        let to = |d: &str, f: &str, t: &str| Ok((d.to_owned(), f.to_owned(), t.to_owned()));
        let file = place("/etc/passwd", true, false);
        let dir = place("/etc", true, true);
        let inside = place("/etc/.", true, true);
        assert_eq!(went(&file, &place("/tmp", true, true)), to("/tmp", "passwd", "passwd"));
        assert_eq!(went(&file, &place("/tmp/x", false, false)), to("/tmp", "passwd", "x"));
        assert_eq!(went(&file, &place("x", true, false)), to(".", "passwd", "x"));
        assert_eq!(went(&file, &place("/tmp/x/", false, false)), Err("no such directory".into()));
        assert_eq!(went(&file, &place("", false, false)), Err("no such directory".into()));
        assert_eq!(went(&dir, &place("", false, false)), to(".", "etc", "."));
        assert_eq!(went(&dir, &place("/tmp", true, true)), to("/tmp", "etc", "etc"));
        assert_eq!(went(&dir, &place("/tmp/new", false, false)), to("/tmp", "etc", "new"));
        assert_eq!(went(&dir, &place("/tmp/new/", false, false)), to("/tmp", "etc", "new"));
        assert_eq!(went(&dir, &place("/tmp/f", true, false)), Err("cannot copy directory".into()));
        assert_eq!(went(&inside, &place("/tmp", true, true)), to("/tmp", ".", "."));
        assert_eq!(went(&inside, &place("/tmp/new", false, false)), to("/tmp", ".", "new"));
    }

    #[test]
    fn paths_split_like_gos() {
        for (path, directory, base) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/.", "/a", "."),
            ("/a", "/", "a"),
            ("/", "/", "/"),
            ("/.", "/", "."),
            ("a", ".", "a"),
            (".", ".", "."),
            ("", ".", "."),
        ] {
            assert_eq!(split_path(path), (directory.to_owned(), base.to_owned()), "{path}");
        }
    }
}
