//! Byte streams: pipes, stream sockets, and messages with descriptors on them.
//!
//! Everything here takes `EAGAIN` for what it is: an [`io::ErrorKind::WouldBlock`] error.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;

/// Descriptors that one `recvmsg(2)` may bring: the kernel's own limit (`SCM_MAX_FD`).
const MAX_FDS: usize = 253;

/// Bytes asked for at once while a long frame comes in, so that its announced length alone does
/// not make us take memory.
const STEP: usize = 64 << 10;

/// A connected pair of stream sockets, close-on-exec, blocking.
///
/// # Errors
/// `EMFILE`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::STREAM;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

/// A pipe, close-on-exec, blocking: what is written to the second comes out of the first.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// `/dev/null`, for reading and writing.
///
/// # Errors
/// Those of `open(2)`.
pub fn null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// Makes reads and writes through this open file description return instead of wait.
///
/// # Errors
/// `EBADF` never.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd();
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// Replaces stdin, stdout and stderr.
///
/// # Errors
/// Those of `dup2(2)`.
pub fn replace_stdio(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd();
    rustix::stdio::dup2_stdin(fd)?;
    rustix::stdio::dup2_stdout(fd)?;
    rustix::stdio::dup2_stderr(fd)?;
    Ok(())
}

/// Reads into the free capacity of `buffer`, which must have some; returns how much came (0: the
/// end). Only the pages that data came into are touched.
///
/// # Errors
/// Those of `read(2)`; `EIO` from a terminal's master means that nobody has the slave open.
pub fn read(fd: impl AsFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let fd = fd.as_fd();
    loop {
        match rustix::io::read(fd, rustix::buffer::spare_capacity(buffer)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Reads some bytes into `buffer`, no more than it has room for; returns how many (0: the end).
///
/// # Errors
/// As [`read`].
pub fn read_into(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = fd.as_fd();
    Ok(rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *buffer))?)
}

/// Writes some of `bytes`.
///
/// # Errors
/// Those of `write(2)`: `EPIPE` when nobody reads any more (SIGPIPE must be ignored), `ENOSPC`, …
pub fn write(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let fd = fd.as_fd();
    Ok(rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?)
}

/// Receives from a socket into the free capacity of `buffer` without waiting, whatever the
/// socket's own mode is (the other holder of the description may want it blocking).
///
/// # Errors
/// Those of `recv(2)`.
pub fn receive_now(socket: impl AsFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let socket = socket.as_fd();
    loop {
        let spare = rustix::buffer::spare_capacity(buffer);
        match rustix::net::recv(socket, spare, RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?.1),
        }
    }
}

/// Sends two slices, one after the other, without waiting and without SIGPIPE; returns how many
/// bytes of both went.
///
/// # Errors
/// Those of `sendmsg(2)`: `EAGAIN` when not even one byte went, `EPIPE`, `ECONNRESET`.
pub fn send_now(socket: impl AsFd, head: &[u8], body: &[u8]) -> io::Result<usize> {
    let socket = socket.as_fd();
    let iov = [IoSlice::new(head), IoSlice::new(body)];
    let iov = if head.is_empty() { &iov[1..] } else { &iov[..] };
    let mut control = SendAncillaryBuffer::default();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, iov, &mut control, flags))?)
}

/// Whether the other side of a unix socket has read all that was written to it (`SIOCOUTQ`,
/// unix(7)). Each piece that is read makes an edge of `EPOLLOUT`.
///
/// # Errors
/// Those of `ioctl(2)`.
pub fn all_read(socket: impl AsFd) -> io::Result<bool> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (which has the number of TIOCOUTQ) writes one int through the pointer,
    // which is that of a live local; the descriptor is borrowed for the length of the call.
    let ret = unsafe {
        libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, std::ptr::from_mut(&mut bytes))
    };
    if ret == -1 {
        return Err(io::Error::last_os_error());
    }
    // A piece counts with what the kernel keeps it in, hundreds of bytes. The last one is still
    // counted as 1 at its edge (`sock_wfree`, Linux 6.18).
    Ok(bytes <= 1)
}

/// Tells the other side that nothing more will be written.
///
/// # Errors
/// `ENOTCONN` when it has gone.
pub fn shutdown_write(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, Shutdown::Write)?)
}

