//! Overlays, mounted and attached nowhere.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::entry::{self, Errno};
use sys::fs::{OFlags, Root, proc_fd_path};
use sys::fsids;
use sys::mount::{self, FsContext, MountPropagationFlags, SetAttr};
use sys::namespace;
use types::ContainerId;
use types::digest::Digest;

use crate::error::{Error, Result, Step};
use crate::layer::Layers;
use crate::layer::init::INIT;
use crate::store::Store;

/// How an overlay is mounted.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountOptions<'a> {
    /// Map ids as this user namespace does (`/proc/<pid>/ns/user`), for `userns-remap`: the files
    /// keep the ids that they have in the image, and nothing is changed on disk.
    pub userns: Option<BorrowedFd<'a>>,
    /// No writing through this mount.
    pub read_only: bool,
    /// Never wait for the disk: right for containers that are removed when they end, whose files
    /// no crash needs to survive. Without it every unmount flushes the host's file system
    /// (overlayfs syncs the upper one), and `fsync` in the container means what it says.
    pub volatile: bool,
    /// Without the mount points that every container gets: what is there is the layers' alone.
    pub bare: bool,
}

/// The directories of an overlay, as open files.
struct Parts {
    /// Top first; never empty.
    lower: Opened<Vec<OwnedFd>>,
    /// Upper and work directory.
    writable: Option<Opened<[OwnedFd; 2]>>,
}

/// Open directories, and the one that they were found in. An id-mapped mount goes away with its own
/// fd, and overlayfs refuses what is on a mount that is gone (EINVAL), so that comes along.
struct Opened<D> {
    dirs: D,
    root: Root,
}

/// Options that make an upper directory a plain difference to the layers below, whatever the
/// kernel was configured to: no files that are but a reference to a lower one, no renamed
/// directories. `index` would refuse layers that were restored from a backup.
const PLAIN: [(&str, &str); 3] = [("index", "off"), ("metacopy", "off"), ("redirect_dir", "off")];

impl Store {
    /// Mounts a container's file system. The mount belongs to the returned fd and is attached
    /// nowhere, so no crash leaves it behind. Never have two of them at a time that can be written.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`]; [`Error::Unsupported`] when the kernel cannot map ids; [`Error::Io`].
    pub fn mount(&self, container: &ContainerId, options: MountOptions<'_>) -> Result<OwnedFd> {
        let record = self.record_of(container)?;
        let layers = self.layer_dirs(&record.layers, options.userns, !options.bare)?;
        let top = self.snapshots.dir.open_dir(container.as_str()).step("open a snapshot")?;
        let own = mapped(top, options.userns)?;
        // A volatile overlay that was not unmounted before the machine went down leaves this mark,
        // and the kernel refuses the directory from then on (EINVAL; fsync could have lied). Our
        // volatile containers do not outlive their run, so a mark can only mean a mount by `cp`.
        own.remove_all("work/work/incompat").step("tidy a snapshot's work directory")?;
        let writable = Some(writable(own).step("open a snapshot")?);
        overlay(&Parts { lower: layers, writable }, options)
    }

    /// Mounts an image read-only, attached nowhere.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; as [`Store::mount`].
    pub fn mount_image(&self, image: &Digest, options: MountOptions<'_>) -> Result<OwnedFd> {
        let layers = {
            let state = self.state();
            let record = state.catalog.images.get(image);
            record.ok_or_else(|| Error::NoSuchImage(image.to_string()))?.layers.clone()
        };
        self.mount_layers(&layers, options)
    }

    /// The view of what is below a container.
    pub(super) fn mount_below(&self, layers: &[Digest]) -> Result<OwnedFd> {
        let lower = self.layer_dirs(layers, None, true)?;
        let options = MountOptions { read_only: true, ..MountOptions::default() };
        overlay(&Parts { lower, writable: None }, options)
    }

    /// Mounts layers read-only, bottom first and at least one, attached nowhere. Hold them
    /// meanwhile.
    ///
    /// # Errors
    /// [`Error::MissingLayer`]; as [`Store::mount`].
    pub fn mount_layers(&self, layers: &[Digest], options: MountOptions<'_>) -> Result<OwnedFd> {
        let lower = self.layer_dirs(layers, options.userns, false)?;
        overlay(&Parts { lower, writable: None }, MountOptions { read_only: true, ..options })
    }

