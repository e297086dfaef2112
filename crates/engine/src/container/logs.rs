//! Reading the logs that monitors write: from any record on, backwards for a tail, and following
//! what is written now through rotation.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proto::launch::{Log, LogFile};
use proto::log::{Decoder, Entry, Format, Tail};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use types::{Error, Timestamp};

use super::{Container, start};
use crate::Engine;

pub use proto::log::Stream;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Lines that wait for a slow reader.
const QUEUE: usize = 64;
/// Bytes that a compressed log may unpack to: a guard, as rotation makes them of `max-size`.
const UNPACKED: u64 = 4 << 30;

/// Which lines are wanted, and how.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Go on with what is written later, until the container ends.
    pub follow: bool,
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// From then on; never: from the beginning.
    pub since: Timestamp,
    /// Until then; never: to the end.
    pub until: Timestamp,
    /// With the time in front of each.
    pub timestamps: bool,
    /// Only the last so many.
    pub tail: Option<u64>,
    /// With attributes in front of each.
    pub details: bool,
}

/// A piece of a log, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Which stream it was written to.
    pub stream: Stream,
    /// The bytes, with time and attributes if they were wanted.
    pub bytes: Bytes,
}

/// A log that is being read.
#[derive(Debug)]
pub struct LogReader {
    /// The process has a terminal: send the bytes without frames.
    pub tty: bool,
    /// The lines; closed at the end.
    pub receiver: mpsc::Receiver<Result<LogLine, Error>>,
}

impl Engine {
    /// Reads a container's log.
    ///
    /// # Errors
    /// [`types::ErrorKind::NotImplemented`] when the driver keeps none;
    /// [`types::ErrorKind::Invalid`] when no stream is wanted.
    pub fn logs(&self, reference: &str, options: LogOptions) -> Result<LogReader, Error> {
        let container = self.containers.find(reference)?;
        if !options.stdout && !options.stderr {
            return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
        }
        let (log, tty) = {
            let record = container.record();
            let directory = self.config.container_dir(container.id.as_str());
            (start::log(&directory, &record), record.config.tty)
        };
        let (file, format) = match log {
            Log::None => {
                return Err(Error::not_implemented(
                    "configured logging driver does not support reading",
                ));
            }
            Log::JsonFile(file) => (file, Format::Json),
            Log::Local(file) => (file, Format::Local),
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(read(container, file, format, options, sender));
        Ok(LogReader { tty, receiver })
    }

    /// Where a container's log is, for inspect.
    pub(crate) fn log_path(&self, record: &crate::Record) -> String {
        let directory = self.config.container_dir(record.id.as_str());
        match start::log(&directory, record) {
            Log::JsonFile(file) => file.path.to_string_lossy().into_owned(),
            // Docker hides where the other drivers keep theirs.
            Log::Local(_) | Log::None => String::new(),
        }
    }
}

type Lines = mpsc::Sender<Result<LogLine, Error>>;

async fn read(
    container: Arc<Container>,
    file: LogFile,
    format: Format,
    options: LogOptions,
    sender: Lines,
) {
    // Watched before the past is read, so that nothing falls in between.
    let follow = options.follow && container.live().is_some();
    let ends = container.progress.borrow().ends;
    let mut progress = container.progress.subscribe();
    let watch = if follow { watch(&file.path) } else { None };
    let past = {
        let (path, options, sender) = (file.path.clone(), options.clone(), sender.clone());
        tokio::task::spawn_blocking(move || past(&path, file.max_file, format, &options, &sender))
    };
    let mut open = match past.await {
        Ok(Ok(Some(open))) => open,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            // Nobody reads any more: fine.
            drop(sender.send(Err(Error::system(format!("cannot read the log: {error}")))).await);
            return;
        }
        Err(_) => return,
    };
    let Some(watch) = watch else { return };
    loop {
        let ended = progress.borrow_and_update().ends > ends || container.live().is_none();
        match open.forward(&file.path, &options, &sender).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                drop(
                    sender.send(Err(Error::system(format!("cannot read the log: {error}")))).await,
                );
                return;
            }
        }
        if ended {
            return;
        }
        tokio::select! {
            ready = watch.readable() => {
                let Ok(mut ready) = ready else { return };
                if watch.get_ref().0.drain(|_| {}).is_err() {
                    return;
                }
                ready.clear_ready();
            }
            changed = progress.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
            () = sleep_until(options.until) => return,
        }
    }
}

