//! Templates: booted machines that are cloned.
//!
//! ```text
//! vm/templates/<key>/shape    what must be the same, for people (JSON)
//!                    ram      the memory, sparse
//!                    state    everything else
//!                    hello    what the agent had said
//! vm/templates/.<key>.<pid>   being made, and locked meanwhile; swept when nobody does
//! vm/templates/lock           held while one is made
//! vm/templates/<key>.failed   why the last try to make one failed
//! ```
//!
//! A directory is complete when it has its name. One that turns out to be damaged is removed, and
//! made again at the next start.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sys::errno;

use crate::backend::{Backend, Conditions, Cpu, Places, Snapshot, Vm};
use crate::durable::{self, Temporary};
use crate::error::{Error, Step};
use crate::machine::{Arch, Disk, Machine};
use crate::start::{Options, Templates};

pub(crate) const DIRECTORY: &str = "templates";
const LOCK: &str = "lock";
const SHAPE: &str = "shape";
const HELLO: &str = "hello";
pub(crate) const RAM: &str = "ram";
pub(crate) const STATE: &str = "state";

/// Places of a template: images of as many layers but one (the last disk is what the container
/// writes on), and as many networks. Each costs a clone some 0.2 ms.
pub(crate) const PLACES: Places = Places { disks: 10, nics: 2 };

/// So many are kept: those that were used last. A template has as many bytes as its guest had
/// touched, some 60 MB.
const KEPT: usize = 8;

/// When making a template has failed, machines are booted for so long before it is tried again: a
/// try may take as long as an agent may take to say hello.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// All that a machine and its template must have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The architecture of the guest.
    pub arch: Arch,
    /// The kernel's release.
    pub release: String,
    /// The kernel's and the agent's key.
    pub kernel: String,
    /// The program that runs machines.
    backend: String,
    /// `hardware` or `emulation`.
    pub processor: String,
    /// MiB of memory.
    pub memory: u64,
    /// Virtual processors.
    pub cpus: u32,
    places: Places,
}

impl Shape {
    pub(crate) fn of(machine: &Machine, backend: &dyn Backend, cpu: Cpu) -> Self {
        Self {
            arch: machine.arch,
            release: machine.kernel.release.clone(),
            kernel: machine.kernel.key.clone(),
            backend: backend.identity(),
            processor: cpu.name().to_owned(),
            memory: machine.mebibytes(),
            cpus: machine.cpus.max(1),
            places: PLACES,
        }
    }

    /// A name for it.
    pub fn key(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = Sha256::digest(&text);
        digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A template as it is listed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub key: String,
    /// What it is a template of.
    pub shape: Shape,
    /// Bytes on disk.
    pub size: u64,
    /// When it was made.
    pub created: SystemTime,
}

/// All templates below the directory `vm` of the data root, the newest first.
///
/// # Errors
/// Those of reading the directory; what is no template is passed over.
pub fn list(state: &Path) -> Result<Vec<Listed>, Error> {
    let directory = state.join(DIRECTORY);
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.file("list", &directory)?,
    };
    let mut found: Vec<Listed> =
        entries.filter_map(Result::ok).filter_map(|entry| listed(&entry.path())).collect();
    found.sort_by_key(|template| std::cmp::Reverse(template.created));
    Ok(found)
}

fn listed(path: &Path) -> Option<Listed> {
    use std::os::unix::fs::MetadataExt;
    let key = path.file_name()?.to_str()?.to_owned();
    let shape: Shape = serde_json::from_slice(&std::fs::read(path.join(SHAPE)).ok()?).ok()?;
    if shape.key() != key {
        return None;
    }
    let files = [RAM, STATE, HELLO].map(|name| std::fs::metadata(path.join(name)).ok());
    let size = files.iter().flatten().map(|found| found.blocks() * 512).sum();
    let created = std::fs::metadata(path.join(SHAPE)).and_then(|found| found.modified()).ok()?;
    Some(Listed { key, shape, size, created })
}

/// Removes a template by its name or by an unambiguous beginning of it; clones that run are not
/// affected. Returns its whole name, or nothing when there is none.
///
/// # Errors
/// Those of removing files.
pub fn remove(state: &Path, name: &str) -> Result<Option<String>, Error> {
    let mut fitting = list(state)?;
    fitting.retain(|template| !name.is_empty() && template.key.starts_with(name));
    let [template] = &fitting[..] else { return Ok(None) };
    discard(&state.join(DIRECTORY), &template.key)?;
    Ok(Some(template.key.clone()))
}

