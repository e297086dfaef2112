//! The command line alone, without the engine: `isopod` for a machine that only reaches daemons
//! elsewhere, and what the tests of this crate run.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    cli::main(&args)
}
