use super::*;

/// Answers authentication, then each call with what `replies` holds.
fn serve(mut stream: UnixStream, replies: Vec<Vec<u8>>) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    let read = |stream: &mut UnixStream, seen: &mut Vec<u8>, chunk: &mut [u8]| {
        let count = stream.read(chunk).unwrap();
        seen.extend(&chunk[..count]);
    };
    while !seen.ends_with(b"\r\n") {
        read(&mut stream, &mut seen, &mut chunk);
    }
    stream.write_all(b"OK 0123\r\n").unwrap();
    seen.clear();
    while !seen.starts_with(b"BEGIN\r\n") || seen.len() < 20 {
        read(&mut stream, &mut seen, &mut chunk);
    }
    for reply in replies {
        stream.write_all(&reply).unwrap();
    }
    seen.drain(..7);
    seen
}

fn message(kind: u8, reply_to: u32, error: Option<&str>, body: &str) -> Vec<u8> {
    let mut content = Buffer::default();
    content.string(body);
    let mut message = Buffer(vec![b'l', kind, 0, 1]);
    message.u32(content.0.len() as u32);
    message.u32(77);
    message.array(8, |buffer| {
        buffer.0.push(5);
        buffer.signature("u");
        buffer.u32(reply_to);
        if let Some(name) = error {
            buffer.align(8);
            buffer.0.push(4);
            buffer.signature("s");
            buffer.string(name);
        }
        buffer.align(8);
        buffer.0.push(8);
        buffer.signature("g");
        buffer.signature("s");
    });
    message.align(8);
    message.0.extend(content.0);
    message.0
}

fn ask(replies: Vec<Vec<u8>>) -> (Answer, Vec<u8>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || serve(theirs, replies));
    let mut connection = Connection::greet(ours, false).unwrap();
    let answer = connection.call(&Call {
        destination: "d.e",
        path: "/p",
        interface: "i.f",
        member: "M",
        arguments: &[Value::Str("x".into()), Value::Properties(vec![("A", Value::U64(5))])],
    });
    (answer.unwrap(), server.join().unwrap())
}

#[test]
fn a_signal_in_between_is_passed_over() {
    let (answer, sent) = ask(vec![message(4, 9, None, "noise"), message(2, 1, None, "/job/1")]);
    let Answer::Return(body) = answer else { panic!("{answer:?}") };
    assert_eq!(first_string(&body).unwrap(), "/job/1");
    // Fixed part, and the body's alignment: its length and the whole message's agree.
    assert_eq!(&sent[..4], b"l\x01\x00\x01");
    let word = |at: usize| u32::from_le_bytes(sent[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(16 + word(12).next_multiple_of(8) + word(4), sent.len());
    // s "x", then a(sv) whose one element starts at a multiple of 8.
    let body = &sent[sent.len() - word(4)..];
    assert_eq!(&body[..6], b"\x01\0\0\0x\0");
    assert_eq!(u32::from_le_bytes(body[8..12].try_into().unwrap()), 24);
    assert_eq!(&body[16..22], b"\x01\0\0\0A\0");
    assert_eq!(&body[22..25], b"\x01t\0");
    assert_eq!(body[32..40], 5u64.to_le_bytes());
}

#[test]
fn errors_have_name_and_text() {
    let (answer, _) = ask(vec![message(3, 1, Some("org.x.NoSuchUnit"), "not loaded")]);
    let expected = Answer::Error { name: "org.x.NoSuchUnit".into(), text: "not loaded".into() };
    assert_eq!(answer, expected);
}

proptest::proptest! {
    #[test]
    fn hostile_bodies_never_panic(bytes in proptest::collection::vec(0u8.., 0..64)) {
        let _ = first_string(&bytes);
        let _ = variant_string(&bytes);
        let _ = header_fields(&bytes);
    }
}
