//! Installing a kernel for guests: from Debian's packages, or from files that are given.
//!
//! It is unpacked, not installed: nothing of the host changes but `vm/packages/<arch>`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sys::errno::{EINVAL, ENOSYS, EOPNOTSUPP};
use sys::fs::Root;

use super::error::{Error, Step};
use super::{extract, find};
use crate::durable::{self, Temporary};
use crate::machine::Arch;

const DIRECTORY: &str = "packages";

/// What is being replaced, in the directory of what comes.
const OLD: &str = "old";

/// Where the kernel for guests of an architecture is, if one was installed.
pub(super) fn root(state: &Path, arch: Arch) -> PathBuf {
    state.join(DIRECTORY).join(arch.debian())
}

/// Fetches and unpacks the newest `linux-image-cloud-<arch>` that the host's package sources have.
/// Returns the package's name.
///
/// # Errors
/// [`Error::Program`]: what apt or dpkg said.
pub fn from_debian(state: &Path, arch: Arch) -> Result<String, Error> {
    replace(state, arch, |directory| {
        let apt = Apt::new(directory, arch)?;
        let meta = format!("linux-image-cloud-{}", arch.debian());
        let known = apt.run("apt-cache", &["show", "--no-all-versions", &meta]);
        let about = match known {
            Ok(text) => text,
            Err(_) => {
                apt.run("apt-get", &["-q", "update"])?;
                apt.run("apt-cache", &["show", "--no-all-versions", &meta])?
            }
        };
        let package = depends(&about).ok_or_else(|| Error::Program {
            program: "apt-cache",
            said: format!("{meta} depends on no kernel"),
        })?;
        if apt.run("apt-get", &["-q", "download", &package]).is_err() {
            // The lists may be of a time when another version was there.
            apt.run("apt-get", &["-q", "update"])?;
            apt.run("apt-get", &["-q", "download", &package])?;
        }
        Ok((unpack(&only_package(directory)?, directory)?, package))
    })
}

/// Takes a kernel, compressed or not, and the directory of its modules (`lib/modules/<release>`);
/// a directory that has both below `boot/` and `lib/modules/`; or a Debian package of such a
/// directory. Returns the kernel's release.
///
/// # Errors
/// [`Error::NotThere`], [`Error::Empty`]; [`Error::Unfit`] when it is no kernel that guests can boot.
pub fn from_files(
    state: &Path,
    arch: Arch,
    kernel: &Path,
    modules: Option<&Path>,
) -> Result<String, Error> {
    let package = kernel.extension().is_some_and(|extension| extension == "deb");
    if package && modules.is_none() && kernel.is_file() {
        return replace(state, arch, |directory| {
            let root = unpack(kernel, directory)?;
            let fit = Fit::read(&root, arch).map_err(|error| match error {
                Error::Empty(_) => Error::Empty(kernel.to_owned()),
                Error::Unfit { why, .. } => Error::Unfit { path: kernel.to_owned(), why },
                other => other,
            })?;
            Ok((root, fit.release))
        });
    }
    let Fit { wrapped, release } = Fit::read(kernel, arch)?;
    let beside = kernel.join("lib/modules").join(&release);
    let modules = modules.or_else(|| beside.is_dir().then_some(&*beside));
    replace(state, arch, |directory| {
        let root = directory.join("root");
        let boot = root.join("boot");
        std::fs::create_dir_all(&boot).step("create", &boot)?;
        let file = boot.join(format!("vmlinuz-{release}"));
        std::fs::write(&file, &wrapped).step("write", &file)?;
        let beside = root.join("lib/modules");
        std::fs::create_dir_all(&beside).step("create", &beside)?;
        if let Some(modules) = modules {
            let mut copy = Command::new("cp");
            copy.arg("-rL").arg("--").arg(modules).arg(beside.join(&release));
            run(&mut copy, "cp")?;
        }
        Ok((root, release))
    })
}

/// A kernel that guests can boot.
struct Fit {
    /// As it was found.
    wrapped: Vec<u8>,
    release: String,
}

