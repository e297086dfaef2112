use serde_json::{Value, json};

use super::*;
use crate::dockerfile::{Command, MountError, MountKind, excerpt, parse};
use crate::expand::{ExpandError, Variables};

mod graph;
mod resolve;

fn options(arguments: &[(&str, &str)]) -> Options {
    Options {
        target: None,
        arguments: arguments.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        build_platform: "linux/amd64".to_owned(),
        target_platform: "linux/arm/v7".to_owned(),
    }
}

fn planned(text: &str) -> Plan {
    plan(&parse(text).unwrap(), &options(&[])).unwrap()
}

fn refused(text: &str) -> PlanError {
    plan(&parse(text).unwrap(), &options(&[])).unwrap_err()
}

/// What images get whose base has no environment.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Does all that can be done without running anything.
fn configured(text: &str, options: &Options) -> Result<Configured, String> {
    let file = parse(text).map_err(|error| error.message)?;
    let plan = plan(&file, options).map_err(|error| error.to_string())?;
    let mut done = vec![Configured::default(); plan.stages.len()];
    for index in &plan.needed {
        let stage = &plan.stages[*index];
        let mut configured = match stage.base {
            Base::Stage(base) => {
                Configured::new(done[base].config.clone(), done[base].author.clone())
            }
            _ => Configured::default(),
        };
        if configured.config.env.is_empty() {
            configured.config.env = vec![PATH.to_owned()];
        }
        let mut scope = plan.scope(&configured.config.env);
        for step in &stage.steps {
            let span = step.node.span;
            let action = scope.resolve(step).map_err(|error| error.to_string())?;
            let applied = match action {
                Action::Configure(instruction) => configured.apply(&instruction, span),
                Action::WorkDir(path) => configured.apply(&Instruction::WorkDir(path), span),
                _ => Ok(()),
            };
            applied.map_err(|error| error.to_string())?;
        }
        done[*index] = configured;
    }
    Ok(done.swap_remove(plan.target))
}

/// Files with what dockerd 20.10 made of them: the configuration's fields that are set, or the
/// error without the words before it.
#[test]
fn configurations_and_errors_are_dockerds() {
    for line in include_str!("dockerd.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = case["file"].as_str().unwrap();
        let arguments = serde_json::from_value(case["args"].clone()).unwrap_or_default();
        let options =
            Options { arguments, target_platform: "linux/amd64".to_owned(), ..options(&[]) };
        match (configured(text, &options), case.get("error")) {
            (Err(ours), Some(theirs)) => {
                // We also tell what may be meant.
                let ours = ours.split(" (did you mean").next().unwrap();
                assert_eq!(json!(ours), *theirs, "{text:?}");
            }
            (Ok(ours), None) => {
                let mut config = serde_json::to_value(&ours.config).unwrap();
                config["Author"] = json!(ours.author);
                let config = config.as_object_mut().unwrap();
                config.retain(|_, value| {
                    !matches!(value.to_string().as_str(), "null" | "[]" | "{}" | "\"\"" | "false")
                });
                if config["Env"] == json!([PATH]) {
                    config.remove("Env");
                }
                assert_eq!(json!(config), case["config"], "{text:?}");
            }
            (ours, _) => panic!("{text:?}: {ours:?} instead of {case}"),
        }
    }
}
