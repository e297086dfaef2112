//! How the API's structs are declared.

/// Declares structs whose JSON has Docker's `PascalCase` names: every field optional on input,
/// `null` read as the default value, unknown fields ignored. Write `#[serde(rename = …)]` where
/// Docker's capitals differ.
macro_rules! api_json {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident : $type:ty),* $(,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        #[allow(missing_docs, reason = "the API's specification documents its fields")]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(deserialize_with = "types::null_default")]
                pub $field: $type
            ),*
        }
    )*};
}

/// As [`api_json`], with the fields' names as they stand (`rx_bytes`, `progressDetail`).
macro_rules! api_json_verbatim {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident : $type:ty),* $(,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        #[allow(missing_docs, reason = "the API's specification documents its fields")]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(deserialize_with = "types::null_default")]
                pub $field: $type
            ),*
        }
    )*};
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
