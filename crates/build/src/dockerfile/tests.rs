use proptest::prelude::*;

use super::*;

mod errors;
mod lints;
mod mounts;

/// The instructions below one `FROM`.
fn instructions(text: &str) -> Vec<Instruction> {
    let file = parse(&format!("FROM a\n{text}")).unwrap();
    file.stages[0].instructions.iter().map(|node| node.value.clone()).collect()
}

fn one(text: &str) -> Instruction {
    let [only] = instructions(text).try_into().unwrap();
    only
}

fn run(text: &str) -> Run {
    let Instruction::Run(run) = one(text) else { panic!("{text} is no RUN") };
    run
}

fn copy(text: &str) -> Copy {
    match one(text) {
        Instruction::Copy(copy) | Instruction::Add(copy) => copy,
        other => panic!("{other:?}"),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_file_of_everything() {
    let text = r#"# syntax=docker/dockerfile:1
# escape=\
ARG VERSION=1 NAME
FROM --platform=linux/amd64 busybox:$VERSION AS Base
LABEL a=b
FROM base
ADD a b /c/
ARG x=1 y
CMD ["x"]
COPY --from=base . .
ENTRYPOINT x y
ENV a=b c=d
EXPOSE 80 81/udp
HEALTHCHECK NONE
LABEL c=d
MAINTAINER me
ONBUILD RUN x
RUN x
SHELL ["sh", "-c"]
STOPSIGNAL TERM
USER u:g
VOLUME /v /w
WORKDIR /x y
"#;
    let file = parse(text).unwrap();
    assert_eq!(file.directives.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(file.arguments[0].value.len(), 2);
    let from = &file.stages[0].from;
    assert_eq!(from.value.platform.as_deref(), Some("linux/amd64"));
    assert_eq!(
        (from.value.base.as_str(), from.value.name.as_deref()),
        ("busybox:$VERSION", Some("base"))
    );
    assert_eq!(from.span, Span { start: Position { line: 4, column: 1 }, end_line: 4 });
    let nodes = &file.stages[1].instructions;
    for node in nodes {
        assert!(node.text.starts_with(node.value.keyword()), "{node:?}");
    }
    assert_eq!(nodes.len(), 17);
    assert_eq!(nodes[16].value, Instruction::WorkDir("/x y".into()));
    assert_eq!(nodes[16].span.start.line, 23);
    assert_eq!(nodes[15].value, Instruction::Volume(words(&["/v", "/w"])));
}

#[test]
fn keywords_in_any_case() {
    let file = parse("from a aS b\nrUn x\n  cmd [\"y\"]").unwrap();
    assert_eq!(file.stages[0].from.value.name.as_deref(), Some("b"));
    assert_eq!(file.stages[0].instructions[0].value.keyword(), "RUN");
    assert_eq!(file.stages[0].instructions[1].span.start, Position { line: 3, column: 3 });
}

#[test]
fn lines_are_continued_over_comments_and_emptiness() {
    let run = run("RUN a \\\n# remark\n  b \\  \n\n   # other \\\n  && c\\\nd\n");
    assert_eq!(run.command, Command::Shell("a   b   && cd".into()));
    // A doubled backslash is no continuation.
    let two = instructions("RUN a \\\\\nRUN b");
    assert_eq!(two.len(), 2);
    // The file ends within a continuation.
    assert_eq!(one("ENV a=b \\"), Instruction::Env(vec![("a".into(), "b".into())]));
    assert_eq!(one("\\\n\n  RUN \\\n x").keyword(), "RUN");
    let file = parse("FROM a\n\\\n\\\n   RUN x \\\n  y").unwrap();
    let node = &file.stages[0].instructions[0];
    assert_eq!(node.span, Span { start: Position { line: 4, column: 4 }, end_line: 5 });
    assert_eq!(node.position_of("y"), Position { line: 5, column: 3 });
    assert_eq!(node.position_of("nothing"), node.span.start);
}

#[test]
fn line_ends_of_all_kinds() {
    let file = parse("\u{feff}FROM a\r\nRUN <<E\r\nx\r\nE\r\nENV a=b \\\r\n c=d\r\n").unwrap();
    let nodes = &file.stages[0].instructions;
    let Instruction::Run(run) = &nodes[0].value else { panic!("it is a RUN") };
    assert_eq!(run.heredocs[0].content, "x\r\n");
    assert_eq!(
        nodes[1].value,
        Instruction::Env(vec![("a".into(), "b".into()), ("c".into(), "d".into())])
    );
}

#[test]
fn directives_stand_only_at_the_head() {
    let escape = |text: &str| parse(&format!("{text}\nFROM a")).unwrap().directives.escape;
    assert_eq!(escape("# escape=`"), '`');
    assert_eq!(escape("#ESCAPE = `  "), '`');
    assert_eq!(escape("# syntax=x\n# check=skip=all\n# escape=`"), '`');
    assert_eq!(escape("# remark\n# escape=`"), '\\');
    assert_eq!(escape("\n# escape=`"), '\\');
    assert_eq!(escape("# unknown=1\n# escape=`"), '\\');
    let check = parse("# check=skip=A, B;error=true\nFROM a").unwrap().directives.check;
    assert_eq!(check, Check { skip: words(&["A", "B"]), error: true });
    let text = "# escape=`\nFROM a\nRUN x `\n  c:\\y\\\nRUN z";
    assert_eq!(parse(text).unwrap().stages[0].instructions.len(), 2);
}

#[test]
fn commands_are_words_or_lines() {
    for (text, expected) in [
        ("CMD [\"a\", \"b c\"]", Command::Words(words(&["a", "b c"]))),
        ("CMD [ ]", Command::Words(Vec::new())),
        ("CMD [\"a\"] # remark", Command::Words(words(&["a"]))),
        ("CMD ['a']", Command::Shell("['a']".into())),
        ("CMD [ -f x ] && y", Command::Shell("[ -f x ] && y".into())),
        ("CMD  a  b ", Command::Shell("a  b".into())),
        ("CMD [\"\\u00e9\"]", Command::Words(words(&["é"]))),
        ("CMD", Command::Shell(String::new())),
    ] {
        assert_eq!(one(text), Instruction::Cmd(expected), "{text}");
    }
}

#[test]
fn runs_have_flags() {
    let run = run(
        "RUN --network=none --security=Insecure --mount=type=tmpfs,target=/t \\\n --mount=target=/u,from=x a b",
    );
    assert_eq!(run.command, Command::Shell("a b".into()));
    assert_eq!((run.network, run.security), (Network::None, Security::Insecure));
    assert_eq!(run.mounts[0].kind, MountKind::Tmpfs);
    assert_eq!(run.mounts[1].from.as_deref(), Some("x"));
    assert_eq!(run.script(), Script::Shell("a b".into()));
    let plain = self::run("RUN [\"x\", \"--mount=y\"]");
    assert_eq!(plain.script(), Script::Words(words(&["x", "--mount=y"])));
    assert_eq!((plain.network, plain.security), (Network::Default, Security::Sandbox));
    assert_eq!(self::run("RUN --network=host -- --x").command, Command::Shell("--x".into()));
}

#[test]
fn here_documents_of_runs() {
    let script = |text: &str| run(text).script();
    assert_eq!(script("RUN <<EOF\na\nb\nEOF"), Script::Shell("a\nb\n".into()));
    assert_eq!(script("RUN <<-EOF\n\t\ta\n\tb\n\tEOF"), Script::Shell("a\nb\n".into()));
    assert_eq!(
        script("RUN <<'E'\n#!/bin/x\ny\nE"),
        Script::File { name: "E".into(), content: "#!/bin/x\ny\n".into() }
    );
    assert_eq!(
        script("RUN cat <<A - <<B > /x\na\nA\nb\nB"),
        Script::Shell("cat <<A - <<B > /x\na\nA\nb\nB".into())
    );
    // With tabs to take away, the shell does it.
    assert_eq!(script("RUN cat <<-A\n\ta\n\tA"), Script::Shell("cat <<-A\n\ta\nA".into()));
    assert_eq!(script("RUN 3<<E x\ny\nE"), Script::Shell("3<<E x\ny\nE".into()));
    // The JSON form has none, nor has a quoted or a tripled sign.
    assert_eq!(script("RUN [\"<<E\"]"), Script::Words(words(&["<<E"])));
    assert_eq!(script("RUN echo \"<<E\""), Script::Shell("echo \"<<E\"".into()));
    assert_eq!(script("RUN cat <<<E"), Script::Shell("cat <<<E".into()));
    // Lines within look like anything.
    let inside = "RUN <<E\n# kept\n\nFROM x \\\n<<F\nE";
    assert_eq!(script(inside), Script::Shell("# kept\n\nFROM x \\\n<<F\n".into()));
    assert_eq!(script("RUN --network=none <<E\nx\nE"), Script::Shell("x\n".into()));
    // A name that leads elsewhere is no file's.
    assert_eq!(script("RUN <<../E\n#!x\n../E"), Script::Shell("#!x\n".into()));
}

#[test]
fn here_documents_know_whether_they_are_quoted() {
    let heredoc = |word: &str| heredoc::heredoc_of(word);
    let plain = heredoc("<<E").unwrap();
    assert!(plain.expand && !plain.chomp && plain.name == "E" && plain.descriptor == 0);
    for word in ["<<'E'", "<<\"E\"", "<<\\E", "<<E''"] {
        let quoted = heredoc(word).unwrap();
        assert!(!quoted.expand && quoted.name == "E", "{word}");
    }
    let all = heredoc("4<<-E").unwrap();
    assert!(all.chomp && all.descriptor == 4);
    for word in ["<E", "<<", "<<-", "<<<E", "x<<E", "<<a<b", "<<'x", ""] {
        assert_eq!(heredoc(word), None, "{word}");
    }
}

#[test]
fn copies_have_flags() {
    let copied = copy(
        "COPY --from=a --chown=1:2 --chmod=0755 --link --parents=true --exclude=*.o --exclude=x a b c",
    );
    assert_eq!(
        copied,
        Copy {
            sources: vec![CopySource::Path("a".into()), CopySource::Path("b".into())],
            destination: "c".into(),
            from: Some("a".into()),
            chown: Some("1:2".into()),
            chmod: Some("0755".into()),
            link: true,
            parents: true,
            exclude: words(&["*.o", "x"]),
            ..Copy::default()
        }
    );
    let added =
        copy("ADD --checksum=sha256:0 --keep-git-dir=false --unpack=false --link=false http://x /");
    assert_eq!(added.checksum.as_deref(), Some("sha256:0"));
    assert_eq!((added.keep_git_dir, added.unpack, added.link), (false, Some(false), false));
    assert!(copy("ADD --keep-git-dir x /").keep_git_dir);
    assert_eq!(copy("COPY [\"a b\", \"c d\"]").destination, "c d");
    assert_eq!(copy("COPY \"a b\" c").sources.len(), 2);
}

#[test]
fn copies_have_here_documents() {
    let copied = copy("COPY <<a x <<-'b' /d/\n$v\na\n\t$w\n\tb");
    assert_eq!(
        copied.sources,
        [
            CopySource::Inline(Inline { name: "a".into(), content: "$v\n".into(), expand: true }),
            CopySource::Path("x".into()),
            CopySource::Inline(Inline { name: "b".into(), content: "$w\n".into(), expand: false }),
        ]
    );
    let json = copy("COPY [\"<<a\", \"/d\"]");
    assert_eq!(json.sources, [CopySource::Path("<<a".into())]);
}

#[test]
fn pairs_old_and_new() {
    let env = |text: &str| match one(text) {
        Instruction::Env(pairs) | Instruction::Label(pairs) => pairs,
        other => panic!("{other:?}"),
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        env("ENV a=1 b=\"x y\" c='p q' d=r\\ s"),
        [pair("a", "1"), pair("b", "\"x y\""), pair("c", "'p q'"), pair("d", "r\\ s")]
    );
    assert_eq!(env("ENV a  b c=d "), [pair("a", "b c=d")]);
    assert_eq!(env("LABEL \"a b\"=c"), [pair("\"a b\"", "c")]);
    assert_eq!(env("LABEL a=\"x\\\n  y\""), [pair("a", "\"x  y\"")]);
    assert_eq!(env("ENV a=b="), [pair("a", "b=")]);
}

#[test]
fn health_checks() {
    let health = |text: &str| match one(text) {
        Instruction::HealthCheck(health) => health.0,
        other => panic!("{other:?}"),
    };
    let all = health(
        "HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=2ms --retries=4 cmd a || b",
    );
    assert_eq!(all.test, ["CMD-SHELL", "a || b"]);
    assert_eq!(
        (all.interval, all.timeout, all.start_period, all.start_interval, all.retries),
        (300_000_000_000, 3_000_000_000, 1_000_000_000, 2_000_000, 4)
    );
    assert_eq!(health("HEALTHCHECK CMD [\"a\"]").test, ["CMD", "a"]);
    assert_eq!(health("HEALTHCHECK NONE").test, ["NONE"]);
    assert_eq!(health("HEALTHCHECK --interval= --timeout=0 --retries= CMD x").interval, 0);
}

#[test]
fn triggers_are_kept_as_written() {
    assert_eq!(one("ONBUILD   run  a  b"), Instruction::OnBuild("run  a  b".into()));
    let Instruction::OnBuild(kept) = one("ONBUILD COPY <<A <<B /x\n1\nA\n2\nB") else {
        panic!("it is an ONBUILD")
    };
    assert_eq!(kept, "COPY <<A <<B /x\n1\nA\n2\nB");
    let node = parse_trigger(&kept).unwrap();
    let Instruction::Copy(copy) = node.value else { panic!("{node:?}") };
    assert_eq!(copy.sources.len(), 2);
}

#[test]
fn many_stages_and_documents_are_refused() {
    let text = "FROM a\n".repeat(1001);
    assert_eq!(parse(&text).unwrap_err().message, "more than 1000 build stages");
    let text = format!("FROM a\nRUN {}", "<<E ".repeat(300));
    assert_eq!(parse(&text).unwrap_err().message, "more than 256 here-documents");
}

/// Lines that look like a Dockerfile's.
fn lines() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            "(FROM|ARG|RUN|COPY|ADD|ENV|LABEL|ONBUILD|HEALTHCHECK|SHELL|CMD|EXPOSE|VOLUME)( --(from|mount|chown|network|interval|platform)(=[a-z,=/$\"]{0,12})?)?( [-a-z0-9<=\\[\\]\"'$\\\\,éE]{0,12}){0,4}",
            "[ \t]*(\\\\|#.*|E|`)?",
            "\\PC{0,20}",
        ],
        0..12,
    )
    .prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(\\PC|\n){0,200}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.position().line >= 1);
        }
        let _ = parse_trigger(&text);
    }

    #[test]
    fn places_lie_within_the_file(text in lines()) {
        let last = u32::try_from(text.lines().count()).unwrap();
        match parse(&format!("FROM a\n{text}")) {
            Ok(file) => {
                let mut line = 0;
                for node in file.stages.iter().flat_map(|stage| &stage.instructions) {
                    prop_assert!(node.span.start.line > line && node.span.end_line <= last + 1);
                    prop_assert!(node.span.end_line >= node.span.start.line);
                    line = node.span.end_line;
                }
            }
            Err(error) => {
                prop_assert!((1..=last + 1).contains(&error.position().line));
                prop_assert!(error.position().column >= 1);
            }
        }
    }

    #[test]
    fn the_place_of_an_instruction_is_where_its_keyword_stands(text in lines()) {
        let text = format!("FROM a\n{text}");
        let file = parse(&text);
        let stages = file.map(|file| file.stages).unwrap_or_default();
        let source: Vec<&str> = text.split('\n').collect();
        for node in stages.iter().flat_map(|stage| &stage.instructions) {
            let line = source[node.span.start.line as usize - 1];
            let found: String = line.chars().skip(node.span.start.column as usize - 1).collect();
            let keyword = node.value.keyword();
            // A keyword may itself be continued on the next line.
            let shown = found.to_uppercase();
            prop_assert!(shown.starts_with(keyword) || found.contains('\\'), "{line:?} {node:?}");
        }
    }

    #[test]
    fn a_trigger_parses_to_what_it_parsed_to(text in lines()) {
        if let Ok(file) = parse(&format!("FROM a\n{text}")) {
            for node in file.stages.iter().flat_map(|stage| &stage.instructions) {
                if let Instruction::OnBuild(kept) = &node.value {
                    prop_assert!(parse_trigger(kept).is_ok(), "{kept:?}");
                }
            }
        }
    }
}
