//! One instruction, from its text.

use super::lines::Logical;
use super::words::{
    FlagTexts, Problem, arguments, blank_words, json_or_shell, json_words, pairs, problem,
    quoted_words,
};
use super::{Argument, From, Instruction, copy, health, run, stage, suggest};

/// All there are.
const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a line says.
pub(super) enum Parsed {
    From(From),
    Other(Instruction),
}

/// Reads an instruction.
pub(super) fn parse(line: &Logical, escape: char) -> Result<Parsed, Problem> {
    let (written, at) = line.keyword();
    let upper = written.to_ascii_uppercase();
    let Some(keyword) = KEYWORDS.into_iter().find(|keyword| *keyword == upper) else {
        let hint = suggest::did_you_mean(&upper, &KEYWORDS);
        return Err(problem(0, format!("unknown instruction: {written}{hint}")));
    };
    let rest = &line.text[at..];
    let shift = |found: Problem| Problem { at: found.at + at, ..found };
    if keyword == "FROM" {
        return from(rest).map(Parsed::From).map_err(shift);
    }
    other(keyword, rest, line, escape).map(Parsed::Other).map_err(shift)
}

fn other(
    keyword: &'static str,
    rest: &str,
    line: &Logical,
    escape: char,
) -> Result<Instruction, Problem> {
    match keyword {
        "ADD" => return Ok(Instruction::Add(copy::parse(keyword, rest, line.heredocs.clone())?)),
        "COPY" => return Ok(Instruction::Copy(copy::parse(keyword, rest, line.heredocs.clone())?)),
        "RUN" => return Ok(Instruction::Run(run::parse(rest, line.heredocs.clone())?)),
        "HEALTHCHECK" => return Ok(Instruction::HealthCheck(health::parse(rest)?)),
        _ => {}
    }
    // No other instruction has flags.
    let (texts, at) = FlagTexts::take(rest);
    texts.flags().none()?;
    let tail = &rest[at..];
    let one = || {
        if tail.is_empty() {
            return Err(problem(0, format!("{keyword} requires exactly one argument")));
        }
        Ok(tail.to_owned())
    };
    let some = |words: Vec<String>| {
        if words.is_empty() {
            return Err(problem(0, format!("{keyword} requires at least one argument")));
        }
        Ok(words)
    };
    Ok(match keyword {
        "ARG" => Instruction::Arg(declarations(tail, escape)?),
        "CMD" => Instruction::Cmd(json_or_shell(tail, at)?),
        "ENTRYPOINT" => Instruction::Entrypoint(json_or_shell(tail, at)?),
        "ENV" => Instruction::Env(pairs(keyword, tail, escape)?.0),
        "LABEL" => Instruction::Label(pairs(keyword, tail, escape)?.0),
        "EXPOSE" => Instruction::Expose(some(blank_words(tail))?),
        "MAINTAINER" => Instruction::Maintainer(one()?),
        "ONBUILD" => Instruction::OnBuild(trigger(tail, line)?),
        "SHELL" => match json_words(tail, at)? {
            Some(words) => Instruction::Shell(some(words)?),
            None if tail.is_empty() => Instruction::Shell(some(Vec::new())?),
            None => {
                return Err(problem(at, "SHELL requires the arguments to be in JSON form"));
            }
        },
        "STOPSIGNAL" => Instruction::StopSignal(one()?),
        "USER" => Instruction::User(one()?),
        "VOLUME" => {
            let paths = some(arguments(tail, 0)?)?;
            if paths.iter().any(|path| path.trim().is_empty()) {
                return Err(problem(at, "VOLUME specified can not be an empty string"));
            }
            Instruction::Volume(paths)
        }
        _ => Instruction::WorkDir(one()?),
    })
}

/// Reads what follows `FROM`.
fn from(rest: &str) -> Result<From, Problem> {
    let (texts, at) = FlagTexts::take(rest);
    let flags = texts.flags();
    let mut platform = None;
    for flag in &flags.0 {
        flags.only_once(flag)?;
        match flag.name {
            "platform" => platform = Some(flag.value()?.to_owned()),
            _ => return Err(flag.unknown(&["platform"])),
        }
    }
    let words = blank_words(&rest[at..]);
    let (base, name) = match words.as_slice() {
        [base] => (base, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => (base, Some(name)),
        _ => return Err(problem(at, "FROM requires either one or three arguments")),
    };
    let name = name.map(|name| stage_name(name, at)).transpose()?;
    Ok(From { platform, base: base.clone(), name })
}

/// A stage's name: a letter, then letters, digits, `-`, `_` and `.`.
fn stage_name(name: &str, at: usize) -> Result<String, Problem> {
    let lower = name.to_lowercase();
    let valid = lower.starts_with(|c: char| c.is_ascii_lowercase())
        && lower.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if !valid {
        return Err(problem(
            at,
            format!(
                "invalid name for build stage: {name:?}, name can't start with a number or \
                 contain symbols"
            ),
        ));
    }
    Ok(lower)
}

fn declarations(tail: &str, escape: char) -> Result<Vec<Argument>, Problem> {
    let words = quoted_words(tail, escape);
    if words.is_empty() {
        return Err(problem(0, "ARG requires at least one argument"));
    }
    words
        .into_iter()
        .map(|(word, at)| match word.split_once('=') {
            Some(("", _)) => Err(problem(at, "ARG names can not be blank")),
            Some((name, value)) => {
                Ok(Argument { name: name.to_owned(), default: Some(value.to_owned()) })
            }
            None => Ok(Argument { name: word, default: None }),
        })
        .collect()
}

/// What `ONBUILD` keeps: the trigger with its here-documents.
fn trigger(tail: &str, line: &Logical) -> Result<String, Problem> {
    let word = tail.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match word.as_str() {
        "" => return Err(problem(0, "ONBUILD requires at least one argument")),
        "ONBUILD" => {
            return Err(problem(0, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"));
        }
        "MAINTAINER" | "FROM" => {
            return Err(problem(0, format!("{word} isn't allowed as an ONBUILD trigger")));
        }
        _ => {}
    }
    let mut text = tail.to_owned();
    for heredoc in &line.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    stage::parse_trigger(&text).map_err(|error| problem(0, error.message))?;
    Ok(text)
}
