//! What is known of a build: its steps and how far each has come.

use std::collections::VecDeque;
use std::time::Instant;

use docker_api::build::{BuildEvent, BuildStep};
use types::Timestamp;

/// Lines of a step's output that are remembered for the failure.
const REMEMBERED: usize = 500;

/// The longest line that is remembered, in bytes.
const LONGEST: usize = 8 << 10;

/// A build.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// In the order in which they were planned.
    pub(super) steps: Vec<Step>,
    /// Indices into `steps`, in the order in which they began.
    pub(super) begun: Vec<usize>,
    /// When the first step began, by the daemon's clock.
    started: Option<Timestamp>,
    /// When the last event was, by the daemon's clock.
    latest: Option<Timestamp>,
    /// The same moment by ours.
    heard: Option<Instant>,
    pub(super) warnings: Vec<Warning>,
    pub(super) source: Option<Source>,
    /// The image's id and names.
    pub(super) built: Option<(String, Vec<String>)>,
}

/// Something in the Dockerfile that is likely wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Warning {
    pub(super) message: String,
    pub(super) line: u32,
}

/// Where the failure is.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) excerpt: Vec<(u32, String)>,
}

/// How a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Running,
    Done,
    Cached,
    Failed(String),
    Cancelled,
}

/// A step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) number: u32,
    pub(super) label: String,
    pub(super) state: State,
    pub(super) began: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) items: Vec<Item>,
    /// Whole lines of its output, with the seconds since it began.
    pub(super) log: VecDeque<(f64, String)>,
    /// How many lines there have been.
    pub(super) logged: usize,
    /// What has no line end yet, by stream.
    rest: [String; 2],
}

/// A part of a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) status: String,
    pub(super) current: u64,
    pub(super) total: u64,
}

impl Item {
    pub(super) fn is_done(&self) -> bool {
        self.status == "done" || self.status.ends_with(" done")
    }
}

/// The step that an event is about.
pub(super) fn step_of(event: &BuildEvent) -> Option<u32> {
    match event {
        BuildEvent::Started { step, .. }
        | BuildEvent::Progress { step, .. }
        | BuildEvent::Log { step, .. }
        | BuildEvent::Finished { step, .. }
        | BuildEvent::Failed { step, .. } => Some(*step),
        _ => None,
    }
}

impl Step {
    fn new(step: &BuildStep, several: bool) -> Self {
        Self {
            number: step.number,
            label: label(step, several),
            state: State::Waiting,
            began: None,
            ended: None,
            items: Vec::new(),
            log: VecDeque::new(),
            logged: 0,
            rest: Default::default(),
        }
    }

    /// Whether nothing more will be heard of it.
    pub(super) fn is_over(&self) -> bool {
        !matches!(self.state, State::Waiting | State::Running)
    }

    fn log(&mut self, seconds: f64, stream: u8, data: &str) {
        let rest = &mut self.rest[usize::from(stream == 2)];
        rest.push_str(data);
        let mut lines: Vec<String> = Vec::new();
        while let Some(end) = rest.find('\n') {
            lines.push(rest.drain(..=end).collect());
        }
        if rest.len() > LONGEST {
            lines.push(std::mem::take(rest));
        }
        for line in lines {
            self.line(seconds, line.trim_end_matches(['\n', '\r']));
        }
    }

    fn line(&mut self, seconds: f64, line: &str) {
        if self.log.len() == REMEMBERED {
            self.log.pop_front();
        }
        let mut end = line.len().min(LONGEST);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        self.log.push_back((seconds, line[..end].to_owned()));
        self.logged += 1;
    }

    /// What has no line end is a line, now that nothing follows.
    fn flush(&mut self, seconds: f64) {
        for stream in 0..self.rest.len() {
            let rest = std::mem::take(&mut self.rest[stream]);
            if !rest.is_empty() {
                self.line(seconds, rest.trim_end_matches('\r'));
            }
        }
    }
}

/// `[2/5] RUN …`, `[build 2/5] RUN …`, `[internal] load build context`.
fn label(step: &BuildStep, several: bool) -> String {
    let name = step.name.replace(['\n', '\t'], " ");
    if step.kind == "internal" {
        return format!("[internal] {name}");
    }
    if step.index == 0 {
        return name;
    }
    let place = format!("{}/{}", step.index, step.of);
    match step.stage.as_str() {
        "" => format!("[{place}] {name}"),
        stage if !several && stage.starts_with("stage-") => format!("[{place}] {name}"),
        stage => format!("[{stage} {place}] {name}"),
    }
}