/// Sleeps until a moment; for ever if there is none.
async fn sleep_until(time: Timestamp) {
    if time.is_never() {
        return std::future::pending().await;
    }
    let left = u64::try_from(time.0 - Timestamp::now().0).unwrap_or(0);
    tokio::time::sleep(std::time::Duration::from_nanos(left)).await;
}

struct Watch(sys::inotify::Inotify);

impl std::os::fd::AsRawFd for Watch {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }
}

/// Watches the directory, which sees writes and rotation.
fn watch(path: &Path) -> Option<AsyncFd<Watch>> {
    use sys::inotify::WatchFlags;
    let watch = sys::inotify::Inotify::new().ok()?;
    let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE;
    watch.watch(path.parent()?, what).ok()?;
    // `register`, which replaces `new`, is unsafe; what it asks for holds: the watch owns its fd.
    #[allow(deprecated, reason = "the replacement is unsafe, which only `sys` may be")]
    AsyncFd::new(Watch(watch)).ok()
}

/// The file that is written now, and how far it has been read.
struct Open {
    file: Option<File>,
    offset: u64,
    decoder: Decoder,
    format: Format,
}

impl Open {
    /// Sends everything that has been written since, over to the next file after rotation; says
    /// whether to go on.
    async fn forward(
        &mut self,
        path: &Path,
        options: &LogOptions,
        sender: &Lines,
    ) -> std::io::Result<bool> {
        loop {
            // First whether it was rotated, then the rest of it: what is written in between is
            // in one of both.
            let rotated = self.rotated(path)?;
            if !self.drain(options, sender).await? {
                return Ok(false);
            }
            if !rotated {
                return Ok(true);
            }
            self.file = match File::open(path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
                Err(error) => return Err(error),
            };
            self.offset = 0;
            self.decoder = Decoder::new(self.format);
        }
    }

    fn rotated(&self, path: &Path) -> std::io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        let now = match std::fs::metadata(path) {
            Ok(now) => now,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(now.ino() != file.metadata()?.ino())
    }

    async fn drain(&mut self, options: &LogOptions, sender: &Lines) -> std::io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        if file.metadata()?.len() < self.offset {
            // Somebody cut the file: begin again.
            self.offset = 0;
            self.decoder.clear();
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = file.read_at(&mut chunk, self.offset)?;
            if count == 0 {
                return Ok(true);
            }
            self.offset += count as u64;
            self.decoder.push(&chunk[..count]);
            while let Some(entry) = next(&mut self.decoder) {
                match choose(entry, options) {
                    Choice::Send(line) => {
                        if sender.send(Ok(line)).await.is_err() {
                            return Ok(false);
                        }
                    }
                    Choice::Skip => {}
                    Choice::Stop => return Ok(false),
                }
            }
        }
    }
}

/// The next whole entry; damage is passed over.
fn next(decoder: &mut Decoder) -> Option<Entry> {
    loop {
        match decoder.entry() {
            Ok(entry) => return entry,
            Err(damaged) => tracing::warn!("{damaged}"),
        }
    }
}

/// Sends what is there; comes back with the current file, unless the reader has had enough.
fn past(
    path: &Path,
    max_file: u32,
    format: Format,
    options: &LogOptions,
    sender: &Lines,
) -> std::io::Result<Option<Open>> {
    let current = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let length = current.as_ref().map(File::metadata).transpose()?.map_or(0, |data| data.len());
    let mut start = 0;
    let mut older: Vec<Vec<u8>> = Vec::new();
    let mut missing = options.tail.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX));
    if let (Some(wanted), Some(file)) = (&mut missing, &current) {
        let mut tail = Tail::new(format, length, *wanted);
        while let Some(range) = tail.want() {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
            file.read_exact_at(&mut bytes, range.start)?;
            tail.feed(&bytes);
        }
        start = tail.start();
        *wanted -= tail.found().min(*wanted);
    }
    // With a tail only as many rotated files as it takes, held in memory: they are bounded by
    // their maximum size.
    if let Some(missing) = &mut missing {
        for number in 1..max_file {
            if *missing == 0 {
                break;
            }
            let Some(bytes) = rotated(path, number)? else { break };
            let mut tail = Tail::new(format, bytes.len() as u64, *missing);
            while let Some(range) = tail.want() {
                tail.feed(&bytes[range.start as usize..range.end as usize]);
            }
            *missing -= tail.found().min(*missing);
            older.push(bytes[tail.start() as usize..].to_vec());
        }
        for bytes in older.iter().rev() {
            if !send_all(&mut bytes.as_slice(), format, options, sender)? {
                return Ok(None);
            }
        }
    } else {
        for number in (1..max_file).rev() {
            if let Some(mut reader) = open_rotated(path, number)?
                && !send_all(&mut reader, format, options, sender)?
            {
                return Ok(None);
            }
        }
    }
    let mut open = Open { file: current, offset: start, decoder: Decoder::new(format), format };
    if let Some(file) = &open.file {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = file.read_at(&mut chunk, open.offset)?;
            if count == 0 {
                break;
            }
            open.offset += count as u64;
            open.decoder.push(&chunk[..count]);
            if !send(&mut open.decoder, options, sender) {
                return Ok(None);
            }
        }
    }
    Ok(Some(open))
}

