//! Tars that want out of their directory, or too much within.

use crate::hostile::scene::Scene;
use crate::hostile::server::{Hostile, Shelf};
use crate::hostile::{Verdict, none, still_works};
use Verdict::{Harmless, Refused};
use std::io::Write;
use testkit::image::{Layer, busybox_layer, save};
use testkit::json;

/// An entry with every field as told.
pub(crate) fn entry(path: &str, kind: u8, link: &str, size: &[u8], data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o777);
    header.set_uid(12345);
    header.set_mtime(1_700_000_000);
    header.set_size(data.len() as u64);
    let raw = header.as_old_mut();
    raw.name[..path.len()].copy_from_slice(path.as_bytes());
    raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
    raw.linkflag = [kind];
    if !size.is_empty() {
        raw.size[..size.len()].copy_from_slice(size);
    }
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A PAX header for the next entry.
pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        // The length counts itself.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        write!(data, "{length} {key}=").unwrap();
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    entry("pax", b'x', "", b"", &data)
}

/// The first disk.
fn device() -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("disk").unwrap();
    header.set_entry_type(tar::EntryType::Block);
    header.set_mode(0o666);
    header.set_size(0);
    header.set_device_major(8).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn end() -> Vec<u8> {
    vec![0; 1024]
}

/// Name, tar, what must come of it.
fn cases(mark: &str, victim: &str) -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let layer = Layer::new;
    let up = "../".repeat(12);
    let file = |path: &str| entry(path, b'0', "", b"", b"evil");
    let out = |path: &str| format!("{path}/{mark}");
    let many = |n: usize, part: &[u8]| part.repeat(n);
    vec![
        (
            "dots",
            layer().file(&format!("{up}{victim}/{mark}"), 0o644, b"evil").bytes(),
            Refused("leads outside"),
        ),
        (
            "dots-inside",
            layer().dir("a", 0o755).file(&format!("a/{up}{victim}/file"), 0o644, b"evil").bytes(),
            Refused("leads outside"),
        ),
        ("absolute", layer().file(&format!("/{victim}/file"), 0o644, b"evil").bytes(), Harmless),
        (
            "through-symlink",
            layer().symlink("l", &format!("/{victim}")).file("l/file", 0o644, b"evil").bytes(),
            Harmless,
        ),
        (
            "through-relative-symlink",
            layer().symlink("l", &format!("{up}{victim}")).file("l/file", 0o644, b"evil").bytes(),
            Harmless,
        ),
        (
            "through-two-symlinks",
            layer()
                .dir("d", 0o755)
                .symlink("d/up", "..")
                .symlink("l", "d/up/../../../../tmp")
                .file(&out("l"), 0o644, b"evil")
                .bytes(),
            Harmless,
        ),
        (
            "over-symlink",
            layer().symlink("s", &format!("/{victim}/file")).file("s", 0o777, b"evil").bytes(),
            Harmless,
        ),
        (
            "directory-over-symlink",
            [
                layer().symlink("d", &format!("/{victim}")).bytes()[..512].to_vec(),
                entry("d", b'5', "", b"", b""),
                file("d/file"),
                end(),
            ]
            .concat(),
            Harmless,
        ),
        (
            "hardlink-out",
            layer().hardlink("h", &format!("{up}{victim}/file")).bytes(),
            Refused("leads outside"),
        ),
        (
            "hardlink-absolute",
            layer().hardlink("h", &format!("/{victim}/file")).bytes(),
            Refused("No such file"),
        ),
        (
            "hardlink-to-symlink",
            layer()
                .symlink("s", &format!("/{victim}/file"))
                .hardlink("h", "s")
                .file("h", 0o777, b"evil")
                .bytes(),
            Harmless,
        ),
        (
            "hardlink-through-symlink",
            layer().symlink("s", &format!("/{victim}")).hardlink("h", "s/file").bytes(),
            Refused("No such file"),
        ),
        (
            "hardlink-to-directory",
            layer().dir("d", 0o755).hardlink("h", "d").bytes(),
            Refused("not permitted"),
        ),
        ("hardlink-to-itself", layer().hardlink("h", "h").bytes(), Refused("No such file")),
        ("hardlink-to-nothing", layer().hardlink("h", "nothing").bytes(), Refused("No such file")),
        (
            "whiteout-of-parent",
            layer().file("a/.wh...", 0o644, b"").bytes(),
            Refused("hides nothing"),
        ),
        (
            "whiteout-of-nothing",
            layer().file("a/.wh.", 0o644, b"").bytes(),
            Refused("hides nothing"),
        ),
        (
            "whiteout-through-symlink",
            layer().symlink("l", &format!("/{victim}")).file("l/.wh.file", 0o644, b"").bytes(),
            Harmless,
        ),
        (
            "opaque-through-symlink",
            layer().symlink("l", &format!("/{victim}")).file("l/.wh..wh..opq", 0o644, b"").bytes(),
            Harmless,
        ),
        (
            "symlink-circle",
            layer().symlink("a", "b").symlink("b", "a").file("a/file", 0o644, b"x").bytes(),
            Refused("symbolic links"),
        ),
        (
            "proc-magic",
            layer()
                .dir("proc", 0o755)
                .dir("proc/self", 0o755)
                .symlink("proc/self/root", "/")
                .file(&out("proc/self/root"), 0o644, b"")
                .bytes(),
            Harmless,
        ),
        (
            "file-as-directory",
            layer().file("f", 0o644, b"x").file("f/g", 0o644, b"x").bytes(),
            Refused("Not a directory"),
        ),
        (
            "long-pax-path",
            [pax(&[("path", &b"d/".repeat(3000))]), file("x"), end()].concat(),
            Refused("cannot unpack"),
        ),
        (
            "pax-dots",
            [pax(&[("path", format!("{up}{victim}/file").as_bytes())]), file("x"), end()].concat(),
            Refused("leads outside"),
        ),
        ("pax-nul", [pax(&[("path", b"a\0b")]), file("x"), end()].concat(), Refused("NUL")),
        (
            "pax-size-lies",
            [pax(&[("size", b"99999999999999")]), file("x"), end()].concat(),
            Refused("unexpected EOF"),
        ),
        (
            "pax-size-negative",
            [pax(&[("size", b"-1")]), file("x"), end()].concat(),
            Refused("malformed"),
        ),
        (
            "pax-uid-huge",
            [pax(&[("uid", b"99999999999999999999999")]), file("x"), end()].concat(),
            Refused("malformed"),
        ),
        (
            "pax-mtime-huge",
            [
                pax(&[("mtime", b"1e400"), ("atime", b"99999999999999999999999.5")]),
                file("x"),
                end(),
            ]
            .concat(),
            Refused("malformed"),
        ),
        (
            "pax-broken",
            [entry("pax", b'x', "", b"", b"999 path=x\n"), file("x"), end()].concat(),
            Refused("malformed"),
        ),
        ("pax-many", [many(20_000, &pax(&[("path", b"y")])), file("x"), end()].concat(), Harmless),
        (
            "pax-large",
            [pax(&[("comment", &vec![b'x'; 20 << 20])]), file("x"), end()].concat(),
            Refused("limit"),
        ),
        (
            "long-link-large",
            [entry("././@LongLink", b'L', "", b"", &vec![b'x'; 20 << 20]), file("x"), end()]
                .concat(),
            Refused("limit"),
        ),
        (
            "size-negative",
            [entry("x", b'0', "", &[0xff; 12], b""), end()].concat(),
            Refused("malformed size"),
        ),
        (
            "size-huge",
            [
                entry(
                    "x",
                    b'0',
                    "",
                    &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                    b"",
                ),
                end(),
            ]
            .concat(),
            Refused("unexpected EOF"),
        ),
        (
            "size-octal-lies",
            [entry("x", b'0', "", b"77777777777\0", b"short"), end()].concat(),
            Refused("unexpected EOF"),
        ),
        (
            "checksum",
            {
                let mut bytes = [file("x"), end()].concat();
                bytes[148] ^= 7;
                bytes
            },
            Refused("wrong checksum"),
        ),
        ("cut-in-header", file("x")[..300].to_vec(), Refused("unexpected EOF")),
        (
            "cut-in-content",
            entry("x", b'0', "", b"00000100000\0", b"short"),
            Refused("unexpected EOF"),
        ),
        ("no-end", file("x"), Harmless),
        (
            "unknown-kind",
            [entry("x", b'Z', "", b"", b"?"), end()].concat(),
            Refused("unknown type"),
        ),
        ("sparse-huge", sparse("8796093022208", "0,512"), Harmless),
        ("sparse-overlaps", sparse("4096", "0,512,0,512"), Refused("malformed")),
        ("sparse-beyond", sparse("100", "50,512"), Refused("malformed")),
        ("sparse-overflow", sparse("4096", "18446744073709551615,512"), Refused("malformed")),
        (
            "overlay-attributes",
            [
                pax(&[
                    ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
                    ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                    ("SCHILY.xattr.trusted.overlay.metacopy", b""),
                ]),
                entry("bin", b'5', "", b"", b""),
                file("bin/x"),
                end(),
            ]
            .concat(),
            Harmless,
        ),
        (
            "attribute-huge",
            [pax(&[("SCHILY.xattr.user.big", &[b'x'; 70_000])]), file("x"), end()].concat(),
            Refused("cannot unpack"),
        ),
        (
            "attribute-name",
            [pax(&[("SCHILY.xattr.nothing", b"x")]), file("x"), end()].concat(),
            Harmless,
        ),
        (
            "root-is-a-file",
            [entry("./", b'0', "", b"", b"x"), end()].concat(),
            Refused("root is no directory"),
        ),
        ("device-of-the-disk", [device(), end()].concat(), Harmless),
    ]
}

