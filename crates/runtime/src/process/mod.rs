//! The process itself: what it may, who it is, what it runs.
//!
//! Order matters: [`ProcessPlan::limit`] sets limits while the host's `/proc` is there,
//! [`ProcessPlan::restrict`] takes up streams and user, and (at the very end, when the start has
//! been ordered) [`ProcessPlan::drop_rights`] sets seccomp and capabilities, and
//! [`ProcessPlan::become_program`] executes.

mod caps;
mod limits;
mod lookup;
mod stdio;
mod user;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Process};
use sys::process::IdMap;

pub(crate) use caps::{CapPlan, capability_names};
pub(crate) use limits::LimitPlan;
pub(crate) use stdio::Streams;

use crate::channel::Channel;
use crate::create::Asked;
use crate::error::{Context, Error, Result, Step};
use crate::seccomp::Filter;

/// What the process shall be, read from the specification before the fork.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    args: Vec<CString>,
    env: Vec<CString>,
    program: String,
    path: Option<String>,
    has_home: bool,
    cwd: PathBuf,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: u32,
    caps: CapPlan,
    limits: LimitPlan,
    no_new_privs: bool,
    exec_label: Option<Label>,
    seccomp: Option<Filter>,
    personality: Option<u64>,
    keyring: CString,
}

/// A label to be put on at `execve`.
#[derive(Debug)]
struct Label {
    /// Below `/proc/thread-self/attr`.
    file: &'static str,
    text: String,
    name: &'static str,
}

/// Where a process's seccomp filter comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SeccompSource<'a> {
    /// It gets none.
    None,
    /// The specification's profile, if there is one.
    Spec,
    /// It was compiled before.
    Given(&'a Filter),
}

