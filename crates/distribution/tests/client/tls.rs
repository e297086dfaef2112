//! TLS: whom we trust and who we are. The registry has a name that only a proxy knows, since
//! what is on loopback is never checked.

use std::path::Path;
use std::sync::{Arc, Mutex};

use distribution::{Client, Error, Proxies, Result, Settings};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use types::reference::Reference;

use crate::server::{reply, serve, settings};

const NAME: &str = "registry.test";

struct Pair {
    certificate: String,
    key: String,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

fn leaf(issuer: &CertifiedIssuer<'_, KeyPair>, name: &str, expired: bool) -> Pair {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    if expired {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("signed").pem();
    Pair { certificate, key: key.serialize_pem() }
}

/// What `openssl req -x509` makes: its own authority.
fn self_signed(name: &str, expired: bool) -> Pair {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if expired {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signed").pem();
    Pair { certificate, key: key.serialize_pem() }
}

/// A registry behind TLS; `clients` is the authority of those who may speak to it.
async fn registry(pair: &Pair, clients: Option<&str>) -> std::net::SocketAddr {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<std::result::Result<_, _>>()
        .expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let authority = CertificateDer::from_pem_slice(authority.as_bytes());
            roots.add(authority.expect("a certificate")).expect("a root");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let config = Arc::new(builder.with_single_cert(chain, key).expect("a configuration"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let asked = Arc::new(Mutex::new(Vec::new()));
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, asked) = (TlsAcceptor::from(Arc::clone(&config)), Arc::clone(&asked));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, &asked, &|asked| match asked.path.as_str() {
                        "/v2/x/manifests/plain" => {
                            reply(302).header("Location", "http://elsewhere.test/x")
                        }
                        "/v2/x/manifests/realm" => reply(401)
                            .header("WWW-Authenticate", "Bearer realm=\"http://elsewhere.test/\""),
                        _ => reply(200).body("{}"),
                    })
                    .await;
                }
            });
        }
    });
    address
}

/// A proxy that connects everybody to `target`, whatever they ask for.
async fn proxy(target: std::net::SocketAddr) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                assert!(head.starts_with(b"CONNECT registry.test:5000 HTTP/1.1\r\n"));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let mut there = TcpStream::connect(target).await.expect("a registry");
                let _ = copy_bidirectional(&mut stream, &mut there).await;
            });
        }
    });
    format!("http://{address}")
}

/// Fetches a manifest from a registry with this certificate.
async fn fetch(pair: &Pair, clients: Option<&str>, certs: &Path, insecure: bool) -> Result<()> {
    fetch_tag(pair, clients, certs, insecure, "y").await
}

async fn fetch_tag(
    pair: &Pair,
    clients: Option<&str>,
    certs: &Path,
    insecure: bool,
    tag: &str,
) -> Result<()> {
    let proxy = proxy(registry(pair, clients).await).await;
    let settings = Settings {
        certs_dirs: vec![certs.join("absent"), certs.to_owned()],
        insecure: insecure.then(|| format!("{NAME}:5000")).into_iter().collect(),
        proxies: Proxies { https: Some(proxy), ..Proxies::default() },
        attempts: 1,
        ..settings()
    };
    let client = Client::new(settings).expect("a client");
    let name = Reference::parse(&format!("{NAME}:5000/x")).expect("valid");
    client.repository(&name, None).manifest(tag).await.map(drop)
}

/// A `certs.d` with these files for the registry.
fn certs(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join(format!("{NAME}:5000"));
    std::fs::create_dir(&place).expect("made");
    for (name, text) in files {
        std::fs::write(place.join(name), text).expect("written");
    }
    dir
}

#[tokio::test]
async fn an_authority_of_our_own() {
    let ca = authority();
    let pair = leaf(&ca, NAME, false);
    let trusted = certs(&[("ca.crt", &ca.pem())]);
    fetch(&pair, None, trusted.path(), false).await.expect("trusted");
    let nobody = certs(&[]);
    let error = fetch(&pair, None, nobody.path(), false).await.expect_err("unknown");
    assert!(
        error.to_string().ends_with(
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        ),
        "{error}"
    );
    fetch(&pair, None, nobody.path(), true).await.expect("nobody checks");
    let other = leaf(&ca, "other.test", false);
    let error = fetch(&other, None, trusted.path(), false).await.expect_err("another name");
    assert!(error.to_string().contains("not valid for"), "{error}");
    let expired = leaf(&ca, NAME, true);
    let error = fetch(&expired, None, trusted.path(), false).await.expect_err("expired");
    assert!(error.to_string().ends_with("certificate has expired or is not yet valid"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority() {
    let pair = self_signed(NAME, false);
    let pinned = certs(&[("ca.crt", &pair.certificate)]);
    fetch(&pair, None, pinned.path(), false).await.expect("pinned");
    let other = self_signed(NAME, false);
    assert!(fetch(&other, None, pinned.path(), false).await.is_err());
    let wrong = self_signed("other.test", false);
    let pinned = certs(&[("ca.crt", &wrong.certificate)]);
    assert!(fetch(&wrong, None, pinned.path(), false).await.is_err());
    let expired = self_signed(NAME, true);
    let pinned = certs(&[("ca.crt", &expired.certificate)]);
    let error = fetch(&expired, None, pinned.path(), false).await.expect_err("expired");
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_says_who_we_are() {
    let ca = authority();
    let pair = leaf(&ca, NAME, false);
    let us = leaf(&ca, "us", false);
    let text = ca.pem();
    let known = certs(&[("ca.crt", &text), ("us.cert", &us.certificate), ("us.key", &us.key)]);
    fetch(&pair, Some(&text), known.path(), false).await.expect("known");
    fetch(&pair, Some(&text), known.path(), true).await.expect("known to the insecure as well");
    let unknown = certs(&[("ca.crt", &text)]);
    assert!(fetch(&pair, Some(&text), unknown.path(), false).await.is_err());
    let words = |files: &[(&str, &str)]| {
        let dir = certs(files);
        let pair = Pair { certificate: pair.certificate.clone(), key: pair.key.clone() };
        async move {
            let error = fetch(&pair, None, dir.path(), false).await.expect_err("unusable");
            assert!(matches!(error, Error::Certificate { .. }), "{error}");
            error.to_string()
        }
    };
    assert!(words(&[("us.cert", &us.certificate)]).await.contains("missing key"));
    assert!(words(&[("us.key", &us.key)]).await.contains("missing client certificate"));
    assert!(words(&[("ca.crt", "nothing")]).await.contains("no certificate"));
    assert!(words(&[("us.cert", &us.certificate), ("us.key", "-")]).await.contains("us.key"));
}

#[tokio::test]
async fn nothing_leads_from_tls_into_the_open() {
    let ca = authority();
    let pair = leaf(&ca, NAME, false);
    let trusted = certs(&[("ca.crt", &ca.pem())]);
    let error = fetch_tag(&pair, None, trusted.path(), false, "plain").await.expect_err("refused");
    assert!(error.to_string().ends_with("redirected from https to plain http"), "{error}");
    let error = fetch_tag(&pair, None, trusted.path(), false, "realm").await.expect_err("refused");
    assert!(
        error.to_string().ends_with("the registry speaks TLS and its token service does not"),
        "{error}"
    );
}
