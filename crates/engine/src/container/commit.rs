//! Images of containers: commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use proto::control::Request;
use types::container::ContainerConfig;
use types::digest::Digest;
use types::event::Subject;
use types::reference::Reference;
use types::state::Status;
use types::{Error, ErrorKind};

use super::{Container, Live};
use crate::{Engine, blocking, from_image, to_the_end};

/// What is made of a container.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// The image's name, without a tag.
    pub repository: String,
    /// Its tag.
    pub tag: String,
    /// A remark.
    pub comment: String,
    /// Who makes it.
    pub author: String,
    /// Freeze the container meanwhile.
    pub pause: bool,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// Over the container's configuration.
    pub config: Option<ContainerConfig>,
}

impl Engine {
    /// Makes an image of a container; returns its id.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Invalid`] for a bad name or change.
    pub async fn commit(&self, reference: &str, request: CommitRequest) -> Result<String, Error> {
        let container = self.containers.find(reference)?;
        container.refuse_whole("making an image of it (isopod vm snapshot keeps its disk)")?;
        let mut record = container.record().clone();
        record.unfold();
        if matches!(record.state.status, Status::Removing | Status::Dead) {
            return Err(Error::conflict(format!(
                "You cannot commit container {} which is being removed",
                container.id
            )));
        }
        if !record.host.rootfs.is_empty() {
            return Err(Error::invalid(
                "a container whose root is a plain directory cannot be committed: import the \
                 directory as an image instead",
            ));
        }
        let reference = name_of(&request.repository, &request.tag)?;
        let mut config = request.config.unwrap_or_default();
        super::create::merge(&mut config, &record.config);
        let options = image::CommitOptions {
            reference: reference.clone(),
            config,
            container_config: record.config.clone(),
            changes: request.changes,
            author: request.author,
            comment: request.comment.clone(),
        };
        let engine = self.clone();
        let subject = Arc::clone(&container);
        // A container that was frozen must not stay so because a client has gone.
        let made =
            to_the_end(async move { engine.commit_frozen(&subject, options, request.pause).await })
                .await;
        let id = made?.to_string();
        let name = reference.map(|name| name.familiar()).unwrap_or_default();
        if !name.is_empty() {
            self.tell(Subject::Image, "tag", &id, &[("name", &name)]);
        }
        self.tell_container(
            &container,
            "commit",
            &[("imageID", &id), ("imageRef", &name), ("comment", &request.comment)],
        );
        Ok(id)
    }

    /// Commits; with `pause` no process of the container runs meanwhile. A daemon that dies in
    /// between is followed by one that lets it go on: only the user's pauses are in the database.
    async fn commit_frozen(
        &self,
        container: &Arc<Container>,
        options: image::CommitOptions,
        pause: bool,
    ) -> Result<Digest, Error> {
        let frozen = if pause { freeze(container).await? } else { None };
        if frozen.is_some() {
            self.tell_container(container, "pause", &[]);
        }
        let engine = self.clone();
        let subject = Arc::clone(container);
        let made = if subject.record().is_machine() {
            self.commit_machine(subject, options).await
        } else {
            blocking(move || engine.images.commit(&subject.id, &options).map_err(from_image)).await
        };
        if let Some(live) = frozen {
            thaw(container, &live).await?;
            self.tell_container(container, "unpause", &[]);
        }
        made
    }

    /// Commits what a machine's agent says that its container has written.
    async fn commit_machine(
        &self,
        container: Arc<Container>,
        options: image::CommitOptions,
    ) -> Result<Digest, Error> {
        let layer = self.guest_layer(&container).await?;
        let engine = self.clone();
        blocking(move || {
            let made = engine.images.commit_layer(&container.id, &options, layer.as_ref());
            made.map_err(from_image)
        })
        .await
    }
}

/// Stops all processes of a container; `None` if nothing runs that would have to stand still.
pub(crate) async fn freeze(container: &Container) -> Result<Option<Live>, Error> {
    let running = container.record().state.status == Status::Running;
    match container.live() {
        Some(live) if running => match live.link.ask(Request::Pause, None).await {
            Ok(_) => {
                container.frozen.store(true, Ordering::SeqCst);
                Ok(Some(live))
            }
            // It has ended meanwhile.
            Err(error) if error.kind == ErrorKind::Conflict || live.link.is_gone() => Ok(None),
            Err(error) => Err(error),
        },
        _ => Ok(None),
    }
}

/// Lets a container go on that [`freeze`] has stopped.
pub(crate) async fn thaw(container: &Container, live: &Live) -> Result<(), Error> {
    container.frozen.store(false, Ordering::SeqCst);
    match live.link.ask(Request::Resume, None).await {
        Err(error) if container.running().is_ok() => Err(error),
        _ => Ok(()),
    }
}

/// The name that an image is to get; `latest` unless there is a tag.
pub(crate) fn name_of(repository: &str, tag: &str) -> Result<Option<Reference>, Error> {
    if repository.is_empty() {
        return Ok(None);
    }
    let invalid = |error: types::reference::InvalidReference| Error::invalid(error.to_string());
    let name = Reference::parse(repository).map_err(invalid)?;
    let name = if tag.is_empty() { name } else { name.with_tag(tag).map_err(invalid)? };
    Ok(Some(name.or_latest()))
}
