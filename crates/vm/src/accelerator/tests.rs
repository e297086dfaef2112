use std::cell::RefCell;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::*;
use crate::backend::{Control, Places, Snapshot, Stats, Vm};
use crate::machine::{Arch, Disk, KernelImage};
use crate::tail::Tail;
use crate::whole::{Standing, Whole};

const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(40);

fn ended() -> Error {
    Error::Ended { said: "it panicked".to_owned() }
}

fn late() -> Error {
    Error::Late { limit: TRIAL, said: String::new() }
}

/// What is made of these boots, of which all are done.
fn judged(boots: Vec<(Cpu, Duration, Result<Duration, Error>)>) -> Result<Option<String>, Error> {
    let mut boots = boots.into_iter();
    let verdict = judge(|cpu, limit| {
        let (expected, allowed, outcome) = boots.next().expect("one boot more");
        assert_eq!((cpu, limit), (expected, allowed));
        outcome
    });
    assert_eq!(boots.count(), 0, "boots less");
    verdict
}

#[test]
fn hardware_is_to_blame_only_for_what_emulation_can_do() {
    let (hardware, emulated) = (Cpu::Hardware, Cpu::Emulated);
    assert_eq!(judged(vec![(hardware, TRIAL, Ok(SHORT))]).expect("a verdict"), None);
    let boots = vec![(hardware, TRIAL, Err(late())), (emulated, BOOT_LIMIT, Ok(SHORT))];
    assert_eq!(judged(boots).expect("a verdict"), Some(late().to_string()));
    // A kernel that boots nowhere, or a host that is too busy for anything.
    for failure in [ended, late] {
        let boots = vec![(hardware, TRIAL, Err(failure())), (emulated, BOOT_LIMIT, Err(late()))];
        assert!(matches!(judged(boots), Err(Error::Late { .. })));
    }
    // What took emulation long may take hardware as long, and an end may have had other reasons.
    let failures: [(fn() -> Error, _, _); 3] =
        [(late, LONG, LONG), (ended, SHORT, TRIAL), (ended, LONG, LONG)];
    for (failure, took, limit) in failures {
        for works in [true, false] {
            let last = if works { Ok(SHORT) } else { Err(failure()) };
            let boots = vec![
                (hardware, TRIAL, Err(failure())),
                (emulated, BOOT_LIMIT, Ok(took)),
                (hardware, limit, last),
            ];
            let verdict = (!works).then(|| failure().to_string());
            assert_eq!(judged(boots).expect("a verdict"), verdict);
        }
    }
    let unmade = || Error::Prepare {
        step: "start a process",
        source: std::io::ErrorKind::WouldBlock.into(),
    };
    assert!(matches!(judged(vec![(hardware, TRIAL, Err(unmade()))]), Err(Error::Prepare { .. })));
}

/// Something that boots machines, which are processes that sleep.
#[derive(Default)]
struct Fake {
    boots: RefCell<Vec<(Cpu, u64)>>,
    /// How those fare that boot by emulation; those by hardware end.
    emulates: bool,
    /// Whoever boots them reaps them.
    processes: RefCell<Vec<std::process::Child>>,
}

impl Backend for Fake {
    fn identity(&self) -> String {
        "fake 1".to_owned()
    }

