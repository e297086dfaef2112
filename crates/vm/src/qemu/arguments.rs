//! QEMU's command line for a machine.
//!
//! Every device has a transport of its own (`virtio-mmio-bus.N`), fixed by its kind and number: the
//! first that the guest finds is the agent's stream, then come disks, then cards, then the balloon.
//! A clone has each where its template had it. The ACPI tables of `microvm` list transports from the
//! last one on, the device tree of `virt` from the first one on.
//!
//! Nothing is on transport 0 of `microvm`: with QEMU 7.2, Linux never hears of its interrupt, which is
//! that of pin 0 of the second I/O APIC.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::backend::{Cpu, Places};
use crate::confine::FIRST_FD;
use crate::machine::{Arch, Machine};

/// Transports of `microvm`, when it has ACPI; `virt` has more.
const TRANSPORTS: usize = 24;
/// What a machine may have.
pub(super) const LIMITS: Places = Places { disks: 17, nics: 4 };
const FIRST_DISK: usize = 1;
const FIRST_NIC: usize = FIRST_DISK + LIMITS.disks;
const BALLOON: usize = FIRST_NIC + LIMITS.nics;
const BALLOON_DEVICE: &str = "virtio-balloon-device,free-page-reporting=on,page-poison=off";

/// What a disk does that cannot be read or written, as when the host's is full: the guest gets an
/// error, as of a disk that fails. By itself QEMU would stop the processors until somebody lets them
/// go on.
pub(super) const DISK_ERRORS: &str = "werror=report,rerror=report";

const _: () = assert!(BALLOON < TRANSPORTS - 1);

/// Bytes that no disk has more of.
const MOST_DISK: u64 = 1 << 44;

/// MiB of code that an emulator keeps translated. As it comes QEMU keeps up to 1 GiB, which neither the
/// guest's memory nor a limit on the host has room for: translating again costs less.
const TRANSLATED: u32 = 128;

/// The names of files in the process's root.
pub(super) const KERNEL: &str = "kernel";
pub(super) const INITRAMFS: &str = "initramfs";
/// There is no such file: opening it is answered with the template's memory.
pub(super) const RAM: &str = "/ram";

/// Where the memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// From nowhere.
    Anonymous,
    /// Shared with the processes that serve directories.
    Shared,
    /// It becomes the template's.
    Written,
    /// It is the template's until it is written to.
    Cloned,
}

/// The streams between the host and the process.
pub(super) struct Streams<'a> {
    pub(super) control: BorrowedFd<'a>,
    pub(super) agent: BorrowedFd<'a>,
    pub(super) console: BorrowedFd<'a>,
}

/// The command line that is being written, with the descriptors that go along.
pub(super) struct Arguments<'a> {
    arch: Arch,
    list: Vec<OsString>,
    pub(super) descriptors: Vec<BorrowedFd<'a>>,
}

impl<'a> Arguments<'a> {
    /// A machine with its processors, its memory and its streams.
    pub(super) fn new(
        program: &Path,
        machine: &Machine,
        cpu: Cpu,
        memory: Memory,
        streams: &Streams<'a>,
    ) -> Self {
        let mut this = Self::begin(program, machine.arch);
        this.quiet();
        this.add(["-no-reboot", "-M", kind(machine.arch)]);
        let (accelerator, model) = processors(machine.arch, cpu);
        this.add(["-accel", &accelerator, "-cpu", model]);
        this.add(["-smp", &machine.cpus.max(1).to_string()]);
        let size = machine.mebibytes();
        this.add(["-m", &format!("{size}M")]);
        let object = match memory {
            Memory::Anonymous => format!("memory-backend-ram,id=ram,size={size}M"),
            Memory::Shared => format!("memory-backend-memfd,id=ram,size={size}M,share=on"),
            Memory::Written => {
                format!("memory-backend-file,id=ram,size={size}M,mem-path={RAM},share=on")
            }
            Memory::Cloned => {
                format!("memory-backend-file,id=ram,size={size}M,mem-path={RAM},share=off")
            }
        };
        this.add(["-object", &object]);
        // As version 1 of the standard has them: the guest's drivers then have all features.
        this.add(["-global", "virtio-mmio.force-legacy=false"]);
        this.stream("qmp", streams.control);
        this.add(["-mon", "chardev=qmp,mode=control"]);
        this.stream("console", streams.console);
        this.add(["-serial", "chardev:console"]);
        this.stream("agent", streams.agent);
        let bus = this.transport(0);
        this.add(["-device", &format!("virtio-serial-device,id=serial,max_ports=2,bus={bus}")]);
        this.add(["-device", "virtserialport,bus=serial.0,chardev=agent,name=agent"]);
        this
    }

    /// A command line that only names its program.
    pub(super) fn begin(program: &Path, arch: Arch) -> Self {
        Self { arch, list: vec![program.into()], descriptors: Vec::new() }
    }

