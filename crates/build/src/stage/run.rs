//! `RUN`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::HeldLayer;
use sys::entry;
use sys::fs::{FileType, Root};

use super::scratch::Scratch;
use super::sources::{Excluded, Place};
use super::{Running, history};
use crate::cache::CacheMount;
use crate::copy::{Found, Hasher, Writer, dot, inside};
use crate::dockerfile::{Mount, MountKind, Network, Script, Security};
use crate::error::{Error, Result, Step as _};
use crate::plan::{Origin, RunAction};
use crate::progress::Event;
use crate::worker::{Run, RunMount, RunSource};

/// What a process gets beside its image, as long as it runs.
#[derive(Default)]
struct Around<'b> {
    mounts: Vec<RunMount>,
    /// Variables whose values are secrets.
    secrets: Vec<String>,
    _caches: Vec<CacheMount<'b>>,
    /// Snapshots under mounts whose changes are thrown away.
    scratches: Vec<Scratch<'b>>,
}

impl<'b> Running<'b> {
    pub(super) fn run(&mut self, action: &RunAction, text: &str) -> Result<bool> {
        let mut command = match &action.script {
            Script::Words(words) => words.clone(),
            Script::Shell(line) => with(history::shell(&self.configured.config), line),
            Script::File { name, .. } => {
                with(history::shell(&self.configured.config), &format!("/dev/pipes/{name}"))
            }
        };
        if action.security == Security::Insecure && !self.build.request.allow_insecure {
            return Err(Error::NotAllowed("security.insecure"));
        }
        let arguments = self.scope.cache_arguments();
        let created_by = history::run(&command, &arguments);
        let mut key = self.key("run");
        command.iter().for_each(|word| key.add(word));
        key.add("arguments");
        arguments.iter().for_each(|line| key.add(line));
        if let Script::File { content, .. } = &action.script {
            key.add(content);
        }
        key.add(format!("{:?} {:?}", action.network, action.security));
        for (mount, origin) in &action.mounts {
            self.mount_key(&mut key, mount, origin.as_ref())?;
        }
        let key = key.finish();
        if command.is_empty() {
            command = history::shell(&self.configured.config);
        }
        let shown = command.join(" ");
        self.remember(key, created_by, text, |running| running.execute(action, command, shown))
    }

    /// What of a mount decides the result: what is in it for binds, only names otherwise. The
    /// content of caches and secrets is no part of it.
    fn mount_key(&self, key: &mut Hasher, mount: &Mount, origin: Option<&Origin>) -> Result<()> {
        key.add(mount.kind.as_str());
        key.add(mount.id());
        key.add(format!(
            "{:?} {:?} {} {:?} {:?} {:?} {:?} {:?}",
            mount.target,
            mount.source,
            mount.read_only,
            mount.mode,
            mount.uid,
            mount.gid,
            mount.size,
            mount.env
        ));
        if mount.kind == MountKind::Bind {
            let place = self.place(origin.unwrap_or(&Origin::Context))?;
            let nothing = Excluded::new(&[])?;
            let source = vec![mount.source.clone().unwrap_or_else(|| "/".to_owned())];
            key.add(self.content("RUN", &place, &source, &nothing, &[])?);
        }
        Ok(())
    }

