//! OCI hooks: programs of the host that are told the container's state at certain moments.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Hook, Spec};
use serde_json::json;

use crate::error::{Context, Error, Result, Step};

/// When hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Deprecated predecessor of the next, run before it.
    Prestart,
    /// In the runtime's namespaces, before the pivot.
    CreateRuntime,
    /// In the container's namespaces, before the pivot.
    CreateContainer,
    /// In the container, before its program.
    StartContainer,
    /// In the runtime's namespaces, after the program has been executed.
    Poststart,
    /// In the runtime's namespaces, after the container has been deleted.
    Poststop,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Prestart => "prestart",
            Stage::CreateRuntime => "createRuntime",
            Stage::CreateContainer => "createContainer",
            Stage::StartContainer => "startContainer",
            Stage::Poststart => "poststart",
            Stage::Poststop => "poststop",
        }
    }

    /// What `status` says at that moment.
    fn status(self) -> &'static str {
        match self {
            Stage::Prestart | Stage::CreateRuntime | Stage::CreateContainer => "creating",
            Stage::StartContainer => "created",
            Stage::Poststart => "running",
            Stage::Poststop => "stopped",
        }
    }
}

/// The hooks of a container and what they are told.
#[derive(Debug, Clone, Default)]
pub struct HookPlan {
    hooks: Vec<(Stage, Hook)>,
    id: String,
    bundle: PathBuf,
    annotations: serde_json::Value,
    version: String,
    /// The container's init in the host's pid namespace.
    pub pid: i32,
}

impl HookPlan {
    /// Reads the specification.
    pub fn new(spec: &Spec, id: &str, bundle: Option<&Path>) -> HookPlan {
        let Some(hooks) = spec.hooks() else { return HookPlan::default() };
        let mut list = Vec::new();
        #[allow(deprecated)]
        for (stage, of_stage) in [
            (Stage::Prestart, hooks.prestart()),
            (Stage::CreateRuntime, hooks.create_runtime()),
            (Stage::CreateContainer, hooks.create_container()),
            (Stage::StartContainer, hooks.start_container()),
            (Stage::Poststart, hooks.poststart()),
            (Stage::Poststop, hooks.poststop()),
        ] {
            list.extend(of_stage.iter().flatten().map(|hook| (stage, hook.clone())));
        }
        HookPlan {
            hooks: list,
            id: id.to_owned(),
            bundle: bundle.unwrap_or(Path::new("")).to_owned(),
            annotations: json!(spec.annotations()),
            version: spec.version().clone(),
            pid: 0,
        }
    }

    /// Whether there are hooks of any of these stages.
    pub(crate) fn any_of(&self, stages: &[Stage]) -> bool {
        self.hooks.iter().any(|(stage, _)| stages.contains(stage))
    }

    /// Runs the hooks of a stage in order.
    ///
    /// # Errors
    /// The first that failed or overran its time; of `poststop` hooks all are run.
    pub fn run(&self, stage: Stage) -> Result<()> {
        let mut first = Ok(());
        for (index, (_, hook)) in self.hooks.iter().filter(|(s, _)| *s == stage).enumerate() {
            let result = self.run_one(stage, hook).map_err(|e| match e {
                Error::Setup { step, what, errno } => Error::Setup {
                    step,
                    what: format!("error running {} hook #{index}: {what}", stage.name()),
                    errno,
                },
                other => other,
            });
            match stage {
                Stage::Poststop => first = first.and(result),
                _ => result?,
            }
        }
        first
    }

    fn run_one(&self, stage: Stage, hook: &Hook) -> Result<()> {
        let mut state = json!({
            "ociVersion": self.version,
            "id": self.id,
            "status": stage.status(),
            "bundle": self.bundle,
        });
        if self.pid != 0 && stage != Stage::Poststop {
            state["pid"] = self.pid.into();
        }
        if self.annotations.is_object() {
            state["annotations"] = self.annotations.clone();
        }
        let shown = hook.path().display().to_string();
        let mut command = Command::new(hook.path());
        // The specification's args begin with the program's own name.
        if let Some((name, args)) = hook.args().as_ref().and_then(|args| args.split_first()) {
            use std::os::unix::process::CommandExt;
            command.arg0(name).args(args);
        }
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.envs(hook.env().iter().flatten().filter_map(|v| v.split_once('=')));
        let mut child = command.spawn().context(Step::Hook, || shown.clone())?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(state.to_string().as_bytes()) {
                // A hook may not care for its input.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
                other => other.context(Step::Hook, || shown.clone())?,
            }
        }
        let limit = hook.timeout().filter(|secs| *secs > 0).map(|s| Duration::from_secs(s as u64));
        wait(child, limit, &shown)
    }
}

fn wait(mut child: std::process::Child, limit: Option<Duration>, shown: &str) -> Result<()> {
    if let Some(limit) = limit {
        let begun = Instant::now();
        loop {
            match child.try_wait() {
                Ok(None) if begun.elapsed() < limit => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let what = format!("{shown} ran past timeout of {}s", limit.as_secs());
                    return Err(Error::because(Step::Hook, what));
                }
                _ => break,
            }
        }
    }
    let output = child.wait_with_output().context(Step::Hook, || shown.to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let what = format!("{shown}: {}, stderr: {}", output.status, stderr.trim());
    Err(Error::because(Step::Hook, what))
}
