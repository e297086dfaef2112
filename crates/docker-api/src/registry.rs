//! Registries: logins, searches, and what a registry has of an image.

use crate::image::{Descriptor, Platform};

/// Who somebody is to a registry: the body of `POST /auth`, and what `X-Registry-Auth` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", default)]
#[allow(missing_docs, reason = "the API's specification documents its fields")]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// `user:password` in base64, as configuration files hold it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

api_json! {
/// Answer of `POST /auth`.
pub struct AuthResponse {
    pub status: String,
    /// Empty where the registry gives no such tokens.
    pub identity_token: String,
}

/// Answer of `GET /distribution/{name}/json`.
pub struct DistributionInspect {
    pub descriptor: Descriptor,
    /// What it runs on: several for an index.
    pub platforms: Vec<Platform>,
}

/// What a push tells programs, in `aux`.
pub struct PushResult {
    pub tag: String,
    pub digest: String,
    pub size: i64,
}
}

api_json_verbatim! {
/// An item of `GET /images/search`.
pub struct SearchResult {
    pub star_count: i64,
    pub is_official: bool,
    pub name: String,
    /// Always false.
    pub is_automated: bool,
    pub description: String,
}
}
