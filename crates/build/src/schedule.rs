//! Which stage is done when: those that do not need each other at once.
//!
//! A few threads take the needed stages in an order in which each comes after all it needs. One
//! that has to wait for another stage waits for a thread that is further ahead in that order, so
//! some thread always goes on. What triggers of base images need beyond the plan is done on the
//! spot by whoever asks first.

mod lookup;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use image::{ImageConfig, Store};
use types::Timestamp;

use crate::cache::Cache;
use crate::context::{Context, Further};
use crate::copy::Hasher;
use crate::dockerfile::Warning;
use crate::error::{Error, Result};
use crate::plan::{Plan, Stage, Step};
use crate::progress::{Event, Listener, StepInfo, StepKind};
use crate::request::Request;
use crate::stage::{self, Built, Cause, StageError};
use crate::worker::{Pulling, Worker};

pub(crate) use lookup::Meaning;

/// Stages that are done at once, at most.
const AT_ONCE: usize = 8;

/// What builds use.
#[derive(Clone, Copy)]
pub struct Shop<'a> {
    /// Images and layers.
    pub store: &'a Arc<Store>,
    /// What is known.
    pub cache: &'a Cache,
    /// The engine.
    pub worker: &'a dyn Worker,
    /// Who is told.
    pub listener: &'a dyn Listener,
}

/// The numbers of a stage's steps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    /// That of its `FROM`.
    pub(crate) first: u32,
    /// How many there are, with it.
    pub(crate) count: u32,
}

/// An image that somebody looks for, or has found.
type Slot = Arc<Mutex<Option<Arc<Built>>>>;

enum State {
    Waiting,
    Running,
    Done(Arc<Built>),
    Failed,
}

/// A build that is going on.
pub(crate) struct Build<'a> {
    pub(crate) shop: Shop<'a>,
    pub(crate) request: &'a Request,
    pub(crate) plan: &'a Plan,
    pub(crate) context: &'a Context,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<i64>,
    /// `LABEL`s of the request, for the target.
    pub(crate) labels: Vec<Step>,
    numbers: HashMap<usize, Numbers>,
    next_number: AtomicU32,
    states: Mutex<Vec<State>>,
    changed: Condvar,
    failed: AtomicBool,
    failure: Mutex<Option<StageError>>,
    images: Mutex<HashMap<(String, String), Slot>>,
    /// Images of `--cache-from` that are here.
    cache_from: Mutex<Vec<Arc<ImageConfig>>>,
    further: Mutex<HashMap<String, Arc<Further>>>,
    /// Steps in which something was pulled or fetched.
    busy: Mutex<BTreeSet<u32>>,
}

impl<'a> Build<'a> {
    pub(crate) fn new(
        shop: Shop<'a>,
        request: &'a Request,
        plan: &'a Plan,
        context: &'a Context,
        labels: Vec<Step>,
        first: u32,
    ) -> Self {
        let mut numbers = HashMap::new();
        let mut next = first;
        let mut needed = plan.needed.clone();
        needed.sort_unstable();
        for index in needed {
            let more = if index == plan.target { labels.len() } else { 0 };
            let count = plan.stages[index].steps.len() + more + 1;
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            numbers.insert(index, Numbers { first: next, count });
            next += count;
        }
        let sources = request.cache_from.iter().filter_map(|name| lookup::here(shop.store, name));
        Self {
            shop,
            request,
            plan,
            context,
            epoch: request.epoch(),
            labels,
            numbers,
            next_number: AtomicU32::new(next),
            states: Mutex::new(plan.stages.iter().map(|_| State::Waiting).collect()),
            changed: Condvar::new(),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
            images: Mutex::default(),
            cache_from: Mutex::new(sources.collect()),
            further: Mutex::default(),
            busy: Mutex::default(),
        }
    }

    /// The steps of all stages that are needed, for whoever is told.
    pub(crate) fn steps(&self) -> Vec<StepInfo> {
        let mut needed = self.plan.needed.clone();
        needed.sort_unstable();
        let mut steps = Vec::new();
        for index in needed {
            let (stage, numbers) = (&self.plan.stages[index], self.numbers(index));
            let info = |number, kind, name: &str, index, line| StepInfo {
                number,
                kind,
                stage: stage.display_name(),
                name: name.to_owned(),
                index,
                of: numbers.count,
                line,
            };
            let line = stage.from.span.start.line;
            steps.push(info(numbers.first, StepKind::Base, &stage.from.text, 1, line));
            let more = stage.steps.iter().chain(self.label_steps(index));
            for (step, index) in more.zip(1..) {
                let line = step.node.span.start.line;
                let (number, kind) = (numbers.first + index, StepKind::Instruction);
                steps.push(info(number, kind, &step.node.text, index + 1, line));
            }
        }
        steps
    }

    /// A number that no step has.
    pub(crate) fn next_number(&self, count: u32) -> u32 {
        self.next_number.fetch_add(count, Ordering::SeqCst)
    }

    pub(crate) fn numbers(&self, stage: usize) -> Numbers {
        self.numbers.get(&stage).copied().unwrap_or_default()
    }

    /// The steps that the request's labels add to a stage.
    pub(crate) fn label_steps(&self, stage: usize) -> &[Step] {
        if stage == self.plan.target { &self.labels } else { &[] }
    }

    /// Names the triggers of a stage's base image; returns the first one's number.
    pub(crate) fn add_triggers(&self, stage: &Stage, steps: &[Step]) -> u32 {
        let count = u32::try_from(steps.len()).unwrap_or(u32::MAX);
        let first = self.next_number(count);
        let infos = steps.iter().zip(first..).map(|(step, number)| StepInfo {
            number,
            kind: StepKind::Trigger,
            stage: stage.display_name(),
            name: format!("ONBUILD {}", step.node.text),
            line: stage.from.span.start.line,
            ..StepInfo::default()
        });
        self.tell(Event::Plan(infos.collect()));
        first
    }

