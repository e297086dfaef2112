use std::io::{Read as _, Write as _};

use super::*;

/// Two links that are joined, with everything that comes out of them.
struct Pair {
    host: Link,
    guest: Link,
    /// Where the guest's end can be written to by hand.
    raw: Option<OwnedFd>,
}

fn pair() -> Pair {
    sys::signal::ignore(sys::signal::SIGPIPE).expect("ignored");
    let (a, b) = sys::stream::pair().expect("pair");
    let raw = b.try_clone().expect("cloned");
    Pair {
        host: Link::new(a, Side::Guest).expect("host"),
        guest: Link::new(b, Side::Host).expect("guest"),
        raw: Some(raw),
    }
}

impl Pair {
    /// One turn of both; what the host's link says in the end.
    fn turn(&mut self, events: &mut Vec<Event>) -> Result<(), Broken> {
        let mut poll = Poll::default();
        let mut ready = Vec::new();
        self.host.flush()?;
        self.guest.flush()?;
        self.host.register(&mut poll, |part| (true, part));
        self.guest.register(&mut poll, |part| (false, part));
        let limit = std::time::Duration::from_secs(20);
        poll.wait(Some(limit), &mut ready).expect("polls");
        assert!(!ready.is_empty(), "nothing goes on");
        for ((host, part), what) in ready {
            let link = if host { &mut self.host } else { &mut self.guest };
            link.ready(part, what)?;
            while let Some(event) = link.next()? {
                events.push(event);
            }
        }
        Ok(())
    }

    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        while !done(self) {
            self.turn(&mut events).expect("works");
        }
        events
    }
}

fn reader(fd: OwnedFd) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        std::fs::File::from(fd).read_to_end(&mut all).expect("reads");
        all
    })
}

