//! The image that is measured: the user's with our program in it. It is made once, so that no
//! start has to carry the program, and every container shares it.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use docker_api::IdResponse;
use docker_api::client::{Client, Error, Method, Target};
use docker_api::container::{ContainerSummary, CreateBody, CreateResponse};
use docker_api::image::ImageSummary;
use types::container::ContainerConfig;

use crate::options::filter;
use crate::session::Session;

/// Marks every container and image of ours; its value is that of one run of the command.
const LABEL: &str = "isopod.compare";
/// The program's name in the image's root directory.
const NAME: &str = "isopod-compare";
/// How often it is looked for what is left, at most.
const SWEEPS: u32 = 500;
/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// All that this run of the command has on the daemon.
pub(super) struct Mark(String);

impl Mark {
    /// One that no other run has.
    pub(super) fn new() -> Self {
        let now = jiff::Timestamp::now().as_nanosecond();
        Self(format!("{}-{now}", std::process::id()))
    }

    /// The label, as containers have it.
    pub(super) fn labels(&self) -> std::collections::BTreeMap<String, String> {
        [(LABEL.to_owned(), self.0.clone())].into()
    }

    fn filters(&self) -> Option<String> {
        filter::json(&[("label".to_owned(), format!("{LABEL}={}", self.0))])
    }

    /// Removes it all, and looks again until so many times nothing was there: a request that was
    /// broken off may still be at work.
    ///
    /// # Errors
    /// Something could not be removed; the rest is, all the same.
    pub(super) async fn sweep(&self, client: &Client, looks: u32) -> anyhow::Result<()> {
        let (mut empty, mut failed) = (0, None);
        for _ in 0..SWEEPS {
            let target = Target::new("/containers/json").with("all", "1");
            let containers: Vec<ContainerSummary> =
                client.get(&target.maybe("filters", self.filters())).await?;
            for container in &containers {
                failed = remove_container(client, &container.id).await.err().or(failed);
            }
            let target = Target::new("/images/json").maybe("filters", self.filters());
            let images: Vec<ImageSummary> = client.get(&target).await?;
            for image in images.iter().filter(|_| containers.is_empty()) {
                let target = Target::named("/images", &image.id, "").with("force", "1");
                failed = remove(client, &target).await.err().or(failed);
            }
            empty = if containers.is_empty() && images.is_empty() { empty + 1 } else { 0 };
            if empty == looks {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(failed.map_or_else(|| anyhow::anyhow!("some of it is still there"), Into::into))
    }
}

async fn remove_container(client: &Client, id: &str) -> Result<(), Error> {
    remove(client, &Target::named("/containers", id, "").with("force", "1").with("v", "1")).await
}

async fn remove(client: &Client, target: &Target) -> Result<(), Error> {
    match client.delete(target).await {
        // It is gone, or about to be.
        Err(error) if matches!(error.status(), Some(404 | 409)) => Ok(()),
        other => other,
    }
}

/// Makes the image, pulling the user's if it is not there. Returns its id.
///
/// # Errors
/// This program cannot run elsewhere; what the daemon says.
pub(super) async fn prepare(session: &Session, image: &str, mark: &Mark) -> anyhow::Result<String> {
    let mut program = File::open("/proc/self/exe").context("this program cannot be read")?;
    anyhow::ensure!(
        stands_alone(&mut program)?,
        "this isopod was linked to shared libraries, which an image may not have: build it where \
         the C library's archives are installed (libc6-dev)"
    );
    let client = session.client()?;
    let present = client.get_bytes(&Target::named("/images", image, "/json")).await;
    if matches!(&present, Err(error) if error.status() == Some(404)) {
        crate::image::pull_for_run(session, image, "", false).await?;
    } else {
        present?;
    }
    let config = ContainerConfig {
        image: image.to_owned(),
        entrypoint: Some(vec![program_path()].into()),
        labels: mark.labels(),
        ..ContainerConfig::default()
    };
    let body = CreateBody { config, ..CreateBody::default() };
    let made: CreateResponse = client.post(&Target::new("/containers/create"), &body).await?;
    let place = Target::named("/containers", &made.id, "/archive").with("path", "/");
    client.stream(Method::PUT, &place, Some("application/x-tar"), archive(program)?).await?;
    let target = Target::new("/commit").with("container", &made.id);
    let committed: IdResponse = client.post_for(&target).await?;
    remove_container(client, &made.id).await?;
    Ok(committed.id)
}

/// Where the program is in the image.
pub(super) fn program_path() -> String {
    format!("/{NAME}")
}

/// A tar with the program, as the body of a request.
fn archive(program: File) -> io::Result<docker_api::client::Body> {
    let size = program.metadata()?.len();
    Ok(crate::pipe::written_by(Arc::default(), move |out| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o755);
        let mut builder = tar::Builder::new(out);
        builder.append_data(&mut header, NAME, program.take(size))?;
        builder.finish()
    }))
}

/// Whether a program needs no interpreter that loads libraries. Leaves the file at its beginning.
fn stands_alone(program: &mut (impl io::Read + io::Seek)) -> io::Result<bool> {
    let mut head = Vec::new();
    program.by_ref().take(4096).read_to_end(&mut head)?;
    program.rewind()?;
    Ok(!interpreted(&head).unwrap_or(true))
}

/// Whether a 64-bit ELF program of this byte order has a program header of the type `PT_INTERP`.
/// `None` for what is none.
fn interpreted(head: &[u8]) -> Option<bool> {
    let half = |at: usize| Some(u16::from_ne_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(head.get(at..at + 8)?.try_into().ok()?));
    if head.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let (first, size, count) = (usize::try_from(long(32)?).ok()?, half(54)?, half(56)?);
    for index in 0..usize::from(count) {
        if word(first.checked_add(index * usize::from(size))?)? == 3 {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program whose headers have these types.
    fn program(types: &[u32]) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..5].copy_from_slice(b"\x7fELF\x02");
        head[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        head[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        head[56..58].copy_from_slice(&u16::try_from(types.len()).expect("few").to_ne_bytes());
        for kind in types {
            head.extend(kind.to_ne_bytes());
            head.resize(head.len() + 52, 0);
        }
        head
    }

    #[test]
    fn programs_that_load_libraries_are_told_from_those_that_do_not() {
        assert_eq!(interpreted(&program(&[6, 3, 1])), Some(true));
        assert_eq!(interpreted(&program(&[1, 1])), Some(false));
        assert_eq!(interpreted(&program(&[1, 1])[..100]), None);
        assert_eq!(interpreted(b"#!/bin/sh\n"), None);
        let mut file = io::Cursor::new(program(&[1]));
        assert!(stands_alone(&mut file).expect("read"));
        assert_eq!(file.position(), 0);
    }

    #[test]
    fn no_two_runs_have_the_same_mark() {
        assert_ne!(Mark::new().labels(), Mark::new().labels());
    }
}