    /// Does everything that the target needs.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn run(&self) -> std::result::Result<Arc<Built>, StageError> {
        let next = AtomicUsize::new(0);
        let threads = self.plan.needed.len().clamp(1, AT_ONCE);
        let take = || {
            while let Some(index) = self.plan.needed.get(next.fetch_add(1, Ordering::SeqCst)) {
                if self.obtain(*index).is_err() {
                    break;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                let spawned =
                    std::thread::Builder::new().name("build".to_owned()).spawn_scoped(scope, take);
                if spawned.is_err() {
                    // Fewer threads do it as well.
                    break;
                }
            }
            take();
        });
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(failure) => Err(failure),
            None => Ok(self.obtain(self.plan.target)?),
        }
    }

    /// A stage that another one needs.
    pub(crate) fn stage(&self, user: usize, index: usize) -> Result<Arc<Built>> {
        if user == index || self.needs(index, user) {
            let name = self.plan.stages[index].display_name();
            return Err(Error::Invalid(format!("circular dependency detected on stage: {name}")));
        }
        self.obtain(index)
    }

    /// Whether a stage needs another one in the end.
    fn needs(&self, stage: usize, other: usize) -> bool {
        let needs = &self.plan.stages[stage].needs;
        needs.contains(&other) || needs.iter().any(|need| self.needs(*need, other))
    }

    /// A stage's result; it is done now if nobody does it yet.
    fn obtain(&self, index: usize) -> Result<Arc<Built>> {
        {
            let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match &states[index] {
                    State::Done(built) => return Ok(Arc::clone(built)),
                    State::Failed => return Err(Error::Cancelled),
                    State::Waiting => break,
                    State::Running => {
                        states = self.changed.wait(states).unwrap_or_else(PoisonError::into_inner);
                    }
                }
            }
            states[index] = State::Running;
        }
        let ends = Ends { build: self, index };
        let done = self.check().map_err(StageError::from);
        let done = done.and_then(|()| stage::run(self, &self.plan.stages[index]));
        match done {
            Ok(built) => {
                let built = Arc::new(built);
                ends.with(State::Done(Arc::clone(&built)));
                Ok(built)
            }
            Err(error) => {
                self.fail(error);
                ends.with(State::Failed);
                Err(Error::Cancelled)
            }
        }
    }

    /// Keeps the first failure, which is not that somebody else has failed.
    fn fail(&self, error: StageError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let worse = |error: &StageError| !matches!(error.error, Cause::Doing(Error::Cancelled));
        if failure.as_ref().is_none_or(|first| !worse(first) && worse(&error)) {
            *failure = Some(error);
        }
        drop(failure);
        self.failed.store(true, Ordering::SeqCst);
        self.shop.worker.stop();
    }

    /// Whether it is worth going on.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::SeqCst) || self.shop.worker.is_cancelled() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    pub(crate) fn tell(&self, event: Event) {
        self.shop.listener.tell(event);
    }

    pub(crate) fn begin(&self, step: u32) {
        self.tell(Event::Started(step));
    }

    pub(crate) fn progress(&self, step: u32, part: Pulling) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(step);
        self.tell(Event::Progress { step, part });
    }

    /// Whether nothing had to be pulled for a step.
    pub(crate) fn was_idle(&self, step: u32) -> bool {
        !self.busy.lock().unwrap_or_else(PoisonError::into_inner).contains(&step)
    }

    pub(crate) fn warn(&self, warning: &Warning) {
        let start = warning.span.start;
        let (message, place) = (warning.message.clone(), (start.line, start.column));
        self.tell(Event::Warning { message: format!("{}: {message}", warning.rule), place });
    }

    /// Tells of a step's failure.
    pub(crate) fn end_on_error<T>(
        &self,
        step: u32,
        done: std::result::Result<T, StageError>,
    ) -> std::result::Result<T, StageError> {
        if let Err(error) = &done {
            let cancelled = matches!(error.error, Cause::Doing(Error::Cancelled))
                || self.failed.load(Ordering::SeqCst);
            let message = error.error.to_string();
            self.tell(Event::Failed { step, message, cancelled });
        }
        done
    }

    /// The time of a step that is done now.
    pub(crate) fn now(&self) -> Timestamp {
        self.epoch.map_or_else(Timestamp::now, stage::seconds)
    }

    /// Begins a key that does not go on from another one.
    pub(crate) fn root_key(&self, kind: &str) -> Hasher {
        let hasher = Hasher::new(kind);
        match self.epoch {
            Some(epoch) => hasher.with(epoch.to_be_bytes()),
            None => hasher,
        }
    }

    /// Whether nothing that was done before counts in a stage.
    pub(crate) fn is_uncached(&self, stage: &Stage) -> bool {
        let name = stage.display_name();
        self.request.no_cache
            || self.request.no_cache_filter.iter().any(|filter| filter.eq_ignore_ascii_case(&name))
    }
}

/// Ends a stage whatever happens: who waits must not wait for ever.
struct Ends<'b, 'a> {
    build: &'b Build<'a>,
    index: usize,
}

impl Ends<'_, '_> {
    fn with(self, state: State) {
        self.set(state);
        std::mem::forget(self);
    }

    fn set(&self, state: State) {
        let states = &self.build.states;
        states.lock().unwrap_or_else(PoisonError::into_inner)[self.index] = state;
        self.build.changed.notify_all();
    }
}

impl Drop for Ends<'_, '_> {
    fn drop(&mut self) {
        self.build.failed.store(true, Ordering::SeqCst);
        self.set(State::Failed);
    }
}
