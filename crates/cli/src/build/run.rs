//! `build`: find the context, ask the daemon, show how it goes, put results where they belong.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use build::ignore::Patterns;
use docker_api::build::session::UPGRADE;
use docker_api::build::{BuildEvent, BuildResult};
use docker_api::client::{Body, Error, JsonStream, Method, Target, empty, full};
use docker_api::progress::JsonMessage;

use super::agent::Running;
use super::flags::Args;
use super::output::Place;
use super::pack::{Pack, add};
use super::progress::{Display, Mode};
use super::request::{self, Order};
use super::secret::Secrets;
use super::session::{self, Offer};
use super::source::{self, Directory, Dockerfile, Source};
use crate::config::write_whole;
use crate::failure::Failure;
use crate::pipe;
use crate::session::Session;
use crate::show::progress::{Progress, failure};

/// The name of a Dockerfile that came by itself.
const ALONE: &str = "Dockerfile";

pub(crate) async fn build(session: &Session, args: Args) -> anyhow::Result<u8> {
    let context = args.context.first().map_or(".", String::as_str);
    if args.check {
        return super::check::check(session, source::find(context, &args.file)?);
    }
    let variable = |name: &str| std::env::var(name).ok();
    let environment = variable("BUILDKIT_PROGRESS");
    let mode =
        Mode::choose(&args.progress, args.quiet, environment.as_deref(), Display::terminal())
            .map_err(|reason| Failure::with(125, reason))?;
    let proxies = session.proxies()?;
    let mut order = request::order(&args, variable, proxies).map_err(anyhow::Error::msg)?;
    let secrets = Secrets::parse(&args.secret, &args.ssh, variable).map_err(anyhow::Error::msg)?;
    if order.outputs.iter().any(|output| output.place == Some(Place::Stdout)) {
        session.refuse_terminal("write a result")?;
    }
    for path in [&args.iidfile, &args.metadata_file].into_iter().filter(|path| !path.is_empty()) {
        // An old one must not be taken for this build's.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| path.clone());
            }
            _ => {}
        }
    }
    let broken = Broken::default();
    let prepared = prepare(source::find(context, &args.file)?, &args, &mut order, &broken)?;
    for warning in &order.warnings {
        session.warn(&format!("WARNING: {warning}"));
    }
    let built = ask(session, order, secrets, mode, prepared)
        .await
        .map_err(|error| broken.reason().unwrap_or(error))?;
    finish(session, &args, &built).await
}

/// Why the context could not be read, which the connection's failure does not tell.
#[derive(Clone, Default)]
struct Broken(Arc<Mutex<Option<String>>>);

impl Broken {
    fn note(&self, error: &std::io::Error) {
        // A pipe that breaks is the other side's doing.
        if error.kind() != std::io::ErrorKind::BrokenPipe
            && let Ok(mut reason) = self.0.lock()
        {
            *reason = Some(error.to_string());
        }
    }

    fn reason(&self) -> Option<anyhow::Error> {
        let reason = self.0.lock().ok()?.take()?;
        Some(anyhow::anyhow!("failed to read the build context: {reason}"))
    }
}

/// What is sent.
struct Prepared {
    body: Body,
    kind: Option<&'static str>,
    /// Counts the bytes of a context that comes from here.
    sent: Option<Arc<AtomicU64>>,
}

/// The request's body.
fn prepare(
    source: Source,
    args: &Args,
    order: &mut Order,
    broken: &Broken,
) -> anyhow::Result<Prepared> {
    const TAR: Option<&str> = Some("application/x-tar");
    let sent: Arc<AtomicU64> = Arc::default();
    let options = &mut order.options;
    let file = if args.file == "-" { "" } else { args.file.as_str() };
    let pack = match source {
        Source::Remote(url) => {
            options.remote = url;
            options.dockerfile = file.to_owned();
            return Ok(Prepared { body: empty(), kind: None, sent: None });
        }
        Source::Archive(mut from) => {
            options.dockerfile = file.to_owned();
            let broken = broken.clone();
            let body = pipe::written_by(Arc::clone(&sent), move |out| {
                std::io::copy(&mut from, out).map(drop).inspect_err(|error| broken.note(error))
            });
            return Ok(Prepared { body, kind: TAR, sent: Some(sent) });
        }
        Source::Dockerfile(text) => {
            options.dockerfile = ALONE.to_owned();
            let mut builder = tar::Builder::new(Vec::new());
            add(&mut builder, ALONE, &text)?;
            return Ok(Prepared { body: full(builder.into_inner()?), kind: TAR, sent: None });
        }
        Source::Directory(directory) => directory,
    };
    let (pack, name) = packed(pack)?;
    options.dockerfile = name;
    let broken = broken.clone();
    let counted = Arc::clone(&sent);
    let body =
        pipe::written_by(counted, move |out| pack.write(out).inspect_err(|e| broken.note(e)));
    Ok(Prepared { body, kind: TAR, sent: Some(sent) })
}

