//! What works but was probably meant otherwise; rules and words are those of BuildKit's checks.

use super::lines::Logical;
use super::{Command, Dockerfile, From, Instruction, Node, Span, StageText};

/// A remark; the build goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule's name.
    pub rule: &'static str,
    /// What is remarked.
    pub message: String,
    /// Where.
    pub span: Span,
}

pub(crate) fn warning(rule: &'static str, span: Span, message: impl Into<String>) -> Warning {
    Warning { rule, message: message.into(), span }
}

pub(super) fn empty_continuation(line: &Logical) -> Warning {
    warning(
        "NoEmptyContinuation",
        line.span,
        format!("Empty continuation line found in: {}", line.text),
    )
}

/// Adds the remarks that need nothing but the file, in its order, without those it skips.
pub(super) fn check(file: &mut Dockerfile) {
    let mut found = std::mem::take(&mut file.warnings);
    keyword_case(file, &mut found);
    for node in &file.arguments {
        for argument in &node.value {
            secret("ARG", &argument.name, node.span, &mut found);
        }
    }
    for (index, stage) in file.stages.iter().enumerate() {
        from(&stage.from, &mut found);
        let name = stage.from.value.name.as_ref();
        let earlier = &file.stages[..index];
        if let Some(name) = name
            .filter(|name| earlier.iter().any(|stage| stage.from.value.name.as_ref() == Some(name)))
        {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            found.push(warning("DuplicateStageName", stage.from.span, message));
        }
        instructions(stage, &mut found);
    }
    found.retain(|warning| !skips(file, warning));
    found.sort_by_key(|warning| warning.span.start);
    file.warnings = found;
}

/// Whether the file's `# check=` takes a rule's remarks away.
pub(crate) fn skips(file: &Dockerfile, warning: &Warning) -> bool {
    file.directives
        .check
        .skip
        .iter()
        .any(|rule| rule.eq_ignore_ascii_case("all") || rule.eq_ignore_ascii_case(warning.rule))
}