    fn hardware(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn limits(&self) -> Places {
        Places::NONE
    }

    fn boot(&self, machine: Machine, _: Places, conditions: &Conditions<'_>) -> Result<Vm, Error> {
        (conditions.enter)().expect("no cgroup is entered");
        assert!(conditions.cgroup.is_none(), "it is born in a cgroup");
        self.boots.borrow_mut().push((conditions.cpu, machine.memory));
        if conditions.cpu == Cpu::Hardware || !self.emulates {
            return Err(ended());
        }
        let child = std::process::Command::new("sleep").arg("1000").spawn().expect("a process");
        let pid = child.id().cast_signed();
        self.processes.borrow_mut().push(child);
        let pidfd = Arc::new(sys::process::pidfd_open(pid).expect("a descriptor"));
        let null = || sys::stream::null().expect("null");
        Ok(Vm {
            pid,
            pidfd: Arc::clone(&pidfd),
            agent: null(),
            greeting: Vec::new(),
            console: Tail::new(null()),
            helpers: Vec::new(),
            control: Box::new(Nothing(pidfd)),
        })
    }

    fn snapshot(
        &self,
        _: Machine,
        _: Places,
        _: &Path,
        _: &Conditions<'_>,
    ) -> Result<Vec<u8>, Error> {
        panic!("nothing is made a template of")
    }

    fn restore(&self, _: Machine, _: Snapshot<'_>, _: &Conditions<'_>) -> Result<Vm, Error> {
        panic!("nothing is cloned")
    }

    fn power(&self, _: &Whole, _: &Conditions<'_>) -> Result<Standing, Error> {
        panic!("it has no disk")
    }
}

struct Nothing(Arc<OwnedFd>);

impl Control for Nothing {
    fn pause(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn replace_disk(&mut self, _: usize, _: &Disk) -> Result<(), Error> {
        Ok(())
    }

    fn press_power(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn kill(&self) -> std::io::Result<()> {
        sys::process::pidfd_signal(&self.0, sys::signal::SIGKILL)
    }

    fn stats(&mut self) -> Result<Stats, Error> {
        Ok(Stats::default())
    }

    fn notices(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn listen(&mut self) {}

    fn complaints(&mut self) -> String {
        String::new()
    }
}

/// Chooses for a container in a cgroup that nothing can live in.
fn chosen(state: &Path, fake: &Fake) -> Result<Cpu, Error> {
    let kernel = KernelImage {
        vmlinux: "/vmlinux".into(),
        initramfs: "/initramfs".into(),
        release: "6.1".to_owned(),
        key: "key".to_owned(),
    };
    let machine = || {
        let machine = Machine::empty(Arch::X86_64, kernel.clone());
        Some(Machine { memory: 1 << 40, cpus: 64, ..machine })
    };
    chosen_of(state, fake, Accelerator::Auto, &machine)
}

fn chosen_of(
    state: &Path,
    fake: &Fake,
    accelerator: Accelerator,
    machine: &dyn Fn() -> Option<Machine>,
) -> Result<Cpu, Error> {
    let cgroup = File::open("/").expect("any directory");
    let options = Options {
        state,
        templates: crate::Templates::Never,
        accelerator,
        ready: &|_| true,
        cgroup: Some(std::os::fd::AsFd::as_fd(&cgroup)),
        enter: &|| Err(std::io::ErrorKind::PermissionDenied.into()),
        limit: BOOT_LIMIT,
    };
    choose(fake, machine, &options)
}

#[test]
fn hardware_that_cannot_be_tried_is_not_believed_unless_nothing_else_will_do() {
    let dir = tempfile::tempdir().expect("directory");
    let fake = Fake { emulates: true, ..Fake::default() };
    let of = |accelerator| chosen_of(dir.path(), &fake, accelerator, &|| None).expect("a choice");
    assert_eq!(of(Accelerator::Auto), Cpu::Emulated);
    assert_eq!(of(Accelerator::Hardware), Cpu::Hardware);
    assert!(fake.boots.borrow().is_empty());
    // Nothing was learned from it.
    chosen(dir.path(), &fake).expect("a choice");
    assert_eq!(fake.boots.borrow().len(), 3);
}

#[test]
fn a_verdict_is_about_the_hardware_and_not_the_container_that_is_first() {
    let dir = tempfile::tempdir().expect("directory");
    let state = dir.path().join("vm");
    let useless = Fake::default();
    for boots in [2, 4] {
        assert!(matches!(chosen(&state, &useless), Err(Error::Ended { .. })));
        assert_eq!(useless.boots.borrow().len(), boots, "what nobody knows is tried again");
    }
    assert!(!state.join(FILE).exists());

    let fake = Fake { emulates: true, ..Fake::default() };
    for _ in 0..2 {
        assert_eq!(chosen(&state, &fake).expect("a choice"), Cpu::Emulated);
    }
    let size = 256 << 20;
    let tried = [Cpu::Hardware, Cpu::Emulated, Cpu::Hardware].map(|cpu| (cpu, size));
    assert_eq!(*fake.boots.borrow(), tried);
    assert_eq!(chosen(&state, &useless).expect("it is known now"), Cpu::Emulated);
}

#[test]
fn many_at_once_try_once() {
    let dir = tempfile::tempdir().expect("directory");
    let tried: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let fake = Fake { emulates: true, ..Fake::default() };
                    assert_eq!(chosen(dir.path(), &fake).expect("a choice"), Cpu::Emulated);
                    fake.boots.borrow().len()
                })
            })
            .collect();
        all.into_iter().map(|one| one.join().expect("no panic")).sum()
    });
    assert_eq!(tried, 3);
}
