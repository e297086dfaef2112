//! How answers look: tables, templates, sizes and times, progress, downloads.

pub(crate) mod format;
pub(crate) mod human;
pub(crate) mod inspect;
pub(crate) mod progress;
pub(crate) mod table;

use std::io::Write as _;

use anyhow::Context as _;
use docker_api::client::{Method, Target, empty, next_data};

use crate::session::Session;
use crate::terminal::output;

/// Writes an answer to a file (by way of a temporary name) or to standard output.
pub(crate) async fn download(
    session: &Session,
    target: &Target,
    path: Option<&str>,
    verb: &str,
) -> anyhow::Result<u8> {
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        session.refuse_terminal(verb)?;
        let answer = session.client()?.stream(Method::GET, target, None, empty()).await?;
        let mut body = answer.into_body();
        while let Some(data) = next_data(&mut body).await? {
            output::stdout(&data)?;
        }
        return Ok(0);
    };
    let path = std::path::Path::new(path);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent
        && !parent.is_dir()
    {
        anyhow::bail!(
            "invalid output path: directory {} does not exist",
            crate::template::Value::from(parent.to_string_lossy().into_owned()).show()
        );
    }
    let answer = session.client()?.stream(Method::GET, target, None, empty()).await?;
    // A device or a pipe is written to, not replaced.
    if path.exists() && !path.is_file() {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .with_context(|| path.display().to_string())?;
        let mut body = answer.into_body();
        while let Some(data) = next_data(&mut body).await? {
            file.write_all(&data).with_context(|| path.display().to_string())?;
        }
        return Ok(0);
    }
    let temporary = path.with_file_name(format!(
        ".{}.{}.tmp",
        path.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let outcome = async {
        let mut file = std::fs::File::create(&temporary)?;
        let mut body = answer.into_body();
        while let Some(data) = next_data(&mut body).await? {
            file.write_all(&data)?;
        }
        std::fs::rename(&temporary, path)?;
        anyhow::Ok(())
    }
    .await;
    if outcome.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    outcome.with_context(|| path.display().to_string())?;
    Ok(0)
}
