//! Contexts in archives, which Docker's command line reads and writes too.
//!
//! A tar holds `meta.json` and `tls/<endpoint>/<file>`.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;
use serde_json::Value;
use tar::{Archive, Builder, Header};

use super::change::is_there;
use super::store::{self, Material};
use crate::config::StoredContext;
use crate::failure::Failure;
use crate::session::Session;

/// The most that an archive may hold.
const LARGEST: u64 = 10 << 20;

/// `export`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Context, and where to write it [default: CONTEXT.dockercontext]
    #[arg(value_name = "CONTEXT")]
    words: Vec<String>,
}

/// `import`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Context, and where to read it from
    #[arg(value_name = "CONTEXT")]
    words: Vec<String>,
}

pub(crate) async fn export(session: &Session, args: ExportArgs) -> anyhow::Result<u8> {
    let name = args.words.first().map_or("", String::as_str);
    let context = session.directory.context(name)?;
    let meta = session.directory.context_text(&context)?;
    let material = store::material(&session.directory, &context)?;
    let file = args.words.get(1).cloned().unwrap_or_else(|| format!("{name}.dockercontext"));
    if file == "-" {
        session.refuse_terminal("export")?;
        pack(io::stdout().lock(), &meta, &material)?;
        return Ok(0);
    }
    // Keys are in it, and nothing is overwritten.
    let mut options = OpenOptions::new();
    let out = options.write(true).create_new(true).mode(0o600).open(&file);
    pack(out.with_context(|| format!("open {file}"))?, &meta, &material)?;
    session.warn(&format!("Written file {file:?}"));
    Ok(0)
}

fn pack(out: impl Write, meta: &[u8], material: &Material) -> io::Result<()> {
    let mut archive = Builder::new(out);
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, path, bytes)
    };
    add("meta.json", meta)?;
    for (endpoint, files) in material {
        for (file, bytes) in files {
            add(&format!("tls/{endpoint}/{file}"), bytes)?;
        }
    }
    archive.into_inner()?.flush()
}

pub(crate) async fn import(session: &Session, args: ImportArgs) -> anyhow::Result<u8> {
    let [name, file] = args.words.as_slice() else {
        return Err(Failure::with(1, "a context and a file are needed"));
    };
    store::check_name(name)?;
    if is_there(session, name) {
        return Err(Failure::with(1, format!("context {name:?} already exists")));
    }
    let (meta, material) = if file == "-" {
        unpack(io::stdin().lock())?
    } else {
        unpack(std::fs::File::open(file).with_context(|| format!("open {file}"))?)?
    };
    store::write(&session.directory, name, meta, &material)?;
    session.line(name);
    session.warn(&format!("Successfully imported context {name:?}"));
    Ok(0)
}

/// Reads an archive. Nothing in it is taken for a path: an endpoint and a file are plain names.
fn unpack(source: impl Read) -> anyhow::Result<(Value, Material)> {
    let refused = |message: String| Failure::with(1, message);
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64;
    if whole > LARGEST {
        return Err(refused(format!("the archive holds more than {LARGEST} bytes")));
    }
    // Docker's command line leaves the end of an archive out, and what fills its last block.
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    let mut archive = Archive::new(bytes.as_slice());
    let (mut meta, mut material) = (None, Material::new());
    let entries = archive.entries()?;
    for entry in entries {
        let mut entry = entry.context("the archive is no tar of a context")?;
        if entry.raw_file_position() + entry.size() > whole {
            return Err(refused("the archive is cut off".to_owned()));
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).context("the archive is cut off")?;
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["meta.json"] => meta = Some(bytes),
            ["tls", endpoint, file] if plain(endpoint) && plain(file) => {
                let files = material.entry((*endpoint).to_owned()).or_default();
                files.insert((*file).to_owned(), bytes);
            }
            _ => return Err(refused(format!("unexpected file in the archive: {path:?}"))),
        }
    }
    let meta = meta.ok_or_else(|| refused("invalid context: no metadata found".to_owned()))?;
    // Once for its shape, once with all that others may have put into it.
    serde_json::from_slice::<StoredContext>(&meta).context("the context's metadata is damaged")?;
    Ok((serde_json::from_slice(&meta)?, material))
}

fn plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let files = [("ca.pem", "A"), ("key.pem", "B")];
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        let material = Material::from([("docker".to_owned(), files.into())]);
        let mut bytes = Vec::new();
        pack(&mut bytes, br#"{"Name":"a","Endpoints":{},"More":1}"#, &material).expect("packs");
        let (meta, found) = unpack(bytes.as_slice()).expect("unpacks");
        assert_eq!((&meta["More"], found), (&1.into(), material.clone()));
        let whole = bytes.len();
        let (_, found) = unpack(&bytes[..whole - 1024 - 511]).expect("unpacks without its end");
        assert_eq!(found, material);
        assert!(unpack(&bytes[..whole - 1024 - 512]).is_err(), "a byte of a key is missing");
    }

    #[test]
    fn archives_cannot_name_other_files() {
        for path in ["tls/docker/a/b", "tls/.x/y", "other", "tls/docker/.bashrc"] {
            let mut archive = Builder::new(Vec::new());
            let mut header = Header::new_ustar();
            header.set_size(1);
            archive.append_data(&mut header, path, &b"x"[..]).expect("packs");
            let error = unpack(archive.into_inner().expect("ends").as_slice()).expect_err(path);
            assert!(error.to_string().contains("unexpected file"), "{error}");
        }
        assert!(unpack(&b"rubbish that is no tar"[..]).is_err());
        assert!(unpack(&b""[..]).is_err());
        assert!(plain("a.pem") && !plain("..") && !plain("a/b"));
    }
}
