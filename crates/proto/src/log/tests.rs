use super::*;
use proptest::prelude::*;

fn record(text: &[u8], stream: Stream, partial: bool) -> Record<'_> {
    Record { time: Timestamp(1_700_000_000_120_000_000), stream, text, partial }
}

fn encoded(format: Format, records: &[Record<'_>], attributes: &[(&str, &str)]) -> Vec<u8> {
    let attributes =
        attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let encoder = Encoder::new(format, &attributes);
    let mut out = Vec::new();
    for record in records {
        encoder.encode(record, &mut out);
    }
    out
}

fn line(text: &[u8]) -> String {
    let bytes = encoded(Format::Json, &[record(text, Stream::Stdout, false)], &[]);
    String::from_utf8(bytes).expect("JSON lines are UTF-8")
}

#[test]
fn json_lines_are_what_docker_writes() {
    assert_eq!(
        line(b"hello"),
        "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.12Z\"}\n"
    );
    let bytes = encoded(
        Format::Json,
        &[record(b"part", Stream::Stderr, true)],
        &[("tag", "a<b"), ("com.example.x", "1")],
    );
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        "{\"log\":\"part\",\"stream\":\"stderr\",\"attrs\":{\"com.example.x\":\"1\",\
         \"tag\":\"a\\u003cb\"},\"time\":\"2023-11-14T22:13:20.12Z\"}\n"
    );
}

