//! What clients of the API send, and what containers write.

use std::collections::BTreeMap;

use daemon::stream::websocket::frame::{Decoder as Frames, Input};
use proto::log::{Decoder, Encoder, Format, Record, Stream};
use types::Timestamp;

/// Reads the body of a create request: what is accepted means the same when it is written out and
/// read again.
///
/// # Panics
/// When that is not so.
pub fn create_body(bytes: &[u8]) {
    if let Ok(Some(body)) = daemon::http::read_create_body(bytes) {
        let text = serde_json::to_vec(&body).expect("written");
        let again = daemon::http::read_create_body(&text).expect("read again").expect("a body");
        assert_eq!(again, body);
    }
}

/// Sends bytes to a connection of the API: it answers in HTTP or hangs up.
///
/// # Panics
/// When that is not so.
pub fn http_head(bytes: &[u8]) {
    let answer = daemon::connection::converse(bytes).expect("a conversation");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
}

/// Reads the query of a URL, and the filters and numbers in it.
///
/// # Panics
/// When a value is both there and not.
pub fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(params) = daemon::http::params::Params::parse(text) {
        assert_eq!(params.given("filters").is_none(), params.all("filters").next().is_none());
        let _ = (params.number("n"), params.flag("f"));
        if let Ok(filters) = params.filters() {
            assert!(!filters.is_empty() || !filters.has("label"));
            let _ = (filters.boolean("dangling"), filters.labels("label", &BTreeMap::new()));
        }
    }
    let _ = daemon::http::version::negotiate(text);
}

/// Takes a websocket's frames apart: it makes no difference how the stream is cut, and no more
/// comes out than went in.
///
/// # Panics
/// When that is not so.
pub fn websocket(bytes: &[u8]) {
    let whole = read_frames(bytes.chunks(bytes.len().max(1)));
    assert_eq!(whole, read_frames(bytes.chunks(1)));
    assert!(whole.0.len() <= bytes.len());
}

/// All data, all that is no data, and whether the client broke the protocol.
fn read_frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Input>, bool) {
    let (mut frames, mut data, mut others) = (Frames::default(), Vec::new(), Vec::new());
    for piece in pieces {
        let Ok(inputs) = frames.feed(piece) else { return (Vec::new(), Vec::new(), true) };
        for input in inputs {
            match input {
                Input::Data(more) => data.extend(more),
                other => others.push(other),
            }
        }
    }
    (data, others, false)
}

/// Logs what a container wrote, in either format, and reads it back; then reads the bytes as if
/// they were the log, which ends and accounts for every byte.
///
/// # Panics
/// When that is not so.
pub fn log(bytes: &[u8]) {
    for format in [Format::Json, Format::Local] {
        let attributes = BTreeMap::from([("a\"".to_owned(), "\u{1}b".to_owned())]);
        let encoder = Encoder::new(format, &attributes);
        let mut written = Vec::new();
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        for (number, line) in lines.iter().enumerate() {
            let stream = if number % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
            let partial = number % 3 == 0;
            encoder.encode(
                &Record { time: Timestamp(1_700_000_000_000_000_001), stream, text: line, partial },
                &mut written,
            );
        }
        let mut decoder = Decoder::new(format);
        decoder.push(&written);
        for (number, line) in lines.iter().enumerate() {
            let entry = decoder.entry().expect("undamaged").expect("an entry");
            // JSON holds text only: what is none has been replaced, as Docker does.
            if format == Format::Local || std::str::from_utf8(line).is_ok() {
                let text = entry.text.strip_suffix(b"\n").unwrap_or(&entry.text);
                assert_eq!(text, *line);
            }
            assert_eq!(entry.is_partial(), number % 3 == 0);
            assert_eq!(entry.attributes, attributes);
        }
        assert_eq!(decoder.entry(), Ok(None));
        assert_eq!(decoder.pending(), 0);

        let mut decoder = Decoder::new(format);
        decoder.push(bytes);
        let mut damaged = 0;
        loop {
            match decoder.entry() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(found) => damaged += found.bytes,
            }
        }
        assert!(damaged + decoder.pending() <= bytes.len());
    }
}

/// What to begin with.
pub mod seeds {
    use crate::texts;

