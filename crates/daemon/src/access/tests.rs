use super::*;
use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};
use rustls_pki_types::CertificateDer;

fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.remove(DnType::CommonName);
    change(&mut parameters);
    let key = KeyPair::generate().expect("a key");
    parameters.self_signed(&key).expect("a certificate").der().clone()
}

fn ann() -> CertificateDer<'static> {
    static ANN: LazyLock<CertificateDer<'static>> = LazyLock::new(anns_certificate);
    ANN.clone()
}

fn anns_certificate() -> CertificateDer<'static> {
    certificate(|parameters| {
        let name = &mut parameters.distinguished_name;
        name.push(DnType::OrganizationName, "Example");
        name.push(DnType::OrganizationalUnitName, "operations");
        name.push(DnType::CommonName, "ann");
        let text = |text: &str| text.try_into().expect("IA5");
        parameters.subject_alt_names = vec![
            SanType::DnsName(text("ann.example")),
            SanType::Rfc822Name(text("ann@example")),
            SanType::URI(text("spiffe://example/ann")),
            SanType::IpAddress("192.0.2.7".parse().expect("an address")),
            SanType::IpAddress("2001:db8::7".parse().expect("an address")),
        ];
    })
}

fn rules(list: &[(&str, &str)]) -> Rules {
    let text = |(subject, level): &(&str, &str)| ((*subject).to_owned(), (*level).to_owned());
    Rules::read(&list.iter().map(text).collect()).expect("valid rules")
}

#[test]
fn certificates_say_who_their_owner_is() {
    let identity = Identity::read(&ann());
    assert_eq!(identity.common_names, ["ann"]);
    assert_eq!(identity.units, ["operations"]);
    let names = ["ann.example", "ann@example", "spiffe://example/ann", "192.0.2.7", "2001:db8::7"];
    assert_eq!(identity.names, names);
    assert_eq!(identity.fingerprint.len(), 64);
    assert_eq!(identity.to_string(), "\"ann\"");
    let nobody = Identity::read(&certificate(|_| {}));
    assert!(nobody.common_names.is_empty() && nobody.names.is_empty());
    assert!(nobody.to_string().starts_with("SHA256:"));
    let wide = certificate(|parameters| {
        let name = DnValue::BmpString("änn".try_into().expect("BMP"));
        parameters.distinguished_name.push(DnType::CommonName, name);
    });
    assert_eq!(Identity::read(&wide).common_names, ["änn"]);
}

#[test]
fn the_most_exact_rule_decides_and_the_stricter_of_two() {
    let identity = Identity::read(&ann());
    let colons: Vec<String> = identity
        .fingerprint
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
        .collect();
    let fingerprint = format!("SHA256:{}", colons.join(":"));
    let level = |list: &[(&str, &str)]| rules(list).level(&identity);
    assert_eq!(level(&[]), Level::Full);
    assert_eq!(level(&[("CN:bob", "none")]), Level::Full);
    assert_eq!(level(&[("CN:bob", "full"), ("*", "read-only")]), Level::ReadOnly);
    assert_eq!(level(&[("OU:operations", "full"), ("*", "none")]), Level::Full);
    assert_eq!(level(&[("OU:operations", "full"), ("CN:ann", "read-only")]), Level::ReadOnly);
    assert_eq!(level(&[("CN:ann", "read-only"), ("SAN:192.0.2.7", "full")]), Level::Full);
    let both = [("SAN:ann.example", "full"), ("SAN:ann@example", "read-only")];
    assert_eq!(level(&both), Level::ReadOnly);
    assert_eq!(level(&[("SAN:ann.example", "full"), (&fingerprint, "none")]), Level::None);
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    for (subject, level, reason) in [
        ("ann", "full", InvalidRule::Subject),
        ("CN:", "full", InvalidRule::Subject),
        ("O:x", "full", InvalidRule::Subject),
        ("SHA256:ab", "full", InvalidRule::Subject),
        ("CN:ann", "write", InvalidRule::Level),
        ("*", "", InvalidRule::Level),
    ] {
        let list = BTreeMap::from([(subject.to_owned(), level.to_owned())]);
        let (rule, found) = Rules::read(&list).expect_err("refused");
        assert_eq!((found, rule), (reason, format!("{subject}={level}")));
    }
}

#[test]
fn looking_is_not_taking() {
    let may =
        |method: &str, path: &str| readable::is_readable(&method.parse().expect("a method"), path);
    for path in [
        "/_ping",
        "/containers/json",
        "/containers/a/json",
        "/containers/a%2Farchive/json",
        "/images/json",
        "/images/reg.example:5000/a/b:v1/json",
        "/networks/get",
        "/secrets/x",
    ] {
        assert!(may("GET", path) && may("HEAD", path), "{path}");
        assert!(!may("POST", path) && !may("DELETE", path) && !may("PUT", path), "{path}");
    }
    for path in [
        "",
        "/",
        "*",
        "/containers/a/archive",
        "/containers/a/archive%2Fjson",
        "/containers/a/export",
        "/containers/a/attach/ws",
        "/containers//json",
        "/containers/a/json/",
        "/images/get",
        "/images/search",
        "/images/a/get",
        "/images/a/b/get",
        "/distribution/a/json",
        "/configs/a",
        "/session",
        "/swarm/unlockkey",
        "/plugins/privileges",
        "/volumes/a/export",
    ] {
        assert!(!may("GET", path) && !may("HEAD", path), "{path}");
    }
}

#[test]
fn refusals_say_who_asked_for_what() {
    let identity = Identity::read(&ann());
    let rules = rules(&[("CN:ann", "read-only")]);
    assert_eq!(rules.check(&identity, &Method::GET, "/info"), Ok(()));
    let refusal = rules.check(&identity, &Method::POST, "/build").expect_err("refused");
    assert_eq!(refusal.status, StatusCode::FORBIDDEN);
    assert_eq!(
        refusal.message,
        "access denied to POST /build: the owner of the certificate \"ann\" may only look at things, as client-access in the daemon's configuration says"
    );
}

proptest! {
    #[test]
    fn no_certificate_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        Identity::read(&CertificateDer::from(bytes));
    }

    #[test]
    fn damaged_certificates_are_read_as_far_as_they_go(
        at in 0_usize..400, byte in any::<u8>(), length in 0_usize..600,
    ) {
        let mut bytes = ann().to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(length);
        Identity::read(&CertificateDer::from(bytes));
    }
}
