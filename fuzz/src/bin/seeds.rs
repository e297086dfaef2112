//! `seeds FOLDER`: writes `FOLDER/<target>/seed-<n>` for every target, and prints the targets.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: seeds FOLDER");
        return ExitCode::from(2);
    };
    for target in fuzz::TARGETS {
        if let Err(error) = write(&Path::new(&folder).join(target.name), target) {
            eprintln!("seeds: {}: {error}", target.name);
            return ExitCode::FAILURE;
        }
        println!("{}", target.name);
    }
    ExitCode::SUCCESS
}

fn write(folder: &Path, target: &fuzz::Target) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}
