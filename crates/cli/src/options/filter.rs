//! Filters: `name=value`, sent as JSON.

use std::collections::BTreeMap;

/// One `--filter`.
pub(crate) fn parse(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_lowercase(), value.trim().to_owned())),
        None => Err("bad format of filter (expected name=value)".to_owned()),
    }
}

/// All filters as the API takes them; `None` when there are none.
pub(crate) fn json(filters: &[(String, String)]) -> Option<String> {
    if filters.is_empty() {
        return None;
    }
    let mut map: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for (name, value) in filters {
        map.entry(name).or_default().insert(value, true);
    }
    serde_json::to_string(&map).ok()
}
