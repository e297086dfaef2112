//! How the C library finds out what names mean.

use std::ffi::{CStr, c_char, c_int};

unsafe extern "C" {
    fn __nss_configure_lookup(database: *const c_char, sources: *const c_char) -> c_int;
}

/// What is asked, and where it is looked up.
const SOURCES: [(&CStr, &CStr); 3] =
    [(c"hosts", c"files dns"), (c"passwd", c"files"), (c"group", c"files")];

/// Has hosts looked up in `/etc/hosts` and by DNS, users and groups in their files, whatever
/// `/etc/nsswitch.conf` says: these sources are part of the C library since glibc 2.34, and the
/// others are shared objects, which a statically linked program could only load if they came from
/// the very version that it was linked with. Docker's static programs have the same sources.
///
/// To be called before the process has a second thread.
pub fn use_built_in_sources() {
    for (database, sources) in SOURCES {
        // SAFETY: both are NUL-terminated strings that live for ever; nothing else looks at the
        // C library's table meanwhile, because there is no other thread.
        // It fails for a database that does not exist, and these do.
        let _ = unsafe { __nss_configure_lookup(database.as_ptr(), sources.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs as _;

    #[test]
    fn names_of_files_are_found() {
        super::use_built_in_sources();
        let mut found = ("localhost", 80).to_socket_addrs().expect("/etc/hosts has localhost");
        assert!(found.all(|address| address.ip().is_loopback()));
    }
}
