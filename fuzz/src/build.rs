//! What a build is told.

use build::dockerfile::{self, Instruction};
use build::ignore::{Patterns, Verdict, clean};
use build::plan::{self, Action, Configured};

/// Reads a Dockerfile, plans it, and resolves all that the plan needs.
///
/// # Panics
/// When an error points nowhere, or what an image would carry on cannot be read back.
pub fn dockerfile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = dockerfile::parse_trigger(text);
    let file = match dockerfile::parse(text) {
        Ok(file) => file,
        Err(error) => {
            assert!(error.position().line >= 1 && error.position().column >= 1);
            return;
        }
    };
    let options = plan::Options {
        arguments: [("A".to_owned(), "$A".to_owned())].into(),
        build_platform: "linux/amd64".to_owned(),
        target_platform: "linux/arm/v7".to_owned(),
        ..Default::default()
    };
    let Ok(plan) = plan::plan(&file, &options) else { return };
    for index in &plan.needed {
        let mut scope = plan.scope(&["PATH=/bin".to_owned()]);
        let mut configured = Configured::default();
        for step in &plan.stages[*index].steps {
            let span = step.node.span;
            match scope.resolve(step) {
                Ok(Action::Configure(instruction)) => {
                    let _ = configured.apply(&instruction, span);
                }
                Ok(Action::WorkDir(path)) => {
                    assert!(configured.directory(&path).starts_with('/'));
                    let _ = configured.apply(&Instruction::WorkDir(path), span);
                }
                Ok(_) => {}
                Err(error) => {
                    if let Some(span) = error.span {
                        dockerfile::excerpt("Dockerfile", text, span);
                    }
                }
            }
        }
        let _ = plan.triggers(*index, &configured.config.on_build).expect("it was read before");
    }
}

/// Reads the first line as a path and the rest as a `.dockerignore`: a walk that skips directories
/// comes to the same answer as the question about the path alone.
///
/// # Panics
/// When that is not so.
pub fn dockerignore(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let (path, text) = input.split_once('\n').unwrap_or((input, ""));
    let path = clean(path);
    if text.len() > 4096 || path.len() > 1024 || path.starts_with(['/', '.']) {
        return;
    }
    let Ok(patterns) = Patterns::parse(text) else { return };
    let asked = patterns.matches(&path);
    let (mut verdict, mut skipped) = (Verdict::default(), false);
    for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
        verdict = patterns.below(&verdict, &path[..end]);
        if end < path.len() && patterns.excludes_all_below(&path[..end], &verdict) {
            skipped = true;
            break;
        }
    }
    assert_eq!(asked, skipped || verdict.excluded);
}

/// What to begin with.
pub mod seeds {
    use crate::texts;

    /// Every instruction and flag, and the forms that are read in a special way.
    pub fn dockerfile() -> Vec<Vec<u8>> {
        texts(&[
            "FROM scratch\n",
            "# syntax=docker/dockerfile:1\n# escape=`\nARG BASE=busybox\nFROM --platform=$BUILDPLATFORM ${BASE:-x}:latest AS one\nRUN a `\n  # comment\n  b\n",
            "FROM a AS b\nARG A=1 B\nENV X=$A Y=\"${B:+z}\" Z='$A'\nENV old style value\nLABEL a=b \"c d\"=\"e\\\nf\"\nMAINTAINER me <me@example>\nEXPOSE 80/tcp 90-92 $A\nVOLUME [\"/a\", \"/b\"]\nVOLUME /c /d\nUSER 1:2\nWORKDIR a/../b\nSTOPSIGNAL SIGTERM\nSHELL [\"/bin/sh\",\"-c\"]\nCMD [\"a\"]\nENTRYPOINT a b\n",
            "FROM a\nHEALTHCHECK --interval=5s --timeout=1m30s --start-period=0s --start-interval=1s --retries=3 CMD [\"x\"]\nHEALTHCHECK NONE\nONBUILD RUN echo $A\nONBUILD COPY . /\n",
            "FROM a AS x\nFROM b\nCOPY --from=x --chown=1:2 --chmod=u+rwX,go-w --link --parents --exclude=*.o a \"b c\" /d/\nCOPY [\"a b\", \"/c\"]\nADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.test/a.tar /\nADD --keep-git-dir=true https://example.test/a.git#main:dir /src\n",
            "FROM a\nRUN --mount=type=cache,target=/c,sharing=locked,id=x,mode=0755,uid=1 --mount=type=bind,from=b,source=/,target=/b,rw --mount=type=tmpfs,target=/t,size=1m --mount=type=secret,id=s,required,env=S --mount=type=ssh --network=none --security=sandbox true\n",
            "FROM a\nRUN <<ONE && cat <<-'TWO' >/x\necho $A\nONE\n\tcat $B\n\tTWO\nCOPY <<file.txt <<\"b\" /d/\nx $A\nfile.txt\ny\nb\n",
            "FROM a\nRUN [\"exec\", \"form\"]\nRUN echo \"${A%%.*}\" ${A#x} ${A/b/c} ${A//b/c} ${A?no} ${A:?no}\nARG TARGETPLATFORM TARGETVARIANT\n",
            "FROM a\r\nRUN x \\\r\n\r\n y\r\n",
            "\u{feff}FROM a\n",
            "FROM\n",
            "FROM a\nCOPY\nNOSUCH thing\n",
        ])
    }

    /// Paths and patterns: stars, classes, exceptions, comments, dots.
    pub fn dockerignore() -> Vec<Vec<u8>> {
        texts(&[
            "a/b/c\n*\n!a/b\n",
            "src/main.rs\n**/*.rs\n!src/lib.rs\n# comment\n\n",
            "node_modules/x/y\n**/node_modules\n!node_modules/x/*\n",
            "a/file[1]\na/file[[]1]\n!a/file[^2-9]?\n",
            "x\n/x/../x/\n!./x\n",
            "deep/a/b/c/d\ndeep/**/d\n!**/c\n!deep/a/**\n",
            "a\\b\n\\a\\\\b\n[\n",
        ])
    }
}
