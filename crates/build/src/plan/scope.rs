//! The variables of a stage, as they change from line to line.

use std::collections::BTreeMap;

use super::{Action, CopyAction, Origin, PlanError, Reason, RunAction, Step, globals};
use crate::dockerfile::{
    Argument, Copy, CopySource, Instruction, Mount, Node, Pair, Run, Span, Warning, warning,
};
use crate::expand::{self, Variables};

/// What a stage's instructions see. The environment hides arguments of the same name.
#[derive(Clone, Debug)]
pub struct Scope {
    escape: char,
    /// The environment, in order.
    env: Vec<(String, String)>,
    /// Declared arguments; the last of a name counts.
    arguments: Vec<(String, Option<String>)>,
    globals: BTreeMap<String, String>,
    given: BTreeMap<String, String>,
    warnings: Vec<Warning>,
}

impl Variables for Scope {
    fn value(&self, name: &str) -> Option<&str> {
        if let Some((_, value)) = self.env.iter().find(|(found, _)| found == name) {
            return Some(value);
        }
        self.argument(name)?.as_deref()
    }
}

/// Remarks on names without a value.
pub(super) fn undefined(names: &[String], span: Span, warnings: &mut Vec<Warning>) {
    for name in names {
        let message = format!("Usage of undefined variable '${name}'");
        warnings.push(warning("UndefinedVar", span, message));
    }
}

impl Scope {
    pub(super) fn new(
        escape: char,
        env: &[String],
        globals: BTreeMap<String, String>,
        given: BTreeMap<String, String>,
    ) -> Self {
        let mut scope = Self {
            escape,
            env: Vec::new(),
            arguments: Vec::new(),
            globals,
            given,
            warnings: Vec::new(),
        };
        for line in env {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            scope.set(name, value.to_owned());
        }
        scope
    }

    fn argument(&self, name: &str) -> Option<&Option<String>> {
        self.arguments.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    fn set(&mut self, name: &str, value: String) {
        match self.env.iter_mut().find(|(found, _)| found == name) {
            Some((_, found)) => *found = value,
            None => self.env.push((name.to_owned(), value)),
        }
    }

    /// What a process of a `RUN` gets, `NAME=value`: arguments, proxies that were given, and the
    /// environment.
    pub fn environment(&self) -> Vec<String> {
        let in_env = |name: &str| self.env.iter().any(|(found, _)| found == name);
        let mut lines: Vec<String> = self
            .given
            .iter()
            .filter(|(name, _)| globals::PROXIES.contains(&name.as_str()))
            .filter(|(name, _)| !in_env(name) && self.argument(name).is_none())
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        lines.extend(self.declared());
        lines.extend(self.env.iter().map(|(name, value)| format!("{name}={value}")));
        lines
    }

    /// The arguments that a `RUN` depends on, `NAME=value`, sorted: part of what its cache is
    /// keyed on, and of its line in the history. Proxies are not among them unless declared.
    pub fn cache_arguments(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.declared().collect();
        lines.sort();
        lines
    }

    /// Arguments with a value that no variable of the environment hides.
    fn declared(&self) -> impl Iterator<Item = String> + '_ {
        self.arguments.iter().enumerate().filter_map(|(index, (name, value))| {
            let again = self.arguments[index + 1..].iter().any(|(other, _)| other == name);
            let hidden = again || self.env.iter().any(|(found, _)| found == name);
            let value = value.as_ref().filter(|_| !hidden)?;
            Some(format!("{name}={value}"))
        })
    }

    /// Takes the remarks that have come up since it was last asked.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// Replaces a step's variables. `ARG` and `ENV` change what the next steps see.
    ///
    /// # Errors
    /// [`PlanError`] with the place of the word that makes no sense.
    pub fn resolve(&mut self, step: &Step) -> Result<Action, PlanError> {
        let node = &step.node;
        Ok(match &node.value {
            Instruction::Arg(arguments) => Action::Arguments(self.declare(node, arguments)?),
            Instruction::Env(pairs) => {
                let pairs = self.pairs("ENV", node, pairs)?;
                for (name, value) in &pairs {
                    self.set(name, value.clone());
                }
                Action::Configure(Instruction::Env(pairs))
            }
            Instruction::Label(pairs) => {
                Action::Configure(Instruction::Label(self.pairs("LABEL", node, pairs)?))
            }
            Instruction::Add(copy) | Instruction::Copy(copy) => Action::Copy(CopyAction {
                add: matches!(node.value, Instruction::Add(_)),
                copy: self.copy(node, copy)?,
                origin: step.origin.clone().unwrap_or(Origin::Context),
            }),
            Instruction::Run(run) => Action::Run(self.run(step, run)?),
            Instruction::WorkDir(path) => Action::WorkDir(self.word(node, path)?),
            Instruction::User(user) => Action::Configure(Instruction::User(self.word(node, user)?)),
            Instruction::StopSignal(signal) => {
                Action::Configure(Instruction::StopSignal(self.word(node, signal)?))
            }
            Instruction::Volume(paths) => {
                Action::Configure(Instruction::Volume(self.list(node, paths)?))
            }
            Instruction::Expose(ports) => {
                let mut words = Vec::new();
                for port in ports {
                    let several = expand::words(port, self.escape, self).map_err(|error| {
                        PlanError::at(node.span_of(port), Reason::Word(port.clone(), error))
                    })?;
                    words.extend(several);
                }
                Action::Configure(Instruction::Expose(words))
            }
            Instruction::Cmd(_)
            | Instruction::Entrypoint(_)
            | Instruction::HealthCheck(_)
            | Instruction::Maintainer(_)
            | Instruction::OnBuild(_)
            | Instruction::Shell(_) => Action::Configure(node.value.clone()),
        })
    }