    /// Small, full, and of the wrong types.
    pub fn create_body() -> Vec<Vec<u8>> {
        texts(&[
            r#"{"Image":"busybox","Cmd":["true"]}"#,
            r#"{"Hostname":"h","Domainname":"d","User":"1:2","AttachStdin":true,"ExposedPorts":{"80/tcp":{}},"Tty":true,"OpenStdin":true,"StdinOnce":true,"Env":["A=b","C"],"Cmd":"sh","Healthcheck":{"Test":["CMD-SHELL","x"],"Interval":1000000000,"Retries":2},"Image":"a:b","Volumes":{"/v":{}},"WorkingDir":"/w","Entrypoint":["e"],"Labels":{"a":"b"},"StopSignal":"SIGINT","StopTimeout":3,"Shell":["sh"]}"#,
            r#"{"Image":"a","HostConfig":{"Binds":["/a:/b:ro,rslave"],"NetworkMode":"bridge","PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080-8090"}]},"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},"AutoRemove":false,"CapAdd":["NET_ADMIN"],"CapDrop":null,"Dns":["1.1.1.1"],"ExtraHosts":["a:host-gateway"],"Privileged":true,"SecurityOpt":["seccomp=unconfined","no-new-privileges"],"Tmpfs":{"/t":"size=1m"},"ShmSize":65536,"Sysctls":{"net.a":"1"},"Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}],"Memory":1048576,"MemorySwap":-1,"NanoCpus":500000000,"CpusetCpus":"0-1","BlkioWeightDevice":[{"Path":"/dev/sda","Weight":100}],"BlkioDeviceReadBps":[{"Path":"/dev/sda","Rate":1024}],"Devices":[{"PathOnHost":"/dev/null","PathInContainer":"/dev/n","CgroupPermissions":"rwm"}],"DeviceCgroupRules":["c 1:3 r"],"DeviceRequests":[{"Count":-1,"Capabilities":[["gpu"]]}],"OomKillDisable":false,"PidsLimit":10,"LogConfig":{"Type":"local","Config":{"max-size":"1k"}},"Mounts":[{"Type":"volume","Source":"v","Target":"/v","VolumeOptions":{"Subpath":"s","NoCopy":true}},{"Type":"tmpfs","Target":"/t2","TmpfsOptions":{"SizeBytes":1,"Mode":511}}]}}"#,
            r#"{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"n":{"Aliases":["x"],"IPAMConfig":{"IPv4Address":"10.0.0.2"},"Links":["a:b"],"MacAddress":"02:42:ac:11:00:02","DriverOpts":{"a":"b"},"GwPriority":1}}}}"#,
            r#"{"HostConfig":{"Memory":"5"}}"#,
            r#"{"Tty":1}"#,
            "null",
            "[]",
        ])
    }

    /// Requests with and without bodies, in pieces, of either version, and those that are refused.
    pub fn http_head() -> Vec<Vec<u8>> {
        texts(&[
            "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n",
            "HEAD /v1.51/_ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "POST /containers/create?name=a%20b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            "POST /build HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3;a=b\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
            "POST /containers/a/attach?stream=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
            "GET http://x/_ping HTTP/1.1\r\nHost: y\r\nHost: z\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\u{16}\u{3}\u{1}",
        ])
    }

    /// Lines, halves of lines, bytes that are no text; and logs of either format.
    pub fn log() -> Vec<Vec<u8>> {
        use super::{Encoder, Format, Record, Stream};
        let mut seeds =
            texts(&["\n", "one\ntwo\n", "no end", "\u{1b}[31mred\u{1b}[0m \"q\" \\ \u{2028}\n"]);
        seeds.push(b"\xff\xfe half \xe2\x82\n\x00\x01\n".to_vec());
        for format in [Format::Json, Format::Local] {
            let encoder = Encoder::new(format, &[("k".to_owned(), "v".to_owned())].into());
            let mut log = Vec::new();
            for (text, partial) in [("first", false), ("", false), ("half", true), ("rest", false)]
            {
                let time = types::Timestamp(1_700_000_000_123_456_789);
                let text = text.as_bytes();
                encoder.encode(&Record { time, stream: Stream::Stderr, text, partial }, &mut log);
            }
            seeds.push(log);
        }
        seeds
    }

    /// Paths with versions; filters in each of their forms.
    pub fn query() -> Vec<Vec<u8>> {
        texts(&[
            "all=1&size=true&limit=5&n=-3",
            "filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%2C%22dangling%22%3A%5B%22true%22%5D%7D",
            "filters={\"label\":{\"a=b\":true},\"status\":{\"running\":false}}",
            "filters={}&filters=&f=%zz",
            "a=b;c=d",
            "n=99999999999999999999&f=None",
            "/v1.24/containers/json",
            "/v9.9/info",
            "/v1./x",
        ])
    }

    /// A message, one in pieces, pings, an end; and a breach.
    pub fn websocket() -> Vec<Vec<u8>> {
        let frame = |first: u8, payload: &[u8]| {
            let mut bytes = vec![first];
            match payload.len() {
                short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).expect("short")),
                long => {
                    bytes.push(0x80 | 126);
                    bytes.extend(u16::try_from(long).expect("not too long").to_be_bytes());
                }
            }
            bytes.extend([1, 2, 3, 4]);
            bytes.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(a, b)| a ^ b));
            bytes
        };
        vec![
            frame(0x82, b"hello"),
            frame(0x81, &[b'x'; 300]),
            [frame(0x01, b"a"), frame(0x89, b"ping"), frame(0x80, b"b")].concat(),
            [frame(0x82, b""), frame(0x88, &[0x03, 0xe8])].concat(),
            vec![0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, b'x'],
            frame(0x82, b"x").into_iter().map(|byte| byte & 0x7f).collect(),
        ]
    }
}