/// Takes nothing more: what has come can be read, whoever sends afterwards has `EPIPE`.
///
/// # Errors
/// `ENOTCONN`.
pub fn close_read(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, Shutdown::Read)?)
}

/// A listening stream socket called `name` in a directory, which only the caller's user may
/// connect to, non-blocking, close-on-exec. The directory's path may be of any length:
/// `sun_path` takes 107 bytes, so the way there is through `/proc/self/fd`.
///
/// The umask is changed for a moment: the caller must be single-threaded.
///
/// # Errors
/// `EADDRINUSE` when the name is taken, `ENOENT`, …
pub fn listen_private(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(directory, flags, Mode::empty())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(crate::fs::proc_fd_path(&dir).join(name))?;
    let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&socket, &address);
    rustix::process::umask(umask);
    bound?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// Connects to the stream socket `name` in a directory whose path may be of any length. Waits for
/// nobody.
///
/// # Errors
/// `ENOENT`; `ECONNREFUSED` when nobody listens any more; `EAGAIN` when as many as the listener lets
/// wait have not been accepted yet (unix(7)).
pub fn connect_in(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(directory, flags, Mode::empty())?;
    let address = SocketAddrUnix::new(crate::fs::proc_fd_path(&dir).join(name))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

/// Takes a waiting connection; close-on-exec, non-blocking.
///
/// # Errors
/// Those of `accept4(2)`.
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    let listener = listener.as_fd();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::io::retry_on_intr(|| rustix::net::accept_with(listener, flags))?)
}

/// A message and what came with it.
#[derive(Debug)]
pub struct Frame {
    /// The message without its length.
    pub body: Vec<u8>,
    /// Its descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Takes frames (32 bits of little-endian length, then so many bytes) from a stream socket. It
/// never reads past the end of a frame, and so knows which descriptors belong to which: the
/// kernel hands out the bytes of several `sendmsg(2)` calls in one `recvmsg(2)`.
#[derive(Debug)]
pub struct FrameReader {
    head: [u8; 4],
    headed: usize,
    body: Vec<u8>,
    got: usize,
    fds: Vec<OwnedFd>,
    max_len: usize,
    max_fds: usize,
}

impl FrameReader {
    /// With limits for the length of a frame and the number of its descriptors.
    pub fn new(max_len: usize, max_fds: usize) -> Self {
        let (body, fds) = (Vec::new(), Vec::new());
        Self { head: [0; 4], headed: 0, body, got: 0, fds, max_len, max_fds }
    }

    /// Reads on until a frame is whole; `None` when the other side has gone between two frames.
    ///
    /// # Errors
    /// `WouldBlock` from a non-blocking socket: call again later. `UnexpectedEof` in the middle
    /// of a frame, `InvalidData` for one that is too long or has too many descriptors: the
    /// connection is of no use any more. Else those of `recvmsg(2)`.
    pub fn read(&mut self, socket: impl AsFd) -> io::Result<Option<Frame>> {
        let socket = socket.as_fd();
        while self.headed < 4 {
            let into = &mut self.head[self.headed..];
            match receive(socket, into, &mut self.fds, self.max_fds)? {
                0 if self.headed == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.headed += count,
            }
        }
        let length = u32::from_le_bytes(self.head) as usize;
        if length > self.max_len {
            return Err(io::ErrorKind::InvalidData.into());
        }
        while self.got < length {
            let end = length.min(self.got + STEP);
            self.body.resize(end, 0);
            let into = &mut self.body[self.got..];
            match receive(socket, into, &mut self.fds, self.max_fds)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.got += count,
            }
        }
        (self.headed, self.got) = (0, 0);
        Ok(Some(Frame { body: std::mem::take(&mut self.body), fds: std::mem::take(&mut self.fds) }))
    }
}

