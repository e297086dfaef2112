//! What is to be done for a Dockerfile: which stages, in which order, from what, and each
//! instruction with its variables replaced.
//!
//! ```text
//!  Dockerfile ──plan()──► Plan: stages, who needs whom, which are needed at all
//!                          │ scope(stage, the base's environment)
//!                          ▼
//!               Step ──resolve()──► Action   one by one, for ARG and ENV change what follows
//! ```
//!
//! Nothing here runs, reads a file or asks a registry.

mod configure;
mod error;
mod globals;
mod graph;
mod scope;

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::{self, Copy, Dockerfile, From, Instruction, Mount, Network, Node, Script};
use crate::dockerfile::{Security, Warning};

pub use configure::Configured;
pub use error::{PlanError, Reason};
pub use scope::Scope;

/// What the client wants to be built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--target`: a stage's name or number; the last stage if there is none.
    pub target: Option<String>,
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// Where the build runs: `os/architecture[/variant]`.
    pub build_platform: String,
    /// What it builds for: the same form.
    pub target_platform: String,
}

/// Everything that could be built, and what is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All stages of the file, in its order: indices mean these.
    pub stages: Vec<Stage>,
    /// The stage whose result is wanted.
    pub target: usize,
    /// The stages that the target is made of, itself as the last; each comes after all it needs.
    pub needed: Vec<usize>,
    /// What the author might want to write otherwise.
    pub warnings: Vec<Warning>,
    /// `--build-arg`s that no `ARG` asks for.
    pub unused_arguments: Vec<String>,
    /// The warnings fail the build (`# check=error=true`).
    pub warnings_are_errors: bool,
    /// The character that escapes.
    escape: char,
    /// The values before the first `FROM`, for stages to ask for with `ARG`.
    globals: BTreeMap<String, String>,
    /// `--build-arg`.
    given: BTreeMap<String, String>,
}

/// A stage, its names looked up.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its place in [`Plan::stages`].
    pub index: usize,
    /// Its name.
    pub name: Option<String>,
    /// Its first line.
    pub from: Node<From>,
    /// What it starts from.
    pub base: Base,
    /// `--platform`, variables replaced; the target's if there is none.
    pub platform: Option<String>,
    /// What is done.
    pub steps: Vec<Step>,
    /// The stages that must be there first. Triggers of its base image may add to them.
    pub needs: BTreeSet<usize>,
}

impl Stage {
    /// Its name, or `stage-N` as BuildKit shows it.
    pub fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("stage-{}", self.index))
    }
}

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// Another stage.
    Stage(usize),
    /// An image.
    Image(String),
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The build's context.
    Context,
    /// Nothing (`from=scratch`).
    Scratch,
    /// A stage's result.
    Stage(usize),
    /// An image's files.
    Image(String),
}

/// An instruction, its origins looked up and its variables as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The instruction.
    pub node: Node<Instruction>,
    /// For `COPY` and `ADD`, where from.
    pub origin: Option<Origin>,
    /// For `RUN`, one for each `--mount`; `None` where nothing is taken from anywhere.
    pub mounts: Vec<Option<Origin>>,
    /// It is a trigger of the base image.
    pub triggered: bool,
}

/// What is to be done, everything replaced.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Run something.
    Run(RunAction),
    /// Copy something.
    Copy(CopyAction),
    /// Make a directory and change to it. [`Configured::apply`] of the instruction sets it;
    /// [`Configured::directory`] says which it is.
    WorkDir(String),
    /// Change the image's configuration: [`Configured::apply`] does.
    Configure(Instruction),
    /// `ARG`: the scope knows it, nothing is to be done. Name and value, if there is one.
    Arguments(Vec<(String, Option<String>)>),
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunAction {
    /// What.
    pub script: Script,
    /// The mounts and where they come from.
    pub mounts: Vec<(Mount, Option<Origin>)>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
}

/// `COPY` or `ADD`.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyAction {
    /// It is `ADD`: archives are unpacked and addresses fetched.
    pub add: bool,
    /// What and where to; variables replaced.
    pub copy: Copy,
    /// Where from.
    pub origin: Origin,
}

/// Plans a build.
///
/// # Errors
/// [`PlanError`]: names that there are not, circles, bases without a name.
pub fn plan(file: &Dockerfile, options: &Options) -> Result<Plan, PlanError> {
    graph::plan(file, options)
}

impl Plan {
    /// The variables at the beginning of a stage. `env` is its base's environment.
    pub fn scope(&self, env: &[String]) -> Scope {
        Scope::new(self.escape, env, self.globals.clone(), self.given.clone())
    }

    /// The steps that an image's `ONBUILD` puts before those of the stage that is based on it.
    /// They may need stages that are not in [`Plan::needed`] nor in the stage's `needs`.
    ///
    /// # Errors
    /// [`PlanError`] when one makes no sense.
    pub fn triggers(&self, stage: usize, lines: &[String]) -> Result<Vec<Step>, PlanError> {
        let Some(from) = self.stages.get(stage).map(|stage| &stage.from) else {
            return Ok(Vec::new());
        };
        lines
            .iter()
            .map(|line| {
                let mut node = dockerfile::parse_trigger(line).map_err(|error| {
                    PlanError::at(from.span, Reason::Trigger(line.clone(), error.message))
                })?;
                // It stands in no file that could be shown.
                node.span = from.span;
                node.parts = vec![(0, from.span.start)];
                let step = graph::step(&self.stages, stage, node)?;
                Ok(Step { triggered: true, ..step })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
