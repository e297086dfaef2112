//! The one installed program: looks at its first word and hands over.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use runtime::cgroup::{Capabilities, Layout};

fn main() -> ExitCode {
    sys::lookup::use_built_in_sources();
    let args: Vec<OsString> = std::env::args_os().collect();
    match args.get(1).and_then(|word| word.to_str()) {
        Some("daemon") => {
            if let Err(error) = runtime::protect_program() {
                eprintln!("isopod: containers could write to {}: {error}", args[0].display());
            }
            daemon::main(args.into_iter().skip(2).collect(), launcher, support)
        }
        Some("oci") => {
            let code = runtime::oci::main(args.into_iter().skip(2).collect());
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Some("registry") => registry::main(args.into_iter().skip(2).collect()),
        _ => {
            let words: Vec<String> =
                args.into_iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
            match cli::behind(&words, "vm") {
                Some(rest) if vm::answers(rest) => vm::main(rest, &Engine(&words)),
                _ => cli::main(&words),
            }
        }
    }
}

/// The engine that the command line leads to.
struct Engine<'a>(&'a [String]);

impl vm::Daemon for Engine<'_> {
    fn data_root(&self) -> Result<Option<PathBuf>, String> {
        cli::data_root(self.0)
    }

    fn build_template(
        &self,
        arch: Option<vm::Arch>,
        memory: Option<&str>,
        cpus: Option<&str>,
    ) -> Result<String, String> {
        cli::build_template(self.0, arch.map(vm::Arch::debian), memory, cpus)
    }
}

/// The process that forks monitors and the resolver.
fn launcher() -> std::io::Result<std::os::fd::OwnedFd> {
    monitor::launcher::spawn(resolver::run)
}

/// What this host can limit. A host without cgroups can limit nothing, which each container is
/// told about when it asks.
fn support() -> Capabilities {
    Layout::probe().map(|layout| layout.capabilities()).unwrap_or_default()
}
