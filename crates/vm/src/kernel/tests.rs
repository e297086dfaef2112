use std::io::Write;

use super::*;

/// An ELF file with one segment of a kind.
fn elf(machine: u16, kind: u32, content: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 64 + 56];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[16..18].copy_from_slice(&2u16.to_le_bytes());
    file[18..20].copy_from_slice(&machine.to_le_bytes());
    file[32..40].copy_from_slice(&64u64.to_le_bytes());
    file[54..56].copy_from_slice(&56u16.to_le_bytes());
    file[56..58].copy_from_slice(&1u16.to_le_bytes());
    file[64..68].copy_from_slice(&kind.to_le_bytes());
    file[72..80].copy_from_slice(&120u64.to_le_bytes());
    file[96..104].copy_from_slice(&(content.len() as u64).to_le_bytes());
    file.extend_from_slice(content);
    file
}

/// The note of a kernel that can be entered directly, behind another one.
fn notes() -> Vec<u8> {
    let mut notes = Vec::new();
    for (owner, kind, content) in
        [(&b"Linux\0"[..], 257u32, &b"x"[..]), (b"Xen\0", 18, b"entryentry")]
    {
        for number in [owner.len() as u32, content.len() as u32, kind] {
            notes.extend_from_slice(&number.to_le_bytes());
        }
        for text in [owner, content] {
            notes.extend_from_slice(text);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
    }
    notes
}

fn vmlinux() -> Vec<u8> {
    let mut kernel = elf(62, 4, &notes());
    kernel.extend_from_slice(b"Linux version %s (%s)\0Linux version 6.1.0-9-cloud-amd64 (x) #1");
    kernel
}

/// A `bzImage` with this payload.
fn wrapped(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 1024];
    image[0x1f1] = 1;
    image[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
    image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.resize(1024 + 16, 0);
    image.extend_from_slice(payload);
    image.extend_from_slice(b"what comes after it");
    image
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("write");
    encoder.finish().expect("finish")
}

#[test]
fn a_kernel_comes_out_of_every_wrapping() {
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("encode");
    for compressed in [gzip(&vmlinux()), zstd(&vmlinux())] {
        // The length of the kernel comes behind the stream.
        let payload = [&compressed[..], &(vmlinux().len() as u32).to_le_bytes()].concat();
        let kernel = extract::kernel(wrapped(&payload), Arch::X86_64).expect("kernel");
        assert_eq!(kernel, vmlinux());
    }
    // As the kernel's own scripts call it: `xz --check=crc32 --x86 --lzma2=…`.
    let xz = b"\xfd7zXZ\0\0\x01\x69\x22\xde\x36\x02\x01\x04\0\x21\x01\x0c\0\xd6\x7c\x18\xaf\
        \x01\0\x05kernel\0\0\0\xab\x9a\xd2\x5d\0\x01\x1a\x06\xc5\xea\xc8\x79\x90\x42\x99\x0d\
        \x01\0\0\0\0\x01YZ\x06\0\0\0";
    assert_eq!(extract::decompress(xz).expect("decompressed"), b"kernel");
    assert_eq!(extract::kernel(vmlinux(), Arch::X86_64).expect("kernel"), vmlinux());
    assert_eq!(extract::release(&vmlinux()).as_deref(), Some("6.1.0-9-cloud-amd64"));
}

#[test]
fn what_is_no_kernel_is_told_from_one_that_cannot_be_booted() {
    let said = |bytes: Vec<u8>| {
        let error = extract::kernel(bytes, Arch::X86_64).expect_err("no kernel");
        error.to_string()
    };
    assert_eq!(said(b"hello".to_vec()), "it is no Linux kernel for x86_64");
    assert_eq!(said(Vec::new()), "it is no Linux kernel for x86_64");
    assert_eq!(said(elf(183, 4, &notes())), "it is no Linux kernel for x86_64");
    assert!(said(elf(62, 4, b"")).contains("CONFIG_PVH"));
    assert!(said(wrapped(b"BZh91AY")).contains("gzip, xz, zstd and lz4"));
    let mut short = wrapped(&gzip(&vmlinux()));
    short.truncate(1100);
    assert_eq!(said(short), "it is no Linux kernel for x86_64");
    let mut broken = wrapped(&gzip(&vmlinux()));
    broken[1060] ^= 0xff;
    assert!(said(broken).contains("cannot be decompressed"));
}

#[test]
fn an_agent_loses_what_only_debuggers_read() {
    let mut program = elf(62, 1, b"code");
    let length = program.len();
    program[40..48].copy_from_slice(&200u64.to_le_bytes());
    program.extend_from_slice(&[7; 1000]);
    let stripped = note::static_program(program, Arch::X86_64).expect("program");
    assert_eq!(stripped.len(), length);
    assert_eq!(stripped[40..48], [0; 8]);
    let dynamic = elf(62, 3, b"/lib64/ld-linux");
    let error = note::static_program(dynamic, Arch::X86_64).expect_err("dynamic");
    assert_eq!(error.to_string(), "it is not statically linked");
    let other = elf(62, 1, b"code");
    let error = note::static_program(other, Arch::Aarch64).expect_err("other");
    assert_eq!(error.to_string(), "it is no program for aarch64");
}

/// A root with a kernel and its modules, and an agent beside it.
fn stage(dir: &Path) -> (PathBuf, PathBuf) {
    let root = dir.join("root");
    let modules = root.join("lib/modules/6.1.0-9-cloud-amd64");
    std::fs::create_dir_all(&modules).expect("create");
    std::fs::create_dir_all(root.join("boot")).expect("create");
    std::fs::write(root.join("boot/vmlinuz-6.1.0-9-cloud-amd64"), wrapped(&gzip(&vmlinux())))
        .expect("write");
    let names = ["virtio_mmio", "virtio_console", "virtio_blk", "virtio_net", "erofs", "overlay"];
    let lines: Vec<String> = names.iter().map(|name| format!("kernel/{name}.ko:\n")).collect();
    std::fs::write(modules.join("modules.dep"), lines.concat()).expect("write");
    std::fs::write(modules.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").expect("write");
    std::fs::create_dir(modules.join("kernel")).expect("create");
    for name in names {
        std::fs::write(modules.join(format!("kernel/{name}.ko")), name).expect("write");
    }
    let agent = dir.join("agent");
    std::fs::write(&agent, elf(62, 1, b"agent")).expect("write");
    (root, agent)
}

fn wanted<'a>(state: &'a Path, root: &'a PathBuf, agent: &'a PathBuf) -> Wanted<'a> {
    let (kernels, agents) = (std::slice::from_ref(root), std::slice::from_ref(agent));
    Wanted { state, kernels, agents, arch: Arch::X86_64 }
}

