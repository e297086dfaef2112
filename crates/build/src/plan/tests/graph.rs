//! Which stages there are, and which are needed.

use proptest::prelude::*;

use super::*;

fn needs(plan: &Plan, index: usize) -> Vec<usize> {
    plan.stages[index].needs.iter().copied().collect()
}

#[test]
fn only_what_the_target_needs_is_built() {
    let text = "FROM a AS one\nFROM b AS two\nCOPY --from=one x y\nFROM c AS three\nRUN x\n\
                FROM two\nRUN --mount=from=one,target=/o,type=bind true";
    let plan = planned(text);
    assert_eq!(plan.target, 3);
    assert_eq!(plan.needed, [0, 1, 3]);
    assert_eq!(needs(&plan, 3), [0, 1]);
    assert_eq!(plan.stages[3].base, Base::Stage(1));
    assert_eq!(plan.stages[3].steps[0].mounts, [Some(Origin::Stage(0))]);
    assert_eq!(plan.stages[3].display_name(), "stage-3");

    let file = parse(text).unwrap();
    let wanted = |target: &str| Options { target: Some(target.to_owned()), ..options(&[]) };
    assert_eq!(super::plan(&file, &wanted("three")).unwrap().needed, [2]);
    assert_eq!(super::plan(&file, &wanted("TWO")).unwrap().needed, [0, 1]);
    assert_eq!(super::plan(&file, &wanted("1")).unwrap().target, 1);
    assert_eq!(super::plan(&file, &wanted("")).unwrap().target, 3);
    let error = super::plan(&file, &wanted("thre")).unwrap_err();
    assert_eq!(error.to_string(), "target stage \"thre\" could not be found (did you mean three?)");
    assert_eq!(error.position(), None);
    assert_eq!(
        super::plan(&file, &wanted("9")).unwrap_err().reason,
        Reason::NoTarget("9".into(), String::new())
    );
}

#[test]
fn origins_are_stages_numbers_or_images() {
    let plan = planned(
        "FROM a AS one\nFROM b\nCOPY --from=ONE x y\nCOPY --from=0 x y\nCOPY --from=busybox:1 x y\n\
         COPY x y\nCOPY --from=scratch x y\n\
         RUN --mount=target=/x --mount=type=cache,target=/c --mount=type=cache,from=one,target=/d x",
    );
    let steps = &plan.stages[1].steps;
    let origins: Vec<Option<Origin>> = steps.iter().map(|step| step.origin.clone()).collect();
    assert_eq!(
        origins,
        [
            Some(Origin::Stage(0)),
            Some(Origin::Stage(0)),
            Some(Origin::Image("busybox:1".into())),
            Some(Origin::Context),
            Some(Origin::Scratch),
            None
        ]
    );
    assert_eq!(steps[5].mounts, [Some(Origin::Context), None, Some(Origin::Stage(0))]);
}

#[test]
fn origins_that_there_are_not() {
    let error = refused("FROM a\nCOPY --from=7 x y");
    assert_eq!(error.to_string(), "invalid stage index 7");
    assert_eq!(error.position().unwrap().to_string(), "2:13");
    let error = refused("FROM a\nCOPY --from=No/Image x y");
    assert!(error.to_string().starts_with("invalid from flag value No/Image: "), "{error}");
    assert!(matches!(
        refused("FROM a\nCOPY --from=99999999999999999999999 x y").reason,
        Reason::NoStage(_)
    ));
}

#[test]
fn stages_that_need_each_other_are_refused() {
    let error = refused("FROM a AS one\nCOPY --from=two x y\nFROM b AS two\nCOPY --from=one x y");
    assert_eq!(error.to_string(), "circular dependency detected on stage: one");
    assert_eq!(error.position().unwrap().line, 1);
    let error = refused("FROM z\nFROM a AS one\nCOPY --from=1 x y");
    assert_eq!(error.to_string(), "circular dependency detected on stage: one");
    // A stage that only needs a circle is not to blame.
    let error = refused("FROM b AS zero\nCOPY --from=one . .\nFROM a AS one\nCOPY --from=one . .");
    assert_eq!(error.to_string(), "circular dependency detected on stage: one");
}

#[test]
fn a_stage_may_take_from_one_behind_it() {
    let plan = planned("FROM a AS one\nCOPY --from=two x y\nFROM b AS two\nFROM one");
    assert_eq!(plan.needed, [1, 0, 2]);
}

#[test]
fn bases() {
    let plan = planned(
        "FROM scratch\nFROM Two AS x\nFROM two AS scratch\nFROM scratch"
            .replace("Two", "two")
            .as_str(),
    );
    let bases: Vec<&Base> = plan.stages.iter().map(|stage| &stage.base).collect();
    let image = Base::Image("two".into());
    assert_eq!(bases, [&Base::Scratch, &image, &image, &Base::Stage(2)]);
    let id = "0123456789abcdef".repeat(4);
    for name in [format!("sha256:{id}"), id] {
        assert_eq!(planned(&format!("FROM {name}")).stages[0].base, Base::Image(name));
    }
    let error = refused("ARG V\nFROM busybox:1\nFROM $V");
    assert_eq!(error.to_string(), "base name ($V) should not be blank");
    assert_eq!(error.position().unwrap().to_string(), "3:6");
    assert!(matches!(refused("FROM a:b:c").reason, Reason::BadBase(..)));
    assert!(matches!(refused("FROM ${V:?no}").reason, Reason::Word(_, ExpandError::Required(..))));
    // With the same name twice the nearer is meant, and it is remarked.
    let plan = planned("FROM a AS x\nFROM b AS x\nFROM x");
    assert_eq!(plan.stages[2].base, Base::Stage(1));
    assert_eq!(plan.warnings[0].rule, "DuplicateStageName");
}

