use super::*;
use bytes::Bytes;

use crate::socket::Socket;

fn terms(stdin: bool, keys: Option<Watch>) -> Terms {
    Terms { stdin, keys, output: Output::AsItIs }
}

/// A relay between a client's socket and a container's, and what it gives in the end.
fn setup(
    early: &'static [u8],
    stdin: bool,
    keys: Option<Watch>,
) -> (UnixStream, UnixStream, tokio::task::JoinHandle<End>) {
    let (client, server) = UnixStream::pair().expect("a pair");
    let (engine, container) = UnixStream::pair().expect("a pair");
    let server = Client { socket: Socket::Unix(server), early: Bytes::from_static(early) };
    let task = tokio::spawn(relay(server, engine, terms(stdin, keys), std::future::ready(None)));
    (client, container, task)
}

async fn rest(mut stream: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("reads");
    bytes
}

#[tokio::test]
async fn input_ends_without_ending_output() {
    let (mut client, mut container, task) = setup(b"ear", true, None);
    client.write_all(b"ly").await.expect("writes");
    client.shutdown().await.expect("half-closes");
    let mut typed = Vec::new();
    container.read_to_end(&mut typed).await.expect("reads");
    assert_eq!(typed, b"early");
    container.write_all(b"out").await.expect("writes");
    drop(container);
    assert_eq!(rest(client).await, b"out");
    assert_eq!(task.await.expect("no panic"), End::Output);
}

#[tokio::test]
async fn all_output_arrives_before_the_end() {
    let (client, mut container, task) = setup(b"", true, None);
    let big = vec![7; 1 << 20];
    let writer = tokio::spawn(async move {
        container.write_all(&big).await.expect("writes");
    });
    // The client is slow to begin with.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(rest(client).await.len(), 1 << 20);
    writer.await.expect("no panic");
    assert_eq!(task.await.expect("no panic"), End::Output);
}

#[tokio::test]
async fn unread_input_does_not_cost_output() {
    let (mut client, mut container, task) = setup(b"", true, None);
    container.write_all(b"result").await.expect("writes");
    drop(container);
    client.write_all(b"nobody reads this").await.expect("writes");
    assert_eq!(rest(client).await, b"result");
    assert_eq!(task.await.expect("no panic"), End::Output);
}

#[tokio::test]
async fn output_gets_and_loses_frames() {
    let framed = frame(Channel::Stdout, b"hi");
    for (output, said, heard) in
        [(Output::Framed, &b"hi"[..], &framed[..]), (Output::Unframed, &framed[..], &b"hi"[..])]
    {
        let (client, server) = UnixStream::pair().expect("a pair");
        let (engine, mut container) = UnixStream::pair().expect("a pair");
        let server = Client { socket: Socket::Unix(server), early: Bytes::new() };
        let terms = Terms { output, ..terms(false, None) };
        tokio::spawn(relay(server, engine, terms, std::future::ready(None)));
        container.write_all(said).await.expect("writes");
        drop(container);
        assert_eq!(rest(client).await, heard);
    }
}

#[tokio::test]
async fn the_detach_keys_end_it_and_are_not_passed_on() {
    let keys = Some(Watch::new(vec![16, 17]));
    let (mut client, container, task) = setup(b"", true, keys);
    client.write_all(b"ls\x10").await.expect("writes");
    client.write_all(b"\x11rest").await.expect("writes");
    assert_eq!(rest(container).await, b"ls");
    assert_eq!(rest(client).await, b"");
    assert_eq!(task.await.expect("no panic"), End::Detached);
}

#[tokio::test]
async fn without_stdin_nothing_is_typed_and_nothing_is_closed() {
    let (mut client, mut container, task) = setup(b"x", false, None);
    client.write_all(b"y").await.expect("writes");
    client.shutdown().await.expect("half-closes");
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_millis(50), container.read(&mut byte)).await;
    assert!(read.is_err(), "neither bytes nor an end: {read:?}");
    container.write_all(b"out").await.expect("writes");
    drop(container);
    assert_eq!(rest(client).await, b"out");
    assert_eq!(task.await.expect("no panic"), End::Output);
}

#[tokio::test]
async fn the_client_hears_of_the_end_when_all_is_settled() {
    let (mut client, server) = UnixStream::pair().expect("a pair");
    let (engine, container) = UnixStream::pair().expect("a pair");
    let server = Client { socket: Socket::Unix(server), early: Bytes::new() };
    let (say, heard) = tokio::sync::oneshot::channel::<()>();
    let settled = async {
        drop(heard.await);
        Some(258)
    };
    let task = tokio::spawn(relay(server, engine, terms(false, None), settled));
    drop(container);
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(50), client.read(&mut byte)).await;
    assert!(early.is_err(), "{early:?}");
    say.send(()).expect("is waited for");
    assert_eq!(rest(client).await, b"\x04\0\0\0\0\0\0\x04\0\0\x01\x02");
    assert_eq!(task.await.expect("no panic"), End::Output);
}

#[tokio::test]
async fn a_client_that_is_gone_ends_it_at_the_next_output() {
    let (client, mut container, task) = setup(b"", true, None);
    drop(client);
    container.write_all(b"out").await.expect("writes");
    assert_eq!(task.await.expect("no panic"), End::ClientGone);
}
