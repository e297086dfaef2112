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

/// Returns every free page of the heap to the kernel.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: an integer; the allocator may be trimmed at any time.
    unsafe {
        libc::malloc_trim(0);
    }
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
    let start = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
        // Field 28, counted behind the name, which may itself have blanks and brackets.
        stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(25)?.parse::<usize>().ok()
    });
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
