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
use proto::guest::{FileRequest, FromGuest, Hello, Notice, Reply, Request, Side, ToGuest, VERSION};

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
        "late" | "dying" | "deaf" => {
            answer(port, first.number, Reply::Done)?;
            serve(mode, port, &mut requests)
        }
        other => Err(io::Error::other(format!("no mode is called {other:?}"))),
    }
}

/// A good agent until its container runs: then a frame that is too long, or killed processes without
/// end. The container of one that is deaf ends well; what it does not hear is where a file is, and that
/// its machine is to end which has no container.
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
                    _ => say(port, &FromGuest::Notice(Notice::Exited { exit_code: 0 }))?,
                }
            }
            Request::Files(FileRequest::Export { channel }) => {
                let mut bytes = Vec::new();
                frame::data(&mut bytes, channel, b"files");
                frame::end(&mut bytes, channel);
                port.write_all(&bytes)?;
                answer(port, number, Reply::Done)?;
            }
            Request::Shutdown if has_container => answer(port, number, Reply::Done)?,
            _ => {}
        }
    }
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
            match self.decoder.next().map_err(io::Error::other)? {
                Some(Frame::Message(json)) => {
                    return frame::read(&json).map_err(io::Error::other);
                }
                Some(_) => {}
                None => {
                    let mut piece = [0; 4096];
                    let count = port.read(&mut piece)?;
                    self.decoder.push(&piece[..count]);
                }
            }
        }
    }
}
