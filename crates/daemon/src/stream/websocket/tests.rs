use super::frame::tests::client as client_frame;
use super::frame::{encode, encode_close};
use super::*;
use crate::socket::Socket;
use crate::stream::frames::{Channel, frame as framed};

fn handshake(changes: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    .iter()
    .chain(changes)
    {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn the_handshake_of_the_rfc_is_accepted() {
    let head = accept(&handshake(&[]), &HeaderMap::new()).expect("accepted");
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("\r\nSec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
}

#[test]
fn other_requests_are_refused() {
    for (change, refusal) in [
        (("upgrade", "tcp"), Refusal::NoUpgrade),
        (("connection", "close"), Refusal::NoUpgrade),
        (("sec-websocket-version", "8"), Refusal::Version),
        (("sec-websocket-key", "c2hvcnQ="), Refusal::Key),
        (("sec-websocket-key", "?"), Refusal::Key),
    ] {
        assert_eq!(accept(&handshake(&[change]), &HeaderMap::new()), Err(refusal));
    }
    assert_eq!(accept(&HeaderMap::new(), &HeaderMap::new()), Err(Refusal::NoUpgrade));
}

struct Setup {
    client: UnixStream,
    container: UnixStream,
    task: tokio::task::JoinHandle<End>,
}

fn setup(session: Session) -> Setup {
    let (client, server) = UnixStream::pair().expect("a pair");
    let (engine, container) = UnixStream::pair().expect("a pair");
    let server = Client { socket: Socket::Unix(server), early: bytes::Bytes::new() };
    let task = tokio::spawn(run(server, engine, session, std::future::ready(())));
    Setup { client, container, task }
}

fn session() -> Session {
    Session { stdin: true, framed: true, text: false, keys: None }
}

async fn rest(mut stream: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("reads");
    bytes
}

#[tokio::test]
async fn output_comes_in_frames_and_ends_with_a_close() {
    let Setup { client, mut container, task } = setup(session());
    container.write_all(&framed(Channel::Stdout, b"hello")).await.expect("writes");
    drop(container);
    let expected = [encode(Opcode::Binary, b"hello"), encode_close(NORMAL)].concat();
    assert_eq!(rest(client).await, expected);
    assert_eq!(task.await.expect("no panic"), End::Output);
}

#[tokio::test]
async fn input_is_unmasked_and_pings_are_answered() {
    let Setup { mut client, mut container, task } = setup(session());
    client
        .write_all(&client_frame(false, Opcode::Text, [1, 2, 3, 4], b"in"))
        .await
        .expect("writes");
    client.write_all(&client_frame(true, Opcode::Ping, [5; 4], b"?")).await.expect("writes");
    client
        .write_all(&client_frame(true, Opcode::Continuation, [6; 4], b"put"))
        .await
        .expect("writes");
    let mut typed = [0; 5];
    container.read_exact(&mut typed).await.expect("reads");
    assert_eq!(&typed, b"input");
    let mut pong = [0; 3];
    client.read_exact(&mut pong).await.expect("reads");
    assert_eq!(pong[..], encode(Opcode::Pong, b"?"));
    client
        .write_all(&client_frame(true, Opcode::Close, [0; 4], &1000u16.to_be_bytes()))
        .await
        .expect("writes");
    assert_eq!(rest(client).await, encode_close(1000));
    assert_eq!(task.await.expect("no panic"), End::Output);
}

#[tokio::test]
async fn a_broken_protocol_is_answered_with_1002() {
    let Setup { mut client, container: _container, task } = setup(session());
    client.write_all(b"\x81\x05Hello\0\0\0\0").await.expect("writes");
    assert_eq!(rest(client).await, encode_close(frame::PROTOCOL_ERROR));
    assert_eq!(task.await.expect("no panic"), End::Output);
}

#[tokio::test]
async fn a_terminal_has_detach_keys_and_old_clients_get_text() {
    let keys = Some(Watch::new(vec![16, 17]));
    let Setup { mut client, mut container, task } =
        setup(Session { framed: false, text: true, keys, ..session() });
    container.write_all(b"$ ").await.expect("writes");
    let mut shown = [0; 4];
    client.read_exact(&mut shown).await.expect("reads");
    assert_eq!(shown[..], encode(Opcode::Text, b"$ "));
    client
        .write_all(&client_frame(true, Opcode::Binary, [9; 4], b"x\x10\x11y"))
        .await
        .expect("writes");
    assert_eq!(rest(container).await, b"x");
    assert_eq!(rest(client).await, encode_close(NORMAL));
    assert_eq!(task.await.expect("no panic"), End::Detached);
}

#[tokio::test]
async fn a_client_that_vanishes_ends_it() {
    let Setup { client, container: _container, task } = setup(session());
    drop(client);
    assert_eq!(task.await.expect("no panic"), End::ClientGone);
}
