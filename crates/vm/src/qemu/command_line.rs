//! What the guest's kernel is told.

use crate::backend::Cpu;
use crate::machine::Arch;

/// What becomes of a machine that boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It runs a container.
    Used,
    /// It becomes a template.
    Cloned,
}

/// The kernel's command line for a machine whose agent is `/init`.
pub(super) fn kernel(arch: Arch, cpu: Cpu, fate: Fate) -> String {
    let mut words: Vec<String> = ["quiet", "panic=-1", "random.trust_cpu=on", "cryptomgr.notests"]
        .map(str::to_owned)
        .to_vec();
    match arch {
        Arch::X86_64 => {
            words.push("console=ttyS0".to_owned());
            // A triple fault: the way out that every machine has.
            words.push("reboot=t".to_owned());
            // There are none of these to look for.
            words.extend(["i8042.noaux", "i8042.nokbd", "noreplace-smp"].map(str::to_owned));
            if cpu == Cpu::Emulated {
                // Without it, a guest that measures its clock against another one on a busy host
                // finds it unstable, and often hangs then.
                let khz = tsc_khz(&cpuinfo()).unwrap_or(1_000_000);
                words.push(format!("tsc_early_khz={khz}"));
                // A kernel of `xtask kernel` then measures nothing. To others it says nothing.
                words.push(format!("isopod.emulated_khz={khz}"));
                words.push("tsc=reliable".to_owned());
                // The host's kernel has done all that can be done about its own processor.
                words.push("mitigations=off".to_owned());
            }
        }
        Arch::Aarch64 => words.push("console=ttyAMA0".to_owned()),
    }
    if fate == Fate::Used {
        words.push(proto::guest::OWN_CARDS.to_owned());
    }
    words.join(" ")
}

fn cpuinfo() -> String {
    std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()
}

/// How many thousand times a second the host's time stamp counter counts, which is what an
/// emulated one shows. On x86 the kernel takes its delay loop from that counter, twice a cycle;
/// `cpu MHz` is what the processor happens to do at the moment.
fn tsc_khz(cpuinfo: &str) -> Option<u64> {
    let line = cpuinfo.lines().find(|line| line.starts_with("bogomips"))?;
    let loops: f64 = line.split_once(':')?.1.trim().parse().ok()?;
    Some((loops * 500.0).round() as u64).filter(|khz| *khz > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_an_emulated_guest_is_the_hosts() {
        let text = "processor\t: 0\ncpu MHz\t\t: 800.012\nbogomips\t: 4200.50\n";
        assert_eq!(tsc_khz(text), Some(2_100_250));
        assert_eq!(tsc_khz("processor : 0\n"), None);
        let line = kernel(Arch::X86_64, Cpu::Emulated, Fate::Used);
        assert!(line.contains(" tsc_early_khz="), "{line}");
        assert!(!kernel(Arch::X86_64, Cpu::Hardware, Fate::Used).contains("tsc"));
        assert!(line.ends_with(" isopod.own_cards"), "{line}");
        let arm = kernel(Arch::Aarch64, Cpu::Emulated, Fate::Cloned);
        assert!(arm.contains(" console=ttyAMA0") && !arm.contains("tsc"), "{arm}");
        assert!(!arm.contains("isopod."), "{arm}");
    }
}