impl Fit {
    fn read(kernel: &Path, arch: Arch) -> Result<Self, Error> {
        let found = find::named(kernel)?;
        let wrapped = std::fs::read(&found.kernel).step("read", &found.kernel)?;
        let unfit = |why| Error::Unfit { path: found.kernel.clone(), why };
        let unpacked = extract::kernel(wrapped.clone(), arch).map_err(unfit)?;
        let release =
            extract::release(&unpacked).ok_or_else(|| unfit(super::error::Unfit::NoRelease))?;
        Ok(Self { wrapped, release })
    }
}

/// Unpacks a package, and says where.
fn unpack(package: &Path, directory: &Path) -> Result<PathBuf, Error> {
    let root = directory.join("root");
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&root), "dpkg-deb")?;
    Ok(root)
}

/// Puts what `fill` makes in the place of what was there.
fn replace(
    state: &Path,
    arch: Arch,
    fill: impl FnOnce(&Path) -> Result<(PathBuf, String), Error>,
) -> Result<String, Error> {
    let target = root(state, arch);
    let parent = state.join(DIRECTORY);
    std::fs::create_dir_all(&parent).step("create", &parent)?;
    sweep(state);
    let temporary = Temporary::directory(&parent, arch.debian()).step("create in", &parent)?;
    let (made, name) = fill(temporary.path())?;
    sys::entry::syncfs(File::open(&made).step("open", &made)?).step("flush", &made)?;
    if target.exists() {
        take_its_place(&made, &target, &temporary.path().join(OLD)).step("keep", &target)?;
        sys::entry::fsync(File::open(&parent).step("open", &parent)?).step("flush", &parent)?;
    } else {
        durable::publish_tree(&made, &target).step("keep", &target)?;
    }
    Ok(name)
}

/// What was there goes to `old`, or to where the new one was.
fn take_its_place(made: &Path, target: &Path, old: &Path) -> io::Result<()> {
    let host = Root::open_host("/")?;
    match host.exchange(made, target) {
        // A file system that cannot do it in one step: [`sweep`] mends it if it is not done to the end.
        Err(error) if matches!(error.raw_os_error(), Some(EINVAL | EOPNOTSUPP | ENOSYS)) => {
            std::fs::rename(target, old)?;
            std::fs::rename(made, target)
        }
        other => other,
    }
}

/// Removes what installs that were killed have left; a kernel that one of them had taken away already
/// comes back.
pub(crate) fn sweep(state: &Path) {
    let parent = state.join(DIRECTORY);
    for left in durable::abandoned(&parent) {
        for arch in Arch::ALL {
            let begin = format!(".{}.", arch.debian());
            let name = left.file_name().unwrap_or_default().as_encoded_bytes();
            let (old, target) = (left.join(OLD), root(state, arch));
            if name.starts_with(begin.as_bytes()) && old.is_dir() && !target.exists() {
                // What fails leaves it where it is: it is all there is.
                if durable::publish_tree(&old, &target).is_err() {
                    return;
                }
            }
        }
    }
    durable::sweep(&parent);
}

/// apt as it is set up on the host, or for another architecture with lists of its own.
struct Apt {
    options: Vec<String>,
    directory: PathBuf,
}

impl Apt {
    fn new(directory: &Path, arch: Arch) -> Result<Self, Error> {
        let mut options = Vec::new();
        if Arch::host() != Some(arch) {
            for name in ["lists/partial", "cache/archives/partial"] {
                let path = directory.join(name);
                std::fs::create_dir_all(&path).step("create", &path)?;
            }
            let below = |name: &str| directory.join(name).display().to_string();
            options = [
                format!("APT::Architecture={}", arch.debian()),
                format!("APT::Architectures={}", arch.debian()),
                format!("Dir::State::Lists={}", below("lists")),
                format!("Dir::Cache={}", below("cache")),
                // What the host has installed says nothing about another architecture.
                "Dir::State::status=/dev/null".to_owned(),
            ]
            .into_iter()
            .flat_map(|option| ["-o".to_owned(), option])
            .collect();
        }
        // apt fetches as a user of its own where it can, and here it cannot.
        options.extend(["-o".to_owned(), "APT::Sandbox::User=root".to_owned()]);
        Ok(Self { options, directory: directory.to_owned() })
    }

    fn run(&self, program: &'static str, words: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(program);
        command.args(&self.options).args(words).current_dir(&self.directory);
        run(&mut command, program)
    }
}

