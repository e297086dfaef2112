//! The client of [`super::work`]'s server: how much comes through, and how long there and back takes.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::work::{ECHO, GIVE, TAKE, give, take};

/// How long a connection, or one piece of what goes over it, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes to and fro that are not counted.
const WARMING: u32 = 16;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Bytes a second to the server.
    pub(super) to: f64,
    /// Bytes a second from it.
    pub(super) from: f64,
    /// Seconds there and back.
    pub(super) round_trip: f64,
}

/// Asks the server at this address, with so many bytes each way and so many round trips.
///
/// # Errors
/// Nobody answers there, or not with what was asked for.
pub(super) fn probe(address: SocketAddr, bytes: u64, round_trips: u32) -> io::Result<Found> {
    Ok(Found {
        to: bytes as f64 / send(address, bytes)?,
        from: bytes as f64 / receive(address, bytes)?,
        round_trip: bounce(address, round_trips)?,
    })
}

fn connect(address: SocketAddr, first: &[u8]) -> io::Result<TcpStream> {
    let unreachable = |error: io::Error| {
        let place = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => ip.to_string(),
        };
        io::Error::new(
            error.kind(),
            format!(
                "cannot reach {place} from here ({error}): run this where the daemon's networks are"
            ),
        )
    };
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(first)?;
    Ok(stream)
}

/// Seconds until the server has had all of it.
fn send(address: SocketAddr, bytes: u64) -> io::Result<f64> {
    let mut stream = connect(address, &[TAKE])?;
    let began = Instant::now();
    give(&mut stream, bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    all(u64::from_be_bytes(answer), bytes)?;
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds until all of it is here.
fn receive(address: SocketAddr, bytes: u64) -> io::Result<f64> {
    let mut stream = connect(address, &[GIVE])?;
    let began = Instant::now();
    stream.write_all(&bytes.to_be_bytes())?;
    all(take(&mut stream)?, bytes)?;
    Ok(began.elapsed().as_secs_f64())
}

fn all(seen: u64, bytes: u64) -> io::Result<()> {
    if seen == bytes {
        return Ok(());
    }
    Err(io::Error::other(format!("{seen} bytes of {bytes} came through")))
}

/// Seconds for one byte there and back.
fn bounce(address: SocketAddr, round_trips: u32) -> io::Result<f64> {
    let mut stream = connect(address, &[ECHO])?;
    let mut byte = [42];
    let mut rounds = |count| {
        let began = Instant::now();
        for _ in 0..count {
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
        }
        Ok::<_, io::Error>(began.elapsed().as_secs_f64())
    };
    rounds(WARMING)?;
    Ok(rounds(round_trips)? / f64::from(round_trips.max(1)))
}
