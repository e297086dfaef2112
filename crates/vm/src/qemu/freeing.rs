//! Memory that a clone's guest has freed.
//!
//! QEMU frees it in two steps: it punches a hole into the file behind it, and lets go of the pages
//! that it has itself (`MADV_DONTNEED` of madvise(2)). A clone's file is its template, which nobody
//! may change; but what the clone holds are copies of its own, so the second step is all that there
//! is to do. The first one waits for an answer, and gets the one that it is done.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use sys::poll::{Interest, Poll};
use sys::seccomp::notify::{self, Notification};
use sys::syscall::SYS_fallocate;

use crate::error::{Error, Step};

/// The thread calls the kernel, and hardly anything else.
const STACK: usize = 64 << 10;

/// Has a thread answer the process for as long as that lives: its memory has this number there. Not
/// the caller's own, because a process that waits for an answer gives none.
///
/// The thread takes no signals, which are the caller's, and never ends: it would free memory then,
/// and if the caller made a process with clone3(2) at that moment, that would find the allocator
/// locked for ever.
pub(super) fn attend(listener: Option<OwnedFd>, memory: Option<RawFd>) -> Result<(), Error> {
    let Some(listener) = listener else { return Ok(()) };
    let thread = std::thread::Builder::new().name("freeing".to_owned()).stack_size(STACK);
    let work = move || -> () {
        let (mut poll, mut ready) = (Poll::default(), Vec::with_capacity(1));
        poll.add((), &listener, Interest::READ);
        while poll.wait(None, &mut ready).is_ok()
            && ready.drain(..).all(|(_, what)| what.readable && answer(&listener, memory).is_ok())
        {
        }
        // Calls fail with ENOSYS from now on: nothing is freed then.
        drop(listener);
        loop {
            std::thread::park();
        }
    };
    sys::signal::without(|| thread.spawn(work)).map(drop).step("have freed memory given back")
}

/// Answers a call.
fn answer(listener: &OwnedFd, memory: Option<RawFd>) -> io::Result<()> {
    let answered = notify::receive(listener).and_then(|asked| {
        let Notification { id, number, arguments: [file, ..], .. } = asked;
        if i64::from(number) != SYS_fallocate {
            // It opens nothing for writing after its start.
            notify::answer(listener, id, Err(sys::errno::ENOSYS))
        } else if memory == Some(file as RawFd) {
            notify::answer(listener, id, Ok(()))
        } else {
            notify::let_go_on(listener, id)
        }
    });
    match answered {
        // The thread that called has ended.
        Err(error) if error.raw_os_error() == Some(sys::errno::ENOENT) => Ok(()),
        other => other,
    }
}