#[test]
fn megabytes_go_both_ways_to_their_end() {
    let mut pair = pair();
    let text: Vec<u8> =
        (0..3_000_000u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let mut readers = Vec::new();
    for channel in [1, 2] {
        let (source, into) = sys::stream::pipe().expect("pipe");
        let (from, sink) = sys::stream::pipe().expect("pipe");
        let text = text.clone();
        std::thread::spawn(move || std::fs::File::from(into).write_all(&text).expect("writes"));
        readers.push(reader(from));
        let (sender, receiver) = match channel {
            1 => (&mut pair.host, &mut pair.guest),
            _ => (&mut pair.guest, &mut pair.host),
        };
        sender.draw(channel, source).expect("draws");
        receiver.pour(channel, sink).expect("pours");
    }
    pair.until(|pair| pair.host.is_idle() && pair.guest.is_idle());
    for reader in readers {
        assert!(reader.join().expect("joins") == text);
    }
}

#[test]
fn a_writer_that_nobody_reads_stops_and_goes_on() {
    let mut pair = pair();
    let (source, into) = sys::stream::pipe().expect("pipe");
    let (from, sink) = sys::stream::pipe().expect("pipe");
    sys::stream::set_nonblocking(&into).expect("set");
    pair.guest.draw(1, source).expect("draws");
    pair.host.pour(1, sink).expect("pours");
    let mut written = 0;
    let piece = [7; 4096];
    // Until everything on the way is full: nothing can be written and nothing moves any more.
    let mut still = 0;
    while still < 3 {
        let mut moved = false;
        while let Ok(count) = sys::stream::write(&into, &piece) {
            written += count;
            moved = true;
        }
        let mut poll = Poll::default();
        let mut ready = Vec::new();
        pair.host.register(&mut poll, |part| (true, part));
        pair.guest.register(&mut poll, |part| (false, part));
        poll.wait(Some(std::time::Duration::from_millis(1)), &mut ready).expect("polls");
        for ((host, part), what) in ready {
            let link = if host { &mut pair.host } else { &mut pair.guest };
            link.ready(part, what).expect("works");
            assert_eq!(link.next().expect("works"), None);
            moved = true;
        }
        still = if moved { 0 } else { still + 1 };
    }
    assert!(written < 1 << 20, "{written} bytes are kept for a reader that does not come");
    drop(into);
    let reader = reader(from);
    pair.until(|pair| pair.host.is_idle() && pair.guest.is_idle());
    assert_eq!(reader.join().expect("joins").len(), written);
}

#[test]
fn it_is_known_whose_turn_it_is() {
    let mut pair = pair();
    let (source, into) = sys::stream::pipe().expect("pipe");
    let (from, sink) = sys::stream::pipe().expect("pipe");
    pair.guest.draw(1, source).expect("draws");
    pair.host.pour(1, sink).expect("pours");
    let waiting = pair.host.progress(1);
    assert_eq!((waiting.theirs, pair.guest.progress(1).theirs), (true, false), "the writer's");
    sys::stream::set_nonblocking(&into).expect("set");
    // More than the pipes and the credit take.
    let full = |pair: &mut Pair| {
        while sys::stream::write(&into, &[7; 4096]).is_ok() {}
        !pair.host.progress(1).theirs && pair.guest.progress(1).theirs
    };
    pair.until(full);
    assert_ne!(pair.host.progress(1), waiting, "something has moved");
    let stuck = pair.host.progress(1);
    drop(into);
    let reader = reader(from);
    pair.until(|pair| pair.host.is_idle() && pair.guest.is_idle());
    assert!(!reader.join().expect("joins").is_empty());
    let ended = pair.host.progress(1);
    assert!(ended.theirs && ended.moved != stuck.moved, "{stuck:?} {ended:?}");
}

#[test]
fn a_reader_that_goes_ends_its_writer() {
    let mut pair = pair();
    let (source, into) = sys::stream::pipe().expect("pipe");
    let (from, sink) = sys::stream::pipe().expect("pipe");
    pair.guest.draw(1, source).expect("draws");
    pair.host.pour(1, sink).expect("pours");
    drop(from);
    pair.until(|pair| !pair.guest.is_open(1) && !pair.host.is_open(1));
    let error = sys::stream::write(&into, b"x").expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn messages_and_names_come_in_order() {
    let mut pair = pair();
    pair.guest.send(&"one").expect("sends");
    pair.guest.send_name(5, b"question");
    pair.guest.send(&"two").expect("sends");
    let mut events = Vec::new();
    while events.len() < 3 {
        pair.turn(&mut events).expect("works");
    }
    let expected = [
        Event::Message(b"\"one\"".to_vec()),
        Event::Name { question: 5, bytes: b"question".to_vec() },
        Event::Message(b"\"two\"".to_vec()),
    ];
    assert_eq!(events, expected);
}

#[test]
fn data_may_stand_right_behind_the_message_that_opens_their_channel() {
    let mut pair = pair();
    let (source, into) = sys::stream::pipe().expect("pipe");
    sys::stream::write(&into, b"data").expect("writes");
    drop(into);
    pair.host.send(&"open").expect("sends");
    pair.host.draw(1, source).expect("draws");
    let mut poll = Poll::default();
    let mut ready = Vec::new();
    pair.host.register(&mut poll, |part| part);
    poll.wait(None, &mut ready).expect("polls");
    let source = ready.iter().find(|(part, _)| *part == Part::Source(1)).expect("readable").1;
    pair.host.ready(Part::Source(1), source).expect("works");
    pair.host.ready(Part::Source(1), source).expect("works");
    assert!(pair.host.is_clear(), "message, data and end are on their way");
    let readable = Ready { readable: true, writable: false, gone: false };
    pair.guest.ready(Part::Port, readable).expect("works");
    let message = Event::Message(b"\"open\"".to_vec());
    assert_eq!(pair.guest.next().expect("a message"), Some(message));
    let (from, sink) = sys::stream::pipe().expect("pipe");
    pair.guest.pour(1, sink).expect("pours");
    assert_eq!(pair.guest.next().expect("all of it"), None);
    assert_eq!(reader(from).join().expect("joins"), b"data");
}

#[test]
fn a_side_that_misbehaves_breaks_its_link_only() {
    let frames: [&[u8]; 4] = [
        &[9, 0, 0, 0, 0, 0, 0, 0, 0],
        &[2, 7, 0, 0, 0, 1, 0, 0, 0, b'x'],
        &[4, 7, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0, 255, 255, 255, 255],
    ];
    for frame in frames {
        let mut pair = pair();
        let raw = pair.raw.take().expect("there");
        sys::stream::write(raw, frame).expect("writes");
        let broken = pair.turn(&mut Vec::new()).expect_err("refused");
        assert!(matches!(broken, Broken::Violation(_)), "{broken}");
    }
}