#[test]
fn a_directory_is_installed_with_its_modules() {
    let dir = tempfile::tempdir().expect("directory");
    let (root, agent) = stage(dir.path());
    let state = dir.path().join("vm");
    let release = install::from_files(&state, Arch::X86_64, &root, None).expect("installed");
    assert_eq!(release, "6.1.0-9-cloud-amd64");
    std::fs::remove_dir_all(&root).expect("removed");
    let agents = std::slice::from_ref(&agent);
    let wanted = Wanted { state: &state, kernels: &[], agents, arch: Arch::X86_64 };
    assert_eq!(prepare(&wanted).expect("an image").release, release);
}

#[test]
fn a_package_is_installed_as_its_content_is() {
    let dir = tempfile::tempdir().expect("directory");
    let (root, agent) = stage(dir.path());
    let state = dir.path().join("vm");
    let package = |name: &str, root: &Path| {
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
        );
        std::fs::create_dir_all(root.join("DEBIAN")).expect("create");
        std::fs::write(root.join("DEBIAN/control"), control).expect("write");
        let file = dir.path().join(format!("{name}.deb"));
        let mut build = std::process::Command::new("dpkg-deb");
        build.args(["--build", "-Znone"]).arg(root).arg(&file);
        assert!(build.stdout(std::process::Stdio::null()).status().expect("dpkg-deb").success());
        file
    };
    let full = package("full", &root);
    let release = install::from_files(&state, Arch::X86_64, &full, None).expect("installed");
    let agents = std::slice::from_ref(&agent);
    let wanted = Wanted { state: &state, kernels: &[], agents, arch: Arch::X86_64 };
    assert_eq!(prepare(&wanted).expect("an image").release, release);

    let empty = package("empty", &dir.path().join("nothing"));
    let error = install::from_files(&state, Arch::X86_64, &empty, None).expect_err("empty");
    let expected = "empty.deb: there is no vmlinuz or vmlinux in it, nor in its boot directory";
    assert!(error.to_string().ends_with(expected), "{error}");
    assert_eq!(prepare(&wanted).expect("what was there").release, release);
}

