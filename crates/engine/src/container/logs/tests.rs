use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use proto::log::{Encoder, Record};

use super::files::numbered;
use super::past::past;
use super::*;

fn directory() -> PathBuf {
    let name = crate::container::names::id().expect("random").to_string();
    let directory = std::env::temp_dir().join(format!("isopod-logs-{name}"));
    std::fs::create_dir_all(&directory).expect("directory");
    directory
}

fn write(path: &Path, texts: &[&str]) {
    let encoder = Encoder::new(Format::Json, &BTreeMap::new());
    let mut bytes = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let time = Timestamp(at as i64 + 1);
        let stream = Stream::Stdout;
        let record = Record { time, stream, text: text.as_bytes(), partial: false };
        encoder.encode(&record, &mut bytes);
    }
    std::fs::write(path, bytes).expect("written");
}

fn lines(path: &Path, tail: Option<u64>) -> Vec<String> {
    lines_with(path, tail, None)
}

fn lines_with(path: &Path, tail: Option<u64>, early: Option<std::fs::File>) -> Vec<String> {
    let options = LogOptions { stdout: true, tail, ..LogOptions::default() };
    let (sender, mut receiver) = mpsc::channel(100);
    past(path, 3, Format::Json, early, &options, &sender).expect("read");
    drop(sender);
    let mut lines = Vec::new();
    while let Some(line) = receiver.blocking_recv() {
        let bytes = line.expect("a line").bytes;
        lines.push(String::from_utf8_lossy(&bytes).trim_end().to_owned());
    }
    lines
}

#[test]
fn a_tail_reaches_into_rotated_files() {
    let directory = directory();
    let path = directory.join("log");
    write(&numbered(&path, 2, ""), &["a", "b"]);
    write(&numbered(&path, 1, ""), &["c", "d"]);
    write(&path, &["e"]);
    assert_eq!(lines(&path, None), ["a", "b", "c", "d", "e"]);
    assert_eq!(lines(&path, Some(2)), ["d", "e"]);
    assert_eq!(lines(&path, Some(4)), ["b", "c", "d", "e"]);
    assert_eq!(lines(&path, Some(0)), Vec::<String>::new());
    std::fs::remove_dir_all(&directory).expect("removed");
}

#[test]
fn a_log_that_was_removed_after_it_was_asked_for_is_read() {
    let directory = directory();
    let path = directory.join("log");
    write(&path, &["kept"]);
    let early = || std::fs::File::open(&path).ok();
    assert_eq!(lines_with(&path, None, early()), ["kept"], "once");
    let early = early();
    std::fs::remove_dir_all(&directory).expect("removed");
    assert_eq!(lines_with(&path, None, early), ["kept"]);
    assert_eq!(lines(&path, None), Vec::<String>::new());
}

#[test]
fn a_file_met_before_and_after_its_compression_is_read_once() {
    let directory = directory();
    let path = directory.join("log");
    let pack = |number: u32| {
        let file = std::fs::File::create(numbered(&path, number, ".gz")).expect("created");
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        let plain = std::fs::read(numbered(&path, number - 1, "")).expect("read");
        encoder.write_all(&plain).and_then(|()| encoder.finish()).expect("packed");
    };
    write(&path, &["c"]);
    write(&numbered(&path, 1, ""), &["a", "b"]);
    pack(2);
    assert_eq!(lines(&path, None), ["a", "b", "c"]);
    assert_eq!(lines(&path, Some(2)), ["b", "c"]);
    // Longer than what is plain: another file, however it begins.
    write(&numbered(&path, 1, ""), &["a"]);
    assert_eq!(lines(&path, None), ["a", "b", "a", "c"]);
    std::fs::remove_dir_all(&directory).expect("removed");
}

/// Appends lines as a monitor does, rotating after every seventh.
fn chatter(path: &Path, max_file: u32, count: i64) {
    let encoder = Encoder::new(Format::Json, &BTreeMap::new());
    let open = || OpenOptions::new().create(true).append(true).open(path).expect("opened");
    let mut file = open();
    for number in 1..=count {
        let text = number.to_string();
        let stream = Stream::Stdout;
        let time = Timestamp(number);
        let record = Record { time, stream, text: text.as_bytes(), partial: false };
        let mut bytes = Vec::new();
        encoder.encode(&record, &mut bytes);
        file.write_all(&bytes).expect("written");
        if number % 7 == 0 {
            for old in (1..max_file - 1).rev() {
                drop(std::fs::rename(numbered(path, old, ""), numbered(path, old + 1, "")));
            }
            std::fs::rename(path, numbered(path, 1, "")).expect("renamed");
            file = open();
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_files_are_rotated() {
    const COUNT: i64 = 700;
    const FILES: u32 = 200;
    let directory = directory();
    let path = directory.join("log");
    std::fs::write(&path, "").expect("written");
    let log = LogFile {
        path: path.clone(),
        max_size: None,
        max_file: FILES,
        compress: false,
        attributes: BTreeMap::new(),
    };
    let options = LogOptions { stdout: true, ..LogOptions::default() };
    let (sender, mut receiver) = mpsc::channel(2 * COUNT as usize);
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || chatter(&path, FILES, COUNT))
    };
    let reading = {
        let (options, sender, path) = (options.clone(), sender.clone(), path.clone());
        aside(move || Ok(past(&path, FILES, Format::Json, None, &options, &sender)))
    };
    let mut open = reading.await.expect("a thread").expect("read").expect("more is wanted");
    while !writer.is_finished() {
        assert!(open.forward(&log, &options, &sender).await.expect("read"));
        tokio::task::yield_now().await;
    }
    assert!(open.forward(&log, &options, &sender).await.expect("read"));
    drop(sender);
    let mut next = 0;
    while let Some(line) = receiver.recv().await {
        next += 1;
        let bytes = line.expect("a line").bytes;
        assert_eq!(String::from_utf8_lossy(&bytes).trim_end(), next.to_string());
    }
    assert_eq!(next, COUNT);
    writer.join().expect("no panic");
    std::fs::remove_dir_all(&directory).expect("removed");
}