/// What of a directory is sent, and the Dockerfile's name in it.
fn packed(directory: Directory) -> anyhow::Result<(Pack, String)> {
    let text = directory.ignore.as_ref().map(|ignore| ignore.text.as_slice()).unwrap_or_default();
    let rules = Patterns::parse(&String::from_utf8_lossy(text)).context(".dockerignore")?;
    let mut pack = Pack { root: directory.path, rules, always: Vec::new(), extra: Vec::new() };
    let inside = directory.ignore.as_ref().and_then(|ignore| ignore.inside.clone());
    match directory.dockerfile {
        Dockerfile::Inside(path) => {
            // The daemon needs both, and leaves them out by itself.
            let name = path.to_string_lossy().into_owned();
            pack.always.push(path);
            match (inside, directory.ignore) {
                (Some(inside), _) => pack.always.push(inside),
                (None, Some(ignore)) => pack.extra.push((".dockerignore".to_owned(), ignore.text)),
                (None, None) => {}
            }
            Ok((pack, name))
        }
        Dockerfile::Text(text) => {
            // The same text has the same name, so that a later build finds its steps again.
            let name = format!(".dockerfile.{:016x}", fingerprint(&text));
            let mut rules = directory.ignore.map(|ignore| ignore.text).unwrap_or_default();
            rules.extend(format!("\n{name}\n.dockerignore\n").bytes());
            pack.extra.push((".dockerignore".to_owned(), rules));
            pack.extra.push((name.clone(), text));
            Ok((pack, name))
        }
    }
}

