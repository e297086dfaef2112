//! What runs: environment, user, terminal, namespaces.

use docker_api::container::CreateBody;

use crate::options::{env, words};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_parser = words::attach)]
    pub(crate) attach: Vec<String>,
    /// Override the image's entrypoint
    #[arg(long)]
    entrypoint: Option<String>,
    /// Set an environment variable; a bare NAME passes on the one set here
    #[arg(short, long, value_parser = env::variable)]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long)]
    env_file: Vec<String>,
    /// Add a supplementary group
    #[arg(long)]
    group_add: Vec<String>,
    /// Keep standard input open even if nobody is attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Run an init as PID 1 that forwards signals and reaps
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::verbs::switch)]
    init: Option<bool>,
    /// Set a label
    #[arg(short, long, value_parser = words::label)]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long)]
    label_file: Vec<String>,
    /// Add an OCI annotation
    #[arg(long)]
    annotation: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// User, or user:group, by name or number
    #[arg(short, long, default_value = "", hide_default_value = true)]
    user: String,
    /// Working directory
    #[arg(short, long, default_value = "", hide_default_value = true)]
    workdir: String,
    /// Which cgroup namespace: host or private
    #[arg(long, default_value = "", hide_default_value = true)]
    cgroupns: String,
    /// Which IPC namespace: none, private, shareable, host or container:NAME
    #[arg(long, default_value = "", hide_default_value = true)]
    ipc: String,
    /// Which PID namespace: host or container:NAME
    #[arg(long, default_value = "", hide_default_value = true)]
    pid: String,
    /// Which user namespace: host
    #[arg(long, default_value = "", hide_default_value = true)]
    userns: String,
    /// Which UTS namespace: host
    #[arg(long, default_value = "", hide_default_value = true)]
    uts: String,
}

/// `""`, `host`, or `container:NAME`.
fn is_mode(text: &str, container: bool) -> bool {
    matches!(text, "" | "host")
        || (container && text.strip_prefix("container:").is_some_and(|name| !name.is_empty()))
}

impl Flags {
    pub(super) fn apply(&self, body: &mut CreateBody) -> Result<(), String> {
        let config = &mut body.config;
        let asked = |stream: &str| self.attach.iter().any(|known| known == stream);
        let all = self.attach.is_empty();
        config.attach_stdin = asked("stdin") || (all && self.interactive);
        config.attach_stdout = asked("stdout") || all;
        config.attach_stderr = asked("stderr") || all;
        config.tty = self.tty;
        config.open_stdin = self.interactive;
        config.stdin_once = config.open_stdin && config.attach_stdin;
        config.user = self.user.clone();
        config.working_dir = self.workdir.clone();
        config.entrypoint = self.entrypoint.as_ref().map(|word| vec![word.clone()].into());
        config.env = env::gather(&self.env_file, &self.env, true)?;
        config.labels = words::map(&env::gather(&self.label_file, &self.label, false)?);

        let host = &mut body.host_config;
        host.annotations = words::map(&self.annotation);
        host.group_add = self.group_add.clone();
        host.init = self.init;
        if !is_mode(&self.pid, true) {
            return Err("--pid: invalid PID mode".to_owned());
        }
        if !is_mode(&self.uts, false) {
            return Err("--uts: invalid UTS mode".to_owned());
        }
        if !is_mode(&self.userns, false) {
            return Err("--userns: invalid USER mode".to_owned());
        }
        if !matches!(self.cgroupns.as_str(), "" | "private" | "host") {
            return Err("--cgroupns: invalid CGROUP mode".to_owned());
        }
        host.pid_mode = self.pid.clone();
        host.uts_mode = self.uts.clone();
        host.userns_mode = self.userns.clone();
        host.cgroupns_mode = self.cgroupns.clone();
        host.ipc_mode = self.ipc.clone();
        Ok(())
    }
}
