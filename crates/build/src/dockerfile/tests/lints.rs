//! Remarks.

use super::super::*;

/// The remarks on a file, as `rule@line`.
fn remarks(text: &str) -> Vec<String> {
    let file = parse(text).unwrap();
    file.warnings.iter().map(|found| format!("{}@{}", found.rule, found.span.start.line)).collect()
}

#[test]
fn files_that_are_well_have_none() {
    let text = "ARG V=1\nFROM a:$V AS b\nENV a=b\nLABEL c=d\nCMD [\"x\"]\nENTRYPOINT [\"y\"]\n\
                FROM --platform=$BUILDPLATFORM b AS c\nRUN x\nCMD [\"x\"]\nEXPOSE 80/tcp $P\nHEALTHCHECK CMD x";
    assert!(remarks(text).is_empty());
    assert!(remarks("from a as b\nrun x").is_empty());
}

#[test]
fn each_rule_has_its_place() {
    for (text, expected) in [
        ("FROM a AS Bc", "StageNameCasing@1"),
        ("FROM a as b", "FromAsCasing@1"),
        ("FROM a\nRUN x \\\n\n  y", "NoEmptyContinuation@2"),
        ("FROM a\nRUN x\nrun y", "ConsistentInstructionCasing@3"),
        ("from a\nrun x\nRun y", "ConsistentInstructionCasing@3"),
        ("FROM a AS b\nFROM c AS b", "DuplicateStageName@2"),
        ("FROM a AS scratch", "ReservedStageName@1"),
        ("FROM a AS context", "ReservedStageName@1"),
        ("FROM a\nCMD x", "JSONArgsRecommended@2"),
        ("FROM a\nENTRYPOINT x", "JSONArgsRecommended@2"),
        ("FROM a\nMAINTAINER x", "MaintainerDeprecated@2"),
        ("FROM a\nCMD [\"x\"]\nCMD [\"y\"]", "MultipleInstructionsDisallowed@2"),
        ("FROM a\nHEALTHCHECK NONE\nHEALTHCHECK NONE", "MultipleInstructionsDisallowed@2"),
        ("FROM a\nENV b c", "LegacyKeyValueFormat@2"),
        ("FROM a\nLABEL b c=d", "LegacyKeyValueFormat@2"),
        ("FROM --platform=$TARGETPLATFORM a", "RedundantTargetPlatform@1"),
        ("FROM --platform=linux/amd64 a", "FromPlatformFlagConstDisallowed@1"),
        ("FROM a\nENV MY_PASSWORD=x", "SecretsUsedInArgOrEnv@2"),
        ("FROM a\nARG api_token", "SecretsUsedInArgOrEnv@2"),
        ("ARG AWS_SECRET_KEY\nFROM a", "SecretsUsedInArgOrEnv@1"),
        ("FROM a\nEXPOSE 80/TCP", "ExposeProtoCasing@2"),
        ("FROM a\nEXPOSE 80:81", "ExposeInvalidFormat@2"),
    ] {
        assert_eq!(remarks(text), [expected], "{text:?}");
    }
}

#[test]
fn what_is_no_secret() {
    for name in ["KEYBOARD", "PUBLIC_KEY", "TOKENIZER", "AUTHOR"] {
        assert!(remarks(&format!("FROM a\nENV {name}=x")).is_empty(), "{name}");
    }
}

#[test]
fn remarks_are_in_the_files_order_and_can_be_skipped() {
    let text = "FROM a as B\nCMD x\nENV c d";
    assert_eq!(
        remarks(text),
        ["FromAsCasing@1", "StageNameCasing@1", "JSONArgsRecommended@2", "LegacyKeyValueFormat@3"]
    );
    assert_eq!(
        remarks(&format!("# check=skip=FromAsCasing,jsonargsrecommended\n{text}")),
        ["StageNameCasing@2", "LegacyKeyValueFormat@4"]
    );
    assert!(remarks(&format!("# check=skip=all\n{text}")).is_empty());
}
