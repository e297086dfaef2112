//! Doing a stage: from its base, step by step, to its result.
//!
//! ```text
//!  step ─► resolve variables ─► key ─► known? ─► layer and time from the cache
//!                                        └─ no ─► snapshot on the layers so far ─► run or copy
//!                                                 ─► commit what was written ─► cache
//! ```

mod base;
mod copy;
mod remote;
mod run;
mod scratch;
mod sources;
mod workdir;

use std::sync::{Arc, Mutex, PoisonError};

use image::{HeldLayer, History, ImageConfig};
use sys::fs::Root;
use types::Timestamp;
use types::digest::Digest;

use crate::cache::Hit;
use crate::copy::{Hasher, of_bytes};
use crate::dockerfile::{Instruction, Span};
use crate::error::{Error, Result};
use crate::history;
use crate::plan::{Action, Configured, PlanError, Scope, Stage, Step};
use crate::progress::Event;
use crate::schedule::{Build, Shop};

/// What a stage is, or has become.
#[derive(Debug)]
pub(crate) struct Built {
    /// Its layers, bottom first, held.
    pub(crate) layers: Vec<Arc<HeldLayer>>,
    /// Its image's document.
    pub(crate) image: ImageConfig,
    /// Over everything that has made it what it is.
    pub(crate) key: Digest,
    /// The image that it is, as long as nothing was done to it.
    pub(crate) id: Option<Digest>,
    /// How many of its layers are its base image's.
    pub(crate) base_layers: usize,
    root: Mutex<Option<Arc<Root>>>,
}

impl Built {
    fn new(layers: Vec<Arc<HeldLayer>>, image: ImageConfig, key: Digest) -> Self {
        let base_layers = layers.len();
        Self { layers, image, key, id: None, base_layers, root: Mutex::default() }
    }

    /// The same, to go on from.
    fn fork(&self) -> Self {
        Self {
            layers: self.layers.clone(),
            image: self.image.clone(),
            key: self.key.clone(),
            id: self.id.clone(),
            base_layers: self.base_layers,
            root: Mutex::default(),
        }
    }

    /// The digests of its layers.
    pub(crate) fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id().clone()).collect()
    }

    /// Its files, mounted read-only when they are first asked for.
    pub(crate) fn root(&self, shop: &Shop<'_>) -> Result<Arc<Root>> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = &*root {
            return Ok(Arc::clone(root));
        }
        let mounted = if self.layers.is_empty() {
            Arc::new(shop.cache.empty()?)
        } else {
            Arc::new(self.mount(shop)?)
        };
        *root = Some(Arc::clone(&mounted));
        Ok(mounted)
    }

    /// Its files, mounted read-only once more; there must be a layer.
    pub(crate) fn mount(&self, shop: &Shop<'_>) -> Result<Root> {
        let options = image::MountOptions { read_only: true, ..Default::default() };
        Ok(Root::from(shop.store.mount_layers(&self.diff_ids(), options)?))
    }

    /// The id of the image as it is.
    pub(crate) fn image_id(&self) -> Result<Digest> {
        match &self.id {
            Some(id) => Ok(id.clone()),
            None => Ok(of_bytes(&self.image.to_json()?)),
        }
    }
}

/// Why a stage could not be built, with the place in the Dockerfile.
#[derive(Debug)]
pub(crate) struct StageError {
    pub(crate) error: Cause,
    pub(crate) span: Option<Span>,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// In doing it.
    #[error(transparent)]
    Doing(#[from] Error),
    /// In what the Dockerfile says.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The Dockerfile cannot be read.
    #[error(transparent)]
    Syntax(#[from] crate::dockerfile::SyntaxError),
}

impl From<Error> for StageError {
    fn from(error: Error) -> Self {
        Self { error: Cause::Doing(error), span: None }
    }
}

impl From<PlanError> for StageError {
    fn from(error: PlanError) -> Self {
        let span = error.span;
        Self { error: Cause::Plan(error), span }
    }
}

/// A stage that is being built.
pub(crate) struct Running<'b> {
    build: &'b Build<'b>,
    stage: &'b Stage,
    built: Built,
    configured: Configured,
    scope: Scope,
    /// The step that is being done.
    number: u32,
    /// Nothing that was done before counts.
    no_cache: bool,
}

/// Does a stage.
pub(crate) fn run(build: &Build<'_>, stage: &Stage) -> std::result::Result<Built, StageError> {
    let numbers = build.numbers(stage.index);
    let in_base =
        |error: Error| StageError { error: Cause::Doing(error), span: Some(stage.from.span) };
    build.begin(numbers.first);
    let base = base::of(build, stage, numbers.first).map_err(in_base);
    let base = build.end_on_error(numbers.first, base)?;
    let mut running = Running::new(build, stage, base);
    let triggers = running.triggers().map_err(StageError::from);
    let triggers = build.end_on_error(numbers.first, triggers)?;
    running.finished(numbers.first, build.was_idle(numbers.first))?;
    for (step, number) in triggers.iter().map(|(step, number)| (step, *number)) {
        running.step(step, number)?;
    }
    let labels = build.label_steps(stage.index);
    for (step, number) in stage.steps.iter().chain(labels).zip(numbers.first + 1..) {
        running.step(step, number)?;
    }
    Ok(running.built)
}

impl<'b> Running<'b> {
    fn new(build: &'b Build<'b>, stage: &'b Stage, mut built: Built) -> Self {
        let config = built.image.container();
        let mut configured = Configured::new(config, built.image.author.clone());
        configured.config.open_stdin = false;
        configured.config.stdin_once = false;
        base::with_path(&mut configured.config);
        let scope = build.plan.scope(&configured.config.env);
        built.image.config = Some(configured.config.clone());
        let no_cache = build.is_uncached(stage);
        let number = build.numbers(stage.index).first;
        Self { build, stage, built, configured, scope, number, no_cache }
    }

