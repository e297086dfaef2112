//! A disk that boots: a boot sector of our own, Debian's kernel, and a small system in memory that
//! does what cloud-init would, serves a page and heeds the power button.

use std::path::{Path, PathBuf};

/// Bytes of a sector.
const SECTOR: usize = 512;
/// Sectors at the end of the disk whose first the guest keeps a word in.
const ROOM: usize = 2048;
/// Where the table of what to load is in the boot sector: first sector, sectors, address in memory.
const TABLE: usize = 0x1c0;
/// Where the kernel's real-mode part goes, the rest of it, and the system in memory: beyond the room in
/// which the kernel unpacks itself.
const PLACES: [u32; 3] = [0x9_0000, 0x10_0000, 0x900_0000];
/// Where in the first of these the kernel's command line stands.
const COMMAND_LINE: usize = 0xe000;

/// The boot sector's program, in the processor's first mode. For every entry of the table it reads 64
/// sectors at a time to 0x10000 (int 13h, ah 42h) and has the firmware move them to their place beyond
/// the first megabyte (int 15h, ah 87h); then it enters the kernel as its boot protocol wants it
/// (kernel documentation, *The Linux/x86 Boot Protocol*).
#[rustfmt::skip]
const LOADER: &[u8] = &[
    0xfa,                                     // cli
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, // ds, es, ss = 0
    0xbc, 0x00, 0x7c, 0xfb, 0xfc,             // sp = 0x7c00; sti; cld
    0x88, 0x16, 0xdf, 0x7c,                   // drive = dl
    0xbd, 0xc0, 0x7d,                         // bp = table
    // next:
    0x66, 0x8b, 0x46, 0x04,                   // eax = sectors that are left
    0x66, 0x85, 0xc0, 0x74, 0x68,             // none: done
    0x66, 0xb9, 0x40, 0x00, 0x00, 0x00,       // ecx = 64
    0x66, 0x39, 0xc8, 0x73, 0x03,             // or as many as are left
    0x66, 0x89, 0xc1,
    0x89, 0x0e, 0xa1, 0x7c,                   // packet: so many
    0x66, 0x8b, 0x46, 0x00, 0x66, 0xa3, 0xa7, 0x7c, // from the first of them
    0x66, 0x01, 0x4e, 0x00, 0x66, 0x29, 0x4e, 0x04, // which is another one then
    0x66, 0x51,                               // push ecx
    0xbe, 0x9f, 0x7c, 0x8a, 0x16, 0xdf, 0x7c, // si = packet; dl = drive
    0xb4, 0x42, 0xcd, 0x13, 0x72, 0x4d,       // read; stop at an error
    0x66, 0x59,                               // pop ecx
    0x66, 0x8b, 0x46, 0x08,                   // eax = address
    0xa3, 0xc9, 0x7c,                         // into the descriptor of where to
    0x66, 0xc1, 0xe8, 0x10, 0xa2, 0xcb, 0x7c, 0x88, 0x26, 0xce, 0x7c,
    0x66, 0x89, 0xca, 0x66, 0xc1, 0xe2, 0x09, // edx = bytes
    0x66, 0x01, 0x56, 0x08,                   // the next address
    0xc1, 0xe1, 0x08,                         // cx = words
    0xbe, 0xaf, 0x7c, 0xb4, 0x87, 0xcd, 0x15, // move
    0x72, 0x22,                               // stop at an error
    0x66, 0x83, 0x7e, 0x04, 0x00, 0x75, 0x94, // more of it: next
    0x83, 0xc5, 0x0c, 0xeb, 0x8f,             // the next entry
    // done:
    0xfa, 0xb8, 0x00, 0x90,                   // cli; all segments = 0x9000
    0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8, 0x8e, 0xd0,
    0xbc, 0x00, 0xe0,                         // sp = 0xe000
    0xea, 0x00, 0x00, 0x20, 0x90,             // jump to 0x9020:0
    0xf4, 0xeb, 0xfd,                         // hlt, for ever
    // The packet of int 13h, then the descriptors of int 15h: whence, and where to.
    0x10, 0, 0, 0, 0, 0, 0x00, 0x10, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0xff, 0xff, 0, 0, 0x01, 0x93, 0, 0,
    0xff, 0xff, 0, 0, 0x00, 0x93, 0, 0,
];

/// Modules of the kernel that the guest needs, in the order in which they are loaded.
const MODULES: [&str; 13] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "cdrom",
    "isofs",
    "button",
    "evdev",
];

/// The guest's first process.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in MODULES; do insmod /m/$module.ko || echo "no $module"; done
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo
mount -t iso9660 -o ro /dev/vdb /seed || echo "no seed"
seed() { sed -n "s/.*$1: *\[*\"\([^\"]*\)\".*/\1/p" /seed/$2 | head -n 1; }
hostname "$(seed local-hostname meta-data)"
ip link set lo up
ip link set eth0 up
addresses() { sed -n 's/.* addresses: \[\(.*\)\].*/\1/p' /seed/network-config | tr -d '",'; }
for address in $(addresses | head -n 1); do ip addr add $address dev eth0; done
echo "nameserver $(addresses | tail -n 1)" >/etc/resolv.conf
ip route add default via "$(seed via network-config)"
kept() { dd if=/dev/vda bs=512 skip=KEEP count=1 2>/dev/null | tr -d '\0'; }
cat >/www/cgi-bin/state <<END
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
echo "\$(hostname):\$(dd if=/dev/vda bs=512 skip=KEEP count=1 2>/dev/null | tr -d '\\\\0')"
END
cat >/www/cgi-bin/keep <<END
#!/bin/sh
printf %s "\$QUERY_STRING" | dd of=/dev/vda bs=512 seek=KEEP conv=notrunc,sync,fsync 2>/dev/null
printf 'Content-Type: text/plain\r\n\r\nkept\n'
END
cat >/www/cgi-bin/fetch <<END
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
wget -q -O - "\$QUERY_STRING" 2>&1
END
cat >/www/cgi-bin/fill <<END
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
dd if=/dev/zero of=/dev/vda bs=64k seek=\$((KEEP / 128 + 16)) count=256 conv=notrunc,fsync 2>&1 && echo "all of it"
END
chmod +x /www/cgi-bin/*
cp /seed/* /www/
httpd -h /www
for input in /sys/class/input/event*; do
    grep -q "Power Button" $input/device/name || continue
    (dd if=/dev/input/${input##*/} of=/dev/null bs=24 count=1 2>/dev/null && { echo "the power button"; poweroff -f; }) &
