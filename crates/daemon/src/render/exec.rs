//! Execs.

use docker_api::exec::{ExecInspect, ProcessConfig};
use engine::ExecState;

/// `GET /exec/{id}/json`.
pub(crate) fn inspect(state: ExecState) -> ExecInspect {
    let mut words = state.config.cmd.into_iter();
    ExecInspect {
        id: state.id,
        running: state.running,
        exit_code: state.exit_code,
        process_config: ProcessConfig {
            tty: state.config.tty,
            entrypoint: words.next().unwrap_or_default(),
            arguments: words.collect(),
            privileged: state.config.privileged,
            user: state.config.user,
        },
        open_stdin: state.config.attach_stdin,
        open_stderr: state.config.attach_stderr,
        open_stdout: state.config.attach_stdout,
        can_remove: state.exit_code.is_some(),
        container_id: state.container.to_string(),
        detach_keys: state.config.detach_keys,
        pid: state.pid,
    }
}
