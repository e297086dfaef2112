//! Variables, line by line.

use proptest::prelude::*;

use super::*;
use crate::dockerfile::CopySource;

/// Resolves all steps of the last stage; its base has `env`.
fn resolved(text: &str, given: &[(&str, &str)], env: &[&str]) -> (Vec<Action>, Scope) {
    let plan = plan(&parse(text).unwrap(), &options(given)).unwrap();
    let env: Vec<String> = env.iter().map(|line| (*line).to_owned()).collect();
    let mut scope = plan.scope(&env);
    let steps = &plan.stages[plan.target].steps;
    let actions = steps.iter().map(|step| scope.resolve(step).unwrap()).collect();
    (actions, scope)
}

fn error_of(text: &str) -> PlanError {
    let plan = planned(text);
    let mut scope = plan.scope(&[]);
    plan.stages[0].steps.iter().find_map(|step| scope.resolve(step).err()).unwrap()
}

#[test]
fn arguments_have_scopes() {
    let text = "ARG G=global\nARG H\nFROM a\nARG A=1\nFROM b\nENV x=$A-$G\nARG G H I TARGETARCH\nENV y=$G-$H-$I-$TARGETARCH";
    let (_, scope) = resolved(text, &[("H", "given"), ("I", "also")], &[]);
    assert_eq!(scope.value("x"), Some("-"));
    assert_eq!(scope.value("y"), Some("global-given-also-arm"));
    assert_eq!(scope.cache_arguments(), ["G=global", "H=given", "I=also", "TARGETARCH=arm"]);
}

#[test]
fn a_given_value_wins_over_a_default_and_the_environment_over_both() {
    let text = "FROM a\nARG A=default\nARG E=default\nARG B=1\nARG B=2\nARG C";
    let (actions, scope) = resolved(text, &[("A", "given")], &["E=env", "F=x"]);
    assert_eq!(actions[0], Action::Arguments(vec![("A".into(), Some("given".into()))]));
    assert_eq!(actions[4], Action::Arguments(vec![("C".into(), None)]));
    assert_eq!(scope.environment(), ["A=given", "B=2", "E=env", "F=x"]);
    assert_eq!(scope.cache_arguments(), ["A=given", "B=2"]);
    assert_eq!((scope.value("E"), scope.value("C")), (Some("env"), None));
}

#[test]
fn proxies_reach_processes_and_no_cache() {
    let given = [("http_proxy", "p"), ("NO_PROXY", "n"), ("OTHER", "o")];
    let (_, scope) = resolved("FROM a\nENV x=$http_proxy", &given, &[]);
    assert_eq!(scope.environment(), ["NO_PROXY=n", "http_proxy=p", "x="]);
    assert!(scope.cache_arguments().is_empty());
    let (_, scope) = resolved("FROM a\nARG http_proxy", &given, &["NO_PROXY=mine"]);
    assert_eq!(scope.environment(), ["http_proxy=p", "NO_PROXY=mine"]);
    assert_eq!(scope.cache_arguments(), ["http_proxy=p"]);
}

#[test]
fn all_of_a_line_sees_what_was_before_it() {
    let (_, scope) = resolved("FROM a\nENV a=1\nENV a=2 b=$a\nENV c=$b$a", &[], &[]);
    assert_eq!(scope.environment(), ["a=2", "b=1", "c=12"]);
}

#[test]
fn copies_are_replaced_everywhere_but_in_quoted_here_documents() {
    let text = "FROM a\nENV v=1\nCOPY --chown=u$v --chmod=$v --exclude=*.$v a$v <<\"Q\" <<N /d/$v/\n'$v'\nQ\n'$v' \\$v \"x\"\nN\n\
                ADD --checksum=sha256:$v http://x/$v /";
    let (actions, _) = resolved(text, &[], &[]);
    let Action::Copy(CopyAction { add: false, copy, origin: Origin::Context }) = &actions[1] else {
        panic!("{actions:?}")
    };
    assert_eq!(copy.chown.as_deref(), Some("u1"));
    assert_eq!(copy.chmod.as_deref(), Some("1"));
    assert_eq!(copy.exclude, ["*.1"]);
    assert_eq!(copy.destination, "/d/1/");
    let sources: Vec<&str> = copy
        .sources
        .iter()
        .map(|source| match source {
            CopySource::Path(path) => path.as_str(),
            CopySource::Inline(inline) => inline.content.as_str(),
        })
        .collect();
    assert_eq!(sources, ["a1", "'$v'\n", "'1' $v \"x\"\n"]);
    let Action::Copy(CopyAction { add: true, copy, .. }) = &actions[2] else {
        panic!("{actions:?}")
    };
    assert_eq!(copy.checksum.as_deref(), Some("sha256:1"));
    assert_eq!(copy.sources, [CopySource::Path("http://x/1".into())]);
}

