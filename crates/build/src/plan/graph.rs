//! Which stage needs which.

use std::collections::{BTreeMap, BTreeSet};

use types::reference::Reference;

use super::{Base, Options, Origin, Plan, PlanError, Reason, Stage, Step, globals};
use crate::dockerfile::{
    Dockerfile, Instruction, MountKind, Node, Span, StageText, Warning, did_you_mean, skips,
    warning,
};
use crate::expand;

pub(super) fn plan(file: &Dockerfile, options: &Options) -> Result<Plan, PlanError> {
    let mut warnings = file.warnings.clone();
    let globals = globals::values(file, options, &mut warnings)?;
    let mut stages: Vec<Stage> = Vec::with_capacity(file.stages.len());
    for text in &file.stages {
        let stage = named(&stages, text, file, &globals, &mut warnings)?;
        stages.push(stage);
    }
    for (index, text) in file.stages.iter().enumerate() {
        let steps = text
            .instructions
            .iter()
            .map(|node| step(&stages, index, node.clone()))
            .collect::<Result<Vec<Step>, PlanError>>()?;
        relative_directories(&steps, &mut warnings);
        stages[index].needs = needs(&stages[index].base, &steps);
        stages[index].steps = steps;
    }
    let target = target(&stages, options)?;
    let order = order(&stages)?;
    let reached = reached(&stages, target);
    warnings.retain(|warning| !skips(file, warning));
    warnings.sort_by_key(|warning| warning.span.start);
    Ok(Plan {
        target,
        needed: order.into_iter().filter(|index| reached.contains(index)).collect(),
        warnings,
        unused_arguments: unused(file, options),
        warnings_are_errors: file.directives.check.error,
        escape: file.directives.escape,
        globals,
        given: options.arguments.clone(),
        stages,
    })
}

/// A stage without its steps. Its base may be a stage before it.
fn named(
    earlier: &[Stage],
    text: &StageText,
    file: &Dockerfile,
    globals: &BTreeMap<String, String>,
    warnings: &mut Vec<Warning>,
) -> Result<Stage, PlanError> {
    let (node, from) = (&text.from, &text.from.value);
    let mut value = |word: &str| {
        let done = expand::word(word, file.directives.escape, globals)
            .map_err(|error| PlanError::at(node.span_of(word), Reason::Word(word.into(), error)))?;
        for name in &done.unset {
            // Those with a declaration and no value are known, but empty.
            if !file.arguments.iter().flat_map(|node| &node.value).any(|arg| arg.name == *name) {
                let message = format!("FROM argument '{name}' is not declared");
                warnings.push(warning("UndefinedArgInFrom", node.span, message));
            }
        }
        Ok(done.text)
    };
    let platform = from.platform.as_deref().map(&mut value).transpose()?;
    let base = value(&from.base)?;
    if base.is_empty() {
        return Err(PlanError::at(node.span_of(&from.base), Reason::BlankBase(from.base.clone())));
    }
    let base = match named_stage(earlier, &base) {
        Some(index) => Base::Stage(index),
        None if base == "scratch" => Base::Scratch,
        None => {
            image_name(&base).map_err(|error| {
                PlanError::at(node.span_of(&from.base), Reason::BadBase(base.clone(), error))
            })?;
            Base::Image(base)
        }
    };
    Ok(Stage {
        index: earlier.len(),
        name: from.name.clone(),
        from: node.clone(),
        base,
        platform: platform.filter(|platform| !platform.is_empty()),
        steps: Vec::new(),
        needs: BTreeSet::new(),
    })
}

/// The last of the stages with this name.
fn named_stage(stages: &[Stage], name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    stages.iter().rposition(|stage| stage.name.as_deref() == Some(&name))
}

/// Whether this can be an image's name or id.
fn image_name(name: &str) -> Result<(), types::reference::InvalidReference> {
    let id = name.strip_prefix("sha256:").unwrap_or(name);
    if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    Reference::parse(name).map(drop)
}

/// Looks up where an instruction of stage `stage` takes files from.
pub(super) fn step(
    stages: &[Stage],
    stage: usize,
    node: Node<Instruction>,
) -> Result<Step, PlanError> {
    let mut found = None;
    let mut mounts = Vec::new();
    match &node.value {
        Instruction::Copy(copy) | Instruction::Add(copy) => {
            found = Some(match &copy.from {
                Some(from) => origin(stages, stage, from, node.span_of(from))?,
                None => Origin::Context,
            });
        }
        Instruction::Run(run) => {
            for mount in &run.mounts {
                mounts.push(match (&mount.from, mount.kind) {
                    (Some(from), _) => Some(origin(stages, stage, from, node.span_of(from))?),
                    (None, MountKind::Bind) => Some(Origin::Context),
                    (None, _) => None,
                });
            }
        }
        _ => {}
    }
    Ok(Step { node, origin: found, mounts, triggered: false })
}

