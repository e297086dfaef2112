//! What an exec runs: the container's process, with what the exec says over it.

use oci_spec::runtime::Process;
use types::Error;

use super::ExecConfig;
use crate::Engine;
use crate::container::Container;
use crate::spec::{process, security, users};

impl Engine {
    /// The process of an exec: the container's, with what the exec says over it.
    pub(super) fn exec_process(
        &self,
        container: &Container,
        config: &ExecConfig,
        size: [u32; 2],
    ) -> Result<Process, Error> {
        let record = container.record().clone();
        let user = if record.is_machine() {
            // Looked up in the machine.
            users::User { uid: 0, gid: 0, groups: Vec::new(), home: String::new() }
        } else {
            let path = format!("/proc/{}/root", record.state.pid);
            let root = sys::fs::Root::open_host(&path).map_err(|_| {
                Error::conflict(format!("container {} is not running", container.id))
            })?;
            let wanted = if config.user.is_empty() { &record.config.user } else { &config.user };
            users::resolve(root.into_fd(), wanted, &record.host.group_add)?
        };
        let set = if config.privileged {
            self.available
        } else {
            security::privileges(&record.host, self.available)?.set
        };
        let options = security::Options::parse(&record.host.security_opt)?;
        let mut environment =
            vec![process::PATH.to_owned(), format!("HOSTNAME={}", record.config.hostname)];
        if config.tty {
            environment.push("TERM=xterm".to_owned());
        }
        let environment = process::overlay(environment, &record.config.env);
        let environment = process::with_home(process::overlay(environment, &config.env), &user);
        let directory = [&config.working_dir, &record.config.working_dir]
            .into_iter()
            .find(|directory| !directory.is_empty())
            .map_or("/", String::as_str);
        let no_new_privileges = options.no_new_privileges.unwrap_or(self.config.no_new_privileges)
            && !config.privileged;
        let mut made = Process::default();
        made.set_terminal(Some(config.tty))
            .set_console_size(process::console_size(size))
            .set_user(process::user(&user))
            .set_args(Some(config.cmd.clone()))
            .set_env(Some(environment))
            .set_cwd(directory.into())
            .set_capabilities(Some(security::capabilities(
                set,
                user.uid != 0 && !config.privileged,
                config.privileged,
            )?))
            .set_rlimits(Some(process::rlimits(
                &self.config.ulimits,
                &record.host.resources.ulimits,
            )?))
            .set_no_new_privileges(Some(no_new_privileges))
            .set_apparmor_profile(options.apparmor)
            .set_selinux_label(options.process_label);
        Ok(made)
    }
}
