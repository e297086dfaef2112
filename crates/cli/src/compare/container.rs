//! The work in containers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use docker_api::IdResponse;
use docker_api::client::{Client, Demux, Hijacked, JsonStream, Method, Stream, Target, empty};
use docker_api::container::{ContainerInspect, CreateBody, CreateResponse, WaitResponse};
use docker_api::exec::{ExecCreateBody, ExecStartBody};
use serde::de::DeserializeOwned;
use types::container::ContainerConfig;
use types::container::HostConfig;
use types::health::HealthConfig;

use super::image::{Mark, program_path};
use super::report::Wall;
use super::work::{Serving, Task};

/// How long a container may take to say that it serves. The first machine makes its template.
const PATIENCE: Duration = Duration::from_secs(120);

/// What containers are made of.
pub(super) struct Maker<'a> {
    /// The daemon.
    pub(super) client: &'a Client,
    /// The image, by id.
    pub(super) image: String,
    /// The mark that all of them have.
    pub(super) mark: &'a Mark,
    /// Whether the daemon has more than one wall to ask for.
    pub(super) walls: bool,
}

/// When the daemon removes a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// By itself at its end. What such a container writes need not survive a power cut, so that its
    /// `fsync` waits for nothing.
    UntilItEnds,
    /// When it is told to.
    UntilRemoved,
}

/// A container that serves. It ends when this value is dropped, as its standard input does.
pub(super) struct Running {
    /// Its id.
    pub(super) id: String,
    /// Where its server is and what it costs.
    pub(super) serving: Serving,
    /// On the host: the program's process, or the machine's.
    pub(super) pid: u32,
    /// Where the host reaches its server.
    pub(super) address: Option<SocketAddr>,
    _input: Hijacked,
}

