//! What a virtual machine is made of.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Step};

/// An architecture that guests can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// All of them.
    pub(crate) const ALL: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

    /// That of this program, if guests can have it.
    pub fn host() -> Option<Arch> {
        Arch::named(std::env::consts::ARCH)
    }

    /// By the name that Rust, Docker or Debian have for it.
    pub fn named(name: &str) -> Option<Arch> {
        match name {
            "x86_64" | "amd64" => Some(Arch::X86_64),
            "aarch64" | "arm64" => Some(Arch::Aarch64),
            _ => None,
        }
    }

    /// Debian's name for it.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        })
    }
}

/// A kernel that can be booted, with the initial file system that holds the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelImage {
    /// The uncompressed kernel.
    pub vmlinux: PathBuf,
    /// The initial file system, a `newc` archive.
    pub initramfs: PathBuf,
    /// What `uname -r` will say.
    pub release: String,
    /// Differs whenever the content of either file does.
    pub key: String,
}

/// A disk of the guest, which is a file of the host as it is, byte for byte.
#[derive(Debug)]
pub struct Disk {
    /// The file, open for reading, and for writing unless `read_only`.
    pub file: OwnedFd,
    /// The guest cannot write to it.
    pub read_only: bool,
}

/// A network card of the guest.
#[derive(Debug)]
pub struct Nic {
    /// A tap device with `IFF_VNET_HDR`, whose other side is connected already.
    pub tap: OwnedFd,
    /// The card's link-layer address.
    pub mac: [u8; 6],
}

/// A directory or a single file of the host that the guest can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Where it is on the host; `None`: [`Running::lend`](crate::Running::lend) says it.
    pub source: Option<PathBuf>,
    /// What the guest mounts (`mount -t virtiofs TAG`), at most 36 bytes. In it is the directory or the
    /// file, by the names of [`proto::guest::SHARED_DIRECTORY`] and [`proto::guest::SHARED_FILE`].
    pub tag: String,
    /// The guest cannot write to it.
    pub read_only: bool,
}

/// A virtual machine that is to run.
#[derive(Debug)]
pub struct Machine {
    /// What instructions it has.
    pub arch: Arch,
    /// What it boots.
    pub kernel: KernelImage,
    /// Bytes of memory; rounded up to whole MiB.
    pub memory: u64,
    /// Virtual processors.
    pub cpus: u32,
    /// Its disks, in the order in which the guest finds them. For a clone only the first can be one
    /// that is written to, and has to be.
    pub disks: Vec<Disk>,
    /// Its network cards, in the order in which the guest finds them.
    pub nics: Vec<Nic>,
    /// What it may mount of the host. A machine with shares is never a clone.
    pub shares: Vec<Share>,
    /// The network namespace that the monitor of the machine lives in; `None`: one without links.
    pub netns: Option<OwnedFd>,
}

impl Machine {
    /// Memory in whole MiB.
    pub(crate) fn mebibytes(&self) -> u64 {
        self.memory.div_ceil(1 << 20).max(1)
    }

    /// One like it without any device.
    pub(crate) fn bare(&self) -> Machine {
        let empty = Machine::empty(self.arch, self.kernel.clone());
        Machine { memory: self.memory, cpus: self.cpus, ..empty }
    }

    /// One that has enough to boot, and nothing else.
    pub(crate) fn empty(arch: Arch, kernel: KernelImage) -> Machine {
        Machine {
            arch,
            kernel,
            memory: 256 << 20,
            cpus: 1,
            disks: Vec::new(),
            nics: Vec::new(),
            shares: Vec::new(),
            netns: None,
        }
    }

    /// The same with further descriptors of the same files, for a second try.
    pub(crate) fn try_clone(&self) -> Result<Machine, Error> {
        let again = |fd: &OwnedFd| fd.try_clone().step("copy a descriptor");
        let disk =
            |disk: &Disk| again(&disk.file).map(|file| Disk { file, read_only: disk.read_only });
        let nic = |nic: &Nic| again(&nic.tap).map(|tap| Nic { tap, mac: nic.mac });
        Ok(Machine {
            disks: self.disks.iter().map(disk).collect::<Result<_, _>>()?,
            nics: self.nics.iter().map(nic).collect::<Result<_, _>>()?,
            shares: self.shares.clone(),
            netns: self.netns.as_ref().map(again).transpose()?,
            ..self.bare()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_go_by_all_their_names() {
        assert_eq!(Arch::named("amd64"), Arch::named("x86_64"));
        assert_eq!(Arch::named("arm64").map(Arch::debian), Some("arm64"));
        assert_eq!(Arch::named("riscv64"), None);
        assert_eq!(Arch::Aarch64.to_string(), "aarch64");
    }
}
