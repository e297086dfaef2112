//! Keys and certificates for TCP listeners.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Settings;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file is missing or is no PEM of the expected kind.
    #[error("cannot read the {what} {path}: {source}")]
    Pem {
        /// What is in the file.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or no version of TLS is left.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
    /// The authority's certificates cannot check clients.
    #[error("cannot check clients with {path}: {source}")]
    Verifier {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::server::VerifierBuilderError,
    },
}

/// What a TLS listener needs, from the files that the settings name.
///
/// # Errors
/// When a file cannot be read or does not fit.
pub(crate) fn config(settings: &Settings) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let file = |given: &Option<PathBuf>, name: &str| {
        given.clone().unwrap_or_else(|| Path::new("/etc/isopod").join(name))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = if settings.tlsverify {
        let path = file(&settings.tlscacert, "ca.pem");
        let mut roots = RootCertStore::empty();
        for certificate in certificates("authority's certificate", &path)? {
            roots.add(certificate)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|source| TlsError::Verifier { path, source })?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = certificates("certificate", &file(&settings.tlscert, "cert.pem"))?;
    let path = file(&settings.tlskey, "key.pem");
    let key = PrivateKeyDer::from_pem_file(&path).map_err(|source| TlsError::Pem {
        what: "key",
        path,
        source,
    })?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { what, path: path.to_owned(), source };
    let list: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let list = list.map_err(failed)?;
    if list.is_empty() { Err(failed(rustls_pki_types::pem::Error::NoItemsFound)) } else { Ok(list) }
}