impl Board {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.source.is_none() && self.warnings.is_empty()
    }

    /// Seconds that have passed by `latest`, and since by our own clock.
    pub(super) fn seconds(&self) -> f64 {
        match (self.started, self.latest, self.heard) {
            (Some(began), Some(latest), Some(heard)) => {
                span(began, latest) + heard.elapsed().as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// Seconds between the first event and the last.
    pub(super) fn total(&self) -> f64 {
        match (self.started, self.latest) {
            (Some(began), Some(latest)) => span(began, latest),
            _ => 0.0,
        }
    }

    /// Seconds that a step took, or has taken up to now.
    pub(super) fn seconds_of(&self, step: &Step) -> f64 {
        match (step.began, step.ended, self.started) {
            (Some(began), Some(ended), _) => span(began, ended),
            (Some(began), None, Some(started)) => (self.seconds() - span(started, began)).max(0.0),
            _ => 0.0,
        }
    }

    pub(super) fn find(&self, number: u32) -> Option<&Step> {
        self.steps.iter().find(|step| step.number == number)
    }

    fn find_mut(&mut self, number: u32) -> Option<&mut Step> {
        self.steps.iter_mut().find(|step| step.number == number)
    }

    fn now(&mut self, at: Timestamp) {
        self.started.get_or_insert(at);
        self.latest = Some(self.latest.map_or(at, |latest| Timestamp(latest.0.max(at.0))));
        self.heard = Some(Instant::now());
    }

    /// Takes what happened. What makes no sense is passed over.
    pub(super) fn take(&mut self, event: BuildEvent) {
        match event {
            BuildEvent::Plan { steps } => self.plan(&steps),
            BuildEvent::Started { step, at } => {
                self.now(at);
                let Some(index) = self.steps.iter().position(|known| known.number == step) else {
                    return;
                };
                if self.steps[index].state == State::Waiting {
                    self.steps[index].state = State::Running;
                    self.steps[index].began = Some(at);
                    self.begun.push(index);
                }
            }
            BuildEvent::Progress { step, item, status, current, total } => {
                let Some(step) = self.find_mut(step) else { return };
                let new = Item { name: item, status, current, total };
                match step.items.iter_mut().find(|known| known.name == new.name) {
                    Some(known) => *known = new,
                    None => step.items.push(new),
                }
            }
            BuildEvent::Log { step, stream, data } => {
                let seconds = self.find(step).map_or(0.0, |step| self.seconds_of(step));
                if let Some(step) = self.find_mut(step) {
                    step.log(seconds, stream, &data);
                }
            }
            BuildEvent::Finished { step, cached, at } => {
                self.finish(step, if cached { State::Cached } else { State::Done }, at);
            }
            BuildEvent::Failed { step, message, cancelled, at } => {
                let state = if cancelled { State::Cancelled } else { State::Failed(message) };
                self.finish(step, state, at);
            }
            BuildEvent::Warning { message, line, .. } => {
                let warning = Warning { message, line };
                if !self.warnings.contains(&warning) {
                    self.warnings.push(warning);
                }
            }
            BuildEvent::Source { file, line, column, excerpt } => {
                self.source = Some(Source { file, line, column, excerpt });
            }
            BuildEvent::Built { id, names } => self.built = Some((id, names)),
        }
    }

    fn plan(&mut self, steps: &[BuildStep]) {
        // Whether there are several stages is known from the first plan, which has them all.
        let mut stages: Vec<&str> =
            steps.iter().filter(|step| step.index > 0).map(|step| step.stage.as_str()).collect();
        stages.sort_unstable();
        stages.dedup();
        let several = stages.len() > 1;
        self.steps.extend(steps.iter().map(|step| Step::new(step, several)));
    }

    fn finish(&mut self, number: u32, state: State, at: Timestamp) {
        self.now(at);
        let Some(index) = self.steps.iter().position(|step| step.number == number) else { return };
        if !self.begun.contains(&index) {
            self.begun.push(index);
        }
        let step = &mut self.steps[index];
        let began = *step.began.get_or_insert(at);
        step.ended = Some(at);
        step.state = state;
        step.flush(span(began, at));
    }

    /// Nothing more will be heard: what was under way is cut off.
    pub(super) fn cancel(&mut self) {
        for step in self.steps.iter_mut().filter(|step| step.state == State::Running) {
            step.state = State::Cancelled;
            step.flush(0.0);
        }
    }

    /// The step that made the build fail.
    pub(super) fn failed(&self) -> Option<&Step> {
        self.steps.iter().find(|step| matches!(step.state, State::Failed(_)))
    }
}

/// Seconds between two moments.
#[allow(clippy::cast_precision_loss, reason = "tenths of seconds are shown")]
fn span(from: Timestamp, to: Timestamp) -> f64 {
    to.0.saturating_sub(from.0).max(0) as f64 / 1e9
}