/// A sparse file as PAX 0.1 has it.
fn sparse(size: &str, map: &str) -> Vec<u8> {
    let blocks = map.split(',').count() / 2;
    let content = vec![1; 512 * blocks];
    let blocks = blocks.to_string();
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.size", size.as_bytes()),
        ("GNU.sparse.numblocks", blocks.as_bytes()),
        ("GNU.sparse.map", map.as_bytes()),
        ("GNU.sparse.name", b"sparse"),
    ];
    [pax(&records), entry("x", b'0', "", b"", &content), end()].concat()
}

/// Every tar in every way that tars come in.
#[test]
fn privileged_tars_that_want_out() {
    let scene = Scene::start();
    let cases = cases(&scene.mark, scene.victim());
    let mut shelf = Shelf::default();
    for (name, tar, _) in &cases {
        shelf.image(name, std::slice::from_ref(tar));
    }
    let server = Hostile::start(&scene.engine, move |asked| shelf.answer(asked));
    let mut complaints = Vec::new();
    for (name, tar, verdict) in &cases {
        let pulled = scene.pull(&server.host(), &format!("{name}:1"));
        println!("{name}: {pulled:?}");
        complaints.extend(verdict.complaint(name, &pulled));
        scene.nothing_outside(name);
        if pulled.is_ok() {
            // Holes of terabytes are neither read nor written.
            let found = crate::hostile::scene::check(&scene.engine, false);
            assert!(found.is_empty(), "{name}: {found:#?}");
            let image = scene.engine.get("/images/json").expect(200).json()[0]["Id"].clone();
            let saved = scene.engine.get(&format!("/images/{}/get", image.as_str().unwrap()));
            assert!(saved.expect(200).body.len() > tar.len(), "{name}: all of it is saved");
        }
        scene.remove_images();
        let loaded = scene.load(&archive(tar));
        // What is no tar at all is no layer to an archive.
        let same = loaded.is_ok() == pulled.is_ok();
        complaints.extend((!same).then(|| format!("load {name}: {loaded:?}, but {pulled:?}")));
        let imported = scene.import(tar);
        if let Harmless = verdict {
            complaints.extend(verdict.complaint(&format!("import {name}"), &imported));
        }
        scene.nothing_outside(name);
        scene.remove_images();
    }
    none(&complaints);
    still_works(&scene);
    scene.end("tars that want out");
}

