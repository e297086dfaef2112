//! The daemon's life: from the command line to the last connection.
//!
//! ```text
//!  configuration ─► root? ─► launcher (forked: no thread may exist yet) ─► lock, sockets
//!    ─► runtime, engine ─► connections ─► SIGTERM ─► no new connections, a moment's patience
//! ```

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use tokio::signal::unix::{SignalKind, signal};
use types::host::Capabilities;

use crate::access::Access;
use crate::api::{Api, Changeable};
use crate::config::{self, Config, ConfigError, Settings};
use crate::gate::Gate;
use crate::host::Host;
use crate::http::answer::always;
use crate::listen::{self, ListenError, Listener};
use crate::lock::{self, LockError};
use crate::logging::{self, Logging};
use crate::metrics::States;
use crate::server::{self, Ender, MetricsPage};
use crate::{notify, routes, wiring};

/// Threads that answer requests. What blocks or computes has threads of its own, which come and go;
/// a second one here would only hand requests to and fro, which an exec waits for.
const WORKERS: usize = 1;
/// Stack of each thread: only what is touched is ever used.
const STACK: usize = 1 << 20;
/// The most threads that may block at once.
const BLOCKING: usize = 128;
/// How long requests in flight may take when the daemon ends.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the daemon needs to be root: start it with sudo, or as a system service")]
    NotRoot,
    #[error("cannot start the launcher: {0}")]
    Launcher(#[source] io::Error),
    #[error("cannot make {path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot open the engine: {0}")]
    Engine(#[source] types::Error),
}

/// Runs the daemon. `args` are the words after `isopod daemon`. `launcher` forks the process
/// that forks monitors and gives the socket to it; it is called before any thread exists.
/// `support` says what the host can limit.
///
/// Gives 0 after an orderly end, 1 when the daemon cannot run and 2 for a bad command line.
pub fn main(
    args: Vec<OsString>,
    launcher: fn() -> io::Result<OwnedFd>,
    support: fn() -> Capabilities,
) -> ExitCode {
    let words = std::iter::once(OsString::from("isopod daemon")).chain(args).collect();
    let outcome = match config::load(words) {
        Err(error) => {
            // Help goes to standard output, errors to standard error; neither can be helped
            // when that is closed.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(config)) if config.validate => {
            println!("configuration OK");
            Ok(())
        }
        Ok(Ok(config)) => start(config, launcher, support),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isopod daemon: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is open when the runtime begins.
struct Opened {
    config: Config,
    engine: engine::Config,
    launcher: OwnedFd,
    listeners: Vec<Listener>,
    metrics: Option<std::net::TcpListener>,
    warnings: Vec<String>,
    logging: Logging,
}

/// Raises the soft limit of open files to the hard one: walks of deep trees and many clients need
/// it. After the fork of the launcher, so that containers begin with the limit of the host.
fn open_more_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Lowering or keeping is always allowed; if it were not, the daemon would work with less.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn start(
    config: Config,
    launcher: fn() -> io::Result<OwnedFd>,
    support: fn() -> Capabilities,
) -> Result<(), StartError> {
    let settings = &config.settings;
    if !rustix::process::geteuid().is_root() {
        return Err(StartError::NotRoot);
    }
    let hosts = settings.hosts()?;
    let engine = wiring::engine(settings, support())?;
    directory(&settings.data_root(), 0o711)?;
    directory(&settings.exec_root(), 0o711)?;
    // Before the lock, which a child would keep, and before anything that starts a thread.
    let launcher = launcher().map_err(StartError::Launcher)?;
    open_more_files();
    engine::prepare_to_idle();
    let lock = lock::take(&settings.data_root())?;
    let listeners = listen::open(settings, &hosts)?;
    let metrics = settings.metrics_addr.as_deref().map(listen::metrics).transpose()?;
    lock::write_pid(&settings.pidfile())?;
    let logging = logging::begin(settings.level()?);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let warnings = exposed(&hosts, settings);
    let pidfile = settings.pidfile();
    let paths: Vec<PathBuf> = listeners.iter().filter_map(Listener::path).collect();
    let opened = Opened { config, engine, launcher, listeners, metrics, warnings, logging };

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_stack_size(STACK)
        .thread_name("isopod")
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    let outcome = runtime.block_on(live(opened));
    // Threads that still block are left behind: the process ends, and what they leave half done
    // is what a crash would leave, which the next start puts right.
    runtime.shutdown_timeout(Duration::from_millis(100));
    for path in paths.iter().chain([&pidfile]) {
        // Somebody else may have removed them, and nothing depends on them.
        drop(fs::remove_file(path));
    }
    drop(lock);
    outcome
}

fn directory(path: &Path, mode: u32) -> Result<(), StartError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| StartError::Directory { path: path.to_owned(), source })
}

/// Warnings about addresses that anybody may connect to.
fn exposed(hosts: &[Host], settings: &Settings) -> Vec<String> {
    let tcp = hosts.iter().filter_map(|host| match host {
        Host::Tcp(address) => Some(address),
        _ => None,
    });
    let warning = |address: &String| {
        let what = if settings.encrypts() { "client certificates" } else { "encryption" };
        format!(
            "WARNING: API is accessible on tcp://{address} without {what}: whoever connects is root on this machine"
        )
    };
    tcp.filter(|_| !settings.tlsverify).map(warning).collect()
}

async fn live(opened: Opened) -> Result<(), StartError> {
    let Opened { mut config, engine, launcher, listeners, metrics, warnings, logging } = opened;
    let engine = Engine::open(engine, launcher).await.map_err(StartError::Engine)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let settings = &config.settings;
    let always = Arc::new(always(settings.experimental));
    let changeable = changeable(settings);
    let access = Access::new(settings.access().unwrap_or_default());
    let api = Api::new(
        engine,
        always.clone(),
        settings.experimental,
        warnings,
        changeable,
        access.clone(),
    );
    let gate = Gate::new(routes::all(api.clone()), always, api.metrics.clone(), access);
    let (connections, ender) = server::connections();
    for listener in listeners {
        tracing::info!("API listens on {listener}");
        server::serve(listener, gate.clone(), connections.clone()).map_err(StartError::Runtime)?;
    }
    if let Some(listener) = metrics {
        let page = metrics_page(api.clone());
        let page = MetricsPage(Arc::new(page));
        server::serve(Listener::Tcp(listener), page, connections.clone())
            .map_err(StartError::Runtime)?;
    }
    drop(connections);
    tracing::info!("daemon {} is ready", env!("CARGO_PKG_VERSION"));
    notify::say("READY=1");
    signals(&mut config, &api, &logging).await.map_err(StartError::Runtime)?;
    notify::say("STOPPING=1");
    tracing::info!("daemon ends; containers go on running");
    end(ender, &config.settings).await;
    if let Err(error) = api.engine.close().await {
        tracing::error!("{error}");
    }
    Ok(())
}

fn changeable(settings: &Settings) -> Changeable {
    let debug = settings.level().is_ok_and(|level| level == config::LogLevel::Debug);
    Changeable { labels: settings.labels.clone(), debug }
}

fn metrics_page(api: Api) -> impl Fn() -> std::future::Ready<String> + Send + Sync {
    move || {
        let info = api.engine.info();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let states = States {
            running: count(info.running),
            paused: count(info.paused),
            stopped: count(info.stopped),
        };
        std::future::ready(api.metrics.render(states))
    }
}

/// Heeds signals until one says that it is over.
async fn signals(config: &mut Config, api: &Api, logging: &Logging) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // dockerd prints its stacks at this one; without a handler it would be the end.
    let mut user = signal(SignalKind::user_defined1())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = user.recv() => {}
            _ = hangup.recv() => reload(config, api, logging),
        }
    }
}

fn reload(config: &mut Config, api: &Api, logging: &Logging) {
    notify::say("RELOADING=1");
    match config.reload() {
        Ok(()) => {
            api.change(changeable(&config.settings));
            // All of them were checked with the rest.
            if let Ok(rules) = config.settings.access() {
                api.access.change(rules);
            }
            if let Ok(settings) = config::registry::registries(&config.settings) {
                api.engine.set_registry_settings(settings);
            }
            if let Ok(level) = config.settings.level() {
                logging.set(level);
            }
            for warning in &config.warnings {
                tracing::warn!("{warning}");
            }
            tracing::info!("configuration has been read again");
        }
        Err(error) => tracing::error!("the configuration stays as it was: {error}"),
    }
    notify::say("READY=1");
}

async fn end(ender: Ender, settings: &Settings) {
    let patience = match settings.shutdown_timeout {
        None => Some(PATIENCE),
        Some(-1) => None,
        Some(seconds) => Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
    };
    ender.end(patience).await;
}
