//! The `filters` parameter of list, prune and event requests.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::Error;

/// Names of filters and the values that each may match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads both forms that clients send: `{"name":["a"]}` and `{"name":{"a":true}}`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the text is neither.
    pub fn parse(json: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Values {
            List(Vec<String>),
            Set(BTreeMap<String, bool>),
        }
        if json.is_empty() {
            return Ok(Self::default());
        }
        let read: BTreeMap<String, Values> = serde_json::from_str(json)
            .map_err(|error| Error::invalid(format!("invalid filter: {error}")))?;
        let values = |values| match values {
            Values::List(list) => list.into_iter().collect(),
            Values::Set(set) => set.into_iter().filter(|(_, on)| *on).map(|(v, _)| v).collect(),
        };
        Ok(Self(read.into_iter().map(|(name, list)| (name, values(list))).collect()))
    }

    /// Adds one value.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
    }

    /// Refuses names that are not among `known`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] in Docker's words.
    pub fn allow(&self, known: &[&str]) -> Result<(), Error> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Error::invalid(format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }

    /// Whether there is any filter at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a filter of this name with at least one value.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|values| !values.is_empty())
    }

    /// The values of one filter.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether `matches` holds for any value of the filter; true when there is no such filter.
    pub fn any(&self, name: &str, matches: impl FnMut(&str) -> bool) -> bool {
        !self.has(name) || self.values(name).any(matches)
    }

    /// Whether every `label` value (`key` or `key=value`) is borne by `labels`.
    pub fn labels(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(name).all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }

    /// A yes-or-no filter (`dangling=true`); `None` when absent.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] in Docker's words when the value is neither.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Error> {
        let mut found = None;
        for value in self.values(name) {
            let this = match value {
                "1" | "true" | "True" | "TRUE" | "t" | "T" => true,
                "0" | "false" | "False" | "FALSE" | "f" | "F" => false,
                other => return Err(Error::invalid(format!("invalid filter '{name}={other}'"))),
            };
            if found.is_some_and(|other| other != this) {
                return Err(Error::invalid(format!("invalid filter '{name}=[false true]'")));
            }
            found = Some(this);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let list = Filters::parse(r#"{"status":["exited","created"]}"#).expect("list");
        let set = Filters::parse(r#"{"status":{"exited":true,"created":true}}"#).expect("set");
        assert_eq!(list, set);
        assert!(list.any("status", |value| value == "exited"));
        assert!(!list.any("status", |value| value == "running"));
        assert!(list.any("name", |_| false), "an absent filter lets everything pass");
        assert!(list.allow(&["name"]).is_err());
        assert!(Filters::parse("[1]").is_err());
    }

    #[test]
    fn every_wanted_label_must_be_there() {
        let filters = Filters::parse(r#"{"label":["a","b=2"]}"#).expect("valid");
        let mut labels = BTreeMap::from([("a".to_owned(), String::new())]);
        assert!(!filters.labels("label", &labels));
        labels.insert("b".to_owned(), "2".to_owned());
        assert!(filters.labels("label", &labels));
    }
}