fn discard(directory: &Path, key: &str) -> Result<(), Error> {
    let path = directory.join(key);
    durable::discard(directory, key).file("remove", &path)
}

/// The name of the template for machines like this one, whether there is one or not.
///
/// # Errors
/// Those of finding out how such a machine would be run.
pub fn name(machine: &Machine, options: &Options<'_>) -> Result<String, Error> {
    Ok(shaped(machine, options)?.2.key())
}

/// How machines like this one are run, and the shape of their template.
fn shaped(machine: &Machine, options: &Options<'_>) -> Result<(impl Backend, Cpu, Shape), Error> {
    let backend = crate::backend(machine.arch)?;
    let cpu = crate::accelerator::choose(&backend, &|| Some(machine.bare()), options)?;
    let shape = Shape::of(machine, &backend, cpu);
    Ok((backend, cpu, shape))
}

/// Makes the template for machines like this one, if there is none. Returns its name.
///
/// # Errors
/// [`Error`].
pub fn build(machine: &Machine, options: &Options<'_>) -> Result<String, Error> {
    let (backend, cpu, shape) = shaped(machine, options)?;
    make(&shape, machine, &backend, &options.conditions(cpu, options.limit), options.state)?;
    Ok(shape.key())
}

/// A template that is open.
pub(crate) struct Template {
    directory: PathBuf,
    key: String,
    places: Places,
    ram: File,
    state: File,
    hello: Vec<u8>,
}

/// The template for a machine, made first if that is wanted.
pub(crate) fn open(
    shape: &Shape,
    machine: &Machine,
    backend: &dyn Backend,
    options: &Options<'_>,
    cpu: Cpu,
) -> Result<Option<Template>, Error> {
    let directory = options.state.join(DIRECTORY);
    match Template::open(&directory, shape) {
        Ok(Some(found)) => return Ok(Some(found)),
        Ok(None) => {}
        Err(error) => {
            if matches!(error, Error::Template { .. }) {
                discard(&directory, &shape.key())?;
            }
            if options.templates == Templates::Use {
                return Err(error);
            }
        }
    }
    if options.templates == Templates::Use {
        return Ok(None);
    }
    if let Some(why) = recent_failure(&directory, &shape.key()) {
        let why = format!("making it failed less than {} minutes ago: {why}", PAUSE.as_secs() / 60);
        return Err(Error::Template { key: shape.key(), why });
    }
    make(shape, machine, backend, &options.conditions(cpu, options.limit), options.state)?;
    Template::open(&directory, shape)
}

impl Template {
    fn open(directory: &Path, shape: &Shape) -> Result<Option<Self>, Error> {
        let key = shape.key();
        let path = directory.join(&key);
        if !path.is_dir() {
            return Ok(None);
        }
        let damaged = |why: String| Error::Template { key: key.clone(), why };
        let unread = |name: &str, error: io::Error| match error.raw_os_error() {
            // It may be as good as ever.
            Some(errno::EMFILE | errno::ENFILE | errno::ENOMEM) => {
                Error::File { step: "open", path: path.join(name), source: error }
            }
            _ => damaged(format!("{name}: {error}")),
        };
        let text = std::fs::read(path.join(SHAPE)).map_err(|error| unread(SHAPE, error))?;
        let found: Shape =
            serde_json::from_slice(&text).map_err(|e| damaged(format!("shape: {e}")))?;
        if found != *shape {
            return Err(damaged("it is of another shape".to_owned()));
        }
        let open = |name: &str| File::open(path.join(name)).map_err(|error| unread(name, error));
        let (ram, state) = (open(RAM)?, open(STATE)?);
        let length = ram.metadata().map_or(0, |found| found.len());
        if length != shape.memory << 20 {
            return Err(damaged(format!("its memory has {length} bytes")));
        }
        let hello = std::fs::read(path.join(HELLO)).map_err(|error| unread(HELLO, error))?;
        // For those who look which ones are used.
        let _ = state.set_modified(SystemTime::now());
        let directory = directory.to_owned();
        Ok(Some(Self { directory, key, places: shape.places, ram, state, hello }))
    }

    /// Whether it has a place for every device, of its kind.
    pub(crate) fn fits(&self, machine: &Machine) -> bool {
        let written = |(n, disk): (usize, &Disk)| disk.read_only == (n > 0);
        machine.disks.len() <= self.places.disks
            && machine.disks.iter().enumerate().all(written)
            && machine.nics.len() <= self.places.nics
    }