    fn word(&mut self, node: &Node<Instruction>, word: &str) -> Result<String, PlanError> {
        let done = expand::word(word, self.escape, self).map_err(|error| {
            PlanError::at(node.span_of(word), Reason::Word(word.to_owned(), error))
        })?;
        // Declared without a value is known to be empty.
        let unset: Vec<String> =
            done.unset.into_iter().filter(|name| self.argument(name).is_none()).collect();
        undefined(&unset, node.span, &mut self.warnings);
        Ok(done.text)
    }

    fn list(
        &mut self,
        node: &Node<Instruction>,
        words: &[String],
    ) -> Result<Vec<String>, PlanError> {
        words.iter().map(|word| self.word(node, word)).collect()
    }

    fn option(
        &mut self,
        node: &Node<Instruction>,
        word: Option<&String>,
    ) -> Result<Option<String>, PlanError> {
        word.map(|word| self.word(node, word)).transpose()
    }

    /// All values of a line see the variables as they were before it.
    fn pairs(
        &mut self,
        keyword: &'static str,
        node: &Node<Instruction>,
        pairs: &[Pair],
    ) -> Result<Vec<Pair>, PlanError> {
        pairs
            .iter()
            .map(|(name, value)| {
                let done = (self.word(node, name)?, self.word(node, value)?);
                if done.0.is_empty() {
                    return Err(PlanError::at(node.span_of(name), Reason::BlankName(keyword)));
                }
                Ok(done)
            })
            .collect()
    }

    /// A given value counts before the default, and that before what stands above the stages.
    fn declare(
        &mut self,
        node: &Node<Instruction>,
        arguments: &[Argument],
    ) -> Result<Vec<(String, Option<String>)>, PlanError> {
        let mut declared = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let name = self.word(node, &argument.name)?;
            if name.is_empty() {
                return Err(PlanError::at(node.span, Reason::BlankName("ARG")));
            }
            let default = self.option(node, argument.default.as_ref())?;
            let value = self
                .given
                .get(&name)
                .cloned()
                .or(default)
                .or_else(|| self.globals.get(&name).cloned());
            declared.push((name, value));
        }
        self.arguments.extend(declared.iter().cloned());
        Ok(declared)
    }

    fn copy(&mut self, node: &Node<Instruction>, copy: &Copy) -> Result<Copy, PlanError> {
        let mut sources = Vec::with_capacity(copy.sources.len());
        for source in &copy.sources {
            sources.push(match source {
                CopySource::Path(path) => CopySource::Path(self.word(node, path)?),
                CopySource::Inline(inline) => {
                    let mut inline = inline.clone();
                    if inline.expand {
                        inline.content = expand::here_document(&inline.content, self.escape, self)
                            .map_err(|error| {
                                let reason = Reason::Word(format!("<<{}", inline.name), error);
                                PlanError::at(node.span, reason)
                            })?;
                    }
                    CopySource::Inline(inline)
                }
            });
        }
        Ok(Copy {
            sources,
            destination: self.word(node, &copy.destination)?,
            chown: self.option(node, copy.chown.as_ref())?,
            chmod: self.option(node, copy.chmod.as_ref())?,
            exclude: self.list(node, &copy.exclude)?,
            checksum: self.option(node, copy.checksum.as_ref())?,
            ..copy.clone()
        })
    }

    fn run(&mut self, step: &Step, run: &Run) -> Result<RunAction, PlanError> {
        let mut mounts = Vec::with_capacity(run.mounts.len());
        for (index, flag) in run.mounts.iter().enumerate() {
            let text = if flag.text.contains('$') {
                self.word(&step.node, &flag.text)?
            } else {
                flag.text.clone()
            };
            let mount = Mount::parse(&text).map_err(|error| {
                PlanError::at(step.node.span_of(&flag.text), Reason::Mount(error))
            })?;
            // What a variable brings must not change what was planned.
            let mount = Mount { kind: flag.kind, from: flag.from.clone(), ..mount };
            mounts.push((mount, step.mounts.get(index).cloned().flatten()));
        }
        Ok(RunAction { script: run.script(), mounts, network: run.network, security: run.security })
    }
}
