//! An agent that breaks its word, for tests of the other side: a machine boots with it as with the
//! real one, and then it does what its mode says. The mode is written into the program's file, in
//! the place of [`MODE`]'s blanks.
#![allow(dead_code, reason = "the agent's own modules have more than is needed here")]

#[path = "../src/boot.rs"]
mod boot;
#[path = "../src/devices.rs"]
mod devices;
#[path = "../src/modules.rs"]
mod modules;

mod agent {
    /// As the real agent's.
    #[derive(Debug)]
    pub(crate) enum Fatal {
        Boot(&'static str, std::io::Error),
        NoPort,
        Port(std::io::Error),
    }
}

use std::fs::File;
use std::io::{self, Read, Write};

use proto::guest::frame::{self, Decoder, Frame};
use proto::guest::{
    FileRequest, FileStat, FromGuest, Hello, INITIAL_CREDIT, Notice, Reply, Request, Side, ToGuest,
    VERSION,
};
use types::Timestamp;

/// `hostile-mode:` and the mode, filled up with blanks.
#[used]
static MODE: [u8; 32] = *b"hostile-mode:                   ";

fn main() {
    let mode = String::from_utf8_lossy(std::hint::black_box(&MODE)).into_owned();
    let mode = mode.rsplit(':').next().unwrap_or_default().trim();
    match boot::start() {
        // Nobody reads on once it has heard enough.
        Ok((port, _)) => drop(misbehave(mode, &mut File::from(port))),
        Err(error) => eprintln!("hostile: {error:?}"),
    }
    // What is left of the machine waits, as the real one never would; one that was cut short ends.
    if mode == "truncated" {
        drop(sys::machine::power_off());
    }
    loop {
        std::thread::park();
    }
}

fn misbehave(mode: &str, port: &mut File) -> io::Result<()> {
    if mode == "endless" {
        // A greeting that never ends.
        port.write_all(&[1, 0, 0, 0, 0, 0, 0, 0x40, 0])?;
        return forever(port, &[b' '; 4096]);
    }
    say(port, &FromGuest::Hello(Hello { version: VERSION }))?;
    let mut requests = Requests { decoder: Decoder::new(Side::Host) };
    let first = requests.next(port)?;
    match mode {
        "oversized" => oversized(port),
        "truncated" => port.write_all(&[1, 0, 0, 0, 0, 100, 0, 0, 0, b'{']),
        "reordered" => {
            answer(port, first.number + 1, Reply::Created { warnings: Vec::new() })?;
            answer(port, first.number, Reply::Done)
        }
        "late" | "dying" | "deaf" | "lying" => {
            answer(port, first.number, Reply::Done)?;
            serve(mode, port, &mut requests)
        }
        other => Err(io::Error::other(format!("no mode is called {other:?}"))),
    }
}

/// A good agent until its container runs: then a frame that is too long, or killed processes without
/// end. The container of one that is deaf ends well; what it does not hear is where a file is, and that
/// its machine is to end which has no container. One that lies is good for everything but files.
fn serve(mode: &str, port: &mut File, requests: &mut Requests) -> io::Result<()> {
    let mut has_container = false;
    loop {
        let ToGuest { number, request } = requests.next(port)?;
        match request {
            Request::Create(_) => {
                has_container = true;
                answer(port, number, Reply::Created { warnings: Vec::new() })?;
            }
            Request::Start => {
                answer(port, number, Reply::Started)?;
                match mode {
                    "late" => return oversized(port),
                    "dying" => loop {
                        say(port, &FromGuest::Notice(Notice::OutOfMemory))?;
                    },
                    "lying" => {}
                    _ => say(port, &FromGuest::Notice(Notice::Exited { exit_code: 0 }))?,
                }
            }
            Request::Files(request) if mode == "lying" => {
                lie(port, requests, number, request)?;
            }
            Request::Files(FileRequest::Export { channel }) => {
                let mut bytes = Vec::new();
                frame::data(&mut bytes, channel, b"files");
                frame::end(&mut bytes, channel);
                port.write_all(&bytes)?;
                answer(port, number, Reply::Done)?;
            }
            Request::Pause | Request::Resume => answer(port, number, Reply::Done)?,
            Request::Shutdown if has_container => answer(port, number, Reply::Done)?,
            _ => {}
        }
    }
}

/// Says of files what is not so.
fn lie(
    port: &mut File,
    requests: &mut Requests,
    number: u32,
    request: FileRequest,
) -> io::Result<()> {
    match request {
        FileRequest::Stat { path } => {
            let name = if path == "/name" { "../../name" } else { "files" };
            let stat = FileStat {
                name: name.to_owned(),
                size: i64::MAX,
                // A directory, by Go's bits.
                mode: 1 << 31 | 0o755,
                mtime: Timestamp(0),
                link_target: "../../../../etc".to_owned(),
            };
            answer(port, number, Reply::Stat(Some(stat)))
        }
        // Files that want to be elsewhere.
        FileRequest::Get { channel, .. } | FileRequest::Export { channel } => {
            let mut tar = header("files/", b'5', "", 0).to_vec();
            tar.extend(header("files/up", b'2', "../..", 0));
            for name in ["files/up/through", "files/../../above", "/tmp/isopod-absolute"] {
                tar.extend(header(name, b'0', "", 0));
            }
            tar.extend([0; 1024]);
            let mut bytes = Vec::new();
            frame::data(&mut bytes, channel, &tar);
            frame::end(&mut bytes, channel);
            port.write_all(&bytes)?;
            answer(port, number, Reply::Done)
        }
        // One change that never ends, and a file that has all the bytes there are.
        FileRequest::Changes { channel } => pour(port, requests, channel, b"[{\"path\": \"/"),
        FileRequest::Layer { channel } => {
            pour(port, requests, channel, &header("all", b'0', "", u64::MAX >> 2))
        }
        FileRequest::Put { .. } => answer(port, number, Reply::Created { warnings: Vec::new() }),
    }
}

/// Sends this, and then more until nobody wants it; the end of it, and an answer, never come.
fn pour(port: &mut File, requests: &mut Requests, channel: u32, first: &[u8]) -> io::Result<()> {
    let mut credit = INITIAL_CREDIT;
    let mut piece = first.to_vec();
    loop {
        while let Some(left) = credit.checked_sub(piece.len() as u32) {
            let mut bytes = Vec::new();
            frame::data(&mut bytes, channel, &piece);
            port.write_all(&bytes)?;
            credit = left;
            piece = vec![b'a'; 32 << 10];
        }
        match requests.frame(port)? {
            Frame::Credit { amount, .. } => credit += amount,
            Frame::Stop { .. } => return Ok(()),
            _ => {}
        }
    }
}

/// The header of a tar's entry; a size beyond eleven octal digits in GNU's way.
fn header(name: &str, kind: u8, target: &str, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000755\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, &[0x80]);
    put(128, &size.to_be_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar  \0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn oversized(port: &mut File) -> io::Result<()> {
    port.write_all(&[1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])?;
    forever(port, &[0; 4096])
}

fn forever(port: &mut File, bytes: &[u8]) -> io::Result<()> {
    loop {
        port.write_all(bytes)?;
    }
}

fn answer(port: &mut File, number: u32, reply: Reply) -> io::Result<()> {
    say(port, &FromGuest::Reply { number, result: Ok(reply) })
}

fn say(port: &mut File, message: &FromGuest) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame::message(&mut bytes, Side::Guest, message).map_err(io::Error::other)?;
    port.write_all(&bytes)
}

/// What the monitor asks.
struct Requests {
    decoder: Decoder,
}

impl Requests {
    fn next(&mut self, port: &mut File) -> io::Result<ToGuest> {
        loop {
            if let Frame::Message(json) = self.frame(port)? {
                return frame::read(&json).map_err(io::Error::other);
            }
        }
    }

    fn frame(&mut self, port: &mut File) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(io::Error::other)? {
                return Ok(frame);
            }
            let mut piece = [0; 4096];
            let count = port.read(&mut piece)?;
            self.decoder.push(&piece[..count]);
        }
    }
}
