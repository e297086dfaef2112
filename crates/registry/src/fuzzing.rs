//! What cargo-fuzz feeds with bytes from strangers.

use crate::percent::Query;

/// The path and query of a URL, the ranges in two headers.
pub fn request(text: &str) {
    let (path, rest) = text.split_once('?').unwrap_or((text, ""));
    let (query, header) = rest.split_once('\n').unwrap_or((rest, ""));
    if let Ok(route) = crate::route::Route::parse(path)
        && let Some(name) = route.name()
    {
        let safe =
            name.path().components().all(|part| matches!(part, std::path::Component::Normal(_)));
        assert!(safe, "{name} leaves its directory");
    }
    let query = Query::parse(query);
    let page = crate::page::Page::parse(&query);
    if let Ok(page) = page {
        let _ = page.cut(vec!["a", "b"], |item| item);
    }
    if let crate::range::Wanted::Part { first, last } = crate::range::wanted(Some(header), 100) {
        assert!(first <= last && last < 100);
    }
    if let Some((first, last)) = crate::range::piece(header) {
        assert!(first <= last && last - first < u64::MAX);
    }
}

/// A manifest that somebody pushes.
pub fn manifest(bytes: &[u8]) {
    let _ = crate::manifest::parse(None, bytes);
}
