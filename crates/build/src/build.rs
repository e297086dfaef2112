//! A build from its request to its results.

use std::fmt;

use crate::context::{Context, Input};
use crate::dockerfile::{self, Instruction, Node, Position, Span, excerpt};
use crate::error::Error;
use crate::export::{self, Outcome};
use crate::plan::{self, Options, Step};
use crate::progress::{Event, StepInfo, StepKind};
use crate::request::Request;
use crate::schedule::{Build, Shop};
use crate::stage::Cause;

/// Why a build failed, and where in the Dockerfile.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub cause: Cause,
    /// Where; nothing when no line is to blame.
    pub place: Option<Box<Place>>,
    early: bool,
}

/// A place in a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The Dockerfile's path.
    pub file: String,
    /// Where.
    pub span: Span,
    /// The lines around it, by number.
    pub lines: Vec<(u32, String)>,
    /// The same, drawn.
    pub excerpt: String,
}

/// Lines that are shown before and after.
const AROUND: u32 = 2;

/// Lines of one instruction that are shown.
const MOST: usize = 24;

impl Place {
    fn new(file: &str, text: &str, span: Span) -> Self {
        let first = span.start.line.saturating_sub(AROUND).max(1);
        let last = span.end_line.max(span.start.line) + AROUND;
        let lines = text.lines().zip(1..).skip_while(|(_, n)| *n < first);
        let lines = lines.take_while(|(_, n)| *n <= last).take(MOST);
        Self {
            file: file.to_owned(),
            span,
            lines: lines.map(|(line, number)| (number, line.to_owned())).collect(),
            excerpt: excerpt(file, text, span),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    fn at(cause: impl Into<Cause>, context: &Context, span: Option<Span>) -> Self {
        let place = span.map(|span| Box::new(Place::new(&context.file, &context.text, span)));
        Self { cause: cause.into(), place, early: false }
    }

    /// What kind of error it is to the client.
    pub fn kind(&self) -> types::ErrorKind {
        match &self.cause {
            Cause::Doing(error) => error.kind(),
            Cause::Plan(_) | Cause::Syntax(_) => types::ErrorKind::Invalid,
        }
    }

    /// Docker's numbers for the end of the stream: a process's status, or nothing.
    pub fn code(&self) -> Option<i32> {
        match &self.cause {
            Cause::Doing(Error::Command { code, .. }) => Some(*code),
            _ => None,
        }
    }

    /// It failed before anything was told.
    pub fn is_early(&self) -> bool {
        self.early
    }

    /// Nobody waited for it any more.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.cause, Cause::Doing(Error::Cancelled))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { cause: Cause::Doing(error), place: None, early: false }
    }
}

/// Builds. Nothing is told before the Dockerfile has been read and planned.
///
/// # Errors
/// [`Failure`]; nothing is left then but what is known of the steps that were done.
pub fn build(shop: Shop<'_>, request: &Request, input: Input) -> Result<Outcome, Failure> {
    let context = Context::open(input, request, shop.cache, shop.worker)
        .map_err(|error| Failure { early: true, ..error.into() })?;
    let early = |failure| Failure { early: true, ..failure };
    let file = dockerfile::parse(&context.text).map_err(|error| {
        let span = error.span;
        early(Failure::at(error, &context, Some(span)))
    })?;
    let options = Options {
        target: (!request.target.is_empty()).then(|| request.target.clone()),
        arguments: request.arguments.clone(),
        build_platform: request.build_platform.clone(),
        target_platform: request.target_platform.clone(),
    };
    let plan = plan::plan(&file, &options).map_err(|error| {
        let span = error.span;
        early(Failure::at(error, &context, span))
    })?;
    if plan.warnings_are_errors
        && let Some(warning) = plan.warnings.first()
    {
        let error = Error::Invalid(format!("{}: {}", warning.rule, warning.message));
        return Err(early(Failure::at(error, &context, Some(warning.span))));
    }
    let arguments = argument_steps(&file);
    let first = u32::try_from(arguments.len()).unwrap_or(u32::MAX);
    let labels = labels(request);
    let build = Build::new(shop, request, &plan, &context, labels, first);
    let exports = u32::try_from(request.outputs.len()).unwrap_or(u32::MAX);
    let first_export = build.next_number(exports);

    let mut steps = arguments;
    let declared = steps.clone();
    let imports = build.cache_steps();
    steps.extend_from_slice(&imports);
    steps.extend(build.steps());
    steps.extend(request.outputs.iter().zip(first_export..).map(|(export, number)| StepInfo {
        number,
        kind: StepKind::Export,
        name: export::name(export),
        ..StepInfo::default()
    }));
    build.tell(Event::Plan(steps));
    for warning in &plan.warnings {
        build.warn(warning);
    }
    if !plan.unused_arguments.is_empty() {
        build.tell(Event::Unused(plan.unused_arguments.clone()));
    }
    for step in &declared {
        build.begin(step.number);
        build.tell(Event::Finished { step: step.number, cached: false, image: None });
    }
    for step in &imports {
        build.import_cache(step)?;
    }
    let outcome = finish(&build, &context, first_export);
    // What was done counts the next time, whatever has become of the rest.
    let saved = shop.cache.save(shop.store);
    let outcome = outcome?;
    saved?;
    Ok(outcome)
}

fn finish(build: &Build<'_>, context: &Context, first_export: u32) -> Result<Outcome, Failure> {
    let built = build.run().map_err(|error| Failure::at(error.error, context, error.span))?;
    if built.layers.is_empty() && built.image.history.is_empty() {
        return Err(
            Error::Invalid("No image was generated. Is your Dockerfile empty?".to_owned()).into()
        );
    }
    Ok(export::all(build, &built, first_export)?)
}

/// The `ARG`s before the first `FROM` count as steps.
fn argument_steps(file: &dockerfile::Dockerfile) -> Vec<StepInfo> {
    let steps = file.arguments.iter().zip(0..).map(|(node, number)| StepInfo {
        number,
        kind: StepKind::Argument,
        name: node.text.clone(),
        line: node.span.start.line,
        ..StepInfo::default()
    });
    steps.collect()
}

/// The request's labels as the instructions that Docker makes of them.
fn labels(request: &Request) -> Vec<Step> {
    let steps = request.labels.iter().map(|(name, value)| {
        // Variables and quotes mean nothing in what the client has given.
        let quoted = |text: &str| {
            let mut out = String::from("'");
            out.push_str(&text.replace('\'', "'\"'\"'"));
            out.push('\'');
            out
        };
        let value = Instruction::Label(vec![(quoted(name), quoted(value))]);
        let text = match &value {
            Instruction::Label(_) => format!("LABEL {name}={}", request.labels[name]),
            other => other.keyword().to_owned(),
        };
        Step {
            node: Node {
                span: Span::default(),
                text,
                value,
                parts: vec![(0, Position::default())],
            },
            origin: None,
            mounts: Vec::new(),
            triggered: false,
        }
    });
    steps.collect()
}
