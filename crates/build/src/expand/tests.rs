use std::collections::BTreeMap;

use proptest::prelude::*;

use super::pattern::Pattern;
use super::*;

fn vars() -> BTreeMap<String, String> {
    [
        ("person", "bob"),
        ("empty", ""),
        ("spaces", "a b"),
        ("path", "/usr/local/lib/libx.so.1"),
        ("star", "a*b"),
        ("é", "accent"),
        ("1", "one"),
        ("quote", "it's"),
        ("dots", "a.b.c"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

fn expanded(text: &str) -> Result<String, ExpandError> {
    word(text, '\\', &vars()).map(|done| done.text)
}

#[test]
fn words_are_replaced_as_buildkit_replaces_them() {
    for (text, expected) in [
        ("hello", "hello"),
        ("", ""),
        ("he'll'o", "hello"),
        ("he'll\"o'", "hell\"o"),
        ("\"he'll'o\"", "he'll'o"),
        ("he\\'llo", "he'llo"),
        ("he\\\\llo", "he\\llo"),
        ("'he\\llo'", "he\\llo"),
        ("\"he\\llo\"", "he\\llo"),
        ("\"he\\\\llo\"", "he\\llo"),
        ("\"he\\\"llo\"", "he\"llo"),
        ("\"he\\$person\"", "he$person"),
        ("end\\", "end"),
        ("\"end\\\"\"", "end\""),
        ("$person", "bob"),
        ("x${person}y", "xboby"),
        ("$person.$person", "bob.bob"),
        ("$personx", ""),
        ("'$person'", "$person"),
        ("\"$person\"", "bob"),
        ("\\$person", "$person"),
        ("$", "$"),
        ("$$", ""),
        ("a$", "a$"),
        ("$.x", "$.x"),
        ("$1", "one"),
        ("$12", ""),
        ("${1}", "one"),
        ("$é", "accent"),
        ("$@$*$#$?$-$!", ""),
        ("$spaces", "a b"),
        ("$quote", "it's"),
        ("\"'$person'\"", "'bob'"),
    ] {
        assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn defaults_and_alternatives() {
    for (text, expected) in [
        ("${person:-x}", "bob"),
        ("${empty:-x}", "x"),
        ("${none:-x}", "x"),
        ("${person-x}", "bob"),
        ("${empty-x}", ""),
        ("${none-x}", "x"),
        ("${person:+x}", "x"),
        ("${empty:+x}", ""),
        ("${none:+x}", ""),
        ("${empty+x}", "x"),
        ("${none+x}", ""),
        ("${person:?x}", "bob"),
        ("${empty?x}", ""),
        ("${none:-}", ""),
        ("${none:-$person}", "bob"),
        ("${none:-${empty:-${person}}}", "bob"),
        ("${none:-'a}b'}", "a}b"),
        ("${none:-\"$person c\"}", "bob c"),
        ("${none:-a\\}b}", "a}b"),
        ("${none:+$also}x", "x"),
    ] {
        assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn beginnings_and_ends_are_cut_off() {
    for (text, expected) in [
        ("${path#/}", "usr/local/lib/libx.so.1"),
        ("${path#*/}", "usr/local/lib/libx.so.1"),
        ("${path##*/}", "libx.so.1"),
        ("${path%/*}", "/usr/local/lib"),
        ("${path%%/*}", ""),
        ("${path%.*}", "/usr/local/lib/libx.so"),
        ("${path%%.*}", "/usr/local/lib/libx"),
        ("${path%?}", "/usr/local/lib/libx.so."),
        ("${path#x}", "/usr/local/lib/libx.so.1"),
        ("${path##*}", ""),
        ("${path#*}", "/usr/local/lib/libx.so.1"),
        ("${path#${none:-/}}", "usr/local/lib/libx.so.1"),
        ("${star#a\\*}", "b"),
        ("${star%\\*b}", "a"),
        ("${none#x}", ""),
        ("${dots##*.}", "c"),
        ("${dots%%.*}", "a"),
        ("${dots#*.*.}", "c"),
    ] {
        assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn parts_are_put_in_place_of_others() {
    for (text, expected) in [
        ("${dots/./-}", "a-b.c"),
        ("${dots//./-}", "a-b-c"),
        ("${dots//./}", "abc"),
        ("${dots/x/y}", "a.b.c"),
        ("${dots//?/x}", "xxxxx"),
        ("${dots//.*/!}", "a!"),
        ("${dots/*./!}", "!c"),
        ("${path//\\//-}", "-usr-local-lib-libx.so.1"),
        ("${person/b/$dots}", "a.b.cob"),
        ("${person//b/$1}", "oneoone"),
        ("${none/a/b}", ""),
        ("${person//*/x}", "x"),
        ("${empty//*/x}", "x"),
    ] {
        assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_makes_no_sense_is_said_in_buildkits_words() {
    for (text, expected) in [
        ("'x", "unexpected end of statement while looking for matching single-quote"),
        ("\"x", "unexpected end of statement while looking for matching double-quote"),
        ("${", "syntax error: missing '}'"),
        ("${x", "syntax error: missing '}'"),
        ("${x:", "syntax error: missing '}'"),
        ("${x:-y", "syntax error: missing '}'"),
        ("${x#y", "syntax error: missing '}'"),
        ("${x/y}", "syntax error: missing '/' in ${}"),
        ("${x/y/z", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${{x}}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${x:=y}", "unsupported modifier (:=) in substitution"),
        ("${x^}", "unsupported modifier (^) in substitution"),
        ("${x:#y}", "unsupported modifier (:#) in substitution"),
        ("${a b}", "unsupported modifier ( ) in substitution"),
        ("${none:?go away}", "none: go away"),
        ("${none?}", "none: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${person#\\b}", "invalid pattern (\\b) in substitution: invalid escape '\\b'"),
    ] {
        assert_eq!(expanded(text).unwrap_err().to_string(), expected, "{text}");
    }
    let deep = format!("{}{}", "${x:-".repeat(100), "}".repeat(100));
    assert_eq!(expanded(&deep), Err(ExpandError::Depth));
    let long: BTreeMap<String, String> = [("x".to_owned(), "y".repeat(300_000))].into();
    assert_eq!(word("$x$x$x$x", '\\', &long), Err(ExpandError::TooLong));
    assert_eq!(word("${x//y/$x}", '\\', &long), Err(ExpandError::TooLong));
}

#[test]
fn the_other_escape_leaves_backslashes_alone() {
    let with = |text: &str| word(text, '`', &vars()).map(|done| done.text);
    assert_eq!(with("c:\\dir\\$person").as_deref(), Ok("c:\\dir\\bob"));
    assert_eq!(with("`$person `` \"`\"\"").as_deref(), Ok("$person ` \""));
}

#[test]
fn names_without_a_value_are_told() {
    let done = word("$a ${b} ${c:-x} ${d%y} $a $person", '\\', &vars()).unwrap();
    assert_eq!(done.unset, ["a", "b", "d"]);
}

#[test]
fn values_are_divided_only_where_words_are_wanted() {
    let several = |text: &str| words(text, '\\', &vars()).unwrap();
    assert_eq!(several("x$spaces c"), ["xa", "b", "c"]);
    assert_eq!(several("\"$spaces\" 'c d' e\\ f"), ["a b", "c d", "e f"]);
    assert_eq!(several("${none:-p q}"), ["p", "q"]);
    assert_eq!(several("$none  "), [""; 0]);
}

#[test]
fn quotes_mean_nothing_in_here_documents() {
    let text = "it's \"$person\" \\$person ${none:-'x'}\n";
    assert_eq!(here_document(text, '\\', &vars()).as_deref(), Ok("it's \"bob\" $person 'x'\n"));
}

#[test]
fn raw_words_keep_all_but_blanks() {
    let raw = |text: &str| split_raw(text, '\\').unwrap();
    assert_eq!(
        raw("a \"b c\"  <<'X' d\\ e $f ${g}"),
        ["a", "\"b c\"", "<<'X'", "d\\ e", "$f", "${g}"]
    );
    assert!(split_raw("it's", '\\').is_err());
    assert_eq!(unquote("a\"b\"'c'\\d$e${f:-g}", '\\').as_deref(), Ok("abcd$e${f:-g}"));
}

/// Shell patterns the obvious way: all ends of matches at the beginning.
fn ends(pattern: &[char], value: &[char]) -> Vec<usize> {
    match pattern {
        [] => vec![0],
        ['*', rest @ ..] => {
            let mut found: Vec<usize> = (0..=value.len())
                .flat_map(|from| ends(rest, &value[from..]).into_iter().map(move |end| from + end))
                .collect();
            found.sort_unstable();
            found.dedup();
            found
        }
        [c, rest @ ..] if !value.is_empty() && (*c == '?' || *c == value[0]) => {
            ends(rest, &value[1..]).into_iter().map(|end| end + 1).collect()
        }
        _ => Vec::new(),
    }
}

proptest! {
    #[test]
    fn any_text_is_replaced_or_refused(text in "\\PC{0,60}", escape in prop_oneof![Just('\\'), Just('`')]) {
        let _ = word(&text, escape, &vars());
        let _ = words(&text, escape, &vars());
        let _ = here_document(&text, escape, &vars());
        let _ = split_raw(&text, escape);
    }

    #[test]
    fn braces_of_all_kinds_are_replaced_or_refused(text in "[${}:/%#?*+'\"\\\\ apx-]{0,30}") {
        let _ = word(&text, '\\', &vars());
    }

    #[test]
    fn text_without_anything_special_stays(text in "[a-zA-Z0-9 ./:_-]{0,40}") {
        prop_assert_eq!(expanded(&text), Ok(text.clone()));
    }

    #[test]
    fn quoting_keeps_every_character(text in "\\PC{0,40}") {
        let quoted = format!("'{}'", text.replace('\'', "'\\''"));
        prop_assert_eq!(expanded(&quoted), Ok(text));
    }

    #[test]
    fn raw_words_put_together_are_the_line(text in "[a-z'\"\\\\$ ]{0,30}") {
        if let Ok(words) = split_raw(&text, '\\') {
            let spaceless = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(spaceless(&words.concat()), spaceless(&text));
        }
    }

    #[test]
    fn cutting_agrees_with_the_obvious_way(pattern in "[ab*?]{0,5}", value in "[ab]{0,6}") {
        let (chars, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), value.chars().collect());
        let found = ends(&chars, &text);
        let parsed = Pattern::parse(&pattern).unwrap();
        let expected = |end: Option<&usize>| end.map_or(value.clone(), |end| value[*end..].to_owned());
        prop_assert_eq!(parsed.without_prefix(&value, false), expected(found.first()));
        prop_assert_eq!(parsed.without_prefix(&value, true), expected(found.last()));
        let (back, reversed): (Vec<char>, Vec<char>) =
            (chars.iter().rev().copied().collect(), text.iter().rev().copied().collect());
        let found = ends(&back, &reversed);
        let kept = |end: Option<&usize>| end.map_or(value.clone(), |end| value[..value.len() - end].to_owned());
        prop_assert_eq!(parsed.without_suffix(&value, false), kept(found.first()));
        prop_assert_eq!(parsed.without_suffix(&value, true), kept(found.last()));
    }

    #[test]
    fn putting_a_pattern_in_its_own_place_changes_nothing(value in "[ab.]{0,8}", literal in "[ab.]{1,3}") {
        let parsed = Pattern::parse(&literal).unwrap();
        prop_assert_eq!(parsed.replace(&value, &literal, true, 1000), Some(value.clone()));
        prop_assert_eq!(parsed.replace(&value, "-", true, 1000), Some(value.replace(&literal, "-")));
        prop_assert_eq!(parsed.replace(&value, "-", false, 1000), Some(value.replacen(&literal, "-", 1)));
    }
}
