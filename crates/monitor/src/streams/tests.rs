use super::*;
use std::io::{Read as _, Write as _};

const BOTH: Attach = Attach { stdin: true, stdout: true, stderr: true };

/// A process's side of its streams: input, output, errors.
struct Process([std::fs::File; 3]);

fn process(stdin: StdinKind) -> (Streams, Process) {
    let wanted = Wanted { terminal: None, stdin, stdout: true, stderr: true };
    let (stdio, ends) = wanted.make().expect("pipes");
    let Stdio::Fds(theirs) = stdio else { panic!("no terminal was asked for") };
    let streams = Streams::new(ends, None, stdin, Log::default(), None).expect("streams");
    (streams, Process(theirs.map(Into::into)))
}

/// Runs turns until nothing happens for a moment.
fn turn(streams: &mut Streams) {
    let mut scratch = Scratch::default();
    let mut poll = Poll::default();
    loop {
        let mut ready = Vec::new();
        poll.clear();
        streams.register(&mut poll, |part| part);
        poll.wait(Some(Duration::from_millis(20)), &mut ready).expect("polls");
        if ready.is_empty() {
            return;
        }
        for (part, what) in ready {
            streams.ready(part, what, &mut scratch, Instant::now());
        }
    }
}

fn attach(streams: &mut Streams, number: u32) -> std::os::unix::net::UnixStream {
    let (ours, theirs) = sys::stream::pair().expect("pair");
    streams.attach(number, ours, BOTH);
    theirs.into()
}

#[test]
fn every_client_gets_both_streams_and_the_end() {
    let (mut streams, mut process) = process(StdinKind::Null);
    let clients = [attach(&mut streams, 1), attach(&mut streams, 2)];
    process.0[1].write_all(b"out").expect("writes");
    turn(&mut streams);
    process.0[2].write_all(b"err").expect("writes");
    turn(&mut streams);
    drop(process);
    streams.process_ended();
    turn(&mut streams);
    assert!(streams.is_drained());
    drop(streams.close());
    for mut client in clients {
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("ends");
        assert_eq!(got, b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err");
    }
}

#[test]
fn input_for_one_session_ends_with_its_half_close() {
    let (mut streams, mut process) = process(StdinKind::Once);
    let mut client = attach(&mut streams, 1);
    client.write_all(b"hello").expect("writes");
    client.shutdown(std::net::Shutdown::Write).expect("half-closes");
    turn(&mut streams);
    let mut text = String::new();
    process.0[0].read_to_string(&mut text).expect("reads to the end");
    assert_eq!(text, "hello");
    process.0[1].write_all(b"bye").expect("writes");
    turn(&mut streams);
    let mut got = [0; 11];
    client.read_exact(&mut got).expect("still attached");
    assert_eq!(&got[8..], b"bye");
}

#[test]
fn open_input_outlives_its_writers() {
    let (mut streams, mut process) = process(StdinKind::Open);
    for word in [b"one ", b"two "] {
        let mut client = attach(&mut streams, 1);
        client.write_all(word).expect("writes");
        drop(client);
        turn(&mut streams);
        assert!(streams.clients.is_empty(), "let go");
    }
    let mut got = [0; 8];
    process.0[0].read_exact(&mut got).expect("reads");
    assert_eq!(&got, b"one two ");
    streams.process_ended();
    assert_eq!(process.0[0].read(&mut got).expect("reads"), 0, "closed with the process");
}

#[test]
fn a_process_that_does_not_read_holds_up_only_input() {
    let (mut streams, mut process) = process(StdinKind::Open);
    let mut client = attach(&mut streams, 1);
    client.set_nonblocking(true).expect("non-blocking");
    let chunk = [b'x'; 4096];
    let mut sent = 0;
    loop {
        turn(&mut streams);
        match client.write(&chunk) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
    assert!(sent > 64 << 10);
    process.0[1].write_all(b"out").expect("writes");
    turn(&mut streams);
    let mut got = [0; 11];
    client.read_exact(&mut got).expect("output still comes");
    let mut input = process.0[0].try_clone().expect("clones");
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        input.read_to_end(&mut all).expect("reads");
        all.len()
    });
    // Its peer has gone with much still unread by us.
    drop(client);
    for _ in 0..50 {
        turn(&mut streams);
    }
    assert!(streams.clients.is_empty());
    streams.process_ended();
    assert_eq!(reader.join().expect("joins"), sent);
}

#[test]
fn a_stopped_client_holds_up_output_for_a_limited_time() {
    let (mut streams, mut process) = process(StdinKind::Null);
    streams.patience = Some(Duration::from_millis(50));
    let _stopped = attach(&mut streams, 1);
    let chunk = vec![b'x'; 64 << 10];
    let writer = std::thread::spawn(move || {
        for _ in 0..64 {
            process.0[1].write_all(&chunk).expect("writes");
        }
    });
    let mut stalled = false;
    while !streams.is_drained() {
        turn(&mut streams);
        stalled |= streams.is_stalled();
        if writer.is_finished() && streams.is_stalled() {
            std::thread::sleep(Duration::from_millis(50));
        }
        streams.expire(Instant::now());
        std::thread::sleep(Duration::from_millis(5));
    }
    writer.join().expect("was not blocked for good");
    assert!(stalled, "it was waited for");
    assert!(streams.dropped() > 1 << 20, "and what it did not get was counted");
}

#[test]
fn a_terminal_is_kept_open_until_the_process_ends() {
    let devpts = std::fs::File::open("/dev/pts").expect("devpts");
    let master = sys::pty::open_in(&devpts).expect("master");
    let slave = sys::pty::peer(&master).expect("slave");
    let mut streams =
        Streams::new(Ends::default(), Some(master), StdinKind::Open, Log::default(), None)
            .expect("streams");
    let mut client = attach(&mut streams, 1);
    std::fs::File::from(slave).write_all(b"one\n").expect("writes");
    turn(&mut streams);
    assert!(!streams.is_drained(), "nobody has it open but us");
    streams.resize(WindowSize { rows: 7, cols: 70 }).expect("resizes");
    let master = streams.console.as_ref().map(|console| Rc::clone(&console.master));
    let size = sys::pty::size(&*master.expect("a terminal")).expect("size");
    assert_eq!(size, (7, 70));
    streams.process_ended();
    turn(&mut streams);
    assert!(streams.is_drained());
    drop(streams.close());
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("ends");
    assert_eq!(got, b"one\r\n", "raw");
}