#[test]
fn odd_characters_are_escaped_as_go_does() {
    let cases: [(&[u8], &str); 9] = [
        (b"\"\\", r#"\"\\"#),
        (b"\t\r\x00\x1b[0m", r"\u0009\r\u0000\u001b[0m"),
        (b"<a href='x'>&", r"\u003ca href='x'\u003e\u0026"),
        ("\u{2028}\u{2029}\u{2027}€".as_bytes(), "\\u2028\\u2029\u{2027}€"),
        (b"\x7f", "\x7f"),
        (b"a\xffb", r"a\ufffdb"),
        // A cut euro sign: one replacement for each of its bytes.
        (b"\xe2\x82", r"\ufffd\ufffd"),
        // A surrogate half is no character.
        (b"\xed\xa0\x80", r"\ufffd\ufffd\ufffd"),
        ("äöü€𝄞".as_bytes(), "äöü€𝄞"),
    ];
    for (text, expected) in cases {
        let line = line(text);
        let inner = line.strip_prefix("{\"log\":\"").and_then(|rest| rest.split("\\n\",").next());
        assert_eq!(inner, Some(expected));
    }
}

#[test]
fn damage_is_told_once_and_passed_over() {
    for format in [Format::Json, Format::Local] {
        let one = encoded(format, &[record(b"one", Stream::Stdout, false)], &[]);
        let two = encoded(format, &[record(b"two", Stream::Stderr, true)], &[("k", "v")]);
        let mut decoder = Decoder::new(format);
        decoder.push(&one);
        let garbage = b"\x00\x01garbage\xff\n";
        decoder.push(garbage);
        decoder.push(&two);
        assert_eq!(decoder.entry().expect("intact").expect("there").text, b"one\n");
        assert_eq!(decoder.entry(), Err(Damaged { bytes: garbage.len() }));
        let entry = decoder.entry().expect("found again").expect("there");
        assert_eq!((entry.text.as_slice(), entry.stream), (&b"two"[..], Stream::Stderr));
        assert_eq!(entry.attributes.get("k").map(String::as_str), Some("v"));
        assert!(entry.is_partial());
        assert_eq!(decoder.entry(), Ok(None));
        assert_eq!(decoder.pending(), 0);
    }
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let mut decoder = Decoder::new(Format::Json);
    for _ in 0..40 {
        decoder.push(&[b'x'; 64 << 10]);
        assert_eq!(decoder.entry(), Ok(None));
        assert!(decoder.bytes.len() <= MAX_RECORD + (64 << 10));
    }
}

#[test]
fn docker_lines_with_other_members_are_read() {
    let mut decoder = Decoder::new(Format::Json);
    decoder.push(b"{\"time\":\"2023-11-14T22:13:20Z\",\"new\":[1],\"stream\":\"stderr\",\"log\":\"\\u0041\\n\",\"attrs\":null}\n");
    let entry = decoder.entry().expect("intact").expect("there");
    assert_eq!((entry.text.as_slice(), entry.stream), (&b"A\n"[..], Stream::Stderr));
}

/// Runs a search over bytes in memory.
fn tail(format: Format, file: &[u8], wanted: usize) -> Tail {
    let mut tail = Tail::new(format, file.len() as u64, wanted);
    let mut turns = 0;
    while let Some(range) = tail.want() {
        turns += 1;
        assert!(turns < 10_000, "the search does not end");
        tail.feed(&file[range.start as usize..range.end as usize]);
    }
    tail
}

#[test]
fn a_record_longer_than_a_block_is_stepped_over() {
    let long = "v".repeat(60_000);
    let attributes = [("a", long.as_str()), ("b", long.as_str())];
    let text = [b'x'; 100];
    let file = encoded(Format::Local, &[record(&text, Stream::Stdout, false); 5], &attributes);
    let found = tail(Format::Local, &file, 3);
    assert_eq!((found.start(), found.found()), (file.len() as u64 / 5 * 2, 3));
}

#[test]
fn a_file_that_shrinks_ends_the_search() {
    let mut tail = Tail::new(Format::Json, 1000, 5);
    assert!(tail.want().is_some());
    tail.feed(b"short");
    assert_eq!(tail.want(), None);
}

fn any_record() -> impl Strategy<Value = (Vec<u8>, bool, bool, i64)> {
    let text = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "\\PC{0,40}".prop_map(String::into_bytes),
        Just(vec![7; 9000]),
    ];
    (text, any::<bool>(), any::<bool>(), 1i64..4_000_000_000_000_000_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read_whatever_the_cut(
        records in proptest::collection::vec(any_record(), 1..8),
        cut in 1usize..5000,
        local in any::<bool>(),
    ) {
        let format = if local { Format::Local } else { Format::Json };
        let records: Vec<_> = records.iter().map(|(text, stderr, partial, time)| Record {
            time: Timestamp(*time),
            stream: if *stderr { Stream::Stderr } else { Stream::Stdout },
            text,
            partial: *partial,
        }).collect();
        let file = encoded(format, &records, &[("k", "v\"")]);
        let mut decoder = Decoder::new(format);
        let mut entries = Vec::new();
        for piece in file.chunks(cut) {
            decoder.push(piece);
            while let Some(entry) = decoder.entry().expect("undamaged") {
                entries.push(entry);
            }
        }
        prop_assert_eq!(decoder.pending(), 0);
        prop_assert_eq!(entries.len(), records.len());
        for (entry, record) in entries.iter().zip(&records) {
            prop_assert_eq!(entry.time, record.time);
            prop_assert_eq!(entry.stream, record.stream);
            let mut expected = record.text.to_vec();
            if format == Format::Json {
                // JSON cannot hold what is not UTF-8: one replacement a byte.
                let mut text = String::new();
                for chunk in record.text.utf8_chunks() {
                    text.push_str(chunk.valid());
                    text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
                }
                expected = text.into_bytes();
            }
            if !record.partial {
                expected.push(b'\n');
            }
            prop_assert_eq!(&entry.text, &expected);
            prop_assert_eq!(entry.attributes.len(), 1);
        }
    }

    #[test]
    fn the_tail_is_found_also_behind_a_torn_record(
        lengths in proptest::collection::vec(0usize..MAX_LINE, 0..30),
        wanted in 0usize..40,
        torn in proptest::option::of(1usize..30),
        local in any::<bool>(),
    ) {
        let format = if local { Format::Local } else { Format::Json };
        let text = vec![b'x'; MAX_LINE];
        let mut file = Vec::new();
        let mut starts = Vec::new();
        for length in &lengths {
            starts.push(file.len() as u64);
            let part = [record(&text[..*length], Stream::Stdout, false)];
            file.extend(encoded(format, &part, &[]));
        }
        let whole = file.len() as u64;
        if let Some(torn) = torn {
            let part = encoded(format, &[record(b"torn and lost", Stream::Stdout, false)], &[]);
            file.extend(&part[..torn.min(part.len() - 1)]);
        }
        let found = tail(format, &file, wanted);
        let expected = wanted.min(lengths.len());
        prop_assert_eq!(found.found(), expected);
        prop_assert_eq!(found.end(), whole);
        let start = starts.get(lengths.len() - expected).copied().unwrap_or(whole);
        prop_assert_eq!(found.start(), start);
    }

    #[test]
    fn garbage_never_breaks_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        for format in [Format::Json, Format::Local] {
            let mut decoder = Decoder::new(format);
            decoder.push(&bytes);
            while !matches!(decoder.entry(), Ok(None)) {}
            let found = tail(format, &bytes, 5);
            prop_assert!(found.start() <= bytes.len() as u64);
        }
    }
}
