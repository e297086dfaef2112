//! How Go's `encoding/json` reads and writes, where Docker's clients depend on it.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares a struct whose JSON has Docker's names: `PascalCase`, every field optional on
/// input, `null` read as the default value, unknown fields ignored.
///
/// A field after a semicolon is flattened and read as it is: serde takes any error inside an
/// optional flattened value for its absence, so `null_default` would lose all limits when one of
/// them has the wrong type.
macro_rules! docker_json {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident : $type:ty),* $(,)?
        $(; $(#[$flat_meta:meta])* pub $flat:ident : $flat_type:ty $(,)?)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(deserialize_with = "crate::json::null_default")]
                pub $field: $type,
            )*
            $(
                $(#[$flat_meta])*
                #[serde(flatten)]
                pub $flat: $flat_type,
            )?
        }
    )*};
}

/// Reads `null` as the type's default, as Go does for every type.
pub fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Anything with a notion of being empty, so that [`empty_null`] can write it as `null`.
pub trait MaybeEmpty {
    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool;
}

impl<T> MaybeEmpty for Vec<T> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> MaybeEmpty for std::collections::BTreeMap<K, V> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

/// Writes an empty collection as `null`, as Go writes a nil slice or map.
///
/// # Errors
/// Only those of the serialiser.
pub fn empty_null<S, T>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    T: MaybeEmpty + Serialize,
{
    if value.is_empty() { serializer.serialize_none() } else { value.serialize(serializer) }
}

/// A list of words that may also be given as one string (`"Cmd": "ls"`), as old clients do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Words(pub Vec<String>);

impl std::ops::Deref for Words {
    type Target = Vec<String>;

    fn deref(&self) -> &Vec<String> {
        &self.0
    }
}

impl From<Vec<String>> for Words {
    fn from(words: Vec<String>) -> Self {
        Self(words)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

/// By hand, because derived choices say of what fits none of them only that.
struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Words, E> {
        Ok(Words(vec![word.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Words, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = seq.next_element()? {
            words.push(word);
        }
        Ok(Words(words))
    }
}
