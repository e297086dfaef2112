//! A small kernel for guests, from Debian's source: everything that a machine needs is built in, and
//! what no container needs is left out, so it boots in a third of the time that Debian's own takes
//! where processors are emulated.

use anyhow::{Context, Result, ensure};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What it has beyond the smallest kernel that there is.
const CONFIG: &str = include_str!("kernel/guest.config");
/// What its emulated processors know without measuring.
const EMULATED: &str = include_str!("kernel/emulated.c");

/// What it is built with.
const PACKAGES: [&str; 7] =
    ["build-essential", "flex", "bison", "bc", "libelf-dev", "libssl-dev", "xz-utils"];

const USAGE: &str = "usage: cargo xtask kernel [FOLDER]";

/// Builds it into a folder that `--vm-kernel` takes.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let folder = match arguments {
        [] => PathBuf::from("target/kernel/small"),
        [folder] => PathBuf::from(folder),
        _ => anyhow::bail!(USAGE),
    };
    ensure!(cfg!(target_arch = "x86_64"), "only for x86-64 so far");
    done(Command::new("scripts/packages").args(PACKAGES))?;
    let work = tempfile::TempDir::new_in("target").context("a folder for the source")?;
    let source = unpack(work.path())?;
    extend(&source)?;
    configure(&source)?;
    let processors = std::thread::available_parallelism()?.get();
    done(make(&source).arg(format!("-j{processors}")).args(["vmlinux", "modules.builtin"]))?;
    let release = std::fs::read_to_string(source.join("include/config/kernel.release"))?;
    let release = release.trim();
    let (boot, modules) = (folder.join("boot"), folder.join("lib/modules").join(release));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("the one of before")?;
    }
    std::fs::create_dir_all(&boot)?;
    std::fs::create_dir_all(&modules)?;
    std::fs::copy(source.join("modules.builtin"), modules.join("modules.builtin"))?;
    std::fs::write(modules.join("modules.dep"), "")?;
    let kernel = boot.join(format!("vmlinux-{release}"));
    done(Command::new("strip").arg("-o").arg(kernel).arg(source.join("vmlinux")))?;
    println!("{}", std::fs::canonicalize(&folder)?.display());
    Ok(())
}

/// Fetches the source and unpacks it.
fn unpack(work: &Path) -> Result<PathBuf> {
    let script = "set -e; package=$(apt-cache depends linux-source | sed -n 's/^ *Depends: //p' | head -n 1); \
                  apt-get -q -o APT::Sandbox::User=root download \"$package\"; dpkg-deb -x ./*.deb .; \
                  mkdir source; tar -C source --strip-components=1 -xf usr/src/linux-source-*.tar.xz";
    done(Command::new("sh").args(["-c", script]).current_dir(work))?;
    Ok(work.join("source"))
}

/// Adds a file of our own, and leaves the memory of what only boots as it is: an emulator that is
/// told to write where it has translated code takes 56 ms over those 760 KiB.
fn extend(source: &Path) -> Result<()> {
    let folder = source.join("arch/x86/kernel");
    std::fs::write(folder.join("emulated.c"), EMULATED)?;
    let mut list = std::fs::OpenOptions::new().append(true).open(folder.join("Makefile"))?;
    writeln!(list, "obj-y += emulated.o")?;
    let path = source.join("arch/x86/mm/init.c");
    let text = std::fs::read_to_string(&path)?;
    let poison = "POISON_FREE_INITMEM";
    ensure!(text.contains(poison), "{} has no {poison} any more", path.display());
    Ok(std::fs::write(&path, text.replace(poison, "-1"))?)
}

/// Has the smallest configuration and ours on top of it, of which nothing may be lost.
fn configure(source: &Path) -> Result<()> {
    done(make(source).arg("tinyconfig"))?;
    let path = source.join(".config");
    let tiny = std::fs::read_to_string(&path)?;
    let wanted = || CONFIG.lines().filter_map(|line| line.split_once('='));
    let kept = tiny.lines().filter(|line| {
        let name = line.trim_start_matches("# ").split([' ', '=']).next().unwrap_or_default();
        wanted().all(|(ours, _)| ours != name)
    });
    let merged: Vec<&str> = kept.chain(CONFIG.lines()).collect();
    std::fs::write(&path, merged.join("\n") + "\n")?;
    done(make(source).arg("olddefconfig"))?;
    let made = std::fs::read_to_string(&path)?;
    let lost: Vec<String> = wanted()
        .filter(|(name, value)| match *value {
            "n" => made.lines().any(|line| line.starts_with(&format!("{name}="))),
            value => made.lines().all(|line| line != format!("{name}={value}")),
        })
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    ensure!(lost.is_empty(), "this kernel has no {}", lost.join(", "));
    Ok(())
}

fn make(source: &Path) -> Command {
    let mut command = Command::new("make");
    command.args(["-s", "ARCH=x86_64", "-C"]).arg(source);
    command
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