/// One `recvmsg(2)`; descriptors are added to `fds`.
fn receive(
    socket: impl AsFd,
    into: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    max_fds: usize,
) -> io::Result<usize> {
    let socket = socket.as_fd();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut iov = [IoSliceMut::new(into)];
        match rustix::net::recvmsg(socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = message {
            fds.extend(list);
        }
    }
    // CTRUNC: our own limit of open files was reached and some descriptors are lost.
    if fds.len() > max_fds || got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(got.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(body.len()).expect("short").to_le_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn what_was_read_is_known() {
        let (ours, theirs) = pair().unwrap();
        assert!(all_read(&ours).unwrap());
        write(&ours, b"head").unwrap();
        assert!(!all_read(&ours).unwrap());
        let mut buffer = Vec::with_capacity(16);
        read(&theirs, &mut buffer).unwrap();
        assert!(all_read(&ours).unwrap());
    }

    #[test]
    fn descriptors_stay_with_their_frame() {
        let (ours, theirs) = pair().expect("pair");
        let (reader, writer) = pipe().expect("pipe");
        crate::socket::send(&ours, &frame(b"none"), &[]).expect("sends");
        crate::socket::send(&ours, &frame(b"two"), &[reader.as_fd(), writer.as_fd()])
            .expect("sends");
        crate::socket::send(&ours, &frame(b""), &[]).expect("sends");
        drop((ours, reader, writer));
        let mut frames = FrameReader::new(100, 2);
        let mut next = || frames.read(&theirs).expect("reads");
        let first = next().expect("first");
        assert_eq!((first.body.as_slice(), first.fds.len()), (&b"none"[..], 0));
        let second = next().expect("second");
        assert_eq!((second.body.as_slice(), second.fds.len()), (&b"two"[..], 2));
        let mut fds = second.fds.into_iter();
        let (reader, writer) = (fds.next().expect("reader"), fds.next().expect("writer"));
        std::fs::File::from(writer).write_all(b"through").expect("writes");
        let mut text = String::new();
        std::fs::File::from(reader).read_to_string(&mut text).expect("reads");
        assert_eq!(text, "through");
        assert!(next().expect("third").body.is_empty());
        assert!(next().is_none(), "the end");
    }

    #[test]
    fn hundreds_of_descriptors_arrive_with_one_frame() {
        let (ours, theirs) = pair().expect("pair");
        let null = null().expect("null");
        let many = vec![null.as_fd(); 300];
        crate::socket::send(&ours, &frame(b"many"), &many).expect("sends");
        let mut frames = FrameReader::new(100, 300);
        let got = frames.read(&theirs).expect("reads").expect("frame");
        assert_eq!((got.body.as_slice(), got.fds.len()), (&b"many"[..], 300));
    }

    #[test]
    fn limits_hold_and_a_cut_is_seen() {
        let cases: [(&[u8], usize, io::ErrorKind); 3] = [
            (&[200, 0, 0, 0], 0, io::ErrorKind::InvalidData),
            (&frame(b"x"), 2, io::ErrorKind::InvalidData),
            (&[4, 0, 0, 0, b'x'], 0, io::ErrorKind::UnexpectedEof),
        ];
        for (bytes, descriptors, expected) in cases {
            let (ours, theirs) = pair().expect("pair");
            let null = null().expect("null");
            crate::socket::send(&ours, bytes, &vec![null.as_fd(); descriptors]).expect("sends");
            drop(ours);
            let error = FrameReader::new(100, 1).read(&theirs).expect_err("refused");
            assert_eq!(error.kind(), expected);
        }
    }

    #[test]
    fn a_socket_in_a_deep_directory_is_private_and_reachable() {
        let base = std::env::temp_dir().join(format!("isopod-stream-{}", std::process::id()));
        let deep = base.join("d".repeat(120));
        std::fs::create_dir_all(&deep).expect("directory");
        let listener = listen_private(&deep, "sock").expect("listens");
        let mode = std::fs::metadata(deep.join("sock")).expect("is there").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
        let client = connect_in(&deep, "sock").expect("connects");
        let server = accept(&listener).expect("accepts");
        assert_eq!(send_now(&client, b"he", b"llo").expect("sends"), 5);
        let mut buffer = Vec::with_capacity(8);
        assert_eq!(receive_now(&server, &mut buffer).expect("receives"), 5);
        assert_eq!(buffer, b"hello");
        let error = receive_now(&server, &mut buffer).expect_err("nothing there");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // It accepts nobody any more, and nobody waits for that.
        let mut waiting = Vec::new();
        let error = loop {
            match connect_in(&deep, "sock") {
                Ok(socket) => waiting.push(socket),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!((1..100).contains(&waiting.len()), "{}", waiting.len());
        std::fs::remove_dir_all(&base).expect("removes");
    }
}