/// An archive with one layer.
fn archive(tar: &[u8]) -> Vec<u8> {
    let config = crate::hostile::server::config(&[tar.to_vec()]).to_string();
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": ["evil:1"], "Layers": ["layer.tar"] }]);
    crate::hostile::archives::tar_of(&[
        ("layer.tar", tar),
        ("config.json", config.as_bytes()),
        ("manifest.json", manifest.to_string().as_bytes()),
    ])
}

/// The last of several entries counts, as with tar itself; a layer that is there twice counts twice;
/// and what a layer says about overlayfs is not obeyed.
#[test]
fn privileged_duplicates_and_disguises_mean_what_they_say() {
    let scene = Scene::start();
    let one =
        Layer::new().dir("t", 0o755).file("t/f", 0o644, b"one\n").file("t/only-one", 0o644, b"");
    let two = Layer::new().file("t/f", 0o644, b"two\n").whiteout("t/only-one");
    let again =
        Layer::new().dir("t", 0o755).file("t/f", 0o644, b"one\n").file("t/only-one", 0o644, b"");
    let saved = save(&["twice:1"], &json!({}), vec![busybox_layer(), one, two, again]);
    scene.load(&saved.tar).unwrap();
    let seen = scene.engine.sh("cat /t/f; ls /t", json!({ "Image": "twice:1" }));
    assert_eq!(seen, "one\nf\nonly-one\n");

    let parts = Layer::new()
        .file("a", 0o600, b"first\n")
        .file("a", 0o644, b"second\n")
        .file("b", 0o644, b"file\n")
        .dir("b", 0o755)
        .file("b/in", 0o644, b"in b\n")
        .dir("c", 0o755)
        .file("c/in", 0o644, b"gone\n")
        .symlink("c", "a")
        .file("d", 0o644, b"d\n")
        .hardlink("e", "d")
        .file("d", 0o644, b"other\n")
        .symlink("f", "a")
        .file("f", 0o644, b"f is no link\n")
        .dir("g", 0o755)
        .file("g/in", 0o644, b"kept\n")
        .dir("g", 0o700);
    let saved = save(&["parts:1"], &json!({}), vec![busybox_layer(), parts]);
    scene.load(&saved.tar).unwrap();
    let script = "cat /a /b/in /d /e /f /g/in; readlink /c; stat -c %a /a /g";
    let seen = scene.engine.sh(script, json!({ "Image": "parts:1" }));
    assert_eq!(seen, "second\nin b\nother\nd\nf is no link\nkept\na\n644\n700\n");

    // The directory of programs cannot be led elsewhere, nor hidden, by what overlayfs would obey.
    let disguise = [
        pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ]),
        entry("bin/", b'5', "", b"", b""),
        entry("bin/more", b'0', "", b"", b"more\n"),
        pax(&[
            ("SCHILY.xattr.trusted.overlay.metacopy", b""),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc/passwd"),
        ]),
        entry("file", b'0', "", b"", b"mine\n"),
        end(),
    ]
    .concat();
    let base = busybox_layer().bytes();
    let config = crate::hostile::server::config(&[base.clone(), disguise.clone()]).to_string();
    let manifest =
        json!([{ "Config": "c.json", "RepoTags": ["disguise:1"], "Layers": ["1.tar", "2.tar"] }]);
    scene
        .load(&crate::hostile::archives::tar_of(&[
            ("1.tar", &base),
            ("2.tar", &disguise),
            ("c.json", config.as_bytes()),
            ("manifest.json", manifest.to_string().as_bytes()),
        ]))
        .unwrap();
    let seen = scene
        .engine
        .sh("cat /bin/more /file; ls /bin | grep -c .", json!({ "Image": "disguise:1" }));
    let (text, count) = seen.rsplit_once("mine\n").unwrap();
    assert_eq!(text, "more\n");
    assert!(count.trim().parse::<u32>().unwrap() > 100, "{seen}");
    scene.remove_images();
    scene.end("duplicates and disguises");
}