    fn execute(
        &self,
        action: &RunAction,
        command: Vec<String>,
        shown: String,
    ) -> Result<Option<Arc<HeldLayer>>> {
        let (build, config) = (self.build, &self.configured.config);
        let request = build.request;
        let scratch = Scratch::new(build, &self.built.diff_ids())?;
        let mut around = Around::default();
        let mut agents = 0;
        for (mount, origin) in &action.mounts {
            self.mount(mount, origin.as_ref(), &mut agents, &mut around)?;
        }
        if let Script::File { name, content } = &action.script {
            around.mounts.push(RunMount {
                target: format!("/dev/pipes/{name}"),
                read_only: true,
                source: RunSource::Content {
                    content: content.clone().into_bytes(),
                    uid: 0,
                    gid: 0,
                    mode: 0o755,
                },
            });
        }
        let targets: Vec<PathBuf> =
            around.mounts.iter().map(|mount| PathBuf::from(&mount.target)).collect();
        let stubs = self.stubs(&targets)?;
        let mut env = self.scope.environment();
        env.append(&mut around.secrets);
        let network = match action.network {
            Network::Default => request.network.clone(),
            Network::None => "none".to_owned(),
            Network::Host => "host".to_owned(),
        };
        let run = Run {
            id: scratch.id.clone(),
            command,
            env,
            user: config.user.clone(),
            working_dir: config.working_dir.clone(),
            mounts: std::mem::take(&mut around.mounts),
            network,
            insecure: action.security == Security::Insecure,
            resources: request.resources.clone(),
            shm_size: request.shm_size,
            extra_hosts: request.extra_hosts.clone(),
        };
        let step = self.number;
        build.tell(Event::Running { step, container: scratch.id.clone() });
        let code = build.shop.worker.run(run, &mut |stream, data| {
            build.tell(Event::Log { step, stream, data: data.to_vec() });
        });
        build.check()?;
        let code = code?;
        if code != 0 {
            return Err(Error::Command { command: shown, code });
        }
        drop(around);
        if !stubs.is_empty() {
            let root = scratch.mount()?;
            stubs.iter().for_each(|stub| remove_stub(&root, stub));
        }
        scratch.commit()
    }

    /// Those of the targets of mounts that are not there, as far down as there is something: what
    /// is made for the mounts must not stay. Pairs of the first missing part and the whole.
    fn stubs(&self, targets: &[PathBuf]) -> Result<Vec<(PathBuf, PathBuf)>> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let root = self.built.root(&self.build.shop)?;
        let mut stubs = Vec::new();
        for target in targets {
            let target = inside(target);
            let missing = |part: &&Path| !part.as_os_str().is_empty() && !root.exists(part);
            if let Some(first) = target.ancestors().filter(missing).last() {
                stubs.push((first.to_owned(), target.clone()));
            }
        }
        // Inner ones first.
        stubs.sort_by_key(|(_, whole)| std::cmp::Reverse(whole.components().count()));
        Ok(stubs)
    }

    fn mount(
        &self,
        mount: &Mount,
        origin: Option<&Origin>,
        agents: &mut usize,
        around: &mut Around<'b>,
    ) -> Result<()> {
        let build = self.build;
        let target = mount.target(*agents);
        let target = target.map(|target| {
            let directory = Path::new("/").join(&self.configured.config.working_dir);
            let path = Path::new("/").join(inside(&directory.join(target)));
            path.to_string_lossy().into_owned()
        });
        let (uid, gid) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        let read_only = mount.read_only;
        let mut add = |target: String, source| {
            around.mounts.push(RunMount { target, read_only, source });
        };
        match (mount.kind, target) {
            (MountKind::Tmpfs, Some(target)) => add(target, RunSource::Memory(mount.size)),
            (MountKind::Bind, Some(target)) => {
                let source = self.bind(mount, origin, &mut around.scratches)?;
                add(target, source);
            }
            (MountKind::Cache, Some(target)) => {
                let attributes = (mount.mode.unwrap_or(0o755), uid, gid);
                let cancelled = || build.check().is_err();
                let cache =
                    build.shop.cache.mount(mount.id(), mount.sharing, attributes, &cancelled)?;
                let cache = cache.ok_or(Error::Cancelled)?;
                if cache.is_new()
                    && let Some(origin) = origin
                {
                    self.fill(&cache, origin, mount.source.as_deref().unwrap_or("/"))?;
                }
                add(target, RunSource::Host(cache.path().to_owned()));
                around._caches.push(cache);
            }
            (MountKind::Secret, target) => {
                let Some(content) = build.shop.worker.secret(mount.id())? else {
                    return missing(mount, "secret");
                };
                if let Some(name) = &mount.env {
                    let value = String::from_utf8_lossy(&content);
                    around.secrets.push(format!("{name}={value}"));
                }
                if let Some(target) = target {
                    let mode = mount.mode.unwrap_or(0o400);
                    let source = RunSource::Content { content, uid, gid, mode };
                    around.mounts.push(RunMount { target, read_only: true, source });
                }
            }
            (MountKind::Ssh, Some(target)) => {
                if !build.shop.worker.has_ssh(mount.id()) {
                    return missing(mount, "ssh");
                }
                if *agents == 0 {
                    around.secrets.push(format!("SSH_AUTH_SOCK={target}"));
                }
                *agents += 1;
                let (id, mode) = (mount.id().to_owned(), mount.mode.unwrap_or(0o600));
                add(target, RunSource::Ssh { id, uid, gid, mode });
            }
            (_, None) => {}
        }
        Ok(())
    }

    /// Files to be seen by the process; what it writes to them, if it may, is thrown away.
    fn bind(
        &self,
        mount: &Mount,
        origin: Option<&Origin>,
        scratches: &mut Vec<Scratch<'b>>,
    ) -> Result<RunSource> {
        let place = self.place(origin.unwrap_or(&Origin::Context))?;
        let source = mount.source.as_deref().unwrap_or("/");
        let path = inside(Path::new(source));
        let from = self.root_of(&place)?;
        if mount.read_only {
            return match &place {
                // A mount of its own: a part of one that others use as well cannot be had from
                // every kernel.
                Place::Built(built, _) if !built.layers.is_empty() => {
                    part(built.mount(&self.build.shop)?, &path, source)
                }
                _ => subtree(&from, &path, source),
            };
        }
        let layers = match &place {
            Place::Built(built, _) => built.diff_ids(),
            Place::Context | Place::Further(..) | Place::Empty => Vec::new(),
        };
        let scratch = Scratch::new(self.build, &layers)?;
        let root = scratch.mount()?;
        if matches!(place, Place::Context | Place::Further(..)) {
            let found = whole(&from, &path, source)?;
            let writer =
                Writer { target: &root, owner: Some((0, 0)), mode: None, excluded: &|_| false };
            writer.copy(&from, &found, &Path::new("/").join(&path))?;
        }
        let tree = part(root, &path, source)?;
        scratches.push(scratch);
        Ok(tree)
    }

    /// Puts the first files into a cache.
    fn fill(&self, cache: &CacheMount<'_>, origin: &Origin, source: &str) -> Result<()> {
        let place = self.place(origin)?;
        let from = self.root_of(&place)?;
        let found = whole(&from, &inside(Path::new(source)), source)?;
        let target = Root::open_host(cache.path()).step("open a cache mount")?;
        let owner = (!place.keeps_owner()).then_some((0, 0));
        let writer = Writer { target: &target, owner, mode: None, excluded: &|_| false };
        writer.copy(&from, &found, Path::new("/"))
    }
}

