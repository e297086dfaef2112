//! Disks for a clone that runs a container of no meaning before it gets a real one: an emulated
//! processor translates what it has to do the first time, which is most of what a start takes.
//!
//! ```text
//! vm/disks/rehearsal-<key>.erofs     the agent's program and nothing else; key: kernel and agent
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::disk::{self, DIRECTORY};
use crate::durable::Temporary;
use crate::error::{Error, Step};
use crate::machine::{Disk, KernelImage};

/// Where the agent's program is on the layer's disk.
pub const PROGRAM: &str = "/bin/guest-agent";

const LOCK: &str = "lock";
const PREFIX: &str = "rehearsal-";

/// Bytes of the writable disk.
const SIZE: u64 = 64 << 20;

/// A writable disk that has no name, and a layer.
///
/// # Errors
/// As those of [`disk::make_upper`].
pub fn disks(state: &Path, kernel: &KernelImage, agent: &Path) -> Result<Vec<Disk>, Error> {
    // Nobody waits for this one.
    crate::sweep(state);
    let layer = layer(state, kernel, agent)?;
    let upper = unnamed(&state.join(DIRECTORY)).file("create", state)?;
    disk::fill(state, &upper, SIZE)?;
    Ok(vec![
        Disk { file: upper.into(), read_only: false },
        Disk { file: layer.into(), read_only: true },
    ])
}

/// A file that never has a name, where the file system can make one: whoever is killed leaves nothing.
fn unnamed(directory: &Path) -> io::Result<File> {
    let flags = sys::fs::OFlags::TMPFILE.bits().cast_signed();
    match File::options().read(true).write(true).custom_flags(flags).open(directory) {
        Err(error) if error.raw_os_error() == Some(sys::errno::EOPNOTSUPP) => {
            Temporary::file(directory, "upper")?.opened().try_clone()
        }
        made => made,
    }
}

/// The layer, made if there is none.
fn layer(state: &Path, kernel: &KernelImage, agent: &Path) -> Result<File, Error> {
    let directory = state.join(DIRECTORY);
    let name = format!("{PREFIX}{}.erofs", kernel.key);
    let path = directory.join(&name);
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.file("open", &path),
    }
    std::fs::create_dir_all(&directory).file("create", &directory)?;
    let lock = File::create(directory.join(LOCK)).file("lock", &directory)?;
    sys::entry::lock(&lock).file("lock", &directory)?;
    sweep(&directory, &name);
    if let Ok(file) = File::open(&path) {
        // Somebody else was waited for.
        return Ok(file);
    }
    let temporary = Temporary::directory(&directory, "rehearsal").file("create in", &directory)?;
    let image = temporary.path().join("image");
    make(&fill(temporary.path(), agent)?, &image)?;
    let file = File::open(&image).file("open", &image)?;
    file.sync_all().file("flush", &image)?;
    std::fs::rename(&image, &path).file("keep", &path)?;
    Ok(file)
}

/// The files of the layer.
fn fill(temporary: &Path, agent: &Path) -> Result<PathBuf, Error> {
    let files = temporary.join("files");
    let program = files.join(&PROGRAM[1..]);
    let folder = program.parent().unwrap_or(&files);
    std::fs::create_dir_all(folder).file("create", folder)?;
    std::fs::copy(agent, &program).file("copy", agent)?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, mode).file("protect", &program)?;
    Ok(files)
}

fn make(files: &Path, image: &Path) -> Result<(), Error> {
    let mut command = Command::new("mkfs.erofs");
    disk::run("mkfs.erofs", "erofs-utils", command.arg("--quiet").args([image, files]))
}

/// Removes the layers of other kernels and agents, which whoever needs them makes again. Only for
/// whoever holds the lock.
fn sweep(directory: &Path, name: &str) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        let other = entry.file_name();
        if other.as_encoded_bytes().starts_with(PREFIX.as_bytes()) && other != *name {
            let path = entry.path();
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
        }
    }
}
