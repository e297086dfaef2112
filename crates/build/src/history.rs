//! What a step is called in an image's history: the words of Docker's classic builder, which
//! `docker history` and many tools show.

use std::fmt::Write as _;

use types::container::ContainerConfig;
use types::health::HealthConfig;

use crate::dockerfile::Instruction;

/// The shell of the shell form.
pub(crate) fn shell(config: &ContainerConfig) -> Vec<String> {
    if config.shell.is_empty() {
        vec!["/bin/sh".to_owned(), "-c".to_owned()]
    } else {
        config.shell.clone()
    }
}

/// A step that runs nothing, with two blanks where Docker has two.
pub(crate) fn nop(config: &ContainerConfig, comment: &str) -> String {
    format!("{} #(nop)  {comment}", shell(config).join(" "))
}

/// A step that runs nothing, with one blank where Docker has one.
pub(crate) fn nop_once(config: &ContainerConfig, comment: &str) -> String {
    format!("{} #(nop) {comment}", shell(config).join(" "))
}

/// `RUN`, with the arguments that it sees.
pub(crate) fn run(command: &[String], arguments: &[String]) -> String {
    let command = command.join(" ");
    if arguments.is_empty() {
        return command;
    }
    format!("|{} {} {command}", arguments.len(), arguments.join(" "))
}

/// What an instruction that changes the configuration only is called. `before` and `after` are the
/// configuration.
pub(crate) fn configured(
    instruction: &Instruction,
    before: &ContainerConfig,
    after: &ContainerConfig,
) -> String {
    let pairs = |keyword: &str, pairs: &[(String, String)]| {
        let words = pairs.iter().map(|(name, value)| format!(" {name}={value}"));
        format!("{keyword}{}", words.collect::<String>())
    };
    let comment = match instruction {
        Instruction::Env(list) => pairs("ENV", list),
        Instruction::Label(list) => pairs("LABEL", list),
        Instruction::Maintainer(name) => format!("MAINTAINER {name}"),
        Instruction::Cmd(_) => format!("CMD {}", quoted(after.cmd.as_deref())),
        Instruction::Entrypoint(_) => format!("ENTRYPOINT {}", quoted(after.entrypoint.as_deref())),
        Instruction::Expose(ports) => format!("EXPOSE {}", ports.join(" ")),
        Instruction::HealthCheck(health) => format!("HEALTHCHECK {}", health_words(&health.0)),
        Instruction::OnBuild(line) => format!("ONBUILD {line}"),
        Instruction::StopSignal(signal) => format!("STOPSIGNAL {signal}"),
        Instruction::User(user) => format!("USER {user}"),
        Instruction::Volume(paths) => format!("VOLUME [{}]", paths.join(" ")),
        Instruction::Shell(words) => format!("SHELL [{}]", words.join(" ")),
        other => other.keyword().to_owned(),
    };
    // `SHELL` is the first to be called by the new shell's name.
    let config = if matches!(instruction, Instruction::Shell(_)) { after } else { before };
    nop(config, &comment)
}

/// Go's `%q` of a list.
fn quoted(words: Option<&Vec<String>>) -> String {
    let words: Vec<String> = words.into_iter().flatten().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

/// Go's `%q` of a text.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Go's `%q` of a health check.
fn health_words(health: &HealthConfig) -> String {
    let time = |value: i64| quote(&types::duration::format(value));
    let retries = u32::try_from(health.retries).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    let retries = if retries.is_control() {
        match retries {
            '\t' => "'\\t'".to_owned(),
            '\n' => "'\\n'".to_owned(),
            '\u{7}' => "'\\a'".to_owned(),
            '\u{8}' => "'\\b'".to_owned(),
            '\u{b}' => "'\\v'".to_owned(),
            '\u{c}' => "'\\f'".to_owned(),
            '\r' => "'\\r'".to_owned(),
            other => format!("'\\x{:02x}'", u32::from(other)),
        }
    } else {
        format!("'{retries}'")
    };
    format!(
        "&{{{} {} {} {} {} {retries}}}",
        quoted(Some(&health.test)),
        time(health.interval),
        time(health.timeout),
        time(health.start_period),
        time(health.start_interval),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::instruction::Command;

    #[test]
    fn histories_read_as_dockers() {
        let before = ContainerConfig::default();
        let mut after = before.clone();
        after.cmd = Some(vec!["sh".to_owned(), "a \"b\"".to_owned()].into());
        let cmd = Instruction::Cmd(Command::Words(Vec::new()));
        assert_eq!(configured(&cmd, &before, &after), r#"/bin/sh -c #(nop)  CMD ["sh" "a \"b\""]"#);
        let env = Instruction::Env(vec![("A".into(), "1".into()), ("B".into(), "2 3".into())]);
        assert_eq!(configured(&env, &before, &after), "/bin/sh -c #(nop)  ENV A=1 B=2 3");
        assert_eq!(
            run(&["/bin/sh".into(), "-c".into(), "x".into()], &["V=1".into()]),
            "|1 V=1 /bin/sh -c x"
        );
    }
}
