//! `isopod vm`: kernels and templates on the command line, for root on the host itself.

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
    /// The daemon's data root [default: that of the daemon that answers, or /var/lib/isopod]
    #[arg(long, global = true, value_name = "DIR")]
    data_root: Option<PathBuf>,
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
        /// A kernel, compressed or not, a directory that has boot/ and lib/modules/, or a Debian
        /// package of one
        kernel: Option<PathBuf>,
        /// The directory of its modules (lib/modules/RELEASE)
        #[arg(long, value_name = "DIR", requires = "kernel")]
        modules: Option<PathBuf>,
        /// The architecture of the guests: amd64 or arm64
        #[arg(long, value_name = "ARCH")]
        arch: Option<String>,
    },
    /// List kernels that are found by themselves; the daemon's --vm-kernel names another
    Ls,
}

#[derive(Debug, Subcommand)]
enum Template {
    /// Have the daemon make the template that containers of a size are cloned from
    Build {
        /// Limit of the containers' memory (-m of `run`)
        #[arg(short, long, value_name = "BYTES")]
        memory: Option<String>,
        /// Limit of the containers' processors
        #[arg(long, value_name = "NUMBER")]
        cpus: Option<String>,
        /// The architecture of the containers: amd64 or arm64
        #[arg(long, value_name = "ARCH")]
        arch: Option<String>,
    },
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
    #[error("{0}")]
    Daemon(String),
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

/// Where the data root is when nobody says.
const DATA_ROOT: &str = "/var/lib/isopod";

/// What the daemon is asked, if there is one; errors are sentences.
pub trait Daemon {
    /// Where its data root is; `None` when none answers.
    ///
    /// # Errors
    /// It cannot be known.
    fn data_root(&self) -> Result<Option<PathBuf>, String>;

    /// Has the template for containers of an architecture, the host's if `None`, and a size, made if
    /// there is none; returns its name.
    ///
    /// # Errors
    /// What the daemon says.
    fn build_template(
        &self,
        arch: Option<Arch>,
        memory: Option<&str>,
        cpus: Option<&str>,
    ) -> Result<String, String>;
}

/// Whether words after `isopod vm` are for [`main`]: those about machines that boot disks are not.
pub fn answers(words: &[String]) -> bool {
    let first = words.first().map(|word| word.split('=').next().unwrap_or_default());
    matches!(first, Some("kernel" | "template" | "--data-root"))
}

/// Is the command, given the words after `isopod vm`.
pub fn main(words: &[String], daemon: &dyn Daemon) -> ExitCode {
    let words = std::iter::once("isopod vm").chain(words.iter().map(String::as_str));
    let grammar = match Grammar::try_parse_from(words) {
        Ok(grammar) => grammar,
        Err(error) => {
            // Nobody to tell when even that fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(grammar, daemon, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isopod vm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(grammar: Grammar, daemon: &dyn Daemon, out: &mut dyn Write) -> Result<(), Failure> {
    let named = |name: String| Arch::named(&name).ok_or(Failure::Arch(name));
    if let Commands::Template(Template::Build { memory, cpus, arch }) = &grammar.command {
        let arch = arch.clone().map(named).transpose()?;
        let built = daemon.build_template(arch, memory.as_deref(), cpus.as_deref());
        return Ok(writeln!(out, "{}", built.map_err(Failure::Daemon)?)?);
    }
    let root = match grammar.data_root {
        Some(root) => root,
        None => daemon.data_root().map_err(Failure::Daemon)?.unwrap_or_else(|| DATA_ROOT.into()),
    };
    let state = root.join("vm");
    match grammar.command {
        // Asked of the daemon.
        Commands::Template(Template::Build { .. }) => {}
        Commands::Kernel(Kernel::Install { kernel, modules, arch }) => {
            let arch = named(arch.unwrap_or_else(|| std::env::consts::ARCH.to_owned()))?;
            let installed = match kernel {
                Some(kernel) => install::from_files(&state, arch, &kernel, modules.as_deref())?,
                None => install::from_debian(&state, arch)?,
            };
            writeln!(out, "{installed}")?;
        }
        Commands::Kernel(Kernel::Ls) => list_kernels(&crate::kernel::list(&state)?, out)?,
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

fn list_kernels(kernels: &[crate::kernel::Listed], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:<8} {:<28} {:<5} FILE", "ARCH", "KERNEL", "USED")?;
    for found in kernels {
        let used = if found.used { "yes" } else { "" };
        let file = found.path.display();
        writeln!(out, "{:<8} {:<28} {used:<5} {file}", found.arch.to_string(), found.version)?;
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

    struct Nobody;

    impl Daemon for Nobody {
        fn data_root(&self) -> Result<Option<PathBuf>, String> {
            Err("asked the daemon".to_owned())
        }

        fn build_template(
            &self,
            arch: Option<Arch>,
            memory: Option<&str>,
            cpus: Option<&str>,
        ) -> Result<String, String> {
            Ok(format!("{arch:?} {memory:?} {cpus:?}"))
        }
    }

    fn ask(words: &[&str]) -> Result<String, String> {
        let grammar = Grammar::try_parse_from(words).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        run(grammar, &Nobody, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn only_kernels_and_templates_are_looked_after_here() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(answers(&words("kernel ls")) && answers(&words("--data-root=/x template ls")));
        assert!(!answers(&words("run kernel")) && !answers(&[]) && !answers(&words("--help")));
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
        assert!(error.expect_err("no kernel").contains("there is no kernel at"));
        let error = ask(&["vm", "--data-root", root, "kernel", "install", root]);
        assert!(error.expect_err("an empty directory").contains("vmlinu"));
        assert!(ask(&["vm", "kernel", "install", "--modules", "/x"]).is_err());
        assert_eq!(ask(&["vm", "template", "ls"]).expect_err("no root"), "asked the daemon");
        let built = ask(&["vm", "template", "build", "-m", "64m", "--cpus", "2"]).expect("built");
        assert_eq!(built, "None Some(\"64m\") Some(\"2\")\n");
        let built = ask(&["vm", "template", "build", "--arch", "arm64"]).expect("built");
        assert_eq!(built, "Some(Aarch64) None None\n");
        let error = ask(&["vm", "template", "build", "--arch", "vax"]).expect_err("none such");
        assert!(error.contains("\"vax\""), "{error}");
    }

    #[test]
    fn kernels_are_listed_with_the_one_that_is_used() {
        let dir = tempfile::tempdir().expect("directory");
        let boot = dir.path().join("vm/packages/amd64/boot");
        std::fs::create_dir_all(&boot).expect("made");
        for name in ["vmlinuz-6.1.0", "vmlinuz-6.10.0", "config-6.1.0"] {
            std::fs::write(boot.join(name), "").expect("written");
        }
        let root = dir.path().to_str().expect("path");
        let listed = ask(&["vm", "--data-root", root, "kernel", "ls"]).expect("listed");
        let of = |version: &str| {
            let line = listed.lines().find(|line| line.contains(version));
            line.unwrap_or_else(|| panic!("{listed}")).to_owned()
        };
        assert!(of("6.10.0 ").contains(" yes ") && of("6.10.0 ").starts_with("x86_64"), "{listed}");
        assert!(!of("6.1.0 ").contains(" yes "), "{listed}");
        assert!(!listed.contains("config"), "{listed}");
    }
}