fn written_keyword(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

fn keyword_case(file: &Dockerfile, found: &mut Vec<Warning>) {
    let nodes: Vec<(&str, Span)> = file
        .arguments
        .iter()
        .map(|node| (written_keyword(&node.text), node.span))
        .chain(file.stages.iter().flat_map(|stage| {
            std::iter::once((written_keyword(&stage.from.text), stage.from.span)).chain(
                stage.instructions.iter().map(|node| (written_keyword(&node.text), node.span)),
            )
        }))
        .collect();
    let is_lower = |word: &str| word.chars().all(|c| c.is_ascii_lowercase());
    let is_upper = |word: &str| word.chars().all(|c| c.is_ascii_uppercase());
    let lower = nodes.iter().filter(|(word, _)| is_lower(word)).count();
    let upper = nodes.iter().filter(|(word, _)| is_upper(word)).count();
    let (majority, fits): (_, &dyn Fn(&str) -> bool) =
        if lower > upper { ("lowercase", &is_lower) } else { ("uppercase", &is_upper) };
    for (word, span) in nodes.into_iter().filter(|(word, _)| !fits(word)) {
        let message =
            format!("Command '{word}' should match the case of the command majority ({majority})");
        found.push(warning("ConsistentInstructionCasing", span, message));
    }
}

fn from(node: &Node<From>, found: &mut Vec<Warning>) {
    let from = &node.value;
    let words: Vec<&str> = node.text.split_whitespace().collect();
    if let (Some(_), [.., word, name]) = (&from.name, words.as_slice()) {
        let keyword = written_keyword(&node.text);
        let upper = |word: &str| word.chars().all(|c| c.is_ascii_uppercase());
        let lower = |word: &str| word.chars().all(|c| c.is_ascii_lowercase());
        if (upper(keyword) && !upper(word)) || (lower(keyword) && !lower(word)) {
            let message = format!("'{word}' and '{keyword}' keywords' casing do not match");
            found.push(warning("FromAsCasing", node.span, message));
        }
        if name.chars().any(char::is_uppercase) {
            let message = format!("Stage name '{name}' should be lowercase");
            found.push(warning("StageNameCasing", node.span, message));
        }
    }
    if let Some(name) = from.name.as_deref().filter(|name| matches!(*name, "scratch" | "context")) {
        let message = format!("Stage name should not use the same name as reserved stage {name:?}");
        found.push(warning("ReservedStageName", node.span, message));
    }
    match from.platform.as_deref() {
        Some("$TARGETPLATFORM" | "${TARGETPLATFORM}") => found.push(warning(
            "RedundantTargetPlatform",
            node.span,
            "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the \
             default behavior",
        )),
        Some(platform) if !platform.contains('$') => found.push(warning(
            "FromPlatformFlagConstDisallowed",
            node.span,
            format!("FROM --platform flag should not use constant value {platform:?}"),
        )),
        _ => {}
    }
}

fn instructions(stage: &StageText, found: &mut Vec<Warning>) {
    let mut last: [Option<Span>; 3] = [None; 3];
    for node in &stage.instructions {
        let keyword = node.value.keyword();
        let only_one = match &node.value {
            Instruction::Cmd(_) => Some(0),
            Instruction::Entrypoint(_) => Some(1),
            Instruction::HealthCheck(_) => Some(2),
            _ => None,
        };
        // All but the last have no effect, so it is those that are pointed at.
        if let Some(before) = only_one.and_then(|slot| last[slot].replace(node.span)) {
            let message = format!(
                "Multiple {keyword} instructions should not be used in the same stage because \
                 only the last one will be used"
            );
            found.push(warning("MultipleInstructionsDisallowed", before, message));
        }
        instruction(node, keyword, found);
    }
}

fn instruction(node: &Node<Instruction>, keyword: &str, found: &mut Vec<Warning>) {
    match &node.value {
        Instruction::Cmd(Command::Shell(line)) | Instruction::Entrypoint(Command::Shell(line))
            if !line.is_empty() =>
        {
            let message = format!(
                "JSON arguments recommended for {keyword} to prevent unintended behavior related \
                 to OS signals"
            );
            found.push(warning("JSONArgsRecommended", node.span, message));
        }
        Instruction::Maintainer(_) => found.push(warning(
            "MaintainerDeprecated",
            node.span,
            "Maintainer instruction is deprecated in favor of using label",
        )),
        Instruction::Env(pairs) => {
            legacy(node, keyword, found);
            for (name, _) in pairs {
                secret("ENV", name, node.span, found);
            }
        }
        Instruction::Label(_) => legacy(node, keyword, found),
        Instruction::Arg(arguments) => {
            for argument in arguments {
                secret("ARG", &argument.name, node.span, found);
            }
        }
        Instruction::Expose(ports) => {
            for port in ports {
                expose(port, node.span, found);
            }
        }
        _ => {}
    }
}

/// `ENV name value`.
fn legacy(node: &Node<Instruction>, keyword: &str, found: &mut Vec<Warning>) {
    let name = node.text.split_whitespace().nth(1).unwrap_or_default();
    if !name.contains('=') {
        let message = format!(
            "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
        );
        found.push(warning("LegacyKeyValueFormat", node.span, message));
    }
}

fn expose(port: &str, span: Span, found: &mut Vec<Warning>) {
    if let Some((_, protocol)) = port.split_once('/') {
        let lower = protocol.to_lowercase();
        if lower != protocol && !protocol.contains('$') {
            let message =
                format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
            found.push(warning("ExposeProtoCasing", span, message));
        }
    }
    if port.contains(':') && !port.contains('$') {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        );
        found.push(warning("ExposeInvalidFormat", span, message));
    }
}

/// Names like these hold what nobody should read in an image's history.
fn secret(keyword: &str, name: &str, span: Span, found: &mut Vec<Warning>) {
    const SECRET: [&str; 9] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
    ];
    let lower = name.to_lowercase();
    let mut words = lower.split('_');
    let is_secret = words.clone().any(|word| SECRET.contains(&word) || word == "token");
    // What is public has no need to hide.
    if is_secret && !words.any(|word| word == "public") {
        let message =
            format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
        found.push(warning("SecretsUsedInArgOrEnv", span, message));
    }
}
