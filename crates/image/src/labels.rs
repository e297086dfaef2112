//! Filters on labels.

use std::collections::BTreeMap;

/// Whether labels satisfy every `key` or `key=value`.
pub(crate) fn matches_all(labels: Option<&BTreeMap<String, String>>, wanted: &[String]) -> bool {
    wanted.iter().all(|wanted| {
        labels.is_some_and(|labels| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    })
}