    /// The steps that the base image asks for, with their numbers.
    fn triggers(&mut self) -> std::result::Result<Vec<(Step, u32)>, PlanError> {
        let lines = std::mem::take(&mut self.configured.config.on_build);
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        self.built.image.config = Some(self.configured.config.clone());
        self.built.id = None;
        let steps = self.build.plan.triggers(self.stage.index, &lines)?;
        let first = self.build.add_triggers(self.stage, &steps);
        let step = self.build.numbers(self.stage.index).first;
        self.build.tell(Event::Triggers { step, count: steps.len() });
        Ok(steps.into_iter().zip(first..).collect())
    }

    fn step(&mut self, step: &Step, number: u32) -> std::result::Result<(), StageError> {
        self.number = number;
        self.build.begin(number);
        let done = self.act(step).map_err(|mut error| {
            error.span = error.span.or(Some(step.node.span));
            error
        });
        let cached = self.build.end_on_error(number, done)?;
        self.finished(number, cached)
    }

    fn finished(&self, step: u32, cached: bool) -> std::result::Result<(), StageError> {
        let scratch = self.built.image.history.is_empty() && self.built.layers.is_empty();
        let image = if scratch { None } else { Some(self.built.image_id()?) };
        self.build.tell(Event::Finished { step, cached, image });
        Ok(())
    }

    fn act(&mut self, step: &Step) -> std::result::Result<bool, StageError> {
        self.build.check()?;
        let action = self.scope.resolve(step);
        for warning in self.scope.take_warnings() {
            self.build.warn(&warning);
        }
        let text = step.node.text.as_str();
        Ok(match action? {
            Action::Arguments(_) => self.arguments(step, text)?,
            Action::Configure(instruction) => self.configure(&instruction, step.node.span, text)?,
            Action::WorkDir(path) => self.workdir(&path, step.node.span, text)?,
            Action::Copy(action) => self.copy(&action, text)?,
            Action::Run(action) => self.run(&action, text)?,
        })
    }

    fn arguments(&mut self, step: &Step, text: &str) -> Result<bool> {
        let Instruction::Arg(arguments) = &step.node.value else { return Ok(false) };
        let words = arguments.iter().map(|argument| match &argument.default {
            Some(default) => format!("{}={default}", argument.name),
            None => argument.name.clone(),
        });
        let comment = format!("ARG {}", words.collect::<Vec<_>>().join(" "));
        let created_by = history::nop(&self.configured.config, &comment);
        let key = self.key("arguments").with(&comment).finish();
        self.remember(key, created_by, text, |_| Ok(None))
    }

    fn configure(
        &mut self,
        instruction: &Instruction,
        span: Span,
        text: &str,
    ) -> std::result::Result<bool, StageError> {
        let before = self.configured.config.clone();
        self.configured.apply(instruction, span)?;
        let created_by = history::configured(instruction, &before, &self.configured.config);
        self.built.image.author.clone_from(&self.configured.author);
        let key = self.key("configuration").with(&created_by).finish();
        Ok(self.remember(key, created_by, text, |_| Ok(None))?)
    }

    /// Begins a key: over all that was before, and the kind of step.
    fn key(&self, kind: &str) -> Hasher {
        Hasher::new(kind).with(self.built.key.hex())
    }

    /// Adds a step: as it was the last time, or else as `work` does it. Says whether it was known.
    fn remember(
        &mut self,
        key: Digest,
        created_by: String,
        text: &str,
        work: impl FnOnce(&mut Self) -> Result<Option<Arc<HeldLayer>>>,
    ) -> Result<bool> {
        if let Some(hit) = self.known(&key, &created_by) {
            self.add(key, hit, created_by);
            return Ok(true);
        }
        let layer = work(self)?;
        let hit = Hit { layer, created: self.build.now() };
        let cache = self.build.shop.cache;
        cache.add(&key, Some(&self.built.key), hit.layer.clone(), hit.created, &short(text));
        self.add(key, hit, created_by);
        Ok(false)
    }

    fn known(&self, key: &Digest, created_by: &str) -> Option<Hit> {
        if self.no_cache {
            return None;
        }
        let hit =
            if self.build.request.only_cache_from { None } else { self.build.shop.cache.find(key) };
        hit.or_else(|| self.build.in_cache_from(&self.built.image, created_by))
    }

    fn add(&mut self, key: Digest, hit: Hit, created_by: String) {
        let image = &mut self.built.image;
        image.history.push(History {
            created: Some(hit.created),
            created_by,
            author: self.configured.author.clone(),
            comment: String::new(),
            empty_layer: hit.layer.is_none(),
        });
        image.created = Some(hit.created);
        image.config = Some(self.configured.config.clone());
        image.comment.clear();
        if let Some(layer) = hit.layer {
            image.rootfs.diff_ids.push(layer.diff_id().clone());
            self.built.layers.push(layer);
            self.built.root = Mutex::default();
        }
        self.built.key = key;
        self.built.id = None;
    }
}

/// An instruction as the cache shows it.
fn short(text: &str) -> String {
    text.chars().take(500).collect()
}

/// A time as images have it.
pub(crate) fn seconds(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1_000_000_000))
}
