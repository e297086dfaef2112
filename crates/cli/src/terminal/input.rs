//! Standard input, read by a thread of its own: reading a terminal or a pipe without blocking
//! would mean setting a flag that other processes share.

use std::os::fd::AsFd as _;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

/// Begins to read standard input. The channel closes at its end. The thread dies with the
/// process.
pub(crate) fn stdin() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(4);
    let body = move || {
        let stdin = std::io::stdin();
        let mut buffer = vec![0_u8; 32 << 10];
        loop {
            match rustix::io::read(stdin.as_fd(), &mut buffer[..]) {
                Ok(0) => return,
                Ok(count) => {
                    if sender.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let _ = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
                }
                Err(_) => return,
            }
        }
    };
    // Without a thread there is no input: the closed channel says so.
    let _ = std::thread::Builder::new().name("stdin".into()).spawn(body);
    receiver
}

/// Standard input as the body of a request.
pub(crate) fn stdin_body() -> docker_api::client::Body {
    body(stdin())
}

/// A file as the body of a request, read by a thread.
pub(crate) fn reader_body(
    mut file: impl std::io::Read + Send + 'static,
) -> docker_api::client::Body {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(4);
    let work = move || {
        let mut buffer = vec![0_u8; 128 << 10];
        loop {
            let piece = match file.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = piece.is_err();
            if sender.blocking_send(piece).is_err() || last {
                return;
            }
        }
    };
    let _ = std::thread::Builder::new().name("upload".into()).spawn(work);
    docker_api::client::streamed(futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    }))
}

fn body(receiver: mpsc::Receiver<Bytes>) -> docker_api::client::Body {
    docker_api::client::streamed(futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (Ok(piece), receiver))
    }))
}
