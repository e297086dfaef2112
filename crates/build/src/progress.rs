//! What a build tells while it goes on.

use types::ContainerId;
use types::digest::Digest;

use crate::worker::Pulling;

/// Something that happened. Steps of independent stages run at once, so their events mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Steps that are to be done and were not named before.
    Plan(Vec<StepInfo>),
    /// A step has begun.
    Started(u32),
    /// Part of a step: a layer being pulled, bytes of the context or of a result.
    Progress {
        /// Which step.
        step: u32,
        /// How far the part is.
        part: Pulling,
    },
    /// Output of a step's process.
    Log {
        /// Which step.
        step: u32,
        /// 1 or 2.
        stream: u8,
        /// As it came.
        data: Vec<u8>,
    },
    /// A process is about to run for a step; or, in the classic builder's words, a container was
    /// made for it.
    Running {
        /// Which step.
        step: u32,
        /// In which container.
        container: ContainerId,
    },
    /// The base image of a stage has triggers, so many.
    Triggers {
        /// The stage's first step.
        step: u32,
        /// How many.
        count: usize,
    },
    /// A step is done.
    Finished {
        /// Which step.
        step: u32,
        /// It did not have to be done.
        cached: bool,
        /// The image as it is now; none for what makes none.
        image: Option<Digest>,
    },
    /// A step has failed, and the build with it.
    Failed {
        /// Which step.
        step: u32,
        /// Why.
        message: String,
        /// It was cut off because another one failed, or nobody waits any more.
        cancelled: bool,
    },
    /// Something in the Dockerfile that is likely wrong.
    Warning {
        /// What.
        message: String,
        /// Line and column, from 1; 0 for what is nowhere.
        place: (u32, u32),
    },
    /// These `--build-arg`s are asked for by no `ARG`.
    Unused(Vec<String>),
}

/// What a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepKind {
    /// The context, the Dockerfile.
    #[default]
    Internal,
    /// An `ARG` before the first `FROM`.
    Argument,
    /// `FROM`.
    Base,
    /// An instruction.
    Instruction,
    /// A trigger of the base image.
    Trigger,
    /// A result.
    Export,
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepInfo {
    /// Its number in this build, from 0. Those of the Dockerfile follow its order.
    pub number: u32,
    /// What it is.
    pub kind: StepKind,
    /// Its stage, if it has one.
    pub stage: String,
    /// What it does.
    pub name: String,
    /// Its place in its stage, from 1; 0 for what has none.
    pub index: u32,
    /// How many steps its stage has.
    pub of: u32,
    /// Its line in the Dockerfile; 0 for what is not there.
    pub line: u32,
}

/// Whoever is told.
pub trait Listener: Send + Sync {
    /// Something happened. It may block for a slow client.
    fn tell(&self, event: Event);
}
