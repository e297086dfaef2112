use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tunnel::Proxy;
use super::{Origin, tls};
use crate::error::{Error, Result, Transport, words};
use crate::proxy::Proxies;
use crate::settings::Settings;

/// A connection, whatever it runs through.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Makes connections.
#[derive(Debug)]
pub(super) struct Dialer {
    http: Option<Proxy>,
    https: Option<Proxy>,
    rules: Proxies,
    certs_dirs: Vec<PathBuf>,
    limit: Duration,
}

impl Dialer {
    /// # Errors
    /// [`Error::Address`] for proxies that are none.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let rules = settings.proxies.clone();
        let parse = |text: &Option<String>| text.as_deref().map(Proxy::parse).transpose();
        Ok(Self {
            http: parse(&rules.http)?,
            https: parse(&rules.https)?,
            rules,
            certs_dirs: settings.certs_dirs.clone(),
            limit: settings.connect_timeout,
        })
    }

    /// The proxy on the way to a server.
    pub(super) fn proxy(&self, origin: &Origin) -> Option<&Proxy> {
        self.rules.choose(origin.https, &origin.host, origin.port)?;
        if origin.https { self.https.as_ref() } else { self.http.as_ref() }
    }

    /// A connection on which requests to `origin` can be sent. `request` is for errors.
    ///
    /// # Errors
    /// [`Error::Transport`] and [`Error::Certificate`].
    pub(super) async fn dial(
        &self,
        origin: &Origin,
        verify: bool,
        request: &str,
    ) -> Result<Box<dyn Io>> {
        let tls = match origin.https {
            true => Some(tls::config(origin, verify, &self.certs_dirs)?),
            false => None,
        };
        let tunnel_tls = match self.proxy(origin) {
            Some(proxy) if proxy.origin.https => {
                Some(tls::config(&proxy.origin, true, &self.certs_dirs)?)
            }
            _ => None,
        };
        let connected = timeout(self.limit, self.connect(origin, tls, tunnel_tls)).await;
        connected
            .unwrap_or(Err(Transport::Timeout { what: "connecting", after: self.limit }))
            .map_err(|source| Error::Transport { request: request.to_owned(), source })
    }

    async fn connect(
        &self,
        origin: &Origin,
        tls: Option<Arc<rustls::ClientConfig>>,
        tunnel_tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<Box<dyn Io>, Transport> {
        let proxy = self.proxy(origin);
        let first = proxy.map_or(origin, |proxy| &proxy.origin);
        let mut stream: Box<dyn Io> = Box::new(self.tcp(first).await?);
        if let Some(config) = tunnel_tls {
            stream = handshake(stream, first, config).await?;
        }
        if let (Some(proxy), true) = (proxy, origin.https) {
            proxy.connect(&mut stream, origin).await?;
        }
        match tls {
            Some(config) => handshake(stream, origin, config).await,
            None => Ok(stream),
        }
    }

    /// Tries the addresses of a name one after another, each with its share of the time.
    async fn tcp(&self, origin: &Origin) -> Result<TcpStream, Transport> {
        let addresses = lookup(origin).await?;
        let began = Instant::now();
        let mut last = None;
        for (at, address) in addresses.iter().enumerate() {
            let left = self.limit.saturating_sub(began.elapsed());
            let share = left / u32::try_from(addresses.len() - at).unwrap_or(1);
            let attempt = timeout(share, TcpStream::connect(address)).await;
            let reason = match attempt {
                Ok(Ok(stream)) => {
                    // Requests are written whole; waiting for more only delays them.
                    stream.set_nodelay(true).map_err(Transport::Io)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => words(&error),
                Err(_) => "connection timed out".to_owned(),
            };
            last = Some(Transport::Dial { address: *address, reason });
        }
        Err(last.unwrap_or_else(|| Transport::Lookup {
            host: origin.host.clone(),
            reason: "no such host".to_owned(),
        }))
    }
}

/// The addresses of a name.
pub(crate) async fn lookup(origin: &Origin) -> Result<Vec<SocketAddr>, Transport> {
    if let Some(address) = origin.address() {
        return Ok(vec![SocketAddr::new(address, origin.port)]);
    }
    match lookup_host((origin.host.as_str(), origin.port)).await {
        Ok(addresses) => Ok(addresses.take(16).collect()),
        Err(error) => {
            let text = error.to_string();
            let reason = if text.contains("not known") || text.contains("No address") {
                "no such host".to_owned()
            } else {
                words(&error)
            };
            Err(Transport::Lookup { host: origin.host.clone(), reason })
        }
    }
}

async fn handshake(
    stream: Box<dyn Io>,
    origin: &Origin,
    config: Arc<rustls::ClientConfig>,
) -> Result<Box<dyn Io>, Transport> {
    let name = ServerName::try_from(origin.host.clone()).map_err(|_| Transport::Lookup {
        host: origin.host.clone(),
        reason: "no such host".to_owned(),
    })?;
    match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(tls::failed(error)),
    }
}
