//! Answering to the network: what comes is counted, what is asked for is given, or each byte goes
//! back. The first byte of a connection says which.

use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

use super::Serving;
use crate::compare::processes;

/// Take all that comes until its end, then say how much it was (eight bytes, big endian).
pub(in crate::compare) const TAKE: u8 = b't';
/// Give as many bytes as the next eight say, big endian.
pub(in crate::compare) const GIVE: u8 = b'g';
/// Send back each byte.
pub(in crate::compare) const ECHO: u8 = b'e';

/// Serves until standard input ends. So it ends with whoever started it, however that one ended.
pub(super) fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
        .or_else(|_| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)))?;
    let serving = Serving {
        port: listener.local_addr()?.port(),
        // Kernels before 4.14 cannot tell.
        memory: processes::memory(std::process::id()).unwrap_or_default(),
    };
    let mut line = serde_json::to_string(&serving)?;
    line.push('\n');
    io::stdout().write_all(line.as_bytes())?;
    std::thread::Builder::new().spawn(move || accept(&listener))?;
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

fn accept(listener: &TcpListener) {
    while let Ok((stream, _)) = listener.accept() {
        // Whoever goes away in the middle has seen enough.
        std::thread::spawn(move || answer(stream));
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    match byte[0] {
        TAKE => {
            let count = take(&mut stream)?;
            stream.write_all(&count.to_be_bytes())
        }
        GIVE => {
            let mut count = [0; 8];
            stream.read_exact(&mut count)?;
            give(&mut stream, u64::from_be_bytes(count))
        }
        ECHO => loop {
            stream.read_exact(&mut byte)?;
            stream.write_all(&byte)?;
        },
        _ => Ok(()),
    }
}

/// Reads to the end; how much it was.
pub(in crate::compare) fn take(stream: &mut TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut seen = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(seen),
            count => seen += count as u64,
        }
    }
}

/// Writes so many bytes.
pub(in crate::compare) fn give(stream: &mut TcpStream, mut count: u64) -> io::Result<()> {
    let buffer = vec![5; 256 << 10];
    while count > 0 {
        let size = count.min(buffer.len() as u64) as usize;
        stream.write_all(&buffer[..size])?;
        count -= size as u64;
    }
    Ok(())
}
