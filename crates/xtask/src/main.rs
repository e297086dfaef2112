//! Repository chores that need a program: `cargo xtask tidy` keeps the design's rules, `cargo xtask
//! bench` measures us and our rivals in one run, `cargo xtask external` runs other people's tests.
//!
//! It knows the shape of the repository and nothing of how containers work.

mod bench;
mod external;
mod tidy;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask tidy
       cargo xtask bench start|exec|density [--runs N] [--only NAME,…]
       cargo xtask external bollard|docker-py isopod|dockerd FOLDER";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("tidy", [])) => tidy::run(),
        Some(("bench", rest)) => bench::run(rest),
        Some(("external", rest)) => external::run(rest),
        _ => bail!(USAGE),
    }
}
