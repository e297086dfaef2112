//! As much of RFC 6455 as attaching over a websocket needs.

use crate::http::{Client, read_head};
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;

/// An open websocket.
#[derive(Debug)]
pub struct WebSocket {
    stream: BufReader<UnixStream>,
}

impl WebSocket {
    /// The opening handshake; the answer must be 101 with the right accept key.
    #[must_use]
    pub fn open(client: &Client, path: &str) -> Self {
        let mut stream = client.connect();
        // The key and answer of RFC 6455, section 1.3.
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: docker\r\nOrigin: http://docker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("sending the handshake");
        let mut stream = BufReader::new(stream);
        let (status, headers) = read_head(&mut stream).expect("the handshake's answer");
        assert_eq!(status, 101, "GET {path} as a websocket");
        let accept = headers.iter().find(|(name, _)| name == "sec-websocket-accept");
        assert_eq!(
            accept.map(|(_, value)| value.as_str()),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "sec-websocket-accept"
        );
        Self { stream }
    }

    /// Sends one binary message, masked as a client must.
    pub fn send(&mut self, payload: &[u8]) {
        self.frame(2, payload);
    }

    /// Starts the closing handshake.
    pub fn close(&mut self) {
        self.frame(8, &[]);
    }

    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let mask = [7, 11, 13, 17];
        assert!(payload.len() < 126, "only short messages are sent");
        let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.get_mut().write_all(&frame).expect("sending a websocket frame");
    }

    /// The next data message; `None` once the other side closed.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut head = [0; 2];
            if self.stream.read_exact(&mut head).is_err() {
                return None;
            }
            assert_eq!(head[1] & 0x80, 0, "a server does not mask");
            let length = match head[1] {
                126 => {
                    let mut bytes = [0; 2];
                    self.stream.read_exact(&mut bytes).expect("a frame's length");
                    u64::from(u16::from_be_bytes(bytes))
                }
                127 => {
                    let mut bytes = [0; 8];
                    self.stream.read_exact(&mut bytes).expect("a frame's length");
                    u64::from_be_bytes(bytes)
                }
                short => u64::from(short),
            };
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).expect("a frame's payload");
            match head[0] & 0x0f {
                0..=2 => return Some(payload),
                8 => return None,
                _ => {}
            }
        }
    }

    /// Messages joined until `mark` has been seen or the other side closed.
    pub fn read_until(&mut self, mark: &str) -> String {
        let mut all = String::new();
        while !all.contains(mark) {
            let Some(message) = self.receive() else { break };
            all.push_str(&String::from_utf8_lossy(&message));
        }
        all
    }
}