/// ARM's `Image`, of which the head is enough.
fn image() -> Vec<u8> {
    let mut image = vec![0; 64];
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    image.extend_from_slice(b"Linux version 6.1.0-9-cloud-arm64 (x) #1");
    image
}

#[test]
fn guests_have_kernel_and_agent_of_their_own_architecture() {
    let dir = tempfile::tempdir().expect("directory");
    let put = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("write");
        path
    };
    let compressed = zstd::encode_all(&image()[..], 1).expect("encode");
    for arm in [image(), gzip(&image()), compressed] {
        assert!(extract::kernel(arm.clone(), Arch::Aarch64).is_ok());
        let arm = put("arm", &arm);
        for pc in [wrapped(&gzip(&vmlinux())), vmlinux()] {
            let kernels = [put("pc", &pc), arm.clone()];
            for (arch, expected) in [(Arch::X86_64, &kernels[0]), (Arch::Aarch64, &kernels[1])] {
                let wanted = Wanted { state: dir.path(), kernels: &kernels, agents: &[], arch };
                assert_eq!(&find::find(&wanted).expect("found").kernel, expected, "{arch}");
            }
        }
    }
    // What is for nobody else is taken, and what is wrong with it is said.
    let odd = [put("odd", b"odd")];
    let wanted = Wanted { state: dir.path(), kernels: &odd, agents: &[], arch: Arch::Aarch64 };
    assert_eq!(find::find(&wanted).expect("found").kernel, odd[0]);

    let agents = [put("agent", &elf(62, 1, b"pc")), put("agent-arm", &elf(183, 1, b"arm"))];
    for (arch, expected) in [(Arch::X86_64, &agents[0]), (Arch::Aarch64, &agents[1])] {
        let wanted = Wanted { state: dir.path(), kernels: &[], agents: &agents, arch };
        assert_eq!(find::agent(&wanted).expect("found"), expected, "{arch}");
    }
    let other = if Arch::host() == Some(Arch::X86_64) { Arch::Aarch64 } else { Arch::X86_64 };
    let wanted = Wanted { state: dir.path(), kernels: &[], agents: &[], arch: other };
    let error = find::find(&wanted).expect_err("no kernel").to_string();
    assert!(error.contains(&format!("install --arch {}`", other.debian())), "{error}");
    let error = find::agent(&wanted).expect_err("no agent").to_string();
    assert!(error.contains(&format!("as guest-agent-{other}: install it")), "{error}");
}

#[test]
fn an_image_is_made_once_and_anew_for_another_agent() {
    let dir = tempfile::tempdir().expect("directory");
    let (root, agent) = stage(dir.path());
    let wanted = wanted(dir.path(), &root, &agent);
    let first = prepare(&wanted).expect("prepared");
    assert_eq!(first.release, "6.1.0-9-cloud-amd64");
    assert_eq!(std::fs::read(&first.vmlinux).expect("kernel"), vmlinux());
    let initramfs = std::fs::read(&first.initramfs).expect("initramfs");
    let has = |text: &[u8]| initramfs.windows(text.len()).any(|window| window == text);
    assert!(has(b"early virtio_mmio\nearly virtio_console\nlate virtio_blk\n"));
    assert!(has(b"modules/overlay.ko"));
    let made = std::fs::metadata(&first.vmlinux).expect("kernel").modified().expect("time");
    assert_eq!(prepare(&wanted).expect("prepared"), first);
    let again = std::fs::metadata(&first.vmlinux).expect("kernel").modified().expect("time");
    assert_eq!(made, again, "it was made twice");
    std::fs::write(&agent, elf(62, 1, b"another agent")).expect("write");
    let second = prepare(&wanted).expect("prepared");
    assert_ne!(second.key, first.key);
}