    /// The name of the n-th transport in the guest's order.
    fn transport(&self, n: usize) -> String {
        let number = match self.arch {
            Arch::X86_64 => TRANSPORTS - 1 - n,
            Arch::Aarch64 => n,
        };
        format!("virtio-mmio-bus.{number}")
    }

    /// Nothing that is not asked for, and a filter of its own.
    pub(super) fn quiet(&mut self) {
        self.add(["-nodefaults", "-no-user-config", "-display", "none"]);
        let sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
        self.add(["-sandbox", sandbox]);
    }

    pub(super) fn add<T: AsRef<OsStr>>(&mut self, words: impl IntoIterator<Item = T>) {
        self.list.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
    }

    /// A descriptor of the process; returns its number there.
    fn descriptor(&mut self, fd: BorrowedFd<'a>) -> i32 {
        self.descriptors.push(fd);
        FIRST_FD + self.descriptors.len() as i32 - 1
    }

    pub(super) fn stream(&mut self, name: &str, fd: BorrowedFd<'a>) {
        let number = self.descriptor(fd);
        self.add(["-chardev", &format!("socket,id={name},fd={number}")]);
    }

    /// What is booted.
    pub(super) fn boot(&mut self, command_line: &str) {
        self.add(["-kernel", KERNEL, "-initrd", INITRAMFS, "-append", command_line]);
    }

    /// The state that it goes on with, when it is told to. Returns what that is called then.
    pub(super) fn incoming(&mut self, state: BorrowedFd<'a>) -> String {
        let number = self.descriptor(state);
        self.add(["-incoming", "defer"]);
        format!("fd:{number}")
    }

    /// The n-th file; returns the name by which it is opened.
    pub(super) fn file_set(&mut self, n: usize, file: BorrowedFd<'a>) -> String {
        let number = self.descriptor(file);
        self.add(["-add-fd", &format!("fd={number},set={}", n + 1)]);
        format!("/dev/fdset/{}", n + 1)
    }

    /// The n-th disk.
    pub(super) fn disk(&mut self, n: usize, file: BorrowedFd<'a>, read_only: bool) {
        let set = self.file_set(n, file);
        let mode = if read_only { "read-only=on" } else { "read-only=off,discard=unmap" };
        // Nobody else writes to it, and the file may be open elsewhere for reading: no locks.
        self.block_device(
            n,
            &format!(
                "driver=raw,node-name=disk{n},{mode},auto-read-only=off,file.driver=file,\
                 file.filename={set},file.locking=off"
            ),
        );
    }

    /// The place of the n-th disk, for clones: only the first can be written to. A clone's kernel
    /// goes on believing this size: it is more than any disk has, and file systems know their own.
    pub(super) fn empty_disk(&mut self, n: usize) {
        let read_only = if n == 0 { "off" } else { "on" };
        // With a node that stays when what is under it is replaced.
        self.block_device(
            n,
            &format!(
                "driver=raw,node-name=disk{n},read-only={read_only},auto-read-only=off,\
                 file.driver=null-co,file.size={MOST_DISK}"
            ),
        );
    }

    fn block_device(&mut self, n: usize, node: &str) {
        self.add(["-blockdev", node]);
        let bus = self.transport(FIRST_DISK + n);
        let device = format!("virtio-blk-device,drive=disk{n},{DISK_ERRORS},bus={bus}");
        self.add(["-device", &device]);
    }

    /// What the n-th network card is joined to.
    pub(super) fn tap(&mut self, n: usize, tap: BorrowedFd<'a>) -> String {
        let number = self.descriptor(tap);
        format!("tap,id=nic{n},fd={number},vhost=off")
    }

    /// The n-th network card.
    pub(super) fn nic(&mut self, n: usize, tap: BorrowedFd<'a>, address: [u8; 6]) {
        let netdev = self.tap(n, tap);
        self.add(["-netdev", &netdev]);
        let mac = mac(address);
        let bus = self.transport(FIRST_NIC + n);
        self.add(["-device", &format!("virtio-net-device,netdev=nic{n},mac={mac},bus={bus}")]);
    }

    /// The place of the n-th network card, for clones.
    pub(super) fn empty_nic(&mut self, n: usize) {
        // A card whose cable leads nowhere.
        self.add(["-netdev", &format!("hubport,id=nic{n},hubid={n}")]);
        let bus = self.transport(FIRST_NIC + n);
        self.add(["-device", &format!("virtio-net-device,netdev=nic{n},bus={bus}")]);
    }

    /// The way by which the guest gives back memory that it has freed. Without the property, guests
    /// that rely on finding such memory filled with zeros do not use it: in a clone they would find
    /// the template's.
    pub(super) fn balloon(&mut self) {
        let bus = self.transport(BALLOON);
        self.add(["-device", &format!("{BALLOON_DEVICE},bus={bus}")]);
    }