#[test]
fn variables_above_the_stages_are_for_from() {
    let text = "ARG TAG=1\nARG NAME=busybox:$TAG OTHER=${NAME}-x\nFROM --platform=$BUILDPLATFORM ${OTHER}\n\
                FROM --platform=linux/$TARGETARCH/$TARGETVARIANT x:${TAG:-none} AS y\n\
                FROM a:$TARGETSTAGE";
    let file = parse(text).unwrap();
    let plan = plan(&file, &options(&[("TAG", "2")])).unwrap();
    assert_eq!(plan.stages[0].base, Base::Image("busybox:2-x".into()));
    assert_eq!(plan.stages[0].platform.as_deref(), Some("linux/amd64"));
    assert_eq!(plan.stages[1].platform.as_deref(), Some("linux/arm/v7"));
    assert_eq!(plan.stages[1].base, Base::Image("x:2".into()));
    assert_eq!(plan.stages[2].base, Base::Image("a:default".into()));
    let other = super::plan(&file, &options(&[("BUILDPLATFORM", "linux/s390x")])).unwrap();
    assert_eq!(other.stages[0].platform.as_deref(), Some("linux/s390x"));
}

#[test]
fn arguments_that_nobody_asks_for_are_named() {
    let file = parse("ARG A\nFROM scratch\nARG B=1").unwrap();
    let given = [
        ("A", ""),
        ("B", ""),
        ("C", ""),
        ("http_proxy", "p"),
        ("TARGETARCH", "x"),
        ("SOURCE_DATE_EPOCH", "0"),
        ("BUILDKIT_INLINE_CACHE", "1"),
    ];
    assert_eq!(plan(&file, &options(&given)).unwrap().unused_arguments, ["C"]);
}

#[test]
fn remarks_come_in_order_and_can_be_skipped() {
    let text = "FROM a:$NO\nWORKDIR x\nCMD a b\n";
    let rules = |text: &str| -> Vec<&'static str> {
        planned(text).warnings.iter().map(|warning| warning.rule).collect()
    };
    assert_eq!(
        refused(text).to_string(),
        "failed to parse stage name \"a:\": invalid reference format"
    );
    let text = text.replace("a:$NO", "a$NO");
    assert_eq!(rules(&text), ["UndefinedArgInFrom", "WorkdirRelativePath", "JSONArgsRecommended"]);
    assert_eq!(
        rules(&format!("# check=skip=UndefinedArgInFrom,jsonargsrecommended;error=true\n{text}")),
        ["WorkdirRelativePath"]
    );
    assert!(planned(&format!("# check=error=true\n{text}")).warnings_are_errors);
    assert!(rules(&format!("# check=skip=all\n{text}")).is_empty());
    assert_eq!(rules("FROM a\nWORKDIR /x\nWORKDIR y"), [""; 0]);
}

#[test]
fn triggers_are_steps_of_the_stage_they_come_to() {
    let plan = planned("FROM a AS one\nFROM b\nRUN x");
    let lines = ["COPY --from=one x y".to_owned(), "RUN <<E\nhi\nE".to_owned()];
    let steps = plan.triggers(1, &lines).unwrap();
    assert_eq!(steps[0].origin, Some(Origin::Stage(0)));
    assert!(steps.iter().all(|step| step.triggered && step.node.span.start.line == 2));
    let mut scope = plan.scope(&[]);
    let Action::Run(run) = scope.resolve(&steps[1]).unwrap() else { panic!("it is a RUN") };
    assert_eq!(run.script, Script::Shell("hi\n".into()));

    for (line, message) in [
        (
            "FOO",
            "failed to parse ONBUILD trigger \"FOO\": unknown instruction: FOO (did you mean FROM?)",
        ),
        (
            "FROM x",
            "failed to parse ONBUILD trigger \"FROM x\": FROM isn't allowed as an ONBUILD trigger",
        ),
        (
            "RUN a\nRUN b",
            "failed to parse ONBUILD trigger \"RUN a\\nRUN b\": a trigger must be one instruction",
        ),
    ] {
        let error = plan.triggers(1, &[line.to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.position().unwrap().line, 2);
    }
}

/// Files whose stages take from any others, by name and number.
fn tangles() -> impl Strategy<Value = String> {
    proptest::collection::vec((0usize..8, proptest::collection::vec(0usize..8, 0..3)), 1..8)
        .prop_map(|stages| {
            let mut text = String::new();
            for (index, (base, origins)) in stages.iter().enumerate() {
                let base = if *base < index { format!("s{base}") } else { "image".to_owned() };
                text.push_str(&format!("FROM {base} AS s{index}\n"));
                for origin in origins {
                    text.push_str(&format!("COPY --from=s{origin} . .\n"));
                }
            }
            text
        })
}

proptest! {
    #[test]
    fn whatever_is_planned_has_an_order(text in tangles()) {
        let file = parse(&text).unwrap();
        if let Ok(plan) = plan(&file, &options(&[])) {
            prop_assert_eq!(plan.needed.last(), Some(&plan.target));
            for (at, index) in plan.needed.iter().enumerate() {
                for need in &plan.stages[*index].needs {
                    prop_assert!(plan.needed[..at].contains(need));
                }
            }
            // Nothing that is not needed is in it.
            for index in plan.needed.iter().filter(|index| **index != plan.target) {
                prop_assert!(plan.needed.iter().any(|other| plan.stages[*other].needs.contains(index)));
            }
        }
    }
}
