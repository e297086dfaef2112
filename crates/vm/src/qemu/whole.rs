//! Machines that boot a disk: an ordinary PC with firmware, a PCI bus and a serial line, whose
//! processors stand still at first.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::arguments::{Arguments, DISK_ERRORS, mac, processors};
use super::qmp::Qmp;
use super::{Asked, Qemu, stream};
use crate::backend::{Conditions, Cpu};
use crate::confine::{self, Job};
use crate::error::{Error, Step};
use crate::filter::{self, Asks};
use crate::machine::Arch;
use crate::network::Joined;
use crate::tail::Tail;
use crate::whole::{Format, Standing, Whole};

/// How long such a machine's process may take to do what it is told: whoever asks waits meanwhile.
const PROMPT: Duration = Duration::from_secs(5);

/// The firmware, and where distributions have it.
const FIRMWARE: &str = "bios-256k.bin";
const FIRMWARE_PLACES: [&str; 3] = ["/usr/share/seabios", "/usr/share/qemu", "/usr/share/qemu-kvm"];

/// Places on the PCI bus, which guests name cards after: the same in every start.
const DISK: usize = 2;
const SEED: usize = 3;
const ENTROPY: usize = 4;
const BALLOON: usize = 5;
const FIRST_NIC: usize = 8;

/// Makes the machine.
pub(super) fn power(
    qemu: &Qemu,
    whole: &Whole,
    conditions: &Conditions<'_>,
) -> Result<Standing, Error> {
    let firmware = find(&FIRMWARE_PLACES)?;
    let pair = || stream().step("make a stream");
    let ((qmp, control), (console, line)) = (pair()?, pair()?);
    let (complaints, stderr) = sys::stream::pipe().step("make a pipe")?;
    for end in [&complaints, &stderr] {
        // A process that complains without end must not wait for somebody to listen.
        sys::stream::set_nonblocking(end).step("make a pipe")?;
    }
    let mut arguments = Arguments::begin(&qemu.program, Arch::X86_64);
    arguments.personal_computer(whole, conditions.cpu, &firmware);
    arguments.stream("qmp", control.as_fd());
    arguments.add(["-mon", "chardev=qmp,mode=control"]);
    arguments.stream("console", line.as_fd());
    arguments.add(["-serial", "chardev:console"]);
    add_devices(&mut arguments, whole);
    let process = confine::spawn(&Job {
        program: &qemu.program,
        arguments: arguments.words().step("write the machine's command line")?,
        descriptors: &arguments.descriptors,
        stderr: stderr.as_fd(),
        netns: whole.netns.as_ref().map(AsFd::as_fd),
        files: &[],
        hardware: conditions.cpu == Cpu::Hardware,
        filter: &filter::program(Asks::Nothing),
        listen: false,
        cgroup: conditions.cgroup,
        enter: conditions.enter,
    })?;
    // The other ends are the process's alone, or its end would not be seen.
    drop((control, line, stderr));
    let pidfd = Arc::new(process.pidfd);
    let mut asked = Asked::new(Arc::clone(&pidfd), Qmp::new(qmp), Tail::new(complaints), PROMPT);
    let status = json!({"execute": "query-status"});
    match asked.qmp.command("say how it is", &status, conditions.deadline) {
        Ok(_) => Ok(Standing { pid: process.pid, pidfd, console, control: Box::new(asked) }),
        Err(error) => {
            confine::end(&pidfd);
            let said = asked.complaints.text();
            let late = Instant::now() >= conditions.deadline;
            Err(match error {
                Error::Refused { .. } => error,
                _ if late => Error::Late { limit: conditions.limit, said },
                _ => Error::Ended { said },
            })
        }
    }
}

fn find(places: &[&str]) -> Result<PathBuf, Error> {
    let found = places.iter().map(|place| Path::new(place).join(FIRMWARE)).find(|p| p.is_file());
    found.ok_or(Error::NoProgram { program: "SeaBIOS (bios-256k.bin)", package: "seabios" })
}

impl Arguments<'_> {
    /// The machine with its processors, its memory and its firmware, which writes to the serial line
    /// when there is no screen. A guest's restart is none of the process.
    fn personal_computer(&mut self, whole: &Whole, cpu: Cpu, firmware: &Path) {
        self.quiet();
        self.add(["-S", "-M", "q35,graphics=off,memory-backend=ram"]);
        let (accelerator, model) = processors(Arch::X86_64, cpu);
        self.add(["-accel", &accelerator, "-cpu", model]);
        self.add(["-smp", &whole.cpus.max(1).to_string()]);
        let size = whole.mebibytes();
        self.add(["-m", &format!("{size}M")]);
        self.add(["-object", &format!("memory-backend-ram,id=ram,size={size}M")]);
        self.add(["-bios".as_ref(), firmware.as_os_str()]);
    }

    fn block_node(&mut self, node: &Value) {
        self.add(["-blockdev", &node.to_string()]);
    }
}

