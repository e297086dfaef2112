//! Reads whatever comes as a .dockerignore and asks it for a path: a walk that skips directories
//! must come to the same answer.
#![no_main]

use build::ignore::{Patterns, Verdict, clean};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (String, String)| {
    let (text, path) = input;
    let path = clean(&path);
    if text.len() > 4096 || path.len() > 1024 || path.starts_with(['/', '.']) {
        return;
    }
    let Ok(patterns) = Patterns::parse(&text) else { return };
    let asked = patterns.matches(&path);
    let (mut verdict, mut skipped) = (Verdict::default(), false);
    for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
        verdict = patterns.below(&verdict, &path[..end]);
        if end < path.len() && patterns.excludes_all_below(&path[..end], &verdict) {
            skipped = true;
            break;
        }
    }
    assert_eq!(asked, skipped || verdict.excluded);
});
