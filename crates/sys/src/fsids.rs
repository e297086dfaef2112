//! The ids that a thread's file accesses are made with.

use std::io;

use rustix::thread::CapabilitiesSecureBits;

/// Makes the calling thread create files as `uid` and `gid` from now on and keeps its capabilities.
/// For a thread that ends soon: nothing is changed back.
///
/// Without `SECBIT_NO_SETUID_FIXUP` the kernel would take the capabilities over files
/// (`CAP_CHOWN`, `CAP_MKNOD`, …) from a thread whose file-system uid is no longer 0.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`, `CAP_SETUID` or `CAP_SETGID`, or when an id has no mapping.
pub fn set(uid: u32, gid: u32) -> io::Result<()> {
    let bits = rustix::thread::capabilities_secure_bits()?;
    rustix::thread::set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    // setfsgid and setfsuid return the old id and no error: the second call, which changes nothing,
    // tells whether the first had an effect.
    let nobody = u32::MAX;
    // SAFETY: both calls take a number and touch the calling thread's credentials only.
    let (gid_now, uid_now) = unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
        (libc::syscall(libc::SYS_setfsgid, nobody), libc::syscall(libc::SYS_setfsuid, nobody))
    };
    if (uid_now as u32, gid_now as u32) == (uid, gid) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn privileged_files_belong_to_the_threads_ids_and_capabilities_stay() {
        use std::os::unix::fs::MetadataExt;

        let dir = std::env::temp_dir().join(format!("isopod-fsids-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("directory");
        let file = dir.join("file");
        let inner = file.clone();
        let made = std::thread::spawn(move || {
            super::set(1234, 2345).expect("ids");
            std::fs::write(&inner, "x").expect("write where only root may");
            std::os::unix::fs::chown(&inner, Some(7), None).expect("chown")
        });
        made.join().expect("thread");
        let stat = std::fs::metadata(&file).expect("stat");
        std::fs::write(&file, "still root here").expect("write");
        std::fs::remove_dir_all(&dir).expect("remove");
        assert_eq!((stat.uid(), stat.gid()), (7, 2345));
    }
}
