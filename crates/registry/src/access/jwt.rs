//! JSON web tokens: three pieces of base64 with dots between, of which the last signs the others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use webpki::{EndEntityCert, RawPublicKeyEntity};

/// The most bytes of a token that are looked at.
const LONGEST: usize = 32 << 10;

/// A public key that signs tokens.
#[derive(Debug)]
pub(crate) enum Key {
    /// In a certificate; only its key counts.
    Certificate(CertificateDer<'static>),
    /// Alone.
    Public(SubjectPublicKeyInfoDer<'static>),
}

/// Why a token is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidJwt {
    /// It does not have the form of one.
    #[error("malformed")]
    Form,
    /// It is signed in a way that is not taken; `none` and shared secrets are among them.
    #[error("signed by an algorithm that is not taken")]
    Algorithm,
    /// None of the keys has made the signature.
    #[error("not signed by a trusted key")]
    Signature,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood; we understand none.
    crit: Option<serde::de::IgnoredAny>,
}

/// How many bytes each half of an elliptic signature has, and how it is checked.
type Scheme = (Option<usize>, &'static dyn SignatureVerificationAlgorithm);

fn scheme(name: &str) -> Option<Scheme> {
    use webpki::ring as r;
    Some(match name {
        "RS256" => (None, r::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => (None, r::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => (None, r::RSA_PKCS1_2048_8192_SHA512),
        "ES256" => (Some(32), r::ECDSA_P256_SHA256),
        "ES384" => (Some(48), r::ECDSA_P384_SHA384),
        "EdDSA" => (None, r::ED25519),
        _ => return None,
    })
}

/// Checks who signed a token and gives its claims. Whether they are true *now* is for the caller.
pub(crate) fn verified(token: &str, keys: &[Key]) -> Result<Vec<u8>, InvalidJwt> {
    if token.len() > LONGEST {
        return Err(InvalidJwt::Form);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(InvalidJwt::Form)?;
    let (header, claims) = signed.split_once('.').ok_or(InvalidJwt::Form)?;
    let plain = |text: &str| {
        // Some encoders pad, against the rule.
        URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| InvalidJwt::Form)
    };
    let header: Header = serde_json::from_slice(&plain(header)?).map_err(|_| InvalidJwt::Form)?;
    if header.crit.is_some() {
        return Err(InvalidJwt::Algorithm);
    }
    let claims = plain(claims)?;
    let signature = plain(signature)?;
    let (half, algorithm) = scheme(&header.alg).ok_or(InvalidJwt::Algorithm)?;
    let signature = match half {
        None => signature,
        Some(half) => der(&signature, half).ok_or(InvalidJwt::Signature)?,
    };
    let made = |key: &Key| {
        let signed = signed.as_bytes();
        let checked = match key {
            Key::Certificate(certificate) => EndEntityCert::try_from(certificate)
                .and_then(|entity| entity.verify_signature(algorithm, signed, &signature)),
            Key::Public(key) => RawPublicKeyEntity::try_from(key)
                .and_then(|entity| entity.verify_signature(algorithm, signed, &signature)),
        };
        checked.is_ok()
    };
    if keys.iter().any(made) { Ok(claims) } else { Err(InvalidJwt::Signature) }
}

/// An elliptic signature as certificates write it (two integers in DER) from how tokens do (the
/// same two, side by side).
fn der(signature: &[u8], half: usize) -> Option<Vec<u8>> {
    if signature.len() != 2 * half {
        return None;
    }
    let mut body = Vec::new();
    for number in signature.chunks(half) {
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(half - 1);
        let digits = &number[start..];
        // A leading bit would make the number negative.
        let zero = digits[0] & 0x80 != 0;
        body.extend([0x02, (digits.len() + usize::from(zero)) as u8]);
        body.extend(zero.then_some(0));
        body.extend_from_slice(digits);
    }
    let mut out = vec![0x30];
    if body.len() >= 0x80 {
        out.push(0x81);
    }
    out.push(body.len() as u8);
    out.extend(body);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elliptic_signatures_become_der() {
        let mut raw = vec![0; 64];
        raw[31] = 1;
        raw[63] = 0x80;
        assert_eq!(der(&raw, 32), Some(vec![0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]));
        assert_eq!(der(&[0; 64], 32), Some(vec![0x30, 6, 2, 1, 0, 2, 1, 0]));
        assert_eq!(der(&[0; 63], 32), None);
        let large = der(&[0xff; 96], 48).expect("DER");
        assert_eq!((large.len(), &large[..5]), (104, &[0x30, 102, 2, 49, 0][..]));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let none = format!("{}.e30.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        assert_eq!(verified(&none, &[]), Err(InvalidJwt::Algorithm));
        let secret = format!("{}.e30.aaaa", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#));
        assert_eq!(verified(&secret, &[]), Err(InvalidJwt::Algorithm));
        let critical = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","crit":["x"]}"#);
        assert_eq!(verified(&format!("{critical}.e30."), &[]), Err(InvalidJwt::Algorithm));
        let unsigned = format!("{}.e30.", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#));
        assert_eq!(verified(&unsigned, &[]), Err(InvalidJwt::Signature));
        for bad in ["", ".", "..", "a.b", "e30.e30.e30", "%.%.%"] {
            assert_eq!(verified(bad, &[]), Err(InvalidJwt::Form), "{bad}");
        }
        assert_eq!(verified(&"a.".repeat(40_000), &[]), Err(InvalidJwt::Form));
    }
}
