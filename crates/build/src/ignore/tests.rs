use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// The tree of the table below.
const TREE: [&str; 15] = [
    "!odd",
    "#hash",
    "README.md",
    "a/README.md",
    "a/[1].txt",
    "a/b/README.md",
    "a/b/c.txt",
    "a/x.o",
    "dir/foo",
    "dir/foobar/z",
    "dir/sub/foo",
    "dir/sub/x.md",
    "foo",
    "foo.txt",
    "foobar",
];

/// Patterns, and which of [`TREE`] they leave out: what docker 28.2 did not send.
const TABLE: &[(&str, &[&str])] = &[
    (
        "*",
        &[
            "!odd",
            "#hash",
            "README.md",
            "a/README.md",
            "a/[1].txt",
            "a/b/README.md",
            "a/b/c.txt",
            "a/x.o",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    ("*.md", &["README.md"]),
    ("**/*.md", &["README.md", "a/README.md", "a/b/README.md", "dir/sub/x.md"]),
    ("**.md", &["README.md", "a/README.md", "a/b/README.md", "dir/sub/x.md"]),
    ("*.md\n!README.md", &[]),
    ("README.md\n!README.md", &[]),
    ("!README.md\nREADME.md", &["README.md"]),
    ("a", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("a/", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("/a", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("/a/", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("./a", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("a/.", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("a/b/..", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("a//b", &["a/b/README.md", "a/b/c.txt"]),
    ("a/*", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("a/**", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("a/**/", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("a/*/*.md", &["a/b/README.md"]),
    ("a/*/*", &["a/b/README.md", "a/b/c.txt"]),
    ("*/README.md", &["a/README.md"]),
    ("**/README.md", &["README.md", "a/README.md", "a/b/README.md"]),
    ("**/b", &["a/b/README.md", "a/b/c.txt"]),
    ("**/b/*", &["a/b/README.md", "a/b/c.txt"]),
    ("**foo", &["dir/foo", "dir/sub/foo", "foo"]),
    ("**/foo", &["dir/foo", "dir/sub/foo", "foo"]),
    ("foo**", &["foo", "foo.txt", "foobar"]),
    ("foo*", &["foo", "foo.txt", "foobar"]),
    ("fo?", &["foo"]),
    ("?oo", &["foo"]),
    ("dir/**/foo", &["dir/foo", "dir/sub/foo"]),
    ("dir/**foo", &["dir/foo", "dir/sub/foo"]),
    ("dir/foo*", &["dir/foo", "dir/foobar/z"]),
    ("dir/**\n!dir/foo", &["dir/foobar/z", "dir/sub/foo", "dir/sub/x.md"]),
    ("dir\n!dir/sub", &["dir/foo", "dir/foobar/z"]),
    ("dir\n!dir/sub/x.md", &["dir/foo", "dir/foobar/z", "dir/sub/foo"]),
    (
        "*\n!a/b",
        &[
            "!odd",
            "#hash",
            "README.md",
            "a/README.md",
            "a/[1].txt",
            "a/x.o",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    (
        "*\n!a/b/\n**/*.md",
        &[
            "!odd",
            "#hash",
            "README.md",
            "a/README.md",
            "a/[1].txt",
            "a/b/README.md",
            "a/x.o",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    (
        "*\n!a\na/b",
        &[
            "!odd",
            "#hash",
            "README.md",
            "a/b/README.md",
            "a/b/c.txt",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    (
        "*\n!dir/sub/*",
        &[
            "!odd",
            "#hash",
            "README.md",
            "a/README.md",
            "a/[1].txt",
            "a/b/README.md",
            "a/b/c.txt",
            "a/x.o",
            "dir/foo",
            "dir/foobar/z",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    (
        "[ad]*",
        &[
            "a/README.md",
            "a/[1].txt",
            "a/b/README.md",
            "a/b/c.txt",
            "a/x.o",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
        ],
    ),
    (
        "[^a]*",
        &[
            "!odd",
            "#hash",
            "README.md",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    (
        "[a-d]*/*",
        &[
            "a/README.md",
            "a/[1].txt",
            "a/b/README.md",
            "a/b/c.txt",
            "a/x.o",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
        ],
    ),
    ("**/*.[mo]*", &["README.md", "a/README.md", "a/b/README.md", "a/x.o", "dir/sub/x.md"]),
    ("a/\\[1\\].txt", &["a/[1].txt"]),
    ("a/[[]1].txt", &["a/[1].txt"]),
    ("#hash", &[]),
    ("\\#hash", &["#hash"]),
    (" #hash", &["#hash"]),
    ("!odd\nfoo", &["foo"]),
    ("\\!odd", &["!odd"]),
    ("/!odd", &[]),
    ("", &[]),
    ("#a\n", &[]),
    ("   a   ", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("\ta\r", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    (
        "! a\n*",
        &[
            "!odd",
            "#hash",
            "README.md",
            "a/README.md",
            "a/[1].txt",
            "a/b/README.md",
            "a/b/c.txt",
            "a/x.o",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    (
        "*\n! a",
        &[
            "!odd",
            "#hash",
            "README.md",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    ("/", &[]),
    (".", &[]),
    ("..", &[]),
    ("../a", &[]),
    ("a/../dir", &["dir/foo", "dir/foobar/z", "dir/sub/foo", "dir/sub/x.md"]),
    ("\u{feff}a", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    (
        "***",
        &[
            "!odd",
            "#hash",
            "README.md",
            "a/README.md",
            "a/[1].txt",
            "a/b/README.md",
            "a/b/c.txt",
            "a/x.o",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    (
        "**/**",
        &[
            "!odd",
            "#hash",
            "README.md",
            "a/README.md",
            "a/[1].txt",
            "a/b/README.md",
            "a/b/c.txt",
            "a/x.o",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    ("**/a/**", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/b/c.txt", "a/x.o"]),
    ("a/**/b", &["a/b/README.md", "a/b/c.txt"]),
    ("a/**b", &["a/b/README.md", "a/b/c.txt"]),
    ("a*/b", &["a/b/README.md", "a/b/c.txt"]),
    ("*/*/*", &["a/b/README.md", "a/b/c.txt", "dir/foobar/z", "dir/sub/foo", "dir/sub/x.md"]),
    ("a\n!a/b/c.txt\na/b", &["a/README.md", "a/[1].txt", "a/b/README.md", "a/x.o"]),
    (
        "*\n!*.md",
        &[
            "!odd",
            "#hash",
            "a/README.md",
            "a/[1].txt",
            "a/b/README.md",
            "a/b/c.txt",
            "a/x.o",
            "dir/foo",
            "dir/foobar/z",
            "dir/sub/foo",
            "dir/sub/x.md",
            "foo",
            "foo.txt",
            "foobar",
        ],
    ),
    ("dir/*\n!dir/sub\ndir/sub/*\n!dir/sub/foo", &["dir/foo", "dir/foobar/z", "dir/sub/x.md"]),
];

/// What docker 28.2 refuses.
const REFUSED: &[&str] = &["a/[[]1[]].txt", "!/", "!", "[", "[]", "a\\", "[a-]", "[-a]"];

#[test]
fn files_are_left_out_as_docker_leaves_them_out() {
    for (text, expected) in TABLE {
        let patterns = Patterns::parse(text).unwrap();
        let found: Vec<&str> = TREE.into_iter().filter(|path| patterns.matches(path)).collect();
        assert_eq!(&found, expected, "{text:?}");
    }
}

#[test]
fn patterns_without_a_meaning_are_refused() {
    for text in REFUSED {
        assert!(Patterns::parse(text).is_err(), "{text:?}");
    }
    for text in ["[b-a]", "[^]", "[a", "[a-", "x/[a-]]", "\\"] {
        let error = Patterns::parse(text).unwrap_err();
        assert_eq!(error, PatternError::Syntax(text.to_owned()));
    }
    assert_eq!(Patterns::parse("a\n! ").unwrap_err(), PatternError::LoneException);
    let many = "a\n".repeat(MAX_PATTERNS + 1);
    assert_eq!(Patterns::parse(&many).unwrap_err(), PatternError::TooMany);
    let long = format!("*{}", "a".repeat(20_000));
    assert!(matches!(Patterns::parse(&long).unwrap_err(), PatternError::Syntax(_)));
}

/// Docker's classic client does not look into a directory that is left out unless an exception
/// begins with its name; BuildKit, and we, do.
#[test]
fn an_exception_with_wildcards_finds_files_in_directories_that_are_left_out() {
    let patterns = Patterns::parse("*\n!**/x.md").unwrap();
    let kept: Vec<&str> = TREE.into_iter().filter(|path| !patterns.matches(path)).collect();
    assert_eq!(kept, ["dir/sub/x.md"]);
}

#[test]
fn comments_are_only_lines_that_begin_with_a_hash() {
    assert!(Patterns::parse("# a\n\n   \n").unwrap().is_empty());
    assert!(!Patterns::from_lines(["#a"]).unwrap().is_empty());
    assert!(Patterns::from_lines(["#a"]).unwrap().matches("#a"));
    assert!(Patterns::parse("a\r\nb\r\n").unwrap().matches("b"));
}

#[test]
fn what_the_builder_must_see_is_kept() {
    let mut patterns = Patterns::parse("*").unwrap();
    patterns.keep("Dockerfile");
    patterns.keep("./sub/.dockerignore");
    assert!(!patterns.matches("Dockerfile"));
    assert!(!patterns.matches("sub/.dockerignore"));
    assert!(patterns.matches("sub/x") && patterns.matches("sub"));
    let mut nothing = Patterns::default();
    nothing.keep("a");
    assert!(nothing.is_empty());
}

#[test]
fn directories_are_skipped_when_nothing_in_them_can_come_back() {
    let skips = |text: &str, directory: &str| {
        let patterns = Patterns::parse(text).unwrap();
        let verdict = patterns.below(&Verdict::default(), directory);
        patterns.excludes_all_below(directory, &verdict)
    };
    assert!(skips("a", "a"));
    assert!(!skips("a", "b"));
    assert!(skips("a\n!b", "a"));
    assert!(skips("a\n!ab", "a"));
    assert!(!skips("a\n!a/b", "a"));
    assert!(!skips("a\n!*/b", "a"));
    assert!(!skips("a\n!**/b", "a"));
    assert!(!skips("*\n!a/b/c", "a"));
    assert!(skips("*\n!a/b/c", "b"));
}

#[test]
fn pieces_of_globs() {
    let yes = [
        ("a*c", "abbc"),
        ("a*c", "ac"),
        ("?", "ä"),
        ("[ä-ü]", "ö"),
        ("a**b", "a/x/b"),
        ("a**b", "ab"),
        ("\\*", "*"),
        ("[\\]]", "]"),
        ("[^a]", "b"),
        ("a]", "a]"),
        ("**/x", "x"),
        ("x/**", "x/y/z"),
        ("**", ""),
    ];
    let no = [
        ("a*c", "a/c"),
        ("?", "/"),
        ("?", ""),
        ("[^a]", "a"),
        ("a**b", "axb"),
        ("\\*", "a"),
        ("x/**", "x"),
        ("*", "a/b"),
        ("", "a"),
    ];
    for (pattern, path) in yes {
        assert!(Glob::parse(pattern).unwrap().matches(path), "{pattern} {path}");
    }
    for (pattern, path) in no {
        assert!(!Glob::parse(pattern).unwrap().matches(path), "{pattern} {path}");
    }
}

#[test]
fn paths_are_cleaned_as_go_cleans_them() {
    for (path, expected) in [
        ("", "."),
        (".", "."),
        ("/", "/"),
        ("//", "/"),
        ("a/", "a"),
        ("a/./b", "a/b"),
        ("a/../..", ".."),
        ("/..", "/"),
        ("../../x/../y", "../../y"),
    ] {
        assert_eq!(clean(path), expected, "{path}");
    }
}

/// The obvious way to compare, which may take forever.
fn slow(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*'] | ['*', '*', '/'] => true,
        ['*', '*', '/', rest @ ..] | ['*', '*', rest @ ..] => {
            slow(rest, path)
                || (0..path.len()).any(|at| path[at] == '/' && slow(rest, &path[at + 1..]))
        }
        ['*', rest @ ..] => {
            let room = path.iter().take_while(|c| **c != '/').count();
            (0..=room).any(|taken| slow(rest, &path[taken..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && slow(rest, &path[1..]),
        [c, rest @ ..] => path.first() == Some(c) && slow(rest, &path[1..]),
    }
}

fn path() -> impl Strategy<Value = String> {
    "[ab]{1,2}(/[ab]{1,2}){0,3}"
}

fn lines() -> impl Strategy<Value = String> {
    proptest::collection::vec("(! ?)?(\\*\\*|\\*|\\?|[ab]|/|[ab]/|\\[ab\\]|\\.\\./){1,5}", 0..6)
        .prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}", path in "\\PC{0,40}") {
        if let Ok(patterns) = Patterns::parse(&text) {
            patterns.matches(&path);
        }
    }

    #[test]
    fn globs_match_as_the_obvious_way_does(pattern in "(\\*|\\*\\*/?|\\?|a|b|/){0,7}", path in path()) {
        let chars: Vec<char> = pattern.chars().collect();
        let expected = slow(&chars, &path.chars().collect::<Vec<_>>());
        prop_assert_eq!(Glob::parse(&pattern).unwrap().matches(&path), expected);
    }

    #[test]
    fn a_walk_that_skips_finds_what_asking_for_each_path_finds(
        text in lines(),
        paths in proptest::collection::btree_set(path(), 1..12),
    ) {
        let patterns = Patterns::parse(&text);
        prop_assume!(patterns.is_ok());
        let patterns = patterns.unwrap();
        let mut walked = BTreeSet::new();
        for path in &paths {
            let (mut verdict, mut skipped) = (Verdict::default(), false);
            for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
                verdict = patterns.below(&verdict, &path[..end]);
                if end < path.len() && patterns.excludes_all_below(&path[..end], &verdict) {
                    skipped = true;
                    break;
                }
            }
            if !skipped && !verdict.excluded {
                walked.insert(path.clone());
            }
        }
        let asked: BTreeSet<String> =
            paths.iter().filter(|path| !patterns.matches(path)).cloned().collect();
        prop_assert_eq!(walked, asked);
    }

    #[test]
    fn cleaning_twice_is_cleaning_once(path in "[a./]{0,12}") {
        let once = clean(&path);
        prop_assert_eq!(clean(&once), once.clone());
        prop_assert!(!once.contains("//") && !once.is_empty());
    }
}
