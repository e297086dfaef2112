//! How much memory the allocator keeps.

/// Makes the allocator give back what it can: large blocks get a mapping of their own, which goes
/// when they are freed, and a free top of the heap is returned early. Inherited by forks.
pub fn be_frugal() {
    #[cfg(target_env = "gnu")]
    // SAFETY: integers; these options may be set at any time by a single-threaded process.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 16 << 10);
        libc::mallopt(libc::M_TOP_PAD, 4 << 10);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// At most so many heaps for all threads of the process. A thread that the allocator finds waiting
/// gets a heap of its own otherwise, up to eight for each processor, and each keeps what was freed
/// in it for itself.
pub fn limit_heaps(count: i32) {
    #[cfg(target_env = "gnu")]
    // SAFETY: integers; the option may be set at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, count);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = count;
}

/// Returns every free page of the heap to the kernel.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: an integer; the allocator may be trimmed at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of the pages of code, ours and the libraries', that have been executed so far. They stay
/// in the page cache; what is executed again is mapped again, 64 KiB with each fault
/// (mm/memory.c: `do_fault_around`).
pub fn forget_code() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, length) in maps.lines().filter_map(code) {
        // SAFETY: the range is a private mapping of a file that cannot be written, and no code of
        // this process is ever changed in place: every page of it is the file's, and comes back
        // from there.
        unsafe {
            libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
}

/// Where a line of `/proc/self/maps` has the code of a file: start and length.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (rights, inode) = (words.next()?, words.nth(2)?);
    if rights != "r-xp" || inode == "0" {
        return None;
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

/// Returns the stack's pages well below the caller's frame to the kernel: after a deep call they
/// hold nothing. When the stack grows again they come back as zeroes. Only on the stack that the
/// process began with; on any other it does nothing.
pub fn trim_stack() {
    const PAGE: usize = 4096;
    /// Kept below the frame: the red zone and whatever this call itself needs.
    const MARGIN: usize = 2 * PAGE;
    /// How deep anything of ours goes; less than the kernel's guard gap of 1 MiB.
    const DEPTH: usize = 256 << 10;
    /// The usual limit of the first stack.
    const STACK: usize = 8 << 20;
    let marker = 0u8;
    let here = std::ptr::addr_of!(marker) as usize;
    let start = crate::process::Stat::own().ok().and_then(|stat| stat.field::<usize>(28));
    // A fork made by a thread goes on on that thread's stack, with who knows what below it.
    if !start.is_some_and(|start| start > here && start - here < STACK) {
        return;
    }
    let mut end = (here - MARGIN) & !(PAGE - 1);
    let floor = end.saturating_sub(DEPTH);
    // One page at a time: where the stack has not grown yet there is no mapping (ENOMEM), which
    // ends the walk.
    while end > floor {
        end -= PAGE;
        // SAFETY: the page lies below the stack pointer and its red zone in the first thread's
        // stack, so no live object is in it; the kernel keeps a gap of at least 1 MiB between
        // that stack and the next mapping, so it belongs to nothing else either.
        let result = unsafe { libc::madvise(end as *mut _, PAGE, libc::MADV_DONTNEED) };
        if result != 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_let_go() {
        let text = "00839000-02316000 r-xp 00638000 fe:00 10051613  /";
        assert_eq!(code(text), Some((0x83_9000, 0x1ad_d000)));
        for other in [
            "00200000-00839000 r--p 00000000 fe:00 10051613  /",
            "04218000-04259000 rw-p 00000000 00:00 0  [heap]",
            "7ffde3dfe000-7ffde3e00000 r-xp 00000000 00:00 0  [vdso]",
            "",
        ] {
            assert_eq!(code(other), None, "{other}");
        }
    }

    #[test]
    fn code_that_was_let_go_is_executed_again() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("a process");
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:"));
            let kib = line.expect("RssFile").trim().trim_end_matches(" kB").parse::<u64>();
            kib.expect("a number")
        };
        let before = resident();
        forget_code();
        assert!(resident() < before, "{before} KiB were resident and still are");
    }
}
