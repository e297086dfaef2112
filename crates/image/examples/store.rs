//! The image store from the command line, to try it and to time it against other engines:
//! `store <data-root> load|save|import|list|…`. See the match below for the words.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use image::{
    CommitOptions, ImportOptions, ListFilter, LoadOptions, MountOptions, Options, RemoveOptions,
    Store, archive,
};
use types::ContainerId;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let [root, verb, rest @ ..] = words.as_slice() else {
        return Err("store <data-root> <verb> …".into());
    };
    let store = Store::open(root, Options::default())?;
    let begun = Instant::now();
    match (*verb, rest) {
        ("load", [file]) => {
            let mut input = open(file)?;
            for image in store.load(&mut *input, &LoadOptions::default(), &mut |_| {})? {
                println!("{} {}", image.id, image.names.join(" "));
            }
        }
        ("save", [file, names @ ..]) => {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut output = std::io::BufWriter::with_capacity(1 << 20, File::create(file)?);
            store.save(&names, &mut output)?;
            output.flush()?;
        }
        ("import", [file, name, changes @ ..]) => {
            let options = ImportOptions {
                reference: Some(name.parse()?),
                changes: changes.iter().map(|change| (*change).to_owned()).collect(),
                ..ImportOptions::default()
            };
            println!("{}", store.import(&mut *open(file)?, &options)?);
        }
        ("list", []) => println!("{}", json(&store.list(&ListFilter::default())?)?),
        ("inspect", [name]) => println!("{}", json(&store.inspect(name)?)?),
        ("history", [name]) => println!("{}", json(&store.history(name)?)?),
        ("rmi", [name]) => println!("{:?}", store.remove(name, RemoveOptions::default(), &[])?),
        ("prepare", [id, name]) => store.prepare(&container(id)?, &store.resolve(name)?)?,
        ("changes", [id]) => {
            for change in store.changes(&container(id)?)? {
                println!("{} {}", ["C", "A", "D"][change.kind as usize], change.path);
            }
        }
        ("commit", [id, name]) => {
            let reference = Some(name.parse()?);
            let options = CommitOptions { reference, ..CommitOptions::default() };
            println!("{}", store.commit(&container(id)?, &options)?);
        }
        ("export", [id, file]) => {
            let mount = store.mount(&container(id)?, MountOptions::default())?;
            let mut output = std::io::BufWriter::new(File::create(file)?);
            archive::export(mount.as_fd(), &archive::IdMap::default(), &mut output)?;
            output.flush()?;
        }
        ("mount", [id, times]) => {
            for _ in 0..times.parse()? {
                drop(store.mount(&container(id)?, MountOptions::default())?);
            }
        }
        ("rm", [id]) => store.remove_snapshot(&container(id)?)?,
        _ => return Err(format!("no such verb, or wrong arguments: {verb} {rest:?}").into()),
    }
    eprintln!("{verb}: {:.3} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// A number or a full id.
fn container(text: &str) -> Result<ContainerId, Box<dyn Error>> {
    Ok(format!("{text:0>64}").parse()?)
}

fn open(file: &str) -> std::io::Result<Box<dyn Read + Send>> {
    Ok(if file == "-" { Box::new(std::io::stdin()) } else { Box::new(File::open(file)?) })
}

fn json(value: &impl serde::Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value)
}
