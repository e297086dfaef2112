//! Message sockets between relatives: whole messages, with file descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Descriptors that are taken from one message of [`recv`]: what is needed is 1 (a console); a
/// few more do not hurt.
const MAX_FDS: usize = 4;

/// Descriptors in one `sendmsg(2)`; the kernel's limit (`SCM_MAX_FD`) is 253 and more is `EINVAL`.
const MAX_FDS_SENT: usize = 250;

/// A connected pair of `SOCK_SEQPACKET` sockets, close-on-exec: each message arrives whole, and the
/// end of the other side is an empty one.
///
/// # Errors
/// `EMFILE`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// A listening `SOCK_SEQPACKET` socket at a path, which must not exist and may have 107 bytes.
///
/// # Errors
/// `EADDRINUSE`, `ENAMETOOLONG`, …
pub fn listen(path: impl AsRef<std::path::Path>) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path.as_ref())?)?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}

/// Takes the next connection of a listening socket.
///
/// # Errors
/// Those of `accept4(2)`.
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    let listener = listener.as_fd();
    Ok(rustix::io::retry_on_intr(|| rustix::net::accept_with(listener, SocketFlags::CLOEXEC))?)
}

/// Connects to a `SOCK_SEQPACKET` socket at a path.
///
/// # Errors
/// `ENOENT`, `ECONNREFUSED` when nobody listens any more, …
pub fn connect(path: impl AsRef<std::path::Path>) -> io::Result<OwnedFd> {
    connect_as(path, SocketType::SEQPACKET)
}

/// Connects to a `SOCK_STREAM` socket at a path.
///
/// # Errors
/// As [`connect`].
pub fn connect_stream(path: impl AsRef<std::path::Path>) -> io::Result<OwnedFd> {
    connect_as(path, SocketType::STREAM)
}

fn connect_as(path: impl AsRef<std::path::Path>, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_ref())?)?;
    Ok(socket)
}

/// Sends bytes with copies of descriptors; never raises SIGPIPE. Returns how many bytes went: a
/// packet socket takes all, a stream socket perhaps fewer (the descriptors are gone with the
/// first byte). More than 250 descriptors need a blocking stream socket: each further batch rides
/// on a byte of its own.
///
/// # Errors
/// `EPIPE` when the other side has gone, `EMSGSIZE`, `EAGAIN`, `ETOOMANYREFS`; `EINVAL` when there
/// are more batches of descriptors than bytes.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let socket = socket.as_fd();
    if fds.is_empty() {
        return send_batch(socket, bytes, fds);
    }
    let batches = fds.len().div_ceil(MAX_FDS_SENT);
    if bytes.len() < batches {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut sent = 0;
    for (number, batch) in fds.chunks(MAX_FDS_SENT).enumerate() {
        let bytes = if number + 1 < batches { &bytes[number..=number] } else { &bytes[number..] };
        sent += send_batch(socket, bytes, batch)?;
    }
    Ok(sent)
}

fn send_batch(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS_SENT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let iov = [IoSlice::new(bytes)];
    Ok(rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &iov, &mut control, SendFlags::NOSIGNAL)
    })?)
}

/// Receives one message; returns its length (0: the other side has gone) and its descriptors.
/// What does not fit into `buf` is lost.
///
/// # Errors
/// Those of `recvmsg(2)`; `ECONNRESET` when the other side went with messages unread.
pub fn recv(socket: impl AsFd, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let socket = socket.as_fd();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut iov = [IoSliceMut::new(buf)];
        match rustix::net::recvmsg(socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = message {
            fds.extend(list);
        }
    }
    Ok((got.bytes, fds))
}

/// Connects a socket of the internet.
///
/// # Errors
/// `EINPROGRESS` from a non-blocking stream: it becomes writable when it is there. `ECONNREFUSED`, ….
pub fn connect_to(socket: impl AsFd, address: std::net::SocketAddr) -> io::Result<()> {
    Ok(rustix::net::connect(socket, &address)?)
}

/// Which addresses a socket of the internet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A socket of the calling thread's network namespace that is bound to nothing, for TCP (`stream`)
/// or UDP; close-on-exec, non-blocking.
///
/// # Errors
/// `EAFNOSUPPORT` without IPv6, `EMFILE`.
pub fn unbound(family: Family, stream: bool) -> io::Result<OwnedFd> {
    let family = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let kind = if stream { SocketType::STREAM } else { SocketType::DGRAM };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}
