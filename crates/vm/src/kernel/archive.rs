//! The initial file system: a cpio archive in the `newc` format (kernel documentation,
//! *initramfs buffer format*), not compressed, because unpacking costs more than reading.
//!
//! ```text
//! /init              the agent
//! /modules/order     "early NAME" | "late NAME" | "share NAME", in loading order
//! /modules/NAME.ko
//! /dev/console, /dev/null, /proc, /sys
//! ```

use super::modules::Module;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// The archive.
pub(super) fn initramfs(agent: &[u8], modules: &[Module]) -> Vec<u8> {
    let size: usize = modules.iter().map(|module| module.content.len() + 256).sum();
    let mut archive = Archive { out: Vec::with_capacity(agent.len() + size + 4096), number: 0 };
    for name in ["dev", "proc", "sys", "modules"] {
        archive.add(name, DIRECTORY, (0, 0), &[]);
    }
    archive.add("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    archive.add("dev/null", CHARACTER_DEVICE, (1, 3), &[]);
    archive.add("init", PROGRAM, (0, 0), agent);
    let mut order = String::new();
    for module in modules {
        order.push_str(&format!("{} {}\n", module.phase.word(), module.name));
        archive.add(&format!("modules/{}.ko", module.name), FILE, (0, 0), &module.content);
    }
    archive.add("modules/order", FILE, (0, 0), order.as_bytes());
    archive.add("TRAILER!!!", 0, (0, 0), &[]);
    archive.out
}

struct Archive {
    out: Vec<u8>,
    number: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.number += 1;
        let fields = [
            self.number,
            mode,
            0,
            0,
            1,
            0,
            content.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        self.out.extend_from_slice(b"070701");
        for field in fields {
            self.out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
        self.pad();
        self.out.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.out.len().next_multiple_of(4);
        self.out.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::modules::Phase;
    use super::*;

    #[test]
    fn the_archive_is_one_that_cpio_reads() {
        let modules =
            [Module { phase: Phase::Late, name: "erofs".to_owned(), content: b"module".to_vec() }];
        let archive = initramfs(b"agent", &modules);
        // A member's header has 110 bytes; walk from one to the next.
        let mut rest = &archive[..];
        let mut found = Vec::new();
        loop {
            assert_eq!(&rest[..6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&rest[6 + n * 8..14 + n * 8]).expect("text");
                u32::from_str_radix(text, 16).expect("number") as usize
            };
            let (size, name) = (field(6), field(11));
            let text = String::from_utf8(rest[110..110 + name - 1].to_vec()).expect("text");
            let begin = (110 + name).next_multiple_of(4);
            found.push((text.clone(), rest[begin..begin + size].to_vec()));
            if text == "TRAILER!!!" {
                break;
            }
            rest = &rest[(begin + size).next_multiple_of(4)..];
        }
        let content = |name: &str| {
            let member = found.iter().find(|(found, _)| found == name);
            member.unwrap_or_else(|| panic!("no {name}")).1.clone()
        };
        assert_eq!(content("init"), b"agent");
        assert_eq!(content("modules/erofs.ko"), b"module");
        assert_eq!(content("modules/order"), b"late erofs\n");
        assert_eq!(content("proc"), b"");
    }
}