    /// The layers' directories, top first, that of a container's mount points above them if
    /// `init`, and an empty one below them: an overlay without a writable directory needs two,
    /// and one without any layer needs one.
    fn layer_dirs(
        &self,
        layers: &[Digest],
        userns: Option<BorrowedFd<'_>>,
        init: bool,
    ) -> Result<Opened<Vec<OwnedFd>>> {
        let dir = self.layers.dir().open_dir(".").step("open the layer directory")?;
        let dir = mapped(dir, userns)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut seen = HashSet::new();
        let mut out = Vec::with_capacity(layers.len() + 2);
        if init {
            out.push(dir.open(INIT, flags, 0.into()).step("open the layer of mount points")?);
        }
        for layer in layers.iter().rev() {
            // The kernel refuses the same directory twice (ELOOP). Whatever is in the lower
            // occurrence is in the upper one as well, so the lower one adds nothing.
            if !seen.insert(layer) {
                continue;
            }
            let opened = dir.open(Layers::diff_name(layer), flags, 0.into());
            out.push(opened.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Error::MissingLayer(layer.clone()),
                _ => Error::Io { step: "open a layer", source: error },
            })?);
        }
        if out.len() < 2 {
            out.push(dir.open(Layers::empty_name(), flags, 0.into()).step("open the empty layer")?);
        }
        Ok(Opened { dirs: out, root: dir })
    }
}

/// The directories of a container's snapshot.
fn writable(root: Root) -> io::Result<Opened<[OwnedFd; 2]>> {
    let open = |name| root.open(name, OFlags::PATH | OFlags::DIRECTORY, 0.into());
    Ok(Opened { dirs: [open("upper")?, open("work")?], root })
}

/// The directory itself, or a mount of it that maps ids.
fn mapped(dir: OwnedFd, userns: Option<BorrowedFd<'_>>) -> Result<Root> {
    let Some(userns) = userns else {
        return Ok(Root::from(dir));
    };
    let mount = mount::clone_tree(&dir, false).step("clone a mount")?;
    let change = SetAttr { userns: Some(userns), ..SetAttr::default() };
    mount::set_attr(&mount, false, change).map_err(|error| match Errno::from_io_error(&error) {
        // EINVAL: the file system cannot (ext4 since 5.12, xfs since 5.13, btrfs since 5.15, overlayfs
        // on top of them since 5.19). ENOSYS: before 5.12.
        Some(Errno::INVAL | Errno::NOSYS) => Error::Unsupported(
            "user namespace remapping needs a kernel (5.19 or newer) and a file system below the \
             data root that support id-mapped mounts"
                .into(),
        ),
        _ => Error::Io { step: "map the ids of a mount", source: error },
    })?;
    Ok(Root::from(mount))
}

fn overlay(parts: &Parts, options: MountOptions<'_>) -> Result<OwnedFd> {
    let make = || match modern(parts, options) {
        Err(error) if is_unknown(&error) => legacy(parts, options),
        other => other,
    };
    match (&parts.writable, options.userns) {
        (Some(Opened { dirs: [_, work], .. }), Some(_)) => {
            as_root_of(work, make).step("mount an id-mapped overlay")
        }
        _ => make().step("mount an overlay"),
    }
}

/// Does something as the user that root is on an id-mapped mount. overlayfs makes files in its work
/// directory as whoever mounted it, and the host's root has no id there (`EOVERFLOW`, and the
/// overlay would be read-only). Ids belong to a thread; this one ends at once.
fn as_root_of(
    dir: &OwnedFd,
    action: impl FnOnce() -> io::Result<OwnedFd> + Send,
) -> io::Result<OwnedFd> {
    let stat = entry::stat_fd(dir)?;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            fsids::set(stat.st_uid, stat.st_gid)?;
            action()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether the kernel does not know the way that was tried. EINVAL: no such option (`lowerdir+` before
/// 6.8). EOPNOTSUPP: overlayfs takes its options as one text only (before 6.5). ENOSYS: no fsopen
/// (before 5.2).
fn is_unknown(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS))
}

fn modern(parts: &Parts, options: MountOptions<'_>) -> io::Result<OwnedFd> {
    let context = FsContext::open("overlay")?;
    let done = configure(&context, parts, options).and_then(|()| {
        let attr = if options.read_only { mount::RDONLY } else { 0 };
        context.mount(attr)
    });
    done.map_err(|error| match context.log() {
        // The errno decides about the other way; the kernel's words are for people.
        log if log.is_empty() || is_unknown(&error) => error,
        log => io::Error::new(error.kind(), format!("{error} ({log})")),
    })
}