/// A stage's name or number, or an image. Of stages with the same name the nearest before this
/// one is meant; without one, one behind it, as BuildKit has it.
fn origin(stages: &[Stage], stage: usize, from: &str, span: Span) -> Result<Origin, PlanError> {
    if from.is_empty() {
        return Ok(Origin::Context);
    }
    if from.bytes().all(|byte| byte.is_ascii_digit()) {
        return match from.parse::<usize>() {
            Ok(index) if index < stages.len() => Ok(Origin::Stage(index)),
            _ => Err(PlanError::at(span, Reason::NoStage(from.to_owned()))),
        };
    }
    let before = stages.get(..stage).unwrap_or_default();
    if let Some(index) = named_stage(before, from).or_else(|| named_stage(stages, from)) {
        return Ok(Origin::Stage(index));
    }
    if from == "scratch" {
        return Ok(Origin::Scratch);
    }
    image_name(from)
        .map_err(|error| PlanError::at(span, Reason::BadOrigin(from.to_owned(), error)))?;
    Ok(Origin::Image(from.to_owned()))
}

fn needs(base: &Base, steps: &[Step]) -> BTreeSet<usize> {
    let base = if let Base::Stage(index) = base { Some(*index) } else { None };
    let origins =
        steps.iter().flat_map(|step| step.origin.iter().chain(step.mounts.iter().flatten()));
    base.into_iter()
        .chain(origins.filter_map(|origin| match origin {
            Origin::Stage(index) => Some(*index),
            _ => None,
        }))
        .collect()
}

fn target(stages: &[Stage], options: &Options) -> Result<usize, PlanError> {
    let Some(wanted) = options.target.as_deref().filter(|target| !target.is_empty()) else {
        return Ok(stages.len() - 1);
    };
    let number = || wanted.parse::<usize>().ok().filter(|index| *index < stages.len());
    named_stage(stages, wanted).or_else(number).ok_or_else(|| {
        let names: Vec<&str> = stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let hint = did_you_mean(wanted, &names);
        PlanError { span: None, reason: Reason::NoTarget(wanted.to_owned(), hint) }
    })
}

/// All stages, each after those it needs.
fn order(stages: &[Stage]) -> Result<Vec<usize>, PlanError> {
    let mut order = Vec::with_capacity(stages.len());
    let mut waiting: Vec<usize> = stages.iter().map(|stage| stage.needs.len()).collect();
    let mut ready: BTreeSet<usize> =
        (0..stages.len()).filter(|index| waiting[*index] == 0).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); stages.len()];
    for stage in stages {
        for need in &stage.needs {
            needed_by[*need].push(stage.index);
        }
    }
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for user in &needed_by[index] {
            waiting[*user] -= 1;
            if waiting[*user] == 0 {
                ready.insert(*user);
            }
        }
    }
    match stages.iter().find(|stage| waiting[stage.index] > 0 && in_circle(stages, stage.index)) {
        None => Ok(order),
        Some(stage) => Err(PlanError::at(stage.from.span, Reason::Circle(stage.display_name()))),
    }
}

/// Whether a stage needs itself in the end.
fn in_circle(stages: &[Stage], index: usize) -> bool {
    stages[index].needs.iter().any(|need| reached(stages, *need).contains(&index))
}

/// A stage and everything that it needs.
fn reached(stages: &[Stage], from: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::from([from]);
    let mut left = vec![from];
    while let Some(index) = left.pop() {
        left.extend(stages[index].needs.iter().copied().filter(|need| found.insert(*need)));
    }
    found
}

/// `WORKDIR app` means another place when the base image changes.
fn relative_directories(steps: &[Step], warnings: &mut Vec<Warning>) {
    for step in steps {
        if let Instruction::WorkDir(path) = &step.node.value {
            if path.starts_with(['/', '$']) {
                return;
            }
            let message = format!(
                "Relative workdir {path:?} can have unexpected results if the base image changes"
            );
            warnings.push(warning("WorkdirRelativePath", step.node.span, message));
        }
    }
}

fn unused(file: &Dockerfile, options: &Options) -> Vec<String> {
    let in_stages = file.stages.iter().flat_map(|stage| &stage.instructions);
    let declared: BTreeSet<&str> = in_stages
        .filter_map(|node| match &node.value {
            Instruction::Arg(arguments) => Some(arguments),
            _ => None,
        })
        .chain(file.arguments.iter().map(|node| &node.value))
        .flatten()
        .map(|argument| argument.name.as_str())
        .collect();
    let platforms = globals::platforms(options);
    options
        .arguments
        .keys()
        .filter(|name| {
            !declared.contains(name.as_str())
                && !platforms.contains_key(*name)
                && !globals::PROXIES.contains(&name.as_str())
                && !globals::is_for_builder(name)
        })
        .cloned()
        .collect()
}