impl Maker<'_> {
    fn body(&self, wall: Wall, task: &Task, stay: Stay) -> anyhow::Result<CreateBody> {
        let serves = *task == Task::Serve;
        let config = ContainerConfig {
            image: self.image.clone(),
            entrypoint: Some(vec![program_path()].into()),
            cmd: Some(task.arguments()?.into()),
            user: "0:0".to_owned(),
            working_dir: "/".to_owned(),
            healthcheck: Some(HealthConfig { test: vec!["NONE".to_owned()], ..Default::default() }),
            labels: self.mark.labels(),
            attach_stdin: serves,
            open_stdin: serves,
            stdin_once: serves,
            attach_stdout: true,
            attach_stderr: true,
            ..ContainerConfig::default()
        };
        let host_config = HostConfig {
            auto_remove: stay == Stay::UntilItEnds,
            // Other daemons have one wall, and take no word for it.
            isolation: if self.walls { wall.name().to_owned() } else { String::new() },
            ..HostConfig::default()
        };
        Ok(CreateBody { config, host_config, ..CreateBody::default() })
    }

    async fn create(&self, wall: Wall, task: &Task, stay: Stay) -> anyhow::Result<String> {
        let target = Target::new("/containers/create");
        let body = self.body(wall, task, stay)?;
        let made: CreateResponse = self.client.post(&target, &body).await?;
        Ok(made.id)
    }

    async fn attach(&self, id: &str, stdin: bool) -> anyhow::Result<Hijacked> {
        let target = Target::named("/containers", id, "/attach")
            .with("stream", "1")
            .flag("stdin", stdin)
            .with("stdout", "1")
            .with("stderr", "1");
        Ok(self.client.hijack(&target, None).await?)
    }

    async fn begin(&self, id: &str) -> anyhow::Result<()> {
        Ok(self.client.post_empty(&Target::named("/containers", id, "/start")).await?)
    }

    /// Starts the trivial program in a container: seconds from the request to create it until its
    /// line is here, and until the container is gone.
    ///
    /// # Errors
    /// What the daemon or the program says.
    pub(super) async fn start(&self, wall: Wall) -> anyhow::Result<(f64, f64)> {
        let began = Instant::now();
        let id = self.create(wall, &Task::Greet, Stay::UntilItEnds).await?;
        let target = Target::named("/containers", &id, "/wait").with("condition", "removed");
        let (connection, wait) = tokio::try_join!(self.attach(&id, false), async {
            Ok(self.client.json_stream(Method::POST, &target, None, empty()).await?)
        })?;
        let mut wait: JsonStream<WaitResponse> = wait;
        self.begin(&id).await?;
        let mut output = Output::of(connection);
        let line = output.line().await?;
        let first = began.elapsed().as_secs_f64();
        let answer =
            wait.next().await?.context("the daemon did not say that the container ended")?;
        let gone = began.elapsed().as_secs_f64();
        if line.is_empty() || answer.status_code != 0 {
            anyhow::bail!("{}", complaint(&output.said_wrong));
        }
        Ok((first, gone))
    }

    /// Starts a container that serves.
    ///
    /// # Errors
    /// What the daemon or the program says.
    pub(super) async fn launch(&self, wall: Wall, stay: Stay) -> anyhow::Result<Running> {
        let id = self.create(wall, &Task::Serve, stay).await?;
        let mut output = Output::of(self.attach(&id, true).await?);
        self.begin(&id).await?;
        let line = tokio::time::timeout(PATIENCE, output.line())
            .await
            .context("the program in the container did not say anything")??;
        let serving: Serving = serde_json::from_slice(&line)
            .map_err(|_| anyhow::anyhow!("{}", complaint(&output.said_wrong)))?;
        let inspect: ContainerInspect =
            self.client.get(&Target::named("/containers", &id, "/json")).await?;
        let pid = u32::try_from(inspect.state.pid)?;
        let addresses = inspect.network_settings.networks.values();
        let address = addresses
            .filter_map(|endpoint| endpoint.ip_address.parse::<IpAddr>().ok())
            .map(|ip| SocketAddr::new(ip, serving.port))
            .next();
        Ok(Running { id, serving, pid, address, _input: output.connection })
    }

    /// Has a running container do a task; its answer.
    ///
    /// # Errors
    /// What the daemon or the program says.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        running: &Running,
        task: &Task,
    ) -> anyhow::Result<T> {
        let mut cmd = vec![program_path()];
        cmd.extend(task.arguments()?);
        let body = ExecCreateBody {
            user: "0:0".to_owned(),
            working_dir: "/".to_owned(),
            attach_stdout: true,
            attach_stderr: true,
            cmd: cmd.into(),
            ..ExecCreateBody::default()
        };
        let target = Target::named("/containers", &running.id, "/exec");
        let made: IdResponse = self.client.post(&target, &body).await?;
        let begin = serde_json::to_vec(&ExecStartBody::default())?;
        let target = Target::named("/exec", &made.id, "/start");
        let mut output = Output::of(self.client.hijack(&target, Some(begin.into())).await?);
        let line = output.line().await?;
        serde_json::from_slice(&line)
            .map_err(|_| anyhow::anyhow!("{}", complaint(&output.said_wrong)))
    }

    /// Bytes of a container's own files, as the daemon counts them.
    ///
    /// # Errors
    /// What the daemon says.
    pub(super) async fn size(&self, running: &Running) -> anyhow::Result<u64> {
        let target = Target::named("/containers", &running.id, "/json").with("size", "1");
        let inspect: ContainerInspect = self.client.get(&target).await?;
        u64::try_from(inspect.size_rw.context("the daemon does not say how large it is")?)
            .context("a size below zero")
    }

    /// Ends a container at once that goes by itself then.
    ///
    /// # Errors
    /// What the daemon says.
    pub(super) async fn end(&self, running: Running) -> anyhow::Result<()> {
        let target = Target::named("/containers", &running.id, "/kill");
        let wait = Target::named("/containers", &running.id, "/wait").with("condition", "removed");
        let mut gone: JsonStream<WaitResponse> =
            self.client.json_stream(Method::POST, &wait, None, empty()).await?;
        self.client.post_empty(&target).await?;
        gone.next().await?;
        Ok(())
    }
}

/// What a program says, without a terminal.
struct Output {
    connection: Hijacked,
    frames: Demux,
    said: Vec<u8>,
    /// On standard error.
    said_wrong: Vec<u8>,
}

impl Output {
    fn of(connection: Hijacked) -> Self {
        let (said, said_wrong) = (Vec::new(), Vec::new());
        Self { connection, frames: Demux::default(), said, said_wrong }
    }

    /// The first line of standard output, or all of it where that has no end of line.
    async fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut buffer = [0; 4096];
        while !self.said.ends_with(b"\n") {
            let count = self.connection.reader.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            self.frames.push(&buffer[..count]);
            while let Some(chunk) = self.frames.next_chunk()? {
                match chunk.stream {
                    Stream::Stdout => self.said.extend_from_slice(&chunk.data),
                    Stream::Stderr | Stream::System => {
                        self.said_wrong.extend_from_slice(&chunk.data);
                    }
                    Stream::Stdin | Stream::Status => {}
                }
            }
        }
        Ok(std::mem::take(&mut self.said))
    }
}

/// What a program said that did not answer.
pub(super) fn complaint(said_wrong: &[u8]) -> String {
    match String::from_utf8_lossy(said_wrong).trim() {
        "" => "the program ended without an answer".to_owned(),
        text => text.to_owned(),
    }
}
