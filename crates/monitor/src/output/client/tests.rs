use super::*;

const BOTH: Attach = Attach { stdin: true, stdout: true, stderr: true };

fn attached(raw: bool) -> (Client, OwnedFd) {
    let (ours, theirs) = sys::stream::pair().expect("pair");
    (Client::new(1, ours, BOTH, raw), theirs)
}

/// Everything that can be read now.
fn take(socket: &OwnedFd) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut piece = Vec::with_capacity(64 << 10);
        match sys::stream::receive_now(socket, &mut piece) {
            Ok(0) => return all,
            Ok(_) => all.extend(piece),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                return all;
            }
        }
    }
}

const WRITABLE: Ready = Ready { readable: false, writable: true, gone: false };

/// Splits frames; asserts that there are only whole ones.
fn frames(mut bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = frame_length(bytes);
        assert!(length <= bytes.len(), "a frame is cut");
        found.push((bytes[0], length - HEAD));
        bytes = &bytes[length..];
    }
    found
}

#[test]
fn output_is_framed_or_raw() {
    let now = Instant::now();
    let (mut client, other) = attached(false);
    assert_eq!(client.offer(Stream::Stderr, b"hi", now), 0);
    assert_eq!(take(&other), b"\x02\0\0\0\0\0\0\x02hi");
    let (mut client, other) = attached(true);
    client.offer(Stream::Stdout, b"hi", now);
    assert_eq!(take(&other), b"hi");
}

#[test]
fn only_what_was_asked_for_is_sent() {
    let (ours, theirs) = sys::stream::pair().expect("pair");
    let wants = Attach { stdin: false, stdout: false, stderr: true };
    let mut client = Client::new(1, ours, wants, false);
    assert_eq!(client.offer(Stream::Stdout, b"no", Instant::now()), 0);
    assert!(take(&theirs).is_empty());
    assert!(!client.has_input());
}

#[test]
fn a_slow_reader_loses_nothing_in_time() {
    let now = Instant::now();
    let (mut client, other) = attached(false);
    let chunk = vec![b'x'; 64 << 10];
    let mut offered = 0;
    while !client.is_waiting() {
        assert_eq!(client.offer(Stream::Stdout, &chunk, now), 0);
        offered += chunk.len();
    }
    let mut got = Vec::new();
    while !client.is_clear() {
        got.extend(take(&other));
        client.write_ready(WRITABLE, now);
    }
    got.extend(take(&other));
    assert!(!client.is_waiting());
    assert_eq!(frames(&got).iter().map(|(_, length)| length).sum::<usize>(), offered);
}

#[test]
fn a_stopped_reader_is_skipped_by_whole_frames_and_comes_back() {
    let start = Instant::now();
    let (mut client, other) = attached(false);
    let chunk = vec![b'x'; 50_000];
    let mut offered = 0;
    while !client.is_waiting() {
        client.offer(Stream::Stdout, &chunk, start);
        offered += chunk.len();
    }
    // The other stream's chunk of the same turn.
    client.offer(Stream::Stderr, b"more", start);
    offered += 4;
    let patience = Some(Duration::from_secs(10));
    assert_eq!(client.expire(patience, start + Duration::from_secs(9)), 0);
    let late = start + Duration::from_secs(10);
    let mut dropped = client.expire(patience, late);
    assert!(!client.is_waiting(), "it holds nobody up any more");
    dropped += client.offer(Stream::Stdout, b"lost", late);
    offered += 4;
    let mut got = take(&other);
    while !client.is_clear() {
        client.write_ready(WRITABLE, late);
        got.extend(take(&other));
    }
    client.write_ready(WRITABLE, late);
    assert_eq!(client.offer(Stream::Stdout, b"again", late), 0);
    got.extend(take(&other));
    let frames = frames(&got);
    assert_eq!(frames.last(), Some(&(1, 5)));
    let received: usize = frames.iter().map(|(_, length)| length).sum();
    assert_eq!(received + dropped, offered + 5, "what is missing was counted");
}

#[test]
fn a_half_closed_client_still_gets_output() {
    let (mut client, other) = attached(true);
    sys::stream::send_now(&other, b"in", b"put").expect("sends");
    sys::stream::shutdown_write(&other).expect("shuts down");
    let mut buffer = Vec::with_capacity(100);
    assert_eq!(client.read(&mut buffer), Fed::Bytes(5));
    assert_eq!(client.read(&mut buffer), Fed::Ended);
    assert!(!client.is_finished());
    client.offer(Stream::Stdout, b"out", Instant::now());
    assert_eq!(take(&other), b"out");
    drop(other);
    client.offer(Stream::Stdout, b"out", Instant::now());
    assert!(client.is_finished());
}

#[test]
fn the_input_of_a_client_that_has_gone_is_still_read() {
    let (mut client, other) = attached(true);
    sys::stream::send_now(&other, &[], b"last words").expect("sends");
    drop(other);
    client.write_ready(Ready { readable: true, writable: true, gone: true }, Instant::now());
    assert!(!client.is_finished());
    assert_eq!(client.interest(false), None, "not polled while stdin has no room");
    let mut buffer = Vec::with_capacity(100);
    assert_eq!(client.read(&mut buffer), Fed::Bytes(10));
    assert_eq!(client.read(&mut buffer), Fed::Ended);
    assert!(client.is_finished());
}
