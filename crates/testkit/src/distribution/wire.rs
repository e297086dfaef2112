//! Answers as they are on the wire.

use crate::http::{Response, read_head};
use std::io::{BufRead, BufReader, Error, Read, Result};
use std::net::TcpStream;

/// Reads a whole answer.
pub(super) fn answer(stream: TcpStream, no_body: bool, asked: String) -> Result<Response> {
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader)?;
    let mut response = Response { asked, status, headers, body: Vec::new() };
    if no_body || status == 204 || status == 304 {
        return Ok(response);
    }
    let chunked =
        response.header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
    let length = response.header("content-length").and_then(|value| value.parse::<u64>().ok());
    match length {
        _ if chunked => response.body = chunks(&mut reader)?,
        Some(length) => {
            reader.take(length).read_to_end(&mut response.body)?;
            if response.body.len() as u64 != length {
                return Err(Error::other(format!(
                    "the body ends after {} of {length} bytes",
                    response.body.len()
                )));
            }
        }
        None => {
            reader.read_to_end(&mut response.body)?;
        }
    }
    Ok(response)
}

fn chunks(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16);
        let size = size.map_err(|_| Error::other(format!("no chunk: {line:?}")))?;
        reader.take(size).read_to_end(&mut body)?;
        // What follows each chunk, and the last one's trailers.
        line.clear();
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(body);
        }
    }
}
