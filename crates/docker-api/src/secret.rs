//! Secrets and configs without a swarm (Isopod's own: `/isopod/secrets`, `/isopod/configs`).

use std::collections::BTreeMap;

use types::Timestamp;

api_json! {
/// A secret or a config, in the shape that swarm's have.
pub struct Kept {
    #[serde(rename = "ID")]
    pub id: String,
    pub created_at: Timestamp,
    pub spec: KeptSpec,
}

/// What a secret or a config was asked to be.
pub struct KeptSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// base64; of a config, when one is asked for by name. Never of a secret.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data: String,
}

/// Answer of `POST /isopod/secrets/create`.
pub struct KeptCreateResponse {
    #[serde(rename = "ID")]
    pub id: String,
}

/// Answer of `POST /isopod/secrets/rotate-key`.
pub struct RotateKeyResponse {
    /// How many were encrypted anew.
    pub count: u64,
}
}
