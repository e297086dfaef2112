//! The commands, from their options to their end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use distribution::Credentials;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

use crate::access::{self, Access, Htpasswd, HtpasswdError, TokenError, TokenSettings, Tokens};
use crate::app::{App, Rules};
use crate::cache::{Cache, CacheError};
use crate::collect;
use crate::command::{Collect, LogLevel, Serve};
use crate::metrics::Metrics;
use crate::server::{self, Serves};
use crate::storage::{Storage, StorageError};
use crate::tls::{Tls, TlsError, TlsFiles};
use crate::{password, routes};

/// How long requests in flight may take when the server ends.
const PATIENCE: Duration = Duration::from_secs(15);
/// The most threads that wait for disks.
const BLOCKING: usize = 128;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Htpasswd(#[from] HtpasswdError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("cannot read the password file {path}: {source}")]
    ProxyPassword { path: PathBuf, source: io::Error },
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot watch for signals: {0}")]
    Signals(#[source] io::Error),
    #[error("cannot read the password: {0}")]
    Password(#[source] io::Error),
    #[error("no password: give it as the first line of standard input")]
    NoPassword,
    #[error("{0:?} cannot be a user's name: it has a colon, or nothing at all")]
    User(String),
    #[error("cannot hash the password: {0}")]
    Hash(#[source] bcrypt::BcryptError),
    #[error("{0} holds no registry: give the directory that one serves with --root")]
    NoRegistry(PathBuf),
    #[error("{0} things could not be removed; they are named above")]
    Incomplete(usize),
}

/// `serve`: until SIGTERM or SIGINT.
pub(crate) fn serve(options: &Serve) -> Result<(), RunError> {
    log(options.log_level);
    let tls = tls(options)?.map(Arc::new);
    let app = Arc::new(App {
        storage: Storage::open(&options.root)?,
        access: access(options)?,
        rules: Rules {
            read_only: options.read_only,
            delete: !options.no_delete,
            metrics: options.metrics_addr.is_none(),
        },
        cache: cache(options)?,
        metrics: Metrics::default(),
        sums: routes::uploads::Sums::default(),
    });
    if !options.read_only {
        sweep(&app.storage);
    }
    let mut listeners = Vec::new();
    for address in &options.addr {
        listeners.push((bind(address)?, Serves::Registry));
    }
    if let Some(address) = &options.metrics_addr {
        listeners.push((bind(address)?, Serves::Metrics));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(until_told_to_end(app, tls, listeners))
}

async fn until_told_to_end(
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
    listeners: Vec<(std::net::TcpListener, Serves)>,
) -> Result<(), RunError> {
    let watch = |kind: SignalKind| signal(kind).map_err(RunError::Signals);
    let mut term = watch(SignalKind::terminate())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut hangup = watch(SignalKind::hangup())?;
    let (connections, ender) = server::connections(app);
    for (listener, serves) in listeners {
        let address = listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
        let listener = TcpListener::from_std(listener)
            .map_err(|source| RunError::Listen { address: address.clone(), source })?;
        // The counters are for machines inside, which need no TLS.
        let tls = if serves == Serves::Registry { tls.clone() } else { None };
        match serves {
            Serves::Registry => tracing::info!("listening on {address}"),
            Serves::Metrics => tracing::info!("metrics on {address}"),
        }
        tokio::spawn(server::accept_all(listener, tls, serves, connections.clone()));
    }
    drop(connections);
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            _ = hung_up(&mut hangup) => {
                if let Some(Err(error)) = tls.as_ref().map(|tls| tls.reload()) {
                    tracing::error!("{error}; the certificate of before stays");
                }
            }
        }
    }
    tracing::info!("ending");
    ender.end(PATIENCE).await;
    Ok(())
}

async fn hung_up(hangup: &mut Signal) {
    if hangup.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Removes uploads that nobody has gone on with for a week.
fn sweep(storage: &Storage) {
    const WEEK: Duration = Duration::from_secs(7 * 86_400);
    match storage.blobs().sweep(WEEK) {
        Ok(gone) if gone.is_empty() => {}
        Ok(gone) => tracing::info!("{} uploads removed that nobody went on with", gone.len()),
        Err(error) => tracing::warn!("old uploads cannot be removed: {error}"),
    }
}

fn bind(address: &str) -> Result<std::net::TcpListener, RunError> {
    server::bind(address).map_err(|source| RunError::Listen { address: address.to_owned(), source })
}

fn tls(options: &Serve) -> Result<Option<Tls>, RunError> {
    let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) else {
        return Ok(None);
    };
    let files = TlsFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        client_authority: options.tls_client_ca.clone(),
    };
    Ok(Some(Tls::open(files)?))
}

fn access(options: &Serve) -> Result<Access, RunError> {
    if let Some(path) = &options.htpasswd {
        let mut salt = [0; 32];
        // Does not fail once the machine has booted.
        let _ = getrandom(&mut salt, GetRandomFlags::empty());
        return Ok(Access::Htpasswd(Htpasswd::open(path, salt)?));
    }
    match (&options.token_realm, &options.token_service, &options.token_issuer, &options.token_cert)
    {
        (Some(realm), Some(service), Some(issuer), Some(certificates)) => {
            let settings = TokenSettings {
                realm: realm.clone(),
                service: service.clone(),
                issuer: issuer.clone(),
                certificates: certificates.clone(),
            };
            Ok(Access::Tokens(Tokens::open(settings)?))
        }
        _ => Ok(Access::Open),
    }
}

fn cache(options: &Serve) -> Result<Option<Cache>, RunError> {
    let Some(url) = &options.proxy else { return Ok(None) };
    let credentials = match (&options.proxy_username, &options.proxy_password_file) {
        (Some(username), Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| RunError::ProxyPassword { path: path.clone(), source })?;
            let password = text.lines().next().unwrap_or_default().to_owned();
            let username = username.clone();
            Some(Credentials { username, password, ..Credentials::default() })
        }
        _ => None,
    };
    Ok(Some(Cache::new(url, credentials)?))
}

fn log(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_max_level(level)
        .finish();
    // It fails when a test has set another one.
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// `garbage-collect`
pub(crate) fn collect(options: &Collect) -> Result<(), RunError> {
    if !options.root.join("repositories").is_dir() {
        return Err(RunError::NoRegistry(options.root.clone()));
    }
    let storage = Storage::open(&options.root)?;
    let how = collect::How {
        dry_run: options.dry_run,
        untagged: options.untagged,
        unused: options.unused,
        grace: options.grace,
    };
    let report = collect::collect(&storage, how)?;
    for line in report.lines() {
        println!("{line}");
    }
    for failure in &report.failures {
        eprintln!("isopod registry: {failure}");
    }
    match report.failures.len() {
        0 => Ok(()),
        count => Err(RunError::Incomplete(count)),
    }
}

/// `htpasswd`
pub(crate) fn htpasswd(user: &str) -> Result<(), RunError> {
    if user.is_empty() || user.contains(':') || user.contains(char::is_control) {
        return Err(RunError::User(user.to_owned()));
    }
    let password = password::read().map_err(RunError::Password)?;
    if password.is_empty() {
        return Err(RunError::NoPassword);
    }
    println!("{}", access::htpasswd_line(user, &password).map_err(RunError::Hash)?);
    Ok(())
}
