use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::machine::KernelImage;
use crate::whole::{Standing, Whole};

/// Something that makes snapshots and nothing else.
#[derive(Default)]
struct Fake {
    snapshots: Cell<usize>,
    fails: Cell<bool>,
    /// Why the next clone cannot be made.
    refuses: Cell<Option<Error>>,
}

impl Backend for Fake {
    fn identity(&self) -> String {
        "fake 1".to_owned()
    }

    fn hardware(&self) -> Result<(), &'static str> {
        Err("there is none")
    }

    fn limits(&self) -> Places {
        Places { disks: 16, nics: 4 }
    }

    fn boot(&self, _: Machine, _: Places, _: &Conditions<'_>) -> Result<Vm, Error> {
        Err(Error::Ended { said: "it cannot".to_owned() })
    }

    fn snapshot(
        &self,
        machine: Machine,
        _: Places,
        directory: &Path,
        _: &Conditions<'_>,
    ) -> Result<Vec<u8>, Error> {
        self.snapshots.set(self.snapshots.get() + 1);
        let ram = File::create(directory.join(RAM)).expect("ram");
        ram.set_len(machine.mebibytes() << 20).expect("length");
        if let Some(error) = self.refuses.take() {
            return Err(error);
        }
        if self.fails.get() {
            return Err(Error::Ended { said: "it failed".to_owned() });
        }
        std::fs::write(directory.join(STATE), "state").expect("state");
        Ok(b"hello".to_vec())
    }

    fn restore(&self, _: Machine, _: Snapshot<'_>, _: &Conditions<'_>) -> Result<Vm, Error> {
        Err(self.refuses.take().expect("a reason"))
    }

    fn power(&self, _: &Whole, _: &Conditions<'_>) -> Result<Standing, Error> {
        panic!("templates are of no use to whole machines")
    }
}

fn machine(memory: u64) -> Machine {
    let kernel = KernelImage {
        vmlinux: "/vmlinux".into(),
        initramfs: "/initramfs".into(),
        release: "6.1".to_owned(),
        key: "key".to_owned(),
    };
    Machine {
        arch: Arch::X86_64,
        kernel,
        memory: memory << 20,
        cpus: 1,
        disks: Vec::new(),
        nics: Vec::new(),
        shares: Vec::new(),
        netns: None,
    }
}

fn options(state: &Path, templates: Templates) -> Options<'_> {
    Options {
        state,
        templates,
        accelerator: crate::Accelerator::Emulation,
        ready: &|_| true,
        cgroup: None,
        enter: &|| Ok(()),
        limit: Duration::from_secs(1),
    }
}

fn opened(
    state: &Path,
    backend: &Fake,
    memory: u64,
    templates: Templates,
) -> Result<Option<Template>, Error> {
    let options = options(state, templates);
    let machine = machine(memory);
    let shape = Shape::of(&machine, backend, Cpu::Emulated);
    open(&shape, &machine, backend, &options, Cpu::Emulated)
}

#[test]
fn a_template_is_made_once_a_shape_and_only_when_that_is_wanted() {
    let dir = tempfile::tempdir().expect("directory");
    let fake = Fake::default();
    assert!(opened(dir.path(), &fake, 64, Templates::Use).expect("opens").is_none());
    assert_eq!(list(dir.path()).expect("lists").len(), 0);
    for _ in 0..2 {
        let found = opened(dir.path(), &fake, 64, Templates::Make).expect("opens");
        assert_eq!(found.expect("template").hello, b"hello");
    }
    assert!(opened(dir.path(), &fake, 64, Templates::Use).expect("opens").is_some());
    assert_eq!(fake.snapshots.get(), 1);
    opened(dir.path(), &fake, 128, Templates::Make).expect("opens").expect("template");
    assert_eq!(fake.snapshots.get(), 2);
    let mut memory: Vec<u64> =
        list(dir.path()).expect("lists").iter().map(|found| found.shape.memory).collect();
    memory.sort_unstable();
    assert_eq!(memory, [64, 128]);
}

#[test]
fn a_damaged_template_goes_and_says_so() {
    let dir = tempfile::tempdir().expect("directory");
    let fake = Fake::default();
    opened(dir.path(), &fake, 64, Templates::Make).expect("opens").expect("template");
    let key = list(dir.path()).expect("lists")[0].key.clone();
    let path = dir.path().join(DIRECTORY).join(&key);
    File::options().write(true).open(path.join(RAM)).expect("ram").set_len(5).expect("cut");
    let error = opened(dir.path(), &fake, 64, Templates::Use).err().expect("damaged");
    assert!(error.to_string().contains("its memory has 5 bytes"), "{error}");
    assert!(!path.exists());
    opened(dir.path(), &fake, 64, Templates::Make).expect("opens").expect("made again");
    assert_eq!(fake.snapshots.get(), 2);
    std::fs::remove_file(path.join(STATE)).expect("remove");
    opened(dir.path(), &fake, 64, Templates::Make).expect("opens").expect("made again at once");
    assert_eq!(fake.snapshots.get(), 3);
}