fn send_all(
    reader: &mut dyn Read,
    format: Format,
    options: &LogOptions,
    sender: &Lines,
) -> std::io::Result<bool> {
    let mut decoder = Decoder::new(format);
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = reader.read(&mut chunk)?;
        if count == 0 {
            return Ok(true);
        }
        decoder.push(&chunk[..count]);
        if !send(&mut decoder, options, sender) {
            return Ok(false);
        }
    }
}

/// Sends the entries that are whole; says whether more are wanted.
fn send(decoder: &mut Decoder, options: &LogOptions, sender: &Lines) -> bool {
    while let Some(entry) = next(decoder) {
        match choose(entry, options) {
            Choice::Send(line) => {
                if sender.blocking_send(Ok(line)).is_err() {
                    return false;
                }
            }
            Choice::Skip => {}
            Choice::Stop => return false,
        }
    }
    true
}

fn numbered(path: &Path, number: u32, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{suffix}"));
    PathBuf::from(name)
}

/// The `number`th file back, compressed or not.
fn open_rotated(path: &Path, number: u32) -> std::io::Result<Option<Box<dyn Read>>> {
    match File::open(numbered(path, number, "")) {
        Ok(file) => return Ok(Some(Box::new(file))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match File::open(numbered(path, number, ".gz")) {
        Ok(file) => Ok(Some(Box::new(flate2::read::MultiGzDecoder::new(file).take(UNPACKED)))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn rotated(path: &Path, number: u32) -> std::io::Result<Option<Vec<u8>>> {
    let Some(mut reader) = open_rotated(path, number)? else { return Ok(None) };
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

enum Choice {
    Send(LogLine),
    Skip,
    /// Everything that follows is later than what is wanted.
    Stop,
}

fn choose(entry: Entry, options: &LogOptions) -> Choice {
    if !options.until.is_never() && entry.time > options.until {
        return Choice::Stop;
    }
    let stream = match entry.stream {
        Stream::Stdout => options.stdout,
        Stream::Stderr => options.stderr,
    };
    if !stream || entry.time < options.since {
        return Choice::Skip;
    }
    let mut bytes = Vec::with_capacity(entry.text.len() + 40);
    if options.timestamps {
        bytes.extend(fixed(entry.time).bytes());
        bytes.push(b' ');
    }
    if options.details {
        bytes.extend(details(&entry.attributes).bytes());
        bytes.push(b' ');
    }
    bytes.extend(entry.text);
    Choice::Send(LogLine { stream: entry.stream, bytes: bytes.into() })
}

/// RFC 3339 with nine fractional digits, so that columns line up.
fn fixed(time: Timestamp) -> String {
    let whole = Timestamp(time.seconds() * 1_000_000_000).to_string();
    let nanoseconds = time.0.rem_euclid(1_000_000_000);
    format!("{}.{nanoseconds:09}Z", whole.trim_end_matches('Z'))
}

/// `key=value` pairs with commas between, escaped as in a URL's query.
fn details(attributes: &BTreeMap<String, String>) -> String {
    let escape = |text: &str| {
        let mut escaped = String::new();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    escaped.push(char::from(byte));
                }
                b' ' => escaped.push('+'),
                _ => escaped.push_str(&format!("%{byte:02X}")),
            }
        }
        escaped
    };
    let pairs = attributes.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value)));
    pairs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::log::{Encoder, Record};

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
        let options = LogOptions { stdout: true, tail, ..LogOptions::default() };
        let (sender, mut receiver) = mpsc::channel(100);
        past(path, 3, Format::Json, &options, &sender).expect("read");
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
        let directory = std::env::temp_dir().join(format!("isopod-logs-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("directory");
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
    fn times_line_up() {
        assert_eq!(fixed(Timestamp(1_000_000_005)), "1970-01-01T00:00:01.000000005Z");
    }
}