fn add_devices<'a>(arguments: &mut Arguments<'a>, whole: &'a Whole) {
    // From the base up: what a node names must be there.
    let layers = whole.layers.len();
    for (n, layer) in whole.layers.iter().enumerate().rev() {
        let read_only = n > 0;
        let set = arguments.file_set(n, layer.file.as_fd());
        // Nobody else writes to it, and the file may be open elsewhere for reading: no locks.
        let file = json!({
            "driver": "file", "filename": set, "locking": "off", "read-only": read_only,
            "auto-read-only": false, "discard": "unmap",
        });
        let mut node = json!({
            "driver": "raw", "node-name": format!("disk{n}"), "read-only": read_only,
            "auto-read-only": false, "discard": "unmap", "file": file,
        });
        if layer.format == Format::Qcow2 {
            node["driver"] = json!("qcow2");
            // Said in so many words, so that what the file's header names is never looked at.
            node["backing"] =
                if n + 1 < layers { json!(format!("disk{}", n + 1)) } else { Value::Null };
        }
        arguments.block_node(&node);
    }
    let set = arguments.file_set(layers, whole.seed.as_fd());
    arguments.block_node(&json!({
        "driver": "raw", "node-name": "seed", "read-only": true,
        "file": {"driver": "file", "filename": set, "locking": "off", "read-only": true},
    }));
    let device = |text: String| ["-device".to_owned(), text];
    arguments.add(device(format!(
        "virtio-blk-pci,drive=disk0,bootindex=0,{DISK_ERRORS},addr={DISK:#x}"
    )));
    arguments.add(device(format!("virtio-blk-pci,drive=seed,{DISK_ERRORS},addr={SEED:#x}")));
    arguments.add(["-object", "rng-builtin,id=entropy"]);
    arguments.add(device(format!("virtio-rng-pci,rng=entropy,addr={ENTROPY:#x}")));
    arguments.add(device(format!("virtio-balloon-pci,free-page-reporting=on,addr={BALLOON:#x}")));
    for (n, Joined { nic, mtu }) in whole.nics.iter().enumerate() {
        let netdev = arguments.tap(n, nic.tap.as_fd());
        arguments.add(["-netdev", &netdev]);
        let mac = mac(nic.mac);
        // The card has 16 bits for it. 0: it says nothing.
        let mtu = u16::try_from(*mtu).unwrap_or(0);
        let place = FIRST_NIC + n;
        // Nothing is booted from the network.
        arguments.add(device(format!(
            "virtio-net-pci,netdev=nic{n},mac={mac},host_mtu={mtu},romfile=,addr={place:#x}"
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Nic;
    use crate::whole::Layer;

    #[test]
    fn missing_firmware_is_named_with_its_package() {
        let error = find(&["/nowhere"]).expect_err("there is none").to_string();
        assert!(error.contains("bios-256k.bin") && error.contains("install seabios"), "{error}");
    }

    fn machine(layers: Vec<Layer>, nics: Vec<Joined>) -> Whole {
        let seed = sys::stream::null().expect("null");
        Whole { memory: 64 << 20, cpus: 2, layers, seed, nics, netns: None }
    }

    #[test]
    fn a_full_disk_is_the_guests_to_hear_of_and_a_card_knows_its_network() {
        let null = || sys::stream::null().expect("null");
        let layer = Layer { file: null(), format: Format::Qcow2 };
        let nic = Nic { tap: null(), mac: [2, 0x42, 0xac, 0x11, 0, 2] };
        let whole = machine(vec![layer], vec![Joined { nic, mtu: 1400 }]);
        let mut arguments = Arguments::begin(Path::new("/usr/bin/qemu"), Arch::X86_64);
        add_devices(&mut arguments, &whole);
        let words = arguments.words().expect("words");
        let of = |start: &str| {
            let text = |word: &std::ffi::CString| word.to_string_lossy().into_owned();
            words.iter().map(text).find(|word| word.starts_with(start)).expect("device")
        };
        assert!(of("virtio-blk-pci,drive=disk0").contains("werror=report,rerror=report"));
        let card = of("virtio-net-pci");
        assert!(card.contains("mac=02:42:ac:11:00:02,host_mtu=1400,"), "{card}");
    }

    #[test]
    fn only_the_first_layer_is_written_and_no_header_is_followed() {
        let null = || sys::stream::null().expect("null");
        let layer = |format| Layer { file: null(), format };
        let layers = vec![layer(Format::Qcow2), layer(Format::Qcow2), layer(Format::Qcow2)];
        let whole = machine(layers, Vec::new());
        let mut arguments = Arguments::begin(Path::new("/usr/bin/qemu"), Arch::X86_64);
        add_devices(&mut arguments, &whole);
        let words = arguments.words().expect("words");
        let nodes: Vec<Value> =
            words.iter().filter_map(|word| serde_json::from_slice(word.to_bytes()).ok()).collect();
        let of = |name: &str| nodes.iter().find(|n| n["node-name"] == name).expect("node");
        assert_eq!(of("disk0")["backing"], "disk1");
        assert_eq!(of("disk1")["backing"], "disk2");
        assert!(of("disk2").as_object().expect("object").contains_key("backing"));
        assert_eq!(of("disk2")["backing"], Value::Null);
        let writable = |name: &str| of(name)["read-only"] == false;
        assert!(writable("disk0") && !writable("disk1") && !writable("disk2") && !writable("seed"));
    }
}