#[test]
fn mounts_are_read_once_their_variables_are_known() {
    let text =
        "FROM a\nARG n=7\nRUN --mount=type=cache,target=/c/$n,uid=$n,mode=07$n,id=\"i$n\" echo $n";
    let (actions, _) = resolved(text, &[], &[]);
    let Action::Run(run) = &actions[1] else { panic!("{actions:?}") };
    let (mount, origin) = &run.mounts[0];
    assert_eq!((mount.kind, mount.uid, mount.mode), (MountKind::Cache, Some(7), Some(0o77)));
    assert_eq!((mount.target.as_deref(), mount.id(), origin), (Some("/c/7"), "i7", &None));
    // Variables of the command are the shell's.
    assert_eq!(run.script, Script::Shell("echo $n".into()));

    let error = error_of("FROM a\nENV n=x\nRUN --mount=type=cache,target=/c,uid=$n true");
    assert_eq!(
        error.reason,
        Reason::Mount(MountError::Value { key: "uid".into(), value: "x".into() })
    );
    assert_eq!(error.position().unwrap().to_string(), "3:13");
}

#[test]
fn errors_point_at_the_word() {
    let text = "FROM a\nRUN true\nCOPY x \\\n  # remark\n  y${z:? is missing} /\n";
    let text = text.replace("? is missing", "?missing");
    let error = error_of(&text);
    assert_eq!(error.to_string(), "failed to process \"y${z:?missing}\": z: missing");
    assert_eq!(
        excerpt("Dockerfile", &text, error.span.unwrap()),
        "Dockerfile:5:3\n\
         --------------------\n   \
         3 |     COPY x \\\n   \
         4 |       # remark\n   \
         5 | >>>   y${z:?missing} /\n     \
         |       ^\n\
         --------------------\n"
    );
    assert_eq!(error_of("FROM a\nENV a=1 $x=2").to_string(), "ENV names can not be blank");
    assert_eq!(error_of("FROM a\nARG $x=2").to_string(), "ARG names can not be blank");
}

#[test]
fn unknown_variables_are_remarked_once_a_word() {
    let (_, mut scope) =
        resolved("FROM a\nARG declared\nENV a=$nope$nope$declared\nWORKDIR ${b:-/x}", &[], &[]);
    let warnings = scope.take_warnings();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].message, "Usage of undefined variable '$nope'");
    assert_eq!(warnings[0].span.start.line, 3);
    assert!(scope.take_warnings().is_empty());
}

#[test]
fn values_cannot_grow_without_end() {
    let mut text = "FROM a\nENV a=0123456789\n".to_owned();
    text.push_str(&"ENV a=$a$a$a$a\n".repeat(40));
    assert!(matches!(error_of(&text).reason, Reason::Word(_, ExpandError::TooLong)));
}

#[test]
fn directories_are_meant_from_the_one_before() {
    let mut configured = Configured::default();
    for (path, expected) in [("a", "/a"), ("b/../c", "/a/c"), ("/x/", "/x"), ("../../..", "/")] {
        assert_eq!(configured.directory(path), expected);
        configured.apply(&Instruction::WorkDir(path.into()), Default::default()).unwrap();
        assert_eq!(configured.config.working_dir, expected);
    }
}

#[test]
fn an_entrypoint_takes_the_inherited_command_away() {
    let mut configured = Configured::default();
    configured.config.cmd = Some(vec!["old".to_owned()].into());
    let entrypoint = Instruction::Entrypoint(Command::Words(vec!["e".into()]));
    let mut with_cmd = configured.clone();
    configured.apply(&entrypoint, Default::default()).unwrap();
    assert_eq!(configured.config.cmd, None);
    let cmd = Instruction::Cmd(Command::Shell("new".into()));
    with_cmd.apply(&cmd, Default::default()).unwrap();
    with_cmd.apply(&entrypoint, Default::default()).unwrap();
    assert_eq!(with_cmd.config.cmd.unwrap().join(" "), "/bin/sh -c new");
}

#[test]
fn values_are_replaced_only_once() {
    let text =
        "FROM scratch\nENV a='$b' b=x\nENV c=\"$a\"\nLABEL l=$a\nUSER $a\nEXPOSE 0.0.0.0:80:81";
    let done = configured(text, &options(&[])).unwrap();
    assert!(done.config.env.contains(&"c=$b".to_owned()));
    assert_eq!(done.config.labels["l"], "$b");
    assert_eq!(done.config.user, "$b");
    assert_eq!(done.config.exposed_ports.keys().collect::<Vec<_>>(), ["81/tcp"]);
}

proptest! {
    #[test]
    fn nothing_that_parses_panics_later(lines in proptest::collection::vec(
        "(ARG|ENV|LABEL|COPY|ADD|RUN|WORKDIR|USER|EXPOSE|VOLUME|STOPSIGNAL|CMD|ONBUILD RUN|HEALTHCHECK CMD) [-a$={}\"'\\\\:/<, 0-9\\[\\]#%]{0,24}", 0..8)) {
        let text = format!("FROM a\n{}", lines.join("\n"));
        let Ok(file) = parse(&text) else { return Ok(()) };
        let Ok(plan) = plan(&file, &options(&[("a", "1")])) else { return Ok(()) };
        let mut scope = plan.scope(&["a=$a".to_owned()]);
        let mut configured = Configured::default();
        for step in &plan.stages[0].steps {
            match scope.resolve(step) {
                Ok(Action::Configure(instruction)) => {
                    let _ = configured.apply(&instruction, step.node.span);
                }
                Ok(_) => {}
                Err(error) => {
                    prop_assert!(error.position().unwrap().line >= 2);
                    excerpt("x", &text, error.span.unwrap());
                }
            }
        }
    }
}
