//! What instructions change in an image's configuration.

use image::instruction::Instruction as Change;
use types::container::ContainerConfig;

use super::{PlanError, Reason};
use crate::dockerfile::{Instruction, Span};

/// An image's configuration while its stage is built.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configured {
    /// What containers of it start from.
    pub config: ContainerConfig,
    /// `MAINTAINER`.
    pub author: String,
    /// This stage has had a `CMD`: an `ENTRYPOINT` then leaves it alone.
    pub has_cmd: bool,
}

impl Configured {
    /// Starts from a base's.
    pub fn new(config: ContainerConfig, author: String) -> Self {
        Self { config, author, has_cmd: false }
    }

    /// Applies an instruction whose variables are replaced. Those that change no configuration
    /// do nothing.
    ///
    /// # Errors
    /// [`PlanError`] for a value that makes no sense.
    pub fn apply(&mut self, instruction: &Instruction, span: Span) -> Result<(), PlanError> {
        let change = match instruction {
            Instruction::Maintainer(author) => {
                self.author.clone_from(author);
                return Ok(());
            }
            Instruction::Shell(words) => {
                self.config.shell.clone_from(words);
                return Ok(());
            }
            Instruction::Add(_)
            | Instruction::Arg(_)
            | Instruction::Copy(_)
            | Instruction::Run(_) => {
                return Ok(());
            }
            Instruction::Cmd(command) => Change::Cmd(command.clone()),
            Instruction::Entrypoint(command) => Change::Entrypoint(command.clone()),
            Instruction::Env(pairs) => Change::Env(pairs.clone()),
            Instruction::Expose(ports) => Change::Expose(
                // An address or a port of the host has no meaning in an image.
                ports
                    .iter()
                    .map(|port| port.rsplit(':').next().unwrap_or(port).to_owned())
                    .collect(),
            ),
            Instruction::HealthCheck(health) => Change::HealthCheck(health.0.clone()),
            Instruction::Label(pairs) => Change::Label(pairs.clone()),
            Instruction::OnBuild(line) => Change::OnBuild(line.clone()),
            Instruction::StopSignal(signal) => Change::StopSignal(signal.clone()),
            Instruction::User(user) => Change::User(user.clone()),
            Instruction::Volume(paths) => Change::Volume(paths.clone()),
            Instruction::WorkDir(path) => Change::WorkDir(path.clone()),
        };
        change
            .apply_verbatim(&mut self.config)
            .map_err(|error| PlanError::at(span, Reason::Configuration(error.to_string())))?;
        match change {
            Change::Cmd(_) => self.has_cmd = true,
            Change::Entrypoint(_) if !self.has_cmd => self.config.cmd = None,
            _ => {}
        }
        Ok(())
    }

    /// The directory that a `WORKDIR` with this path means here, absolute and without dots.
    pub fn directory(&self, path: &str) -> String {
        image::instruction::work_dir(&self.config.working_dir, path)
    }
}
