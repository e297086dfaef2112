//! Whom we trust, and who we are: system roots and `certs.d`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::Origin;
use crate::error::{Error, Result, Transport};

/// Where distributions keep the authorities that they trust, most common first.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What `certs.d` has for one server.
#[derive(Default)]
struct Own {
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// The TLS configuration for a server. `certs.d` is read each time, as dockerd does, so that a
/// new authority counts at once.
///
/// # Errors
/// [`Error::Certificate`].
pub(super) fn config(
    origin: &Origin,
    verify: bool,
    directories: &[PathBuf],
) -> Result<Arc<ClientConfig>> {
    static USUAL: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    static CARELESS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let own = own(origin, directories)?;
    if own.authorities.is_empty() && own.identity.is_none() {
        let shared = if verify { &USUAL } else { &CARELESS };
        if let Some(config) = shared.get() {
            return Ok(Arc::clone(config));
        }
        let built = Arc::new(build(own, verify)?);
        return Ok(Arc::clone(shared.get_or_init(|| built)));
    }
    Ok(Arc::new(build(own, verify)?))
}

fn build(own: Own, verify: bool) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let unusable = |error: &dyn std::fmt::Display| Error::Certificate {
        path: "tls".to_owned(),
        reason: error.to_string(),
    };
    let verifier: Arc<dyn ServerCertVerifier> = if verify {
        let mut roots = system_roots().clone();
        roots.add_parsable_certificates(own.authorities.iter().cloned());
        let chain = if roots.is_empty() {
            None
        } else {
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(built.build().map_err(|error| unusable(&error))?)
        };
        Arc::new(Trusting { chain, pinned: own.authorities, provider: Arc::clone(&provider) })
    } else {
        Arc::new(Careless(Arc::clone(&provider)))
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match own.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&error))
        }
    }
}

/// The system's authorities, read once.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let given = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let bundle = given.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()));
        let mut files: Vec<PathBuf> = bundle.into_iter().collect();
        if let Some(directories) = std::env::var_os("SSL_CERT_DIR") {
            for directory in std::env::split_paths(&directories) {
                files.extend(entries(&directory).unwrap_or_default());
            }
        }
        for file in files {
            // One bad certificate in a system's bundle must not cost all the others.
            let certificates = CertificateDer::pem_file_iter(&file).into_iter().flatten();
            roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        }
        if roots.is_empty() {
            tracing::warn!("no certificate authorities found; install ca-certificates");
        }
        roots
    })
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

/// Reads `<directory>/<host[:port]>/` in the first of the directories that has it.
fn own(origin: &Origin, directories: &[PathBuf]) -> Result<Own> {
    let name = format!("{}:{}", origin.written_host(), origin.port);
    for directory in directories {
        for name in [&origin.authority(), &name] {
            let place = directory.join(name);
            match entries(&place) {
                Ok(files) => return read_own(&files),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(bad(&place, error)),
            }
        }
    }
    Ok(Own::default())
}

fn read_own(files: &[PathBuf]) -> Result<Own> {
    let mut own = Own::default();
    for file in files {
        let partner = |extension: &str| file.with_extension(extension);
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => own.authorities.extend(certificates(file)?),
            Some("cert") => {
                let key = partner("key");
                if !files.contains(&key) {
                    let reason = format!(
                        "missing key {} for client certificate. CA certificates must use the \
                         extension .crt",
                        key.display()
                    );
                    return Err(bad(file, reason));
                }
                let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| bad(&key, error))?;
                own.identity = Some((certificates(file)?, key));
            }
            Some("key") if !files.contains(&partner("cert")) => {
                let reason =
                    format!("missing client certificate {} for key", partner("cert").display());
                return Err(bad(file, reason));
            }
            _ => {}
        }
    }
    Ok(own)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|error| bad(file, error))?.collect();
    let found = found.map_err(|error| bad(file, error))?;
    if found.is_empty() {
        return Err(bad(file, "there is no certificate in it"));
    }
    Ok(found)
}

fn bad(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Certificate { path: path.display().to_string(), reason: reason.to_string() }
}

/// Checks certificates against roots, and takes those that stand in `certs.d` themselves.
///
/// The usual self-signed certificate says that it is an authority, which webpki never takes from
/// a server. Go does if it is among the roots, and many registries live from that.
#[derive(Debug)]
struct Trusting {
    chain: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        let by_chain = self.chain.as_ref().map_or(unknown, |chain| {
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        });
        match by_chain {
            // Only these two come before webpki has looked at dates; an expired certificate is
            // refused above, since its dates are checked first.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Other(_) | CertificateError::UnknownIssuer,
            )) if self.pinned.iter().any(|pinned| pinned.as_ref() == end_entity.as_ref()) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes every certificate: for registries that the administrator calls insecure.
#[derive(Debug)]
struct Careless(Arc<CryptoProvider>);

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A failed handshake in the words of Go programs, which people look for.
pub(super) fn failed(error: io::Error) -> Transport {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let words = match inner {
        // The first bytes were `HTTP/1.0 400`, which is no record of TLS.
        Some(rustls::Error::InvalidMessage(_)) => return Transport::PlainAnswer,
        Some(rustls::Error::InvalidCertificate(certificate)) => {
            use CertificateError::{
                Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
                NotValidYetContext, UnknownIssuer,
            };
            let why = match certificate {
                UnknownIssuer => "certificate signed by unknown authority".to_owned(),
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => {
                    "certificate has expired or is not yet valid".to_owned()
                }
                NotValidForName | NotValidForNameContext { .. } => {
                    format!("certificate is not valid for this name: {certificate}")
                }
                other => other.to_string(),
            };
            format!("failed to verify certificate: x509: {why}")
        }
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        None => return Transport::Tls(error),
    };
    Transport::Tls(io::Error::new(error.kind(), words))
}