fn configure(context: &FsContext, parts: &Parts, options: MountOptions<'_>) -> io::Result<()> {
    context.string("source", "overlay")?;
    for dir in &parts.lower.dirs {
        layer(context, "lowerdir+", dir)?;
    }
    if let Some(Opened { dirs: [upper, work], .. }) = &parts.writable {
        layer(context, "upperdir", upper)?;
        layer(context, "workdir", work)?;
        if options.volatile {
            // Since 5.10; without it the unmount is slow, and that is all.
            match context.flag("volatile") {
                Err(error) if is_unknown(&error) => {}
                other => other?,
            }
        }
    }
    for (key, value) in PLAIN {
        // A kernel that was built without the feature may not know the option.
        match context.string(key, value) {
            Err(error) if is_unknown(&error) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Layers are passed as files since 6.13, before that as paths.
fn layer(context: &FsContext, key: &str, dir: &OwnedFd) -> io::Result<()> {
    match context.fd(key, dir) {
        // EBADF: O_PATH files are refused before 6.15.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::BADF)) => {
            context.string(key, proc_fd_path(dir))
        }
        other => other,
    }
}

/// Before 6.8 all layers go into one option of `mount(2)`, at most a page long. That call needs a
/// place to mount on; to leave nothing behind in a crash it happens in a mount namespace that only
/// one thread is in and that ends with it. What is cloned from there outlives it.
fn legacy(parts: &Parts, options: MountOptions<'_>) -> io::Result<OwnedFd> {
    const MS_RDONLY: u32 = 1;
    let flags = if options.read_only { MS_RDONLY } else { 0 };
    // The kernel clones what is in the caller's namespace only, so before the thread leaves it.
    let lower = parts.lower.elsewhere(options)?;
    let writable = parts.writable.as_ref().map(|own| own.elsewhere(options)).transpose()?;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| -> io::Result<OwnedFd> {
            namespace::unshare(namespace::MOUNT)?;
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount::propagation("/", private)?;
            // Any directory does; nobody else sees it covered.
            mount::mount_legacy("tmpfs", "/tmp", "tmpfs", 0, "mode=0777")?;
            let lower = lower.reopened("/tmp/lower")?;
            let writable = writable.map(|own| own.reopened("/tmp/own")).transpose()?;
            let data = legacy_data(&lower, writable.as_deref(), options)?;
            std::fs::create_dir("/tmp/merged")?;
            mount::mount_legacy("overlay", "/tmp/merged", "overlay", flags, &data)?;
            mount::clone_tree_at(File::open("/")?, "/tmp/merged", false)
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Directories as another mount namespace can have them: a mount that is attached nowhere, and names
/// below it.
struct Elsewhere {
    mount: OwnedFd,
    names: Vec<PathBuf>,
}

impl<D: AsRef<[OwnedFd]>> Opened<D> {
    fn elsewhere(&self, options: MountOptions<'_>) -> io::Result<Elsewhere> {
        let base = std::fs::read_link(proc_fd_path(&self.root))?;
        let name = |dir: &OwnedFd| {
            let path = std::fs::read_link(proc_fd_path(dir))?;
            Ok(path.strip_prefix(&base).map_err(io::Error::other)?.to_owned())
        };
        let names = self.dirs.as_ref().iter().map(name).collect::<io::Result<_>>()?;
        let mount = match options.userns {
            // It is such a mount already.
            Some(_) => self.root.as_fd().try_clone_to_owned()?,
            None => mount::clone_tree(&self.root, false)?,
        };
        Ok(Elsewhere { mount, names })
    }
}

impl Elsewhere {
    /// The same directories, in this mount namespace.
    fn reopened(&self, at: &str) -> io::Result<Vec<OwnedFd>> {
        std::fs::create_dir(at)?;
        mount::attach(&self.mount, Root::open_host(at)?)?;
        let open = |name: &PathBuf| Ok(Root::open_host(Path::new(at).join(name))?.into_fd());
        self.names.iter().map(open).collect()
    }
}

/// The options of `mount(2)`.
fn legacy_data(
    lower: &[OwnedFd],
    writable: Option<&[OwnedFd]>,
    options: MountOptions<'_>,
) -> io::Result<String> {
    let lower: Vec<String> = lower.iter().map(shown).collect();
    let mut data = format!("lowerdir={}", lower.join(":"));
    if let Some([upper, work]) = writable {
        data.push_str(&format!(",upperdir={},workdir={}", shown(upper), shown(work)));
        if options.volatile {
            data.push_str(",volatile");
        }
    }
    for (key, value) in PLAIN {
        // Only what the running kernel knows: mount(2) says EINVAL for the whole otherwise.
        if Path::new("/sys/module/overlay/parameters").join(key).exists() {
            data.push_str(&format!(",{key}={value}"));
        }
    }
    if data.len() >= 4096 {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "so many layers need Linux 6.8 or newer",
        ));
    }
    Ok(data)
}

/// The short name of an open directory. `/proc/self` is the process, whose files all threads share.
fn shown(dir: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", dir.as_raw_fd())
}

#[cfg(test)]
impl Store {
    /// The way of old kernels, for the test that it is the same.
    pub(super) fn mount_the_old_way(
        &self,
        container: &ContainerId,
        layers: &[Digest],
    ) -> io::Result<OwnedFd> {
        let lower = self.layer_dirs(layers, None, true).map_err(io::Error::other)?;
        let writable = Some(writable(self.snapshots.dir.sub_root(container.as_str())?)?);
        legacy(&Parts { lower, writable }, MountOptions::default())
    }
}