fn run(command: &mut Command, program: &'static str) -> Result<String, Error> {
    let output = command
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| Error::Program { program, said: error.to_string() })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let said = lines[lines.len().saturating_sub(3)..].join("; ");
    Err(Error::Program { program, said })
}

/// The kernel in `Depends: linux-image-6.1.0-57-cloud-amd64 (= 6.1.192-3)`.
fn depends(about: &str) -> Option<String> {
    let line = about.lines().find_map(|line| line.strip_prefix("Depends:"))?;
    line.split([',', '|'])
        .filter_map(|one| one.split_whitespace().next())
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
}

fn only_package(directory: &Path) -> Result<PathBuf, Error> {
    let entries = std::fs::read_dir(directory).step("list", directory)?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Error::Program { program: "apt-get", said: "it fetched nothing".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_that_a_meta_package_means_is_found() {
        let about = "Package: linux-image-cloud-amd64\nVersion: 6.1.192-3\n\
                     Depends: linux-image-6.1.0-57-cloud-amd64 (= 6.1.192-3), other\n";
        assert_eq!(depends(about).as_deref(), Some("linux-image-6.1.0-57-cloud-amd64"));
        assert_eq!(depends("Package: x\n"), None);
    }

    #[test]
    fn what_fails_leaves_what_was_there() {
        let dir = tempfile::tempdir().expect("directory");
        let target = root(dir.path(), Arch::X86_64);
        for (content, fails) in [("one", false), ("two", true), ("three", false)] {
            let done = replace(dir.path(), Arch::X86_64, |temporary| {
                let made = temporary.join("root");
                std::fs::create_dir(&made).step("create", &made)?;
                std::fs::write(made.join("file"), content).step("write", &made)?;
                if fails {
                    return Err(Error::Program { program: "x", said: "no".to_owned() });
                }
                Ok((made, content.to_owned()))
            });
            assert_eq!(done.is_err(), fails);
            let expected = if fails { "one" } else { content };
            let found = std::fs::read_to_string(target.join("file")).expect("file");
            assert_eq!(found, expected);
            let left = std::fs::read_dir(dir.path().join(DIRECTORY)).expect("list").count();
            assert_eq!(left, 1, "remains after {content}");
        }
    }

    #[test]
    fn what_a_killed_install_took_away_comes_back_and_its_rest_goes() {
        let dir = tempfile::tempdir().expect("directory");
        let parent = dir.path().join(DIRECTORY);
        for old in ["root", OLD] {
            let left = parent.join(".amd64.1").join(old);
            std::fs::create_dir_all(&left).expect("create");
            std::fs::write(left.join("file"), old).expect("write");
        }
        sweep(dir.path());
        assert!(!root(dir.path(), Arch::X86_64).exists(), "somebody may be at it");
        durable::age(&parent.join(".amd64.1"));
        sweep(dir.path());
        let file = root(dir.path(), Arch::X86_64).join("file");
        assert_eq!(std::fs::read_to_string(&file).expect("file"), OLD);
        std::fs::create_dir_all(parent.join(".arm64.1/root")).expect("create");
        for path in [parent.join(".arm64.1"), parent.join(".amd64.1")] {
            if path.exists() {
                durable::age(&path);
            }
        }
        sweep(dir.path());
        assert_eq!(std::fs::read_dir(&parent).expect("list").count(), 1);
        assert_eq!(std::fs::read_to_string(&file).expect("file"), OLD);
    }

    #[test]
    fn a_kernel_is_replaced_without_a_moment_when_there_is_none() {
        let dir = tempfile::tempdir().expect("directory");
        let (made, target) = (dir.path().join("made"), dir.path().join("target"));
        for path in [&made, &target] {
            std::fs::create_dir(path).expect("create");
            std::fs::write(path.join("file"), path.as_os_str().as_encoded_bytes()).expect("write");
        }
        let nowhere = dir.path().join("no such directory").join(OLD);
        take_its_place(&made, &target, &nowhere).expect("in one step");
        let found = std::fs::read(target.join("file")).expect("read");
        assert_eq!(found, made.as_os_str().as_encoded_bytes());
    }
}
