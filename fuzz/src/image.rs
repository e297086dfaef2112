//! Images and the tars that they are made of.

/// Unpacks a layer, below a temporary directory (as root, to reach device nodes and owners): what
/// can be unpacked comes back byte for byte, and nothing is written beside it.
pub fn layer(bytes: &[u8]) {
    image::fuzzing::layer(bytes);
}

/// Reads an archive of images: manifests, indexes, configurations, links, layers.
pub fn image_archive(bytes: &[u8]) {
    image::fuzzing::image_archive(bytes);
}

/// Unpacks an upload into a container: nothing is written outside of it.
pub fn upload(bytes: &[u8]) {
    image::fuzzing::upload(bytes);
}

/// Takes an image's configuration, and asks everything of the image.
pub fn image_config(bytes: &[u8]) {
    image::fuzzing::image_config(bytes);
}

/// Parses and applies a `--change`.
pub fn instruction(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut config = Default::default();
    let _ = image::instruction::apply_all(&mut config, &[text.to_owned()]);
}

/// What to begin with.
pub mod seeds {
    use crate::texts;
    use std::io::Write;
    use testkit::image::{Layer, save};
    use testkit::json;

    /// One of everything that an ordinary layer has.
    fn ordinary() -> Layer {
        Layer::new()
            .dir("etc/", 0o755)
            .file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n")
            .symlink("etc/link", "../etc/passwd")
            .hardlink("etc/hard", "etc/passwd")
            .device("null")
            .file_with_xattr(
                "cap",
                "security.capability",
                &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                b"x",
            )
            .file("etc/passwd", 0o600, b"again\n")
    }

    /// One that hides what is below it.
    fn hiding() -> Layer {
        Layer::new().dir("etc", 0o755).opaque("etc").whiteout("null").whiteout("a/b")
    }

    /// A name longer than a header takes, as GNU's tar writes it, and as POSIX' does.
    fn long_names() -> Vec<u8> {
        let long = "directory/".repeat(20) + "file";
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        tar.append_data(&mut header, &long, &b"x"[..]).expect("writing to memory");
        let mtime = b"1700000000.5";
        tar.append_pax_extensions([("path", long.as_bytes()), ("mtime", &mtime[..])])
            .expect("writing to memory");
        let mut header = tar::Header::new_ustar();
        header.set_path("short").expect("a short name");
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, &b""[..]).expect("writing to memory");
        tar.into_inner().expect("writing to memory")
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("writing to memory");
        encoder.finish().expect("writing to memory")
    }

    /// Ordinary ones, plain and compressed; those that want out.
    pub fn layer() -> Vec<Vec<u8>> {
        let plain = ordinary().bytes();
        vec![
            gzip(&plain),
            zstd::encode_all(&plain[..], 1).expect("writing to memory"),
            plain,
            hiding().bytes(),
            long_names(),
            Layer::new().symlink("l", "/tmp").file("l/x", 0o644, b"x").bytes(),
            Layer::new().file("../x", 0o644, b"x").file("/y", 0o644, b"y").bytes(),
            Layer::new().hardlink("h", "../../beside").file("h", 0o777, b"evil").bytes(),
            Layer::new().bytes(),
        ]
    }

    /// As layers, for an upload is a tar too.
    pub fn upload() -> Vec<Vec<u8>> {
        layer()
    }

    /// What `docker save` writes, with one and two layers, with and without a name.
    pub fn image_archive() -> Vec<Vec<u8>> {
        let config = json!({ "Env": ["A=b"], "Cmd": ["sh"], "Labels": { "a": "b" } });
        vec![
            save(&["a:b"], &config, vec![ordinary()]).tar,
            save(&["a:b", "c.example/d:e"], &config, vec![ordinary(), hiding()]).tar,
            save(&[], &json!({}), vec![ordinary(), ordinary()]).tar,
            gzip(&save(&["a:b"], &json!(null), Vec::new()).tar),
        ]
    }

    /// Full, small, and with more history than layers.
    pub fn image_config() -> Vec<Vec<u8>> {
        texts(&[
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
            r#"{"architecture":"arm","variant":"v7","os":"linux","os.version":"1","os.features":["a"],"created":"2023-11-14T22:13:20.123456789Z","author":"me","config":{"User":"1:2","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":["a"],"Cmd":["b"],"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"a":"b"},"StopSignal":"SIGTERM","Healthcheck":{"Test":["CMD","x"],"Interval":1000000000,"Retries":3},"OnBuild":["RUN x"],"Shell":["/bin/sh","-c"],"ArgsEscaped":true},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created":"2023-11-14T22:13:20Z","created_by":"x","empty_layer":true,"comment":"c"},{"created_by":"y"}]}"#,
            r#"{"container_config":{"Cmd":["x"]},"docker_version":"20.10","id":"x","parent":"y","rootfs":{"type":"layers","diff_ids":null}}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#,
        ])
    }

    /// One of each that `--change` takes.
    pub fn instruction() -> Vec<Vec<u8>> {
        texts(&[
            "CMD [\"sh\", \"-c\"]",
            "ENTRYPOINT sh -c x",
            "ENV a=b \"c d\"='e f' g=$a",
            "ENV a b c",
            "LABEL a=b\\ c",
            "EXPOSE 80 90/udp",
            "USER 1:2",
            "WORKDIR /a/../b",
            "VOLUME [\"/a\"]",
            "ONBUILD RUN x",
            "STOPSIGNAL 9",
            "HEALTHCHECK --interval=5s CMD x",
            "SHELL [\"a\"]",
            "RUN no",
        ])
    }
}