    /// The n-th shared directory, after so many disks.
    pub(super) fn share(&mut self, n: usize, disks: usize, socket: BorrowedFd<'a>, tag: &str) {
        self.stream(&format!("share{n}"), socket);
        let bus = self.transport(FIRST_DISK + disks + n);
        // A comma would begin another option.
        let tag = tag.replace(',', ",,");
        self.add([
            "-device",
            &format!("vhost-user-fs-device,chardev=share{n},tag={tag},bus={bus}"),
        ]);
    }

    /// The words as the kernel takes them.
    ///
    /// # Errors
    /// A NUL in one of them.
    pub(super) fn words(&mut self) -> io::Result<Vec<CString>> {
        self.list
            .drain(..)
            .map(|word| CString::new(word.into_vec()).map_err(io::Error::from))
            .collect()
    }
}

/// A link-layer address as it is written.
pub(super) fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

fn kind(arch: Arch) -> &'static str {
    match arch {
        // Devices are found through ACPI, for Debian's kernel takes none on its command line. No
        // interrupt timer: the local APIC does. Without a clock chip the kernel would look for one
        // for two seconds.
        Arch::X86_64 => {
            "microvm,acpi=on,rtc=on,pit=off,pic=off,isa-serial=on,auto-kernel-cmdline=off,\
             x-option-roms=off,memory-backend=ram"
        }
        Arch::Aarch64 => "virt,gic-version=3,its=off,memory-backend=ram",
    }
}

/// The processor that is emulated. All that is translated, as images are built for more than the
/// oldest one. But not the strings that x86 moves byte by byte (ERMS, FSRM), fast in hardware only:
/// where a processor says that it has them, Linux clears and copies pages by them, and a start takes
/// a seventh longer. And ARM's signed pointers by a function of QEMU's own, not by the standard's
/// cipher, which is slow.
pub(super) fn emulated(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "max,erms=off,fsrm=off",
        Arch::Aarch64 => "max,pauth-impdef=on",
    }
}

/// What processors are made by, and their model.
pub(super) fn processors(arch: Arch, cpu: Cpu) -> (String, &'static str) {
    match cpu {
        Cpu::Hardware => ("kvm".to_owned(), "host"),
        Cpu::Emulated => (format!("tcg,thread=multi,tb-size={TRANSLATED}"), emulated(arch)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::machine::KernelImage;

    /// The command line of a machine with all places for disks.
    fn line(arch: Arch, cpu: Cpu) -> String {
        let kernel = KernelImage {
            vmlinux: "/k".into(),
            initramfs: "/i".into(),
            release: String::new(),
            key: String::new(),
        };
        let machine = Machine::empty(arch, kernel);
        let (near, far) = sys::stream::pair().expect("a pair");
        let streams = Streams { control: near.as_fd(), agent: far.as_fd(), console: near.as_fd() };
        let mut arguments =
            Arguments::new(Path::new("/q"), &machine, cpu, Memory::Anonymous, &streams);
        for n in 0..LIMITS.disks {
            arguments.empty_disk(n);
        }
        for n in 0..LIMITS.nics {
            arguments.empty_nic(n);
        }
        arguments.balloon();
        let words = arguments.words().expect("words");
        words.iter().map(|word| word.to_str().expect("text")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_device_has_a_transport_in_the_guests_order() {
        for (arch, places) in [
            (Arch::X86_64, (0..TRANSPORTS).rev().collect::<Vec<_>>()),
            (Arch::Aarch64, (0..32).collect()),
        ] {
            let line = line(arch, Cpu::Emulated);
            let numbers: Vec<usize> = line
                .split("bus=virtio-mmio-bus.")
                .skip(1)
                .map(|rest| rest.split([' ', ',']).next().expect("a number"))
                .map(|number| number.parse().expect("a number"))
                .collect();
            let used = 1 + LIMITS.disks + LIMITS.nics + 1;
            assert_eq!(numbers, places[..used], "{line}");
        }
    }

    #[test]
    fn a_disk_that_fails_is_the_guests_to_hear_of() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let line = line(arch, Cpu::Emulated);
            let disks: Vec<&str> =
                line.split(' ').filter(|word| word.starts_with("virtio-blk-device,")).collect();
            assert_eq!(disks.len(), LIMITS.disks, "{line}");
            for disk in disks {
                assert!(disk.contains(",werror=report,rerror=report,"), "{disk}");
            }
        }
    }

    #[test]
    fn processors_are_of_the_guests_architecture() {
        let pc = line(Arch::X86_64, Cpu::Emulated);
        assert!(pc.contains(" -M microvm,") && pc.contains(" -cpu max,erms=off"), "{pc}");
        let arm = line(Arch::Aarch64, Cpu::Emulated);
        assert!(arm.contains(" -M virt,") && arm.contains(" -cpu max,pauth-impdef=on"), "{arm}");
        let hardware = line(Arch::Aarch64, Cpu::Hardware);
        assert!(hardware.contains(" -accel kvm -cpu host"), "{hardware}");
    }
}
