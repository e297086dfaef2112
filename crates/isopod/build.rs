//! How the program is linked.

fn main() {
    // At fixed addresses there are no 30,000 relocations to be made at every start of the command
    // line, whose pages no process could share with another: `isopod --version` takes 0.3 ms less,
    // and a monitor that is left alone keeps half a megabyte less for itself. What is given up is
    // the random place of the program's own code, which matters less where memory is safe.
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rerun-if-changed=build.rs");
}
