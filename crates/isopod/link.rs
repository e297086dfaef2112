//! How programs are linked: static, and at fixed addresses. Part of the build scripts of those that
//! are.
//!
//! Every command is a process of its own, and finding libraries, mapping them and looking up their
//! symbols takes longer than what most commands do: `isopod --version` takes 0.3 ms instead of
//! 0.65. A monitor has fewer mappings to copy at each fork. And the one program runs on any
//! distribution, whatever C library that has.
//!
//! At fixed addresses there are no 30,000 relocations to be made at every start, whose pages no
//! process could share with another. What is given up is the random place of the program's own
//! code, which matters less where memory is safe.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Libraries that the precompiled standard library asks for by name as shared ones.
const LIBRARIES: [&str; 6] = ["c", "m", "dl", "pthread", "rt", "util"];

/// Tells cargo how to link this program.
pub(crate) fn statically(program: &str) -> io::Result<()> {
    // The whole package is looked at: this file is another package's build script, too.
    println!("cargo:rustc-link-arg=-no-pie");
    let archives: Option<Vec<_>> =
        LIBRARIES.into_iter().map(|name| Some((name, find(name)?))).collect();
    let Some(archives) = archives else {
        println!(
            "cargo:warning=the C library's archives are not installed: {program} will be linked to shared libraries"
        );
        return Ok(());
    };
    // `-C target-feature=+crt-static` would do it too, but cannot be asked for by a package, and
    // reaches procedural macros, which cannot be static. So the names lead to archives instead:
    // the linker takes the first directory that has one, and a text there names what to take.
    // Without a shared library among them, and without `-static`, the start files are those that
    // do not register unwinding tables (which then would be sorted at the first panic: 13 ms).
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for (name, archive) in archives {
        let archive = archive.display().to_string();
        // ARM's C library calls the compiler's own functions, which call it.
        let more = if name == "c" { "-lgcc -lgcc_eh" } else { "" };
        script(&out, name, &format!("{archive} {more}"))?;
    }
    script(&out, "gcc_s", "-lgcc_eh -lgcc")?;
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-arg=-Wl,--no-dynamic-linker");
    Ok(())
}

/// Where the compiler has the archive of this library. For another architecture it is the linker that
/// cargo was told of.
fn find(name: &str) -> Option<PathBuf> {
    let chosen = ["RUSTC_LINKER", "CC"].into_iter().find_map(env::var_os);
    let compiler = chosen.unwrap_or_else(|| "cc".into());
    let asked =
        Command::new(compiler).arg(format!("-print-file-name=lib{name}.a")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim());
    // Only the name comes back for one that is not there.
    path.is_absolute().then_some(path)
}

/// Makes this name lead to these inputs.
fn script(out: &Path, name: &str, inputs: &str) -> io::Result<()> {
    fs::write(out.join(format!("lib{name}.a")), format!("GROUP({inputs})\n"))
}
