//! Repository chores that need a program: `cargo xtask tidy` keeps the design's rules, `cargo xtask
//! bench` measures us and our rivals in one run, `cargo xtask external` runs other people's tests,
//! `cargo xtask kernel` builds a small kernel for guests.
//!
//! It knows the shape of the repository and nothing of how containers work.

mod bench;
mod external;
mod kernel;
mod tidy;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy
       cargo xtask bench start|exec|density|image|names|network|networks|registry|vm [--runs N] [--only NAME,…]
       cargo xtask external bollard|docker-py isopod|dockerd FOLDER
       cargo xtask kernel [FOLDER]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match chore(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore(arguments: &[String]) -> Result<()> {
    match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("tidy", [])) => tidy::run(),
        Some(("bench", rest)) => bench::run(rest),
        Some(("external", rest)) => external::run(rest),
        Some(("kernel", rest)) => kernel::run(rest),
        _ => bail!(USAGE),
    }
}