impl<'a> SeccompSource<'a> {
    pub(crate) fn new(wanted: bool, given: Option<&'a Filter>) -> SeccompSource<'a> {
        match given {
            _ if !wanted => SeccompSource::None,
            Some(filter) => SeccompSource::Given(filter),
            None => SeccompSource::Spec,
        }
    }
}

impl ProcessPlan {
    /// Reads the specification. `id` names the keyring.
    pub(crate) fn new(
        process: &Process,
        linux: Option<&Linux>,
        id: &str,
        asked: &Asked,
        seccomp: SeccompSource<'_>,
    ) -> Result<ProcessPlan> {
        let args = process.args().as_deref().unwrap_or_default();
        let Some(program) = args.first().cloned() else {
            return Err(Error::Spec("args must not be empty".into()));
        };
        let env = process.env().as_deref().unwrap_or_default();
        // The last one wins, as for execve'd programs that put them into a map.
        let variable = |name: &str| {
            env.iter()
                .rev()
                .find_map(|v| v.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        };
        let cwd = process.cwd().clone();
        if !cwd.is_absolute() {
            return Err(Error::Spec("Cwd must be an absolute path".into()));
        }
        let user = process.user();
        let profile = linux.and_then(|l| l.seccomp().as_ref());
        let seccomp = match (seccomp, profile) {
            (SeccompSource::Given(filter), _) => Some(filter.clone()),
            (SeccompSource::Spec, Some(profile)) => Some(crate::seccomp::compile(profile)?),
            (SeccompSource::Spec, None) | (SeccompSource::None, _) => None,
        };
        Ok(ProcessPlan {
            args: c_strings(args)?,
            env: c_strings(env)?,
            path: variable("PATH"),
            has_home: variable("HOME").is_some_and(|home| !home.is_empty()),
            program,
            cwd,
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask().unwrap_or(0o022),
            caps: CapPlan::new(process.capabilities().as_ref(), asked),
            limits: LimitPlan::new(process, asked)?,
            no_new_privs: process.no_new_privileges().unwrap_or(false),
            exec_label: label(process)?,
            seccomp,
            personality: linux.and_then(|l| l.personality().as_ref()).map(|p| {
                use oci_spec::runtime::LinuxPersonalityDomain::{PerLinux, PerLinux32};
                match p.domain() {
                    PerLinux => 0,
                    PerLinux32 => 8,
                }
            }),
            keyring: CString::new(format!("_ses.{id}")).unwrap_or_default(),
        })
    }

    /// Lets the process's user reopen its streams (`/dev/stdout` leads to a pipe that root made).
    /// In the parent, because a user namespace has no rights over the host's pipes.
    pub(crate) fn own_streams(&self, fds: &[OwnedFd], uid_map: &[IdMap]) {
        let outside = |map: &IdMap| {
            let offset = self.uid.checked_sub(map.inside).filter(|offset| *offset < map.size)?;
            map.outside.checked_add(offset)
        };
        let uid = match uid_map {
            [] => Some(self.uid),
            maps => maps.iter().find_map(outside),
        };
        if let Some(uid) = uid {
            stdio::own(fds, uid);
        }
    }

    /// The working directory.
    pub(crate) fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// Chooses the label that `execve` will put on; while the host's `/proc` can be reached, for
    /// the container's might be forged.
    pub(crate) fn label(&self) -> Result<()> {
        self.exec_label.as_ref().map_or(Ok(()), Label::write)
    }

    /// What must be done while the host's `/proc` can still be reached, and before the rights over
    /// it are gone.
    pub(crate) fn limit(&self, channel: &Channel) -> Result<()> {
        self.limits.apply(channel)?;
        match sys::process::new_session_keyring(&self.keyring) {
            Ok(()) => {}
            // A kernel without keyrings, or a seccomp filter around us that pretends so.
            Err(e) if e.raw_os_error() == Some(sys::errno::ENOSYS) => {}
            Err(e) if matches!(e.raw_os_error(), Some(sys::errno::EPERM | sys::errno::EDQUOT)) => {
                channel.warn(&format!("the container shares the session keyring: {e}"));
            }
            Err(e) => return Err(e).context(Step::Keyring, || "cannot make a session keyring"),
        }
        if let Some(persona) = self.personality {
            sys::process::set_personality(persona)
                .context(Step::Scheduler, || "cannot set the personality")?;
        }
        Ok(())
    }

    /// Takes up the streams; see [`Streams::place`] for what that closes.
    pub(crate) fn take_up(
        &self,
        streams: Streams,
        channel: &Channel,
        gate: Option<OwnedFd>,
    ) -> Result<(Channel, Option<OwnedFd>)> {
        streams.own(self.uid);
        streams.place(channel, gate)
    }

    /// Takes up the user, and finds the program. All but the last rights are gone after.
    pub(crate) fn restrict(&mut self, channel: &Channel) -> Result<()> {
        sys::process::set_umask(self.umask);
        if !self.has_home {
            let home = user::home(self.uid);
            self.env.push(CString::new(format!("HOME={home}")).unwrap_or_default());
        }
        let early = change_dir(&self.cwd);
        self.limits.apply_rlimits(channel)?;
        self.caps.limit_bounding(channel)?;
        sys::process::keep_caps(true).context(Step::Capabilities, || "cannot keep capabilities")?;
        sys::process::set_groups(&self.groups)
            .context(Step::User, || format!("setgroups {:?}", self.groups))?;
        sys::process::set_gid(self.gid).context(Step::User, || format!("setgid {}", self.gid))?;
        sys::process::set_uid(self.uid).context(Step::User, || format!("setuid {}", self.uid))?;
        sys::process::keep_caps(false)
            .context(Step::Capabilities, || "cannot keep capabilities")?;
        if early.is_err() {
            // A directory that root may not enter (an NFS with root_squash) but the user may.
            change_dir(&self.cwd)?;
        }
        user::check_cwd()?;
        self.program = lookup::find(&self.program, self.path.as_deref())?;
        if self.no_new_privs {
            sys::process::no_new_privs().context(Step::Privileges, || "cannot set no_new_privs")?;
        }
        Ok(())
    }

    /// Seccomp and capabilities.
    pub(crate) fn drop_rights(&self) -> Result<()> {
        if let Some(filter) = &self.seccomp {
            // Without no_new_privs this takes CAP_SYS_ADMIN, which setuid took from the effective
            // set and keep_caps left in the permitted one.
            if !self.no_new_privs {
                self.caps.raise_all()?;
            }
            filter.install()?;
        }
        self.caps.apply()
    }

    /// `execve`; returns only on failure.
    pub(crate) fn become_program(&self) -> Error {
        let program = CString::new(self.program.as_str()).unwrap_or_default();
        if let Err(e) = sys::process::reset_signals() {
            return Error::at(Step::Privileges, "cannot reset signals", e);
        }
        let error = sys::process::execve(&program, &self.args, &self.env);
        Error::Exec {
            program: self.program.clone(),
            errno: error.raw_os_error().unwrap_or(sys::errno::EIO),
        }
    }
}

fn change_dir(cwd: &Path) -> Result<()> {
    std::env::set_current_dir(cwd).context(Step::Cwd, || {
        format!("chdir to cwd (\"{}\") set in config.json failed", cwd.display())
    })
}

fn c_strings(list: &[String]) -> Result<Vec<CString>> {
    list.iter()
        .map(|text| {
            CString::new(text.as_str())
                .map_err(|_| Error::Spec(format!("{text:?} contains a NUL byte").into()))
        })
        .collect()
}

/// The AppArmor profile or SELinux label of the process, checked against the host.
fn label(process: &Process) -> Result<Option<Label>> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(text) = given(process.selinux_label()) {
        if !Path::new("/sys/fs/selinux/enforce").exists() {
            return Err(Error::because(
                Step::Label,
                format!(
                    "SELinux label {text:?} was asked for, but SELinux is not enabled on this host"
                ),
            ));
        }
        return Ok(Some(Label { file: "exec", text, name: "SELinux label" }));
    }
    let Some(profile) = given(process.apparmor_profile()) else { return Ok(None) };
    let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.first() == Some(&b'Y'));
    match (enabled, profile.as_str()) {
        (true, _) => Ok(Some(Label {
            file: if Path::new("/proc/self/attr/apparmor/exec").exists() {
                "apparmor/exec"
            } else {
                "exec"
            },
            text: format!("exec {profile}"),
            name: "AppArmor profile",
        })),
        (false, "unconfined") => Ok(None),
        (false, _) => Err(Error::because(
            Step::Label,
            format!(
                "AppArmor profile {profile:?} was asked for, but AppArmor is not enabled on this host"
            ),
        )),
    }
}

impl Label {
    fn write(&self) -> Result<()> {
        sys::fs::write_file(format!("/proc/thread-self/attr/{}", self.file), &self.text)
            .context(Step::Label, || format!("unable to apply {} {:?}", self.name, self.text))
    }
}

/// The fds that a process is given.
#[derive(Debug)]
pub(crate) struct Given {
    /// Standard streams, unless it gets a terminal.
    pub stdio: Option<[OwnedFd; 3]>,
    /// 3, 4, …
    pub extra: Vec<OwnedFd>,
}
