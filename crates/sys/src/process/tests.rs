use std::os::fd::AsFd;

use super::*;

fn fork(options: &CloneOptions<'_>, child: impl FnOnce() -> i32) -> (i32, std::os::fd::OwnedFd) {
    match clone3(options).unwrap() {
        Forked::Child => exit_now(child()),
        Forked::Parent { pid, pidfd } => (pid, pidfd),
    }
}

#[test]
fn children_end_by_exit_and_by_signal() {
    let (pid, pidfd) = fork(&CloneOptions::default(), || 7);
    assert!(pid > 1);
    assert_eq!(wait_pidfd(&pidfd).unwrap(), Exit::Code(7));
    assert!(wait_pidfd(&pidfd).is_err(), "reaped once only");
    let (_, pidfd) = fork(&CloneOptions::default(), || {
        std::thread::sleep(std::time::Duration::from_secs(60));
        0
    });
    assert_eq!(wait_pidfd_nohang(&pidfd).unwrap(), None);
    pidfd_signal(&pidfd, 9).unwrap();
    let exit = wait_pidfd(&pidfd).unwrap();
    assert_eq!(exit, Exit::Signal { signal: 9, core: false });
    assert_eq!(exit.status(), 137);
}

#[test]
fn execve_keeps_only_what_is_placed() {
    let (reader, writer) = io::pipe().unwrap();
    let (_, pidfd) = fork(&CloneOptions::default(), || {
        let null = std::fs::File::open("/dev/null").unwrap();
        place_fds(&[null.as_fd(), writer.as_fd(), writer.as_fd(), null.as_fd()], 0).unwrap();
        close_all_but(4, &[]);
        let args = [c"sh".into(), c"-c".into(), c"echo /proc/self/fd/*; echo $V".into()];
        let error = execve(c"/bin/sh", &args, &[c"V=w".into()]);
        error.raw_os_error().unwrap_or(1)
    });
    drop(writer);
    let text = io::read_to_string(reader).unwrap();
    assert_eq!(wait_pidfd(pidfd).unwrap(), Exit::Code(0));
    let (fds, value) = text.trim_end().split_once('\n').unwrap();
    assert_eq!(value, "w");
    for number in 0..4 {
        assert!(fds.contains(&format!("/proc/self/fd/{number}")), "{fds}");
    }
    assert!(!fds.contains("/proc/self/fd/5"), "{fds}");
}

#[test]
fn limits_and_capabilities_can_be_read_back() {
    let (soft, hard) = get_rlimit(7).unwrap();
    assert!(soft > 0 && soft <= hard);
    let (_, pidfd) = fork(&CloneOptions::default(), || {
        set_rlimit(7, 20, 30).unwrap();
        i32::from(get_rlimit(7).unwrap() != (20, 30))
    });
    assert_eq!(wait_pidfd(pidfd).unwrap(), Exit::Code(0));
    assert!((37..64).contains(&last_cap()));
    let caps = get_caps().unwrap();
    assert_eq!(caps.effective & !caps.permitted, 0);
}

#[test]
fn privileged_namespaces_and_maps() {
    let options = CloneOptions { namespaces: crate::namespace::PID, ..CloneOptions::default() };
    let (pid, pidfd) = fork(&options, || i32::from(getpid() != 1 || getppid() != 0));
    assert!(pid > 1);
    assert_eq!(wait_pidfd(pidfd).unwrap(), Exit::Code(0));
    let map = [IdMap { inside: 0, outside: 70_000, size: 10 }];
    let ns = user_namespace(&map, &map).unwrap();
    let (_, pidfd) = fork(&CloneOptions::default(), || {
        crate::namespace::join(&ns, crate::namespace::USER).unwrap();
        set_groups(&[]).unwrap();
        set_gid(0).unwrap();
        set_uid(0).unwrap();
        let text = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        i32::from(!text.contains("70000"))
    });
    assert_eq!(wait_pidfd(pidfd).unwrap(), Exit::Code(0));
    let twice =
        [IdMap { inside: 0, outside: 0, size: 1 }, IdMap { inside: 0, outside: 5, size: 1 }];
    assert!(user_namespace(&twice, &twice).is_err(), "overlapping maps");
}

#[test]
fn privileged_siblings_are_the_parents_children() {
    let (ours, theirs) = crate::socket::pair().unwrap();
    let (_, pidfd) = fork(&CloneOptions::default(), || {
        let options = CloneOptions { sibling: true, ..CloneOptions::default() };
        match clone3(&options).unwrap() {
            Forked::Child => exit_now(11),
            Forked::Parent { pid, .. } => {
                crate::socket::send(&theirs, &pid.to_le_bytes(), &[]).unwrap();
                0
            }
        }
    });
    let mut buf = [0u8; 4];
    assert_eq!(crate::socket::recv(&ours, &mut buf).unwrap().0, 4);
    assert_eq!(wait_pid(i32::from_le_bytes(buf)).unwrap(), Exit::Code(11));
    assert_eq!(wait_pidfd(pidfd).unwrap(), Exit::Code(0));
}

#[test]
fn privileged_detached_mounts_vanish_with_their_descriptor() {
    use crate::mount::{FsContext, RDONLY, SetAttr, clone_tree, set_attr};
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let tmpfs = FsContext::open("tmpfs").unwrap();
    tmpfs.string("size", "64k").unwrap();
    let mount = tmpfs.mount(0).unwrap();
    let root = crate::fs::Root::from(mount.try_clone().unwrap());
    root.create_file("f", crate::fs::Mode::from_raw_mode(0o600)).unwrap();
    let view = clone_tree(&mount, false).unwrap();
    set_attr(&view, false, SetAttr { set: RDONLY, ..SetAttr::default() }).unwrap();
    let view = crate::fs::Root::from(view);
    assert!(view.exists("f"));
    let error = view.create_file("g", crate::fs::Mode::from_raw_mode(0o600)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(crate::errno::EROFS));
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    let bad = FsContext::open("tmpfs").unwrap();
    assert!(bad.string("size", "nonsense").is_err());
    assert!(bad.log().contains("size"), "{}", bad.log());
}
