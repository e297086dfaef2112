//! Which modules a guest needs, and in which order.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::error::{Error, Step};
use super::extract;

/// When the agent loads a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// First of all: its own stream to the host.
    Early,
    /// Before it says hello, but after it has told the kernel not to take devices by itself.
    Late,
    /// Only when there are shared directories.
    Share,
}

impl Phase {
    pub(super) fn word(self) -> &'static str {
        match self {
            Phase::Early => "early",
            Phase::Late => "late",
            Phase::Share => "share",
        }
    }
}

/// A module that is not built in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) phase: Phase,
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// What guests need, with whether they can do without it.
const NEEDED: [(Phase, &str, bool); 12] = [
    (Phase::Early, "virtio_mmio", false),
    (Phase::Early, "virtio_console", false),
    (Phase::Late, "virtio_blk", false),
    (Phase::Late, "virtio_net", false),
    (Phase::Late, "virtio_balloon", true),
    // No module names it as its dependency: the one below asks for it by its algorithm.
    (Phase::Late, "crc32c_generic", true),
    (Phase::Late, "libcrc32c", true),
    (Phase::Late, "erofs", false),
    (Phase::Late, "overlay", false),
    (Phase::Late, "ext4", false),
    (Phase::Share, "fuse", true),
    (Phase::Share, "virtiofs", true),
];

/// The modules that are taken of a release, in the order in which they must be loaded.
#[derive(Debug)]
pub(super) struct Chosen {
    modules: Vec<(Phase, PathBuf)>,
    /// What says which these are.
    lists: [PathBuf; 2],
}

/// Chooses the modules of a release.
pub(super) fn choose(roots: &[PathBuf], release: &str, kernel: &Path) -> Result<Chosen, Error> {
    let places: Vec<PathBuf> = roots
        .iter()
        .flat_map(|root| ["lib/modules", "usr/lib/modules", "modules"].map(|at| root.join(at)))
        .map(|directory| directory.join(release))
        .collect();
    let Some(directory) = places.iter().find(|place| place.join("modules.builtin").is_file())
    else {
        let roots = places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Error::NoModules { path: kernel.to_owned(), roots });
    };
    let lists = ["modules.builtin", "modules.dep"].map(|name| directory.join(name));
    let read = |path: &Path| std::fs::read_to_string(path).step("read", path);
    let builtin = read(&lists[0])?;
    let dependencies = match read(&lists[1]) {
        Ok(text) => text,
        // A package that was unpacked but not installed: nobody has run depmod.
        Err(_) => depmod(directory, release)?,
    };
    let plan = plan(&builtin, &dependencies).map_err(|module| Error::NoModule {
        release: release.to_owned(),
        module: module.to_owned(),
    })?;
    let modules = plan.into_iter().map(|(phase, path)| (phase, directory.join(path))).collect();
    Ok(Chosen { modules, lists })
}

impl Chosen {
    /// All files that it depends on.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let modules = self.modules.iter().map(|(_, file)| file);
        self.lists.iter().chain(modules).map(PathBuf::as_path)
    }

    pub(super) fn read(&self) -> Result<Vec<Module>, Error> {
        let read = |(phase, file): &(Phase, PathBuf)| {
            let mut content = std::fs::read(file).step("read", file)?;
            if file.extension().is_some_and(|extension| extension != "ko") {
                content = extract::decompress(&content)
                    .map_err(|why| Error::Unfit { path: file.clone(), why })?;
            }
            let name = name_of(&file.to_string_lossy());
            Ok(Module { phase: *phase, name, content })
        };
        self.modules.iter().map(read).collect()
    }
}

/// Has the dependencies worked out, which takes `depmod` of the package `kmod`.
fn depmod(directory: &Path, release: &str) -> Result<String, Error> {
    // `<base>/lib/modules/<release>`
    let base = directory.ancestors().nth(3).unwrap_or(Path::new("/"));
    let output = std::process::Command::new("depmod")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .arg("-b")
        .arg(base)
        .arg(release)
        .output()
        .map_err(|error| Error::Program { program: "depmod", said: error.to_string() })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Program { program: "depmod", said });
    }
    let path = directory.join("modules.dep");
    std::fs::read_to_string(&path).step("read", path)
}

/// Paths below the release's directory in loading order; or the module that is missing.
fn plan(builtin: &str, dependencies: &str) -> Result<Vec<(Phase, String)>, &'static str> {
    let built_in: HashSet<String> = builtin.lines().map(name_of).collect();
    let find = |wanted: &str| {
        dependencies.lines().find_map(|line| {
            let (path, needs) = line.split_once(':')?;
            (name_of(path) == wanted).then_some((path, needs))
        })
    };
    let mut seen = HashSet::new();
    let mut order = Vec::new();
    for (phase, name, optional) in NEEDED {
        let Some((path, needs)) = find(name) else {
            if optional || built_in.contains(name) {
                continue;
            }
            return Err(name);
        };
        // The list begins with what the module itself uses, so its end has to be there first.
        for path in needs.split_whitespace().rev().chain([path]) {
            if seen.insert(path.to_owned()) {
                order.push((phase, path.to_owned()));
            }
        }
    }
    Ok(order)
}

/// `kernel/drivers/block/virtio-blk.ko.xz` is `virtio_blk`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT_IN: &str = "kernel/fs/overlayfs/overlay.ko\nkernel/fs/ext4/ext4.ko\n";
    const DEPENDENCIES: &str = "\
kernel/drivers/virtio/virtio_mmio.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko
kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko
kernel/fs/erofs/erofs.ko:
kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko
";

    #[test]
    fn dependencies_come_first_and_once() {
        let order = plan(BUILT_IN, DEPENDENCIES).expect("plan");
        let names: Vec<String> = order.iter().map(|(_, path)| name_of(path)).collect();
        assert_eq!(
            names,
            [
                "virtio",
                "virtio_ring",
                "virtio_mmio",
                "virtio_console",
                "virtio_blk",
                "failover",
                "virtio_net",
                "erofs",
                "fuse",
                "virtiofs"
            ]
        );
        assert_eq!(order[0].0, Phase::Early);
        assert_eq!(order[4].0, Phase::Late);
        assert_eq!(order[8].0, Phase::Share);
    }

    #[test]
    fn a_kernel_without_what_guests_need_is_refused() {
        assert_eq!(plan("", DEPENDENCIES), Err("overlay"));
    }
}
