use std::io::Write;

use super::*;

fn names(bytes: &[u8]) -> Vec<String> {
    let mut reader = TarReader::new(bytes);
    let mut out = Vec::new();
    while let Some(entry) = reader.next().expect("valid") {
        out.push(entry.shown());
    }
    out
}

/// Reads a tar to its end, returning the raw bytes and payloads in order.
fn reassemble(bytes: &[u8]) -> Vec<u8> {
    let mut reader = TarReader::new(bytes);
    let mut out = Vec::new();
    while let Some(_entry) = reader.next().expect("valid") {
        out.append(reader.raw());
        loop {
            let payload = reader.payload(u64::MAX).expect("payload");
            if payload.is_empty() {
                break;
            }
            let n = payload.len();
            out.extend_from_slice(payload);
            reader.used(n);
        }
    }
    while reader.trailer().expect("trailer") {}
    out.append(reader.raw());
    out
}

#[test]
fn what_we_write_others_read() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(120));
    let fits = format!("{}/{}", "p".repeat(120), "n".repeat(90));
    let xattrs = [(b"security.capability".to_vec(), b"\x01\0=".to_vec())];
    let mut writer = TarWriter::new(Vec::new());
    writer.file("plain", b"hello", 7).expect("write");
    writer.file(&fits, b"", -5).expect("write");
    writer
        .header(&Header {
            name: long.as_bytes(),
            uid: 3_000_000,
            gid: 65_536,
            size: 3,
            xattrs: &xattrs,
            ..Header::default()
        })
        .expect("write");
    writer.output().write_all(b"abc").expect("write");
    writer.pad(3).expect("write");
    let link = "l".repeat(101);
    writer
        .header(&Header {
            name: "grüße".as_bytes(),
            kind: Kind::Symlink,
            link: link.as_bytes(),
            ..Header::default()
        })
        .expect("write");
    let mut bytes = std::mem::take(writer.output());
    bytes.extend([0; 1024]);

    assert_eq!(names(&bytes), ["plain", &fits, &long, "grüße"]);
    assert_eq!(reassemble(&bytes), bytes);
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut seen = Vec::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        let path = String::from_utf8(entry.path_bytes().into_owned()).expect("UTF-8");
        let pax: Vec<String> = entry
            .pax_extensions()
            .expect("pax")
            .into_iter()
            .flatten()
            .map(|record| record.expect("record").key().expect("key").to_owned())
            .collect();
        seen.push((path, entry.header().mtime().expect("mtime"), pax.join(",")));
    }
    assert_eq!(seen[0], ("plain".to_owned(), 7, String::new()));
    assert_eq!(seen[1], (fits, 0, "mtime".to_owned()));
    assert_eq!(seen[2], (long, 0, "path,uid,SCHILY.xattr.security.capability".to_owned()));
    assert_eq!(seen[3].2, "path,linkpath");
}

#[test]
fn ids_and_attributes_come_from_the_extended_header() {
    let xattrs = [(b"user.k".to_vec(), b"line\nline=\0".to_vec())];
    let mut writer = TarWriter::new(Vec::new());
    let header = Header {
        name: b"x",
        kind: Kind::Char,
        uid: 4_000_000_000,
        device: (1, 3),
        mode: 0o4755,
        mtime: 1 << 34,
        xattrs: &xattrs,
        ..Header::default()
    };
    writer.header(&header).expect("write");
    let bytes = std::mem::take(writer.output());
    let entry = TarReader::new(&bytes[..]).next().expect("valid").expect("entry");
    assert_eq!((entry.uid, entry.device, entry.mode), (4_000_000_000, (1, 3), 0o4755));
    assert_eq!(entry.mtime.seconds, 1 << 34);
    assert_eq!(entry.xattrs, xattrs);
}

#[test]
fn damaged_tars_are_refused() {
    let mut writer = TarWriter::new(Vec::new());
    writer.file("a", b"hello", 0).expect("write");
    let mut good = std::mem::take(writer.output());
    good.extend([0; 1024]);
    let error = |bytes: &[u8]| {
        let mut reader = TarReader::new(bytes);
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => return String::new(),
                Err(error) => return error.to_string(),
            }
        }
    };
    assert_eq!(error(&good), "");
    assert_eq!(error(&good[..1024]), "", "no end marker is fine");
    assert_eq!(error(&good[..700]), "", "nor is padding, as Go has it");
    assert_eq!(reassemble(&good[..700]), &good[..700]);
    assert_eq!(error(&good[..516]), "invalid tar: unexpected EOF");
    assert_eq!(error(&good[..100]), "invalid tar: unexpected EOF");
    let mut bad = good.clone();
    bad[0] = b'b';
    assert_eq!(error(&bad), "invalid tar: a header with a wrong checksum");
    let mut lone = good.clone();
    lone.extend([1; 512]);
    lone.drain(1024..1536);
    assert_eq!(error(&lone), "invalid tar: a block of zeros amid the headers");
    assert_eq!(error(b"rubbish"), "invalid tar: unexpected EOF");
    assert_eq!(error(&[b'x'; 2048]), "invalid tar: a header with a wrong checksum");
}

#[test]
fn sparse_files_of_gnu_tar_are_understood() {
    let dir = tempfile::tempdir().expect("directory");
    let file = std::fs::File::create(dir.path().join("holes")).expect("create");
    use std::os::unix::fs::FileExt;
    for at in 0..40u64 {
        file.write_at(b"data", at * 1_000_000).expect("write");
    }
    file.set_len(50_000_000).expect("length");
    let formats: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for format in formats {
        let output = std::process::Command::new("tar")
            .args(["-cS"])
            .args(format)
            .arg("-C")
            .arg(dir.path())
            .arg("holes")
            .output()
            .expect("tar");
        assert!(output.status.success());
        let bytes = output.stdout;
        let mut reader = TarReader::new(&bytes[..]);
        let entry = reader.next().expect("valid").expect("entry");
        assert_eq!(entry.shown(), "holes", "{format:?}");
        assert_eq!(entry.size, 50_000_000, "{format:?}");
        let segments = entry.segments.expect("sparse");
        assert!(segments.len() >= 40, "{format:?}");
        assert!(entry.payload < 1_000_000, "{format:?}");
        assert_eq!(segments.iter().map(|s| s.len).sum::<u64>(), entry.payload);
        assert_eq!(reassemble(&bytes), bytes, "{format:?}");
    }
}
