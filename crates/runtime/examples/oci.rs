//! The OCI command line as a program of its own, for tests and comparisons.

fn main() {
    std::process::exit(runtime::oci::main(std::env::args_os().skip(1).collect()));
}
