use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

const NOW: i64 = 1_000_000;

struct Issuer {
    key: EcdsaKeyPair,
    certificate: String,
    public: String,
}

fn issuer() -> Issuer {
    let pair = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["issuer".to_owned()])
        .expect("parameters")
        .self_signed(&pair)
        .expect("a certificate");
    let key = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &pair.serialize_der(),
        &SystemRandom::new(),
    );
    Issuer {
        key: key.expect("the same key"),
        certificate: certificate.pem(),
        public: pair.public_key_pem(),
    }
}

impl Issuer {
    fn sign(&self, claims: &Value) -> String {
        let plain = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = plain(&json!({ "typ": "JWT", "alg": "ES256", "kid": "any" }));
        let signed = format!("{header}.{}", plain(claims));
        let signature =
            self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn tokens(pem: &str) -> Tokens {
    let folder = tempfile::tempdir().expect("a directory");
    let certificates = folder.path().join("issuer.pem");
    std::fs::write(&certificates, pem).expect("a file");
    Tokens::open(TokenSettings {
        realm: "https://auth/token".into(),
        service: "here".into(),
        issuer: "auth".into(),
        certificates,
    })
    .expect("tokens")
}

fn claims() -> Value {
    json!({
        "iss": "auth",
        "aud": "here",
        "sub": "ann",
        "exp": NOW + 100,
        "nbf": NOW - 10,
        "access": [
            { "type": "repository", "name": "a/b", "actions": ["pull", "push"] },
            { "type": "registry", "name": "catalog", "actions": ["*"] },
        ],
    })
}

fn repository(name: &str, actions: &'static [Action]) -> Need {
    Need::Repository(name.parse().expect("a name"), actions)
}

/// The challenge of a refusal, empty if there is none.
fn challenge(tokens: &Tokens, token: Option<&str>, need: &Need) -> String {
    match tokens.admit(token, need, NOW) {
        Ok(()) => String::new(),
        Err(Error::Unauthorized { challenge }) => challenge,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_bearer_may_do_what_the_token_says_and_no_more() {
    let issuer = issuer();
    for pem in [&issuer.certificate, &issuer.public] {
        let tokens = tokens(pem);
        let token = issuer.sign(&claims());
        let ask = |need: &Need| challenge(&tokens, Some(&token), need);
        assert_eq!(ask(&Need::Login), "");
        assert_eq!(ask(&Need::Catalog), "");
        assert_eq!(ask(&repository("a/b", &[Action::Pull])), "");
        assert_eq!(ask(&repository("a/b", &[Action::Pull, Action::Push])), "");
        assert_eq!(
            ask(&repository("a/b", &[Action::Delete])),
            "Bearer realm=\"https://auth/token\",service=\"here\",scope=\"repository:a/b:delete\",error=\"insufficient_scope\""
        );
        assert!(ask(&repository("a/bc", &[Action::Pull])).contains("insufficient_scope"));
    }
}

#[test]
fn who_has_no_token_is_told_where_to_get_one() {
    let tokens = tokens(&issuer().certificate);
    assert_eq!(
        challenge(&tokens, None, &repository("a", &[Action::Pull, Action::Push])),
        "Bearer realm=\"https://auth/token\",service=\"here\",scope=\"repository:a:pull,push\""
    );
    assert_eq!(
        challenge(&tokens, None, &Need::Login),
        "Bearer realm=\"https://auth/token\",service=\"here\""
    );
}

#[test]
fn tokens_of_others_for_others_or_of_other_times_are_refused() {
    let (issuer, stranger) = (issuer(), issuer());
    let tokens = tokens(&issuer.certificate);
    let with = |key: &str, value: Value| {
        let mut claims = claims();
        claims[key] = value;
        issuer.sign(&claims)
    };
    for (token, expected) in [
        (with("iss", json!("other")), Refusal::Issuer),
        (with("aud", json!("there")), Refusal::Audience),
        (with("aud", json!([])), Refusal::Audience),
        (with("exp", json!(NOW - 61)), Refusal::Expired),
        (with("nbf", json!(NOW + 61)), Refusal::Early),
        (with("exp", Value::Null), Refusal::Claims),
        (stranger.sign(&claims()), Refusal::Jwt(InvalidJwt::Signature)),
    ] {
        assert_eq!(tokens.claims(&token, NOW).expect_err("a refusal"), expected);
        assert!(challenge(&tokens, Some(&token), &Need::Login).contains("invalid_token"));
    }
    assert!(tokens.claims(&with("aud", json!(["x", "here"])), NOW).is_ok());
    assert!(tokens.claims(&with("exp", json!(NOW - 59)), NOW).is_ok(), "within the leeway");
    assert!(tokens.claims(&with("access", Value::Null), NOW).is_ok());
    let mut changed = issuer.sign(&claims());
    changed.insert(changed.find('.').expect("a dot") + 3, 'A');
    assert!(tokens.claims(&changed, NOW).is_err());
}
