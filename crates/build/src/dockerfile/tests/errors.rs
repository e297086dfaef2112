//! What is refused, where and in which words.

use super::super::*;

/// Files, the place of what is wrong, and the words for it.
const TABLE: &[(&str, &str, &str)] = &[
    ("", "1:1", "file with no instructions"),
    ("# a\n\n", "2:1", "file with no instructions"),
    ("RUN x", "1:1", "no build stage in current context"),
    ("ARG a", "1:1", "no build stage in current context"),
    ("# escape=x\nFROM a", "1:1", "invalid escape token 'x' does not match ` or \\"),
    ("# syntax=a\n# syntax=b\nFROM a", "2:1", "only one syntax parser directive can be used"),
    ("FROM a\n\nFOO bar", "3:1", "unknown instruction: FOO (did you mean FROM?)"),
    ("FROM a\n  coppy bar x", "2:3", "unknown instruction: coppy (did you mean COPY?)"),
    ("FROM a\n\"RUN x\"", "2:1", "unknown instruction: \"RUN (did you mean RUN?)"),
    ("FROM", "1:5", "FROM requires either one or three arguments"),
    ("FROM a b", "1:6", "FROM requires either one or three arguments"),
    ("FROM a x b", "1:6", "FROM requires either one or three arguments"),
    ("FROM a AS b c", "1:6", "FROM requires either one or three arguments"),
    ("FROM --platfrom=x a", "1:6", "unknown flag: --platfrom (did you mean platform?)"),
    ("FROM --platform a", "1:6", "missing a value on flag: --platform"),
    (
        "FROM a AS 1b",
        "1:6",
        "invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
    ),
    ("FROM a\nRUN", "2:4", "RUN requires at least one argument"),
    ("FROM a\nRUN []", "2:5", "RUN requires at least one argument"),
    ("FROM a\nRUN --mount=type=bind", "2:5", "mount requires target to be set"),
    (
        "FROM a\nRUN a \\\n  && b\nRUN --network=none \\\n  --mount=type=cach,target=/x y",
        "5:3",
        "unsupported mount type \"cach\" (did you mean cache?)",
    ),
    ("FROM a\nRUN --network=x y", "2:5", "invalid network mode: \"x\" (default, none or host)"),
    ("FROM a\nRUN --security=x y", "2:5", "security \"x\" is not valid (sandbox or insecure)"),
    ("FROM a\nRUN --network=none --network=none y", "2:20", "duplicate flag specified: --network"),
    (
        "FROM a\nRUN --mount=target=/x,from=$y z",
        "2:5",
        "'from' doesn't support variable expansion, define alias stage instead",
    ),
    ("FROM a\nRUN <<E\nx", "2:1", "unterminated heredoc"),
    ("FROM a\nCOPY <<E <<F /x\nE\nF x", "2:1", "unterminated heredoc"),
    (
        "FROM a\nCOPY x",
        "2:6",
        "COPY requires at least two arguments, but only one was provided. Destination could not \
         be determined",
    ),
    (
        "FROM a\nADD",
        "2:4",
        "ADD requires at least two arguments, but only one was provided. Destination could not \
         be determined",
    ),
    ("FROM a\nCOPY x <<E\nE", "2:6", "COPY cannot accept a heredoc as a destination: E"),
    (
        "FROM a\nCOPY --chown=x --from=$y a b",
        "2:16",
        "variable expansion is not supported for --from, define a new stage with FROM using ARG \
         from global scope as a workaround",
    ),
    ("FROM a\nADD --from=x a b", "2:5", "unknown flag: --from"),
    ("FROM a\nCOPY --checksum=x a b", "2:6", "unknown flag: --checksum"),
    ("FROM a\nCOPY --link=x a b", "2:6", "expecting boolean value for flag --link, not: x"),
    ("FROM a\nCOPY --link= a b", "2:6", "missing a value on flag: --link"),
    ("FROM a\nCOPY --chmod=1 --chmod=2 a b", "2:16", "duplicate flag specified: --chmod"),
    (
        "FROM a\nENV a=1 \\\n  b",
        "3:3",
        "Syntax error - can't find = in \"b\". Must be of the form: name=value",
    ),
    ("FROM a\nENV a", "2:5", "ENV must have two arguments"),
    ("FROM a\nENV", "2:4", "ENV requires at least one argument"),
    ("FROM a\nENV a=1 =2", "2:9", "ENV names can not be blank"),
    ("FROM a\nLABEL a", "2:7", "LABEL must have two arguments"),
    ("FROM a\nARG", "2:4", "ARG requires at least one argument"),
    ("FROM a\nARG a =b", "2:7", "ARG names can not be blank"),
    ("FROM a\nENV --x a=b", "2:5", "unknown flag: --x"),
    ("FROM a\nEXPOSE", "2:7", "EXPOSE requires at least one argument"),
    ("FROM a\nUSER", "2:5", "USER requires exactly one argument"),
    ("FROM a\nWORKDIR", "2:8", "WORKDIR requires exactly one argument"),
    ("FROM a\nSTOPSIGNAL", "2:11", "STOPSIGNAL requires exactly one argument"),
    ("FROM a\nMAINTAINER", "2:11", "MAINTAINER requires exactly one argument"),
    ("FROM a\nVOLUME", "2:7", "VOLUME requires at least one argument"),
    ("FROM a\nVOLUME [\"\"]", "2:8", "VOLUME specified can not be an empty string"),
    ("FROM a\nSHELL x", "2:7", "SHELL requires the arguments to be in JSON form"),
    ("FROM a\nSHELL []", "2:7", "SHELL requires at least one argument"),
    (
        "FROM a\nCMD [\"a\", {}]",
        "2:5",
        "when using JSON array syntax, arrays must be comprised of strings only",
    ),
    ("FROM a\nONBUILD", "2:8", "ONBUILD requires at least one argument"),
    ("FROM a\nONBUILD ONBUILD x", "2:9", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    ("FROM a\nONBUILD from x", "2:9", "FROM isn't allowed as an ONBUILD trigger"),
    ("FROM a\nONBUILD FOO", "2:9", "unknown instruction: FOO (did you mean FROM?)"),
    ("FROM a\nHEALTHCHECK", "2:12", "HEALTHCHECK requires at least one argument"),
    ("FROM a\nHEALTHCHECK NONE x", "2:13", "HEALTHCHECK NONE takes no arguments"),
    ("FROM a\nHEALTHCHECK CMD", "2:13", "Missing command after HEALTHCHECK CMD"),
    ("FROM a\nHEALTHCHECK CMD []", "2:13", "Missing command after HEALTHCHECK CMD"),
    ("FROM a\nHEALTHCHECK x y", "2:13", "Unknown type \"x\" in HEALTHCHECK (try CMD)"),
    (
        "FROM a\nHEALTHCHECK --retries=1 --interval=1us CMD x",
        "2:25",
        "Interval \"interval\" cannot be less than 1ms",
    ),
    (
        "FROM a\nHEALTHCHECK --interval=-1s CMD x",
        "2:13",
        "Interval \"interval\" cannot be less than 1ms",
    ),
    ("FROM a\nHEALTHCHECK --timeout=5 CMD x", "2:13", "time: missing unit in duration \"5\""),
    ("FROM a\nHEALTHCHECK --retries=x CMD x", "2:13", "--retries must be a number (not \"x\")"),
    ("FROM a\nHEALTHCHECK --retries=-1 CMD x", "2:13", "--retries cannot be negative (-1)"),
    (
        "FROM a\nHEALTHCHECK --intervall=1s CMD x",
        "2:13",
        "unknown flag: --intervall (did you mean interval?)",
    ),
];

#[test]
fn errors_have_a_place_and_dockers_words() {
    for (text, place, message) in TABLE {
        let error = parse(text).expect_err(text);
        assert_eq!(error.message, *message, "{text:?}");
        assert_eq!(error.position().to_string(), *place, "{text:?}");
        let line = place.split(':').next().unwrap();
        assert_eq!(error.to_string(), format!("dockerfile parse error on line {line}: {message}"));
        assert!(error.excerpt.starts_with(&format!("Dockerfile:{place}\n")), "{}", error.excerpt);
    }
}

#[test]
fn the_lines_around_are_shown() {
    let error = parse("FROM a\n\nRUN x \\\n\t--y \\\n  z\nENV\n\nRUN w\nRUN v\n").unwrap_err();
    assert_eq!(
        error.excerpt,
        "Dockerfile:6:4\n\
         --------------------\n   \
         4 |     \t--y \\\n   \
         5 |       z\n   \
         6 | >>> ENV\n     \
         |        ^\n   \
         7 |\n   \
         8 |     RUN w\n\
         --------------------\n"
    );
    let span = Span { start: Position { line: 3, column: 1 }, end_line: 5 };
    let drawn = excerpt("x/Dockerfile", "a\nb\nc\nd\u{1b}[1m\ne\nf\n", span);
    assert_eq!(
        drawn,
        "x/Dockerfile:3:1\n--------------------\n   1 |     a\n   2 |     b\n   3 | >>> c\n   \
         4 | >>> d\u{fffd}[1m\n   5 | >>> e\n   6 |     f\n--------------------\n"
    );
    // Long instructions and lines are cut.
    let long = format!("{}\n", "x".repeat(1000)).repeat(100);
    let span = Span { start: Position { line: 1, column: 900 }, end_line: 100 };
    let drawn = excerpt("f", &long, span);
    assert!(drawn.lines().count() < 30 && drawn.lines().all(|line| line.len() < 220));
}