done
sleep 0.2
echo "$(hostname) is up with $(grep -c processor /proc/cpuinfo) processors, $(cat /sys/block/vda/size) sectors, packets of $(cat /sys/class/net/eth0/mtu)"
while read -r line; do echo "got $line"; done
"#;

/// The kernel's file and the folder of its modules: those that the environment names, or the host's.
fn kernel() -> (PathBuf, PathBuf) {
    let folder = std::env::var("ISOPOD_TEST_VM_KERNEL").unwrap_or_else(|_| "/".to_owned());
    let boot = Path::new(&folder).join("boot");
    let mut found: Vec<String> = std::fs::read_dir(&boot)
        .unwrap_or_else(|error| panic!("{}: {error}", boot.display()))
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("vmlinuz-"))
        .collect();
    found.sort();
    let name = found.pop().expect("a kernel in /boot, or ISOPOD_TEST_VM_KERNEL");
    let release = name.trim_start_matches("vmlinuz-");
    let modules = Path::new(&folder).join("lib/modules").join(release);
    (boot.join(&name), modules)
}

/// The file of a module.
fn module(folder: &Path, name: &str) -> Option<PathBuf> {
    let dep = std::fs::read_to_string(folder.join("modules.dep")).unwrap();
    let wanted = format!("/{name}.ko");
    let path = dep.lines().filter_map(|line| line.split_once(':')).map(|(path, _)| path);
    path.into_iter().find(|path| path.ends_with(&wanted)).map(|path| folder.join(path))
}

/// Adds a file to a `newc` archive.
fn add(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let fields = [0, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// The system in memory.
fn initramfs(modules: &Path, keep: usize) -> Vec<u8> {
    let mut archive = Vec::new();
    for folder in ["bin", "m", "dev", "proc", "sys", "seed", "etc", "www", "www/cgi-bin"] {
        add(&mut archive, folder, 0o40755, b"");
    }
    let mut loaded = Vec::new();
    for name in MODULES {
        // What is not a module is built in.
        if let Some(path) = module(modules, name) {
            add(&mut archive, &format!("m/{name}.ko"), 0o100_644, &std::fs::read(path).unwrap());
            loaded.push(name);
        }
    }
    let init = INIT.replace("MODULES", &loaded.join(" ")).replace("KEEP", &keep.to_string());
    add(&mut archive, "init", 0o100_755, init.as_bytes());
    let busybox = std::fs::read("/bin/busybox").expect("/bin/busybox of busybox-static");
    add(&mut archive, "bin/busybox", 0o100_755, &busybox);
    add(&mut archive, "TRAILER!!!", 0, b"");
    archive
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

/// Writes the disk to a file; returns how many bytes it has.
pub(crate) fn write(path: &Path) -> u64 {
    let (kernel, modules) = kernel();
    let kernel = std::fs::read(kernel).unwrap();
    let (setup, rest) = kernel.split_at((usize::from(kernel[0x1f1]) + 1) * SECTOR);
    let mut setup = setup.to_vec();
    setup.resize(COMMAND_LINE + SECTOR, 0);
    // The sector of the word is known before what is before it is made: its number has no effect on
    // the length of that but by its digits.
    let system = initramfs(&modules, 100_000);
    let sectors = |bytes: usize| bytes.div_ceil(SECTOR);
    let keep = 1 + [setup.len(), rest.len(), system.len()].map(sectors).iter().sum::<usize>() + 1;
    let mut system_kept = initramfs(&modules, keep);
    system_kept.resize(system.len(), 0);
    // Loaded by nobody in particular, with a heap, a command line, and the system's place and length.
    setup[0x210] = 0xff;
    setup[0x211] |= 0x80;
    put(&mut setup, 0x224, &0xde00u16.to_le_bytes());
    put(&mut setup, 0x228, &(PLACES[0] + COMMAND_LINE as u32).to_le_bytes());
    put(&mut setup, 0x218, &PLACES[2].to_le_bytes());
    put(&mut setup, 0x21c, &(system_kept.len() as u32).to_le_bytes());
    put(&mut setup, COMMAND_LINE, b"console=ttyS0 quiet mitigations=off tsc=reliable panic=-1\0");
    let mut disk = LOADER.to_vec();
    disk.resize(SECTOR, 0);
    put(&mut disk, 0x1fe, &[0x55, 0xaa]);
    let mut next = 1;
    for (n, (part, place)) in [&setup[..], rest, &system_kept].into_iter().zip(PLACES).enumerate() {
        let entry = [next as u32, sectors(part.len()) as u32, place];
        put(&mut disk, TABLE + 12 * n, &entry.map(u32::to_le_bytes).concat());
        next += sectors(part.len());
        disk.extend_from_slice(part);
        disk.resize(next * SECTOR, 0);
    }
    assert!(next <= keep, "what is kept is not where the system is");
    disk.resize((keep + ROOM) * SECTOR, 0);
    std::fs::write(path, &disk).unwrap();
    disk.len() as u64
}
