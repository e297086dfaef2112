use super::*;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use proto::launch::LogFile as FileConfig;
use proto::log::{Decoder, Entry};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("isopod-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("directory");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(dir: &Dir, max_size: Option<u64>, max_file: u32, compress: bool) -> FileConfig {
    let path = dir.0.join("x.log");
    FileConfig { path, max_size, max_file, compress, attributes: BTreeMap::new() }
}

fn entries(format: Format, bytes: &[u8]) -> Vec<Entry> {
    let mut decoder = Decoder::new(format);
    decoder.push(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = decoder.entry().expect("undamaged") {
        entries.push(entry);
    }
    assert_eq!(decoder.pending(), 0);
    entries
}

fn texts(path: &Path) -> Vec<String> {
    entries(Format::Json, &std::fs::read(path).expect("readable"))
        .into_iter()
        .map(|entry| String::from_utf8(entry.text).expect("text"))
        .collect()
}

#[test]
fn both_streams_keep_their_lines_apart() {
    for format in [Format::Json, Format::Local] {
        let dir = Dir::new(if format == Format::Json { "apart-json" } else { "apart-local" });
        let file = config(&dir, None, 1, false);
        let path = file.path.clone();
        let config =
            if format == Format::Json { Config::JsonFile(file) } else { Config::Local(file) };
        let mut log = Log::open(&config).expect("opens");
        log.write(Stream::Stdout, b"one\nhal");
        log.write(Stream::Stderr, b"other\n");
        log.write(Stream::Stdout, b"f\nno end");
        assert_eq!(log.close(), 0);
        let entries = entries(format, &std::fs::read(path).expect("readable"));
        let found: Vec<_> =
            entries.iter().map(|entry| (entry.stream, entry.text.as_slice())).collect();
        let expected: [(Stream, &[u8]); 4] = [
            (Stream::Stdout, b"one\n"),
            (Stream::Stderr, b"other\n"),
            (Stream::Stdout, b"half\n"),
            (Stream::Stdout, b"no end"),
        ];
        assert_eq!(found, expected);
    }
}

#[test]
fn a_full_log_is_rotated_between_records() {
    let dir = Dir::new("rotate");
    let file = config(&dir, Some(1000), 3, false);
    let path = file.path.clone();
    let mut log = Log::open(&Config::JsonFile(file)).expect("opens");
    for number in 0..100 {
        log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
    }
    log.close();
    let mut all = Vec::new();
    for suffix in [".2", ".1", ""] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        let size = std::fs::metadata(&name).expect("is there").len();
        assert!(size < 1100, "{size} bytes");
        all.extend(texts(Path::new(&name)));
    }
    assert_eq!(std::fs::read_dir(&dir.0).expect("lists").count(), 3);
    let expected: Vec<_> = (100 - all.len()..100).map(|n| format!("line {n}\n")).collect();
    assert_eq!(all, expected, "the last ones, in order, none missing");
    assert!(all.len() > 24);
}

#[test]
fn one_big_read_is_rotated_as_many_small_ones() {
    let dir = Dir::new("rotate-big");
    let file = config(&dir, Some(1000), 50, false);
    let path = file.path.clone();
    let mut log = Log::open(&Config::JsonFile(file)).expect("opens");
    let text: String = (0..100).map(|number| format!("line {number}\n")).collect();
    log.write(Stream::Stdout, text.as_bytes());
    log.close();
    let files = std::fs::read_dir(&dir.0).expect("lists").count();
    assert!(files > 7, "{files} files");
    assert!(std::fs::metadata(path.with_extension("log.1")).expect("is there").len() < 1100);
}

#[test]
fn a_single_file_begins_again() {
    let dir = Dir::new("single");
    let file = config(&dir, Some(500), 1, false);
    let path = file.path.clone();
    let mut log = Log::open(&Config::JsonFile(file)).expect("opens");
    for number in 0..100 {
        log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
    }
    log.close();
    assert_eq!(std::fs::read_dir(&dir.0).expect("lists").count(), 1);
    assert_eq!(texts(&path).last().map(String::as_str), Some("line 99\n"));
}

#[test]
fn rotated_files_are_compressed() {
    let dir = Dir::new("compress");
    let file = config(&dir, Some(20_000), 2, true);
    let path = file.path.clone();
    let mut log = Log::open(&Config::JsonFile(file)).expect("opens");
    let mut written = 0;
    while !path.with_extension("log.1").exists() && !path.with_extension("log.1.gz").exists() {
        log.write(Stream::Stdout, format!("line {written}\n").as_bytes());
        written += 1;
    }
    log.close();
    let compressed = std::fs::File::open(path.with_extension("log.1.gz")).expect("is there");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(compressed).read_to_end(&mut bytes).expect("decompresses");
    let kept = entries(Format::Json, &bytes).len() + texts(&path).len();
    assert_eq!(kept, written);
    assert!(!path.with_extension("log.1").exists());
}

#[test]
fn a_torn_end_is_cut_off_before_more_is_written() {
    for format in [Format::Json, Format::Local] {
        let dir = Dir::new(if format == Format::Json { "torn-json" } else { "torn-local" });
        let file = config(&dir, None, 1, false);
        let path = file.path.clone();
        let config =
            if format == Format::Json { Config::JsonFile(file) } else { Config::Local(file) };
        let mut log = Log::open(&config).expect("opens");
        log.write(Stream::Stdout, b"one\ntwo\n");
        log.close();
        let length = std::fs::metadata(&path).expect("is there").len();
        let whole = std::fs::OpenOptions::new().write(true).open(&path).expect("opens");
        whole.set_len(length - 5).expect("tears");
        let mut log = Log::open(&config).expect("opens again");
        log.write(Stream::Stdout, b"three\n");
        log.close();
        let entries = entries(format, &std::fs::read(&path).expect("readable"));
        let found: Vec<_> = entries.iter().map(|entry| entry.text.as_slice()).collect();
        assert_eq!(found, [&b"one\n"[..], b"three\n"]);
    }
}

#[test]
fn a_log_that_cannot_be_opened_says_which() {
    let dir = Dir::new("nowhere");
    let mut file = config(&dir, None, 1, false);
    file.path = dir.0.join("missing/x.log");
    let error = Log::open(&Config::JsonFile(file)).expect_err("no directory");
    assert!(error.to_string().contains("missing/x.log"), "{error}");
}