/// FNV-1a: enough to give a text a name.
fn fingerprint(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What has come of it.
struct Built {
    /// The image's id; empty when none was made.
    id: String,
    names: Vec<String>,
    push: bool,
}

/// Runs the build at the daemon, with the session beside it where one is needed.
async fn ask(
    session: &Session,
    order: Order,
    secrets: Secrets,
    mode: Mode,
    prepared: Prepared,
) -> anyhow::Result<Built> {
    let Prepared { body, kind, sent } = prepared;
    let Order { mut options, outputs, push, .. } = order;
    let client = session.client()?;
    let interactive = !secrets.is_empty() || outputs.iter().any(|output| output.place.is_some());
    let mut beside = None;
    if interactive {
        options.session = format!("{:016x}{:08x}", now(), std::process::id());
        let mut agents = HashMap::new();
        for (id, agent) in &secrets.agents {
            agents.insert(id.clone(), Running::of(agent)?);
        }
        let target =
            Target::new("/build/session").with("id", &options.session).header("upgrade", UPGRADE);
        let connection = match client.hijack(&target, None).await {
            Err(error) if matches!(error.status(), Some(404 | 405 | 501)) => anyhow::bail!(
                "the daemon at {} cannot take secrets, ssh agents or outputs; build with an isopod daemon",
                client.endpoint()
            ),
            other => other?,
        };
        beside = Some(session::serve(connection, Offer { secrets, agents, outputs }));
    }
    let names = options.tags.clone();
    let target = session.with_all_credentials(options.target())?;
    let request = client.json_stream(Method::POST, &target, kind, body);
    let mut built = match beside {
        None => follow(request, mode, options.quiet, sent).await?,
        Some(beside) => {
            let mut beside = std::pin::pin!(beside);
            let mut follow = std::pin::pin!(follow(request, mode, options.quiet, sent));
            let mut talking = true;
            loop {
                tokio::select! {
                    done = &mut follow => break done?,
                    over = &mut beside, if talking => {
                        talking = false;
                        over.context("the build's session")?;
                    }
                }
            }
        }
    };
    built.push = push;
    if built.names.is_empty() {
        built.names = names;
    }
    Ok(built)
}

fn now() -> i64 {
    types::Timestamp::now().0
}

/// Shows what the daemon tells, to the end.
async fn follow(
    request: impl Future<Output = Result<JsonStream<JsonMessage>, Error>>,
    mode: Mode,
    quiet: bool,
    sent: Option<Arc<AtomicU64>>,
) -> anyhow::Result<Built> {
    let mut display = Display::new(mode);
    if let Some(sent) = sent {
        display.sending(sent);
    }
    let mut classic = Progress::stdout();
    let mut id = String::new();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let heard = async {
        let mut request = std::pin::pin!(request);
        let mut stream = loop {
            tokio::select! {
                stream = &mut request => break stream?,
                _ = ticks.tick() => display.tick(),
            }
        };
        loop {
            // A message that is being read must not be lost to a tick.
            let mut next = std::pin::pin!(stream.next());
            let message = loop {
                tokio::select! {
                    message = &mut next => break message?,
                    _ = ticks.tick() => display.tick(),
                }
            };
            let Some(message) = message else { return anyhow::Ok(()) };
            failure(&message)?;
            match message.aux {
                Some(aux) => match serde_json::from_value::<BuildEvent>(aux.clone()) {
                    Ok(event) => display.event(event),
                    Err(_) => {
                        if let Ok(result) = serde_json::from_value::<BuildResult>(aux) {
                            id = result.id;
                        }
                    }
                },
                // A daemon that tells no events. With `q` all it says is the id.
                None if quiet => {
                    let text = message.stream.as_deref().unwrap_or_default().trim();
                    if text.starts_with("sha256:") {
                        id = text.to_owned();
                    }
                }
                None => {
                    display.end(false, false);
                    let _ = classic.one(&message);
                }
            }
        }
    };
    let outcome = tokio::select! {
        outcome = heard => outcome,
        _ = &mut interrupted => {
            display.end(true, true);
            return Err(Failure::with(130, "ERROR: the build has been cancelled"));
        }
    };
    display.end(outcome.is_err(), false);
    if let Err(error) = outcome {
        let status = crate::failure::status(&error);
        let text = crate::failure::describe(&error);
        return Err(Failure::with(status, worded(&text)));
    }
    let names = match display.built() {
        Some((built, names)) => {
            id = built.to_owned();
            names.to_vec()
        }
        None => Vec::new(),
    };
    Ok(Built { id, names, push: false })
}

/// The failure as the last thing that is read: a Dockerfile's lines, if they come with it, stand
/// above.
fn worded(text: &str) -> String {
    let text = text.strip_prefix("Error response from daemon: ").unwrap_or(text).trim_end();
    match text.rsplit_once('\n') {
        Some((above, last)) if above.contains("----") => format!("{above}\nERROR: {last}"),
        _ => format!("ERROR: {text}"),
    }
}

/// What the metadata file says. `pushed` is the digest of the manifest that a registry has.
fn metadata(built: &Built, pushed: Option<&str>) -> serde_json::Map<String, serde_json::Value> {
    let mut known = serde_json::Map::new();
    if !built.id.is_empty() {
        let digest = pushed.unwrap_or(&built.id);
        known.insert("containerimage.config.digest".to_owned(), built.id.clone().into());
        known.insert("containerimage.digest".to_owned(), digest.into());
    }
    if !built.names.is_empty() {
        known.insert("image.name".to_owned(), built.names.join(",").into());
    }
    known
}

/// Writes the files that were asked for, pushes, and prints the id if nothing else is.
async fn finish(session: &Session, args: &Args, built: &Built) -> anyhow::Result<u8> {
    if !args.iidfile.is_empty() && !built.id.is_empty() {
        write_whole(args.iidfile.as_ref(), built.id.as_bytes())?;
    }
    let mut pushed = None;
    if built.push {
        for name in &built.names {
            pushed = crate::image::push_for_build(session, name, args.quiet).await?;
        }
    }
    if !args.metadata_file.is_empty() {
        let known = metadata(built, pushed.as_deref());
        write_whole(args.metadata_file.as_ref(), &serde_json::to_vec_pretty(&known)?)?;
    }
    if args.quiet && !built.id.is_empty() {
        session.line(&built.id);
    }
    std::io::stdout().flush()?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_line() {
        assert_eq!(worded("no space"), "ERROR: no space");
        let text = "Error response from daemon: Dockerfile:2\n----\n 2 | RUM\n----\nwhat is RUM?\n";
        assert_eq!(worded(text), "Dockerfile:2\n----\n 2 | RUM\n----\nERROR: what is RUM?");
    }
}