fn with(mut words: Vec<String>, last: &str) -> Vec<String> {
    words.push(last.to_owned());
    words
}

fn missing(mount: &Mount, kind: &'static str) -> Result<()> {
    if mount.required {
        return Err(Error::NotGiven { kind, id: mount.id().to_owned() });
    }
    Ok(())
}

/// A path of a tree as something to copy.
fn whole(root: &Root, path: &Path, shown: &str) -> Result<Found> {
    let path = root.resolve(dot(path)).at("open", shown)?;
    let stat = root.lstat(dot(&path)).at("open", shown)?;
    let is_dir = entry::kind(&stat) == FileType::Directory;
    Ok(Found { given: path.clone(), kept: path.clone(), path, is_dir })
}

/// A part of a detached mount as a mount of its own.
fn part(whole: Root, path: &Path, shown: &str) -> Result<RunSource> {
    let tree = sys::foreign::part(whole.into_fd(), dot(path)).at("mount", shown)?;
    Ok(RunSource::Tree(tree))
}

/// A part of a tree of the host as a mount of its own, attached nowhere.
fn subtree(root: &Root, path: &Path, shown: &str) -> Result<RunSource> {
    let opened = root.open_path(dot(path)).at("open", shown)?;
    Ok(RunSource::Tree(sys::mount::clone_tree(&opened, false).at("mount", shown)?))
}

/// Removes a mount point, and the directories above it that were made for it, if they are empty
/// still: the process may have put something there before.
fn remove_stub(root: &Root, (first, whole): &(PathBuf, PathBuf)) {
    for part in whole.ancestors().take_while(|part| part.starts_with(first)) {
        let Ok(stat) = root.lstat(part) else { continue };
        let removed = match entry::kind(&stat) {
            FileType::Directory => root.remove_dir(part),
            FileType::RegularFile if stat.st_size == 0 => root.remove_file(part),
            _ => return,
        };
        if removed.is_err() {
            return;
        }
    }
}
