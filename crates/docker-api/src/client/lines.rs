//! Sequences of JSON objects, with or without line ends between them.

use std::marker::PhantomData;

use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::Error;

/// Takes objects out of bytes, however they arrive.
#[derive(Debug, Default)]
pub struct JsonLines {
    buffer: BytesMut,
}

impl JsonLines {
    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole object, or `None` until more bytes come.
    ///
    /// # Errors
    /// Bytes that are no such JSON.
    pub fn next_object<T: DeserializeOwned>(&mut self) -> Result<Option<T>, serde_json::Error> {
        let mut objects = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<T>();
        match objects.next() {
            None => {
                self.buffer.clear();
                Ok(None)
            }
            Some(Ok(object)) => {
                let used = objects.byte_offset();
                self.buffer.advance(used);
                Ok(Some(object))
            }
            Some(Err(error)) if error.is_eof() => Ok(None),
            Some(Err(error)) => Err(error),
        }
    }
}

/// An answer that is a sequence of JSON objects.
pub struct JsonStream<T> {
    body: Incoming,
    lines: JsonLines,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonStream<T> {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, lines: JsonLines::default(), of: PhantomData }
    }

    /// The next object; `None` at the end.
    ///
    /// # Errors
    /// A broken connection, bytes that are no such JSON.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(object) = self.lines.next_object().map_err(Error::Decode)? {
                return Ok(Some(object));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Error::Http(error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.lines.push(data);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_objects(
            numbers in prop::collection::vec(any::<i32>(), 0..8), cut in 1usize..9,
        ) {
            let text: String = numbers.iter().map(|n| format!("{{\"n\":{n}}}\r\n")).collect();
            let mut lines = JsonLines::default();
            let mut seen = Vec::new();
            for piece in text.as_bytes().chunks(cut) {
                lines.push(piece);
                while let Some(object) = lines.next_object::<serde_json::Value>().expect("JSON") {
                    seen.push(object["n"].as_i64().expect("a number"));
                }
            }
            prop_assert_eq!(seen, numbers.into_iter().map(i64::from).collect::<Vec<_>>());
        }
    }
}