#[test]
fn a_template_goes_for_its_own_failures_and_not_for_those_of_the_host() {
    use errno::{EAGAIN, EMFILE, ENOMEM};
    let dir = tempfile::tempdir().expect("directory");
    let fake = Fake::default();
    let restored = |why: Error| {
        let template =
            opened(dir.path(), &fake, 64, Templates::Make).expect("opens").expect("template");
        fake.refuses.set(Some(why));
        let options = options(dir.path(), Templates::Use);
        let conditions = options.conditions(Cpu::Emulated, options.limit);
        assert!(template.restore(machine(64), &fake, &conditions).is_err());
        list(dir.path()).expect("lists").len()
    };
    let io = io::Error::from_raw_os_error;
    for errno in [EAGAIN, EMFILE, ENOMEM] {
        assert_eq!(restored(Error::Prepare { step: "start a process", source: io(errno) }), 1);
        assert_eq!(restored(Error::Confine { step: "make a root".to_owned(), errno }), 1);
    }
    let said = || "nonsense".to_owned();
    for why in [
        Error::Ended { said: said() },
        Error::Late { limit: Duration::from_secs(1), said: said() },
        Error::Refused { what: "go on", said: said() },
    ] {
        assert_eq!(restored(why), 0);
    }
    assert_eq!(fake.snapshots.get(), 3);
}

#[test]
fn what_fails_leaves_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    let fake = Fake::default();
    let source = io::Error::from_raw_os_error(errno::EAGAIN);
    fake.refuses.set(Some(Error::Prepare { step: "start a process", source }));
    assert!(opened(dir.path(), &fake, 64, Templates::Make).is_err());
    fake.snapshots.set(0);
    fake.fails.set(true);
    let error = opened(dir.path(), &fake, 64, Templates::Make).err().expect("it is tried at once");
    assert!(matches!(error, Error::Ended { .. }), "{error}");
    let names = || {
        let entries = std::fs::read_dir(dir.path().join(DIRECTORY)).expect("list");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
            .collect();
        names.sort();
        names
    };
    let left = names();
    assert!(left.len() == 2 && left[0].ends_with(".failed") && left[1] == LOCK, "{left:?}");
    // It is not tried again at once, and what is said then says why.
    fake.fails.set(false);
    let error = opened(dir.path(), &fake, 64, Templates::Make).err().expect("too early");
    assert!(error.to_string().contains("it failed"), "{error}");
    assert_eq!(fake.snapshots.get(), 1);
    let note = File::open(dir.path().join(DIRECTORY).join(&left[0])).expect("note");
    note.set_modified(SystemTime::now() - PAUSE).expect("time");
    opened(dir.path(), &fake, 64, Templates::Make).expect("opens").expect("template");
    assert_eq!(names().iter().filter(|name| name.ends_with(".failed")).count(), 0);
}

#[test]
fn the_oldest_and_what_a_crash_left_are_swept() {
    let dir = tempfile::tempdir().expect("directory");
    let fake = Fake::default();
    let half = dir.path().join(DIRECTORY).join(".abc.1");
    std::fs::create_dir_all(&half).expect("create");
    let begin = SystemTime::now() - Duration::from_secs(3600);
    for n in 0..KEPT as u64 + 2 {
        opened(dir.path(), &fake, 64 + n, Templates::Make).expect("opens").expect("template");
        for found in list(dir.path()).expect("lists") {
            let state = dir.path().join(DIRECTORY).join(&found.key).join(STATE);
            let used = begin + Duration::from_secs(found.shape.memory);
            File::open(state).expect("state").set_modified(used).expect("time");
        }
    }
    assert!(!half.exists());
    let mut memory: Vec<u64> =
        list(dir.path()).expect("lists").iter().map(|found| found.shape.memory).collect();
    memory.sort_unstable();
    assert_eq!(memory, (66..66 + KEPT as u64).collect::<Vec<_>>());
}

#[test]
fn templates_are_removed_by_an_unambiguous_beginning() {
    let dir = tempfile::tempdir().expect("directory");
    let fake = Fake::default();
    assert_eq!(remove(dir.path(), "a").expect("nothing there"), None);
    for memory in [64, 65] {
        opened(dir.path(), &fake, memory, Templates::Make).expect("opens").expect("template");
    }
    assert_eq!(remove(dir.path(), "").expect("ambiguous"), None);
    let key = list(dir.path()).expect("lists")[0].key.clone();
    assert_eq!(remove(dir.path(), &key[..20]).expect("removes"), Some(key.clone()));
    assert_eq!(remove(dir.path(), &key).expect("it has gone"), None);
    assert_eq!(list(dir.path()).expect("lists").len(), 1);
}

#[test]
fn a_machine_with_more_devices_does_not_fit() {
    let dir = tempfile::tempdir().expect("directory");
    let fake = Fake::default();
    let template =
        opened(dir.path(), &fake, 64, Templates::Make).expect("opens").expect("template");
    let mut machine = machine(64);
    let null = || sys::stream::null().expect("null");
    let disk = |n| Disk { file: null(), read_only: n > 0 };
    machine.disks = (0..PLACES.disks).map(disk).collect();
    assert!(template.fits(&machine));
    machine.disks.push(disk(PLACES.disks));
    assert!(!template.fits(&machine));
    machine.disks = vec![disk(1)];
    assert!(!template.fits(&machine), "the first is to be written to");
}