    /// Makes a clone. When that fails because of the template, nobody is to try it again; when there
    /// could be no process, or not what it needs, the template is as good as before.
    pub(crate) fn restore(
        &self,
        machine: Machine,
        backend: &dyn Backend,
        conditions: &Conditions<'_>,
    ) -> Result<Vm, Error> {
        let copy = |file: &File| file.try_clone().step("copy a descriptor");
        let from = Snapshot {
            ram: copy(&self.ram)?,
            state: copy(&self.state)?,
            hello: &self.hello,
            places: self.places,
        };
        let made = backend.restore(machine, from, conditions);
        if made.as_ref().is_err_and(Error::is_the_machines) {
            // It may be gone already; if it stays, the next start tries it in vain and boots.
            let _ = discard(&self.directory, &self.key);
        }
        made
    }
}

/// Why making it failed the last time, if that was a short while ago.
fn recent_failure(directory: &Path, key: &str) -> Option<String> {
    let path = failure(directory, key);
    let age = std::fs::metadata(&path).ok()?.modified().ok()?.elapsed().unwrap_or_default();
    (age < PAUSE).then(|| std::fs::read_to_string(path).unwrap_or_default())
}

fn failure(directory: &Path, key: &str) -> PathBuf {
    directory.join(format!("{key}.failed"))
}

/// Makes a template while nobody else does. When somebody else has tried in vain meanwhile, there
/// is none afterwards.
fn make(
    shape: &Shape,
    machine: &Machine,
    backend: &dyn Backend,
    conditions: &Conditions<'_>,
    state: &Path,
) -> Result<(), Error> {
    let directory = state.join(DIRECTORY);
    std::fs::create_dir_all(&directory).file("create", &directory)?;
    protect(&directory).file("protect", &directory)?;
    let lock = File::create(directory.join(LOCK)).file("lock", &directory)?;
    let waited = !sys::entry::try_lock(&lock).file("lock", &directory)?;
    if waited {
        sys::entry::lock(&lock).file("lock", &directory)?;
    }
    let key = shape.key();
    let path = directory.join(&key);
    if path.is_dir() || waited && recent_failure(&directory, &key).is_some() {
        return Ok(());
    }
    crate::sweep(state);
    sweep(&directory);
    let temporary = Temporary::directory(&directory, &key).file("create in", &directory)?;
    let made = fill(shape, machine, backend, conditions, temporary.path())
        .and_then(|()| durable::publish(temporary.path(), &path).file("keep", &path));
    match &made {
        Ok(()) => {
            let _ = std::fs::remove_file(failure(&directory, &key));
        }
        // It has taken no time, and the next one may have what it takes.
        Err(Error::Prepare { .. } | Error::Confine { .. }) => {}
        Err(error) => {
            // Only so that nobody tries in vain.
            let _ = std::fs::write(failure(&directory, &key), error.to_string());
        }
    }
    made
}

fn fill(
    shape: &Shape,
    machine: &Machine,
    backend: &dyn Backend,
    conditions: &Conditions<'_>,
    directory: &Path,
) -> Result<(), Error> {
    // It runs nothing of the container that happens to be first, whose cgroup is not to pay for
    // pages that all will use.
    let conditions = Conditions { cgroup: None, enter: &|| Ok(()), ..*conditions };
    let hello = backend.snapshot(machine.bare(), shape.places, directory, &conditions)?;
    let text = serde_json::to_vec_pretty(shape).map_err(io::Error::from).step("write a shape")?;
    for (name, content) in [(HELLO, &hello), (SHAPE, &text)] {
        let path = directory.join(name);
        std::fs::write(&path, content).file("write", path)?;
    }
    Ok(())
}

/// Memory of guests is nobody's business.
fn protect(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
}

/// Removes what was left half made, and the templates that were not used for longest. Only for
/// whoever holds the lock. What cannot be removed is tried again the next time.
fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut complete = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            let _ = std::fs::remove_dir_all(&path);
        } else if let Ok(used) = std::fs::metadata(path.join(STATE)).and_then(|f| f.modified()) {
            complete.push((used, name));
        }
    }
    complete.sort();
    let excess = (complete.len() + 1).saturating_sub(KEPT);
    for (_, name) in &complete[..excess.min(complete.len())] {
        if let Some(name) = name.to_str() {
            let _ = discard(directory, name);
        }
    }
}

#[cfg(test)]
mod tests;
