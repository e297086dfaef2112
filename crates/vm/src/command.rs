//! `isopod vm`: kernels and templates on the command line, for root on the host itself.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::kernel::install;
use crate::machine::Arch;
use crate::template;

/// Kernels and templates of the virtual machines that containers run in.
#[derive(Debug, Parser)]
#[command(name = "isopod vm", version, subcommand_required = true)]
struct Grammar {
    /// The daemon's data root
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/isopod")]
    data_root: PathBuf,
    #[command(subcommand)]
    command: Commands,
}

#[derive(Debug, Subcommand)]
enum Commands {
    /// The kernel that guests boot
    #[command(subcommand)]
    Kernel(Kernel),
    /// Booted machines that are cloned
    #[command(subcommand)]
    Template(Template),
}

#[derive(Debug, Subcommand)]
enum Kernel {
    /// Install a kernel for guests: Debian's newest cloud kernel, or the one that is given
    Install {
        /// A kernel, compressed or not
        kernel: Option<PathBuf>,
        /// The directory of its modules (lib/modules/RELEASE)
        #[arg(long, value_name = "DIR", requires = "kernel")]
        modules: Option<PathBuf>,
        /// The architecture of the guests: amd64 or arm64
        #[arg(long, value_name = "ARCH")]
        arch: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Template {
    /// List templates, the newest first
    Ls,
    /// Remove templates; clones that run are not affected
    Rm {
        /// Names, or unambiguous beginnings of them
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Vm(#[from] Error),
    #[error(transparent)]
    Kernel(#[from] crate::kernel::Error),
    #[error("guests cannot be of the architecture {0:?}; amd64 and arm64 are known")]
    Arch(String),
    #[error("no template, or more than one, begins with {0:?}")]
    NoTemplate(String),
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

/// Is the command, given the words after `isopod vm`.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let words = std::iter::once(OsString::from("isopod vm")).chain(words);
    let grammar = match Grammar::try_parse_from(words) {
        Ok(grammar) => grammar,
        Err(error) => {
            // Nobody to tell when even that fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(grammar, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isopod vm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(grammar: Grammar, out: &mut dyn Write) -> Result<(), Failure> {
    let state = grammar.data_root.join("vm");
    match grammar.command {
        Commands::Kernel(Kernel::Install { kernel, modules, arch }) => {
            let name = arch.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
            let arch = Arch::named(&name).ok_or(Failure::Arch(name))?;
            let installed = match kernel {
                Some(kernel) => install::from_files(&state, arch, &kernel, modules.as_deref())?,
                None => install::from_debian(&state, arch)?,
            };
            writeln!(out, "{installed}")?;
        }
        Commands::Template(Template::Ls) => list(&template::list(&state)?, out)?,
        Commands::Template(Template::Rm { names }) => {
            for name in names {
                let removed = template::remove(&state, &name)?.ok_or(Failure::NoTemplate(name))?;
                writeln!(out, "{removed}")?;
            }
        }
    }
    Ok(())
}

fn list(templates: &[template::Listed], out: &mut dyn Write) -> io::Result<()> {
    let row = |cells: [&str; 7]| {
        let [name, arch, kernel, processor, memory, cpus, size] = cells;
        format!(
            "{name:<14} {arch:<8} {kernel:<26} {processor:<10} {memory:>9} {cpus:>5} {size:>10}"
        )
    };
    writeln!(out, "{}", row(["NAME", "ARCH", "KERNEL", "PROCESSOR", "MEMORY", "CPUS", "SIZE"]))?;
    for found in templates {
        let shape = &found.shape;
        let line = row([
            &found.key[..12.min(found.key.len())],
            &shape.arch.to_string(),
            &shape.release,
            &shape.processor,
            &format!("{} MiB", shape.memory),
            &shape.cpus.to_string(),
            &format!("{} MiB", found.size >> 20),
        ]);
        let age = SystemTime::now().duration_since(found.created).unwrap_or_default();
        writeln!(out, "{line}   {} min ago", age.as_secs() / 60)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(words: &[&str]) -> Result<String, String> {
        let grammar = Grammar::try_parse_from(words).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        run(grammar, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn what_is_not_there_is_said() {
        let dir = tempfile::tempdir().expect("directory");
        let root = dir.path().to_str().expect("path");
        let listed = ask(&["vm", "--data-root", root, "template", "ls"]).expect("listed");
        assert_eq!(listed.lines().count(), 1, "{listed}");
        assert!(listed.starts_with("NAME"));
        let error = ask(&["vm", "--data-root", root, "template", "rm", "ab"]).expect_err("none");
        assert!(error.contains("begins with \"ab\""), "{error}");
        let error = ask(&["vm", "--data-root", root, "kernel", "install", "--arch", "vax"])
            .expect_err("no such architecture");
        assert!(error.contains("\"vax\""), "{error}");
        let missing = dir.path().join("vmlinuz");
        let missing = missing.to_str().expect("path");
        let error = ask(&["vm", "--data-root", root, "kernel", "install", missing]);
        assert!(error.expect_err("no kernel").contains("No such file"));
        assert!(ask(&["vm", "kernel", "install", "--modules", "/x"]).is_err());
    }
}
