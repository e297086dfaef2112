//! `create`, and the part of `run` that it is.

use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::Context as _;
use docker_api::client::{Client, Error, Target};
use docker_api::container::{CreateBody, CreateResponse};

use super::flags::ContainerFlags;
use crate::failure::Failure;
use crate::session::Session;

/// `create`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) flags: ContainerFlags,
    /// Image, command and its arguments
    #[arg(value_name = "IMAGE")]
    pub(crate) words: Vec<String>,
}

/// Splits the words into the image and the command. With `--rootfs` there is no image.
pub(super) fn body(flags: &ContainerFlags, words: &[String]) -> anyhow::Result<CreateBody> {
    let made = if flags.has_rootfs() {
        flags.body("", words)
    } else {
        let (image, command) = words.split_first().context("an image is needed")?;
        flags.body(image, command)
    };
    made.map_err(anyhow::Error::msg)
}

pub(crate) async fn create(session: &Session, args: Args) -> anyhow::Result<u8> {
    let mut body = body(&args.flags, &args.words)?;
    check_pull(&args.flags)?;
    let made = make(session, &args.flags, &mut body).await?;
    session.line(&made.id);
    Ok(0)
}

/// Refuses an unknown `--pull`.
pub(super) fn check_pull(flags: &ContainerFlags) -> anyhow::Result<()> {
    match flags.life.pull.as_str() {
        "always" | "missing" | "never" | "" => Ok(()),
        other => Err(Failure::with(
            125,
            format!(
                "isopod: invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            ),
        )),
    }
}

/// Creates the container, pulling its image if it has to, and writes the id file.
pub(super) async fn make(
    session: &Session,
    flags: &ContainerFlags,
    body: &mut CreateBody,
) -> anyhow::Result<CreateResponse> {
    proxies(session, body)?;
    let file = IdFile::open(&flags.life.cidfile)?;
    let client = session.client()?;
    let target = Target::new("/containers/create")
        .maybe("name", Some(&flags.life.name).filter(|name| !name.is_empty()))
        .maybe("platform", Some(&flags.life.platform).filter(|name| !name.is_empty()));
    let image = body.config.image.clone();
    let pull = async || {
        crate::image::pull_for_run(session, &image, &flags.life.platform, flags.life.quiet).await
    };
    if flags.life.pull == "always" && !image.is_empty() {
        pull().await?;
    }
    let made = match post(client, &target, body).await {
        Err(error) if flags.life.pull == "missing" && lacks_image(&error) => {
            session.warn(&format!(
                "Unable to find image '{}' locally",
                crate::image::familiar(&image)
            ));
            pull().await?;
            post(client, &target, body).await?
        }
        other => other?,
    };
    for warning in &made.warnings {
        session.warn(&format!("WARNING: {warning}"));
    }
    file.write(&made.id)?;
    Ok(made)
}

async fn post(
    client: &Client,
    target: &Target,
    body: &CreateBody,
) -> Result<CreateResponse, Error> {
    client.post(target, body).await
}

/// The daemon says so in words, because a missing network or volume is a 404 as well.
fn lacks_image(error: &Error) -> bool {
    match error {
        Error::Status { status: 404, message } => {
            let message = message.to_lowercase();
            message.contains("no such image")
                || message.contains("image") && message.contains("not found")
        }
        _ => false,
    }
}

/// Adds the proxy variables of the client's configuration that the user has not set.
fn proxies(session: &Session, body: &mut CreateBody) -> anyhow::Result<()> {
    for (name, value) in session.proxies()? {
        let known =
            body.config.env.iter().any(|line| line.split('=').next() == Some(name.as_str()));
        if !known {
            body.config.env.push(format!("{name}={value}"));
        }
    }
    Ok(())
}

/// The file that gets the id. It is made before the container, so that two never share one.
struct IdFile(Option<(std::fs::File, String, bool)>);

impl IdFile {
    fn open(path: &str) -> anyhow::Result<Self> {
        if path.is_empty() {
            return Ok(Self(None));
        }
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self(Some((file, path.to_owned(), false)))),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(anyhow::anyhow!(
                    "container ID file found, make sure the other container isn't running or delete {path}"
                ))
            }
            Err(error) => Err(error)
                .with_context(|| format!("failed to create the container ID file: open {path}")),
        }
    }

    fn write(mut self, id: &str) -> anyhow::Result<()> {
        if let Some((file, path, written)) = &mut self.0 {
            file.write_all(id.as_bytes())
                .with_context(|| format!("failed to write the container ID to {path}"))?;
            *written = true;
        }
        Ok(())
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if let Some((_, path, false)) = &self.0 {
            // It says nothing, so it should not stand in the way of the next attempt.
            let _ = std::fs::remove_file(path);
        }
    }
}
