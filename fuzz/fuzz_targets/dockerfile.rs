//! Reads whatever comes as a Dockerfile, plans it, and resolves all that the plan needs.
#![no_main]

use build::dockerfile::{self, Instruction};
use build::plan::{self, Action, Configured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: String| {
    let _ = dockerfile::parse_trigger(&text);
    let file = match dockerfile::parse(&text) {
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
                        dockerfile::excerpt("Dockerfile", &text, span);
                    }
                }
            }
        }
        // What an image would carry on must be readable when it is a base.
        let _ = plan.triggers(*index, &configured.config.on_build).expect("it was read before");
    }
});
