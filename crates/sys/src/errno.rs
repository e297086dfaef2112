//! Error numbers by name, and their texts in lower case as Go's (and so Docker's) programs print
//! them.

pub use libc::{
    E2BIG, EACCES, EAGAIN, EBADF, EBUSY, ECHILD, EDQUOT, EEXIST, EFAULT, EFBIG, EINPROGRESS, EINTR,
    EINVAL, EIO, EISDIR, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENODEV, ENOENT, ENOEXEC, ENOMEM,
    ENOSPC, ENOSYS, ENOTDIR, ENOTEMPTY, ENOTSUP, ENOTTY, ENXIO, EOPNOTSUPP, EPERM, EPIPE, EROFS,
    ESRCH, ETXTBSY, EXDEV,
};

/// What an error number means, in lower case and without a full stop.
pub fn text(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    // strerror's texts begin with a capital unless with a name ("RFS specific error").
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' || second == '/' => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn texts_are_lower_case() {
        assert_eq!(super::text(libc::ENOENT), "no such file or directory");
        assert_eq!(super::text(libc::EACCES), "permission denied");
        assert_eq!(super::text(libc::EIO), "input/output error");
    }
}