#[test]
fn an_image_is_made_anew_for_other_modules() {
    let dir = tempfile::tempdir().expect("directory");
    let (root, agent) = stage(dir.path());
    let wanted = wanted(dir.path(), &root, &agent);
    let mut keys = vec![prepare(&wanted).expect("prepared").key];
    let modules = root.join("lib/modules/6.1.0-9-cloud-amd64");
    // One that is taken, and what says which are.
    let dependencies = std::fs::read_to_string(modules.join("modules.dep")).expect("read");
    let more = dependencies + "kernel/virtio_balloon.ko:\n";
    std::fs::write(modules.join("kernel/virtio_balloon.ko"), "balloon").expect("write");
    for (name, content) in [("kernel/erofs.ko", "patched"), ("modules.dep", &more)] {
        std::fs::write(modules.join(name), content).expect("write");
        let image = prepare(&wanted).expect("prepared");
        assert!(!keys.contains(&image.key), "{name}: {keys:?}");
        assert_eq!(prepare(&wanted).expect("prepared"), image);
        keys.push(image.key);
        let initramfs = std::fs::read(&image.initramfs).expect("initramfs");
        assert!(initramfs.windows(7).any(|window| window == b"patched"), "{name}");
    }
    // One that guests have no use for.
    std::fs::write(modules.join("kernel/other.ko"), "other").expect("write");
    assert_eq!(prepare(&wanted).expect("prepared").key, keys[2]);
}

#[test]
fn what_is_used_stays_and_what_was_not_for_longest_goes() {
    let dir = tempfile::tempdir().expect("directory");
    let (root, agent) = stage(dir.path());
    let agents: Vec<PathBuf> = (0..=KEPT)
        .map(|n| {
            let own = dir.path().join(format!("agent{n}"));
            std::fs::copy(&agent, &own).expect("copy");
            own
        })
        .collect();
    let long_ago = SystemTime::now() - std::time::Duration::from_secs(3600);
    let images: Vec<KernelImage> = agents[..KEPT]
        .iter()
        .enumerate()
        .map(|(n, agent)| {
            let image = prepare(&wanted(dir.path(), &root, agent)).expect("prepared");
            let release = image.vmlinux.with_file_name(RELEASE);
            let made = long_ago + std::time::Duration::from_secs(n as u64);
            File::open(release).expect("release").set_modified(made).expect("time");
            image
        })
        .collect();
    prepare(&wanted(dir.path(), &root, &agents[0])).expect("used again");
    prepare(&wanted(dir.path(), &root, &agents[KEPT])).expect("one more");
    let there: Vec<bool> = images.iter().map(|image| image.vmlinux.exists()).collect();
    assert_eq!(there, [true, false, true, true]);
}

#[test]
fn half_an_image_is_made_again() {
    let dir = tempfile::tempdir().expect("directory");
    let (root, agent) = stage(dir.path());
    let wanted = wanted(dir.path(), &root, &agent);
    let image = prepare(&wanted).expect("prepared");
    std::fs::remove_file(&image.initramfs).expect("remove");
    assert_eq!(prepare(&wanted).expect("prepared"), image);
    assert!(std::fs::metadata(&image.initramfs).expect("initramfs").len() > 0);
}

#[test]
fn what_is_missing_is_said() {
    let dir = tempfile::tempdir().expect("directory");
    let (root, agent) = stage(dir.path());
    let wanted = wanted(dir.path(), &root, &agent);
    let modules = root.join("lib/modules/6.1.0-9-cloud-amd64");
    std::fs::write(modules.join("modules.builtin"), "").expect("write");
    let error = prepare(&wanted).expect_err("no ext4");
    assert_eq!(error.to_string(), "the kernel 6.1.0-9-cloud-amd64 has no ext4, which guests need");
    std::fs::remove_dir_all(&modules).expect("remove");
    let error = prepare(&wanted).expect_err("no modules");
    assert!(error.to_string().contains("isopod vm kernel install"), "{error}");
    let left = std::fs::read_dir(dir.path().join(DIRECTORY)).expect("list").count();
    assert_eq!(left, 1, "only the lock is left");
}
