//! `COPY` and `ADD`.

use std::path::Path;
use std::sync::Arc;

use image::HeldLayer;
use image::archive::{IdMap, PutOptions, put};
use sys::fs::Root;

use super::remote::{self, Remote};
use super::scratch::Scratch;
use super::sources::{Excluded, Place};
use super::{Running, history};
use crate::cache::Temporary;
use crate::copy::{
    self, Destination, Found, Loose, ModeChange, Writer, dot, is_archive, make_dirs,
};
use crate::dockerfile::{CopySource, Inline};
use crate::error::{Error, Result, Step as _};
use crate::plan::CopyAction;

/// What one `COPY` or `ADD` is made of.
struct Sources {
    /// Paths in the place that files are taken from.
    paths: Vec<String>,
    inline: Vec<Inline>,
    remote: Vec<Remote>,
    /// What was fetched, until the step is done.
    _fetched: Option<Temporary>,
}

/// How it is copied.
struct Terms<'a> {
    action: &'a CopyAction,
    keyword: &'static str,
    place: &'a Place,
    excluded: &'a Excluded,
    mode: Option<ModeChange>,
    owner: Option<(u32, u32)>,
    destination: Destination,
}

impl Running<'_> {
    pub(super) fn copy(&mut self, action: &CopyAction, text: &str) -> Result<bool> {
        let copy = &action.copy;
        let keyword = if action.add { "ADD" } else { "COPY" };
        let place = self.place(&action.origin)?;
        let excluded = Excluded::new(&copy.exclude)?;
        let sources = self.sources(action)?;
        let content = self.copied(keyword, action, &place, &excluded, &sources)?;
        let mode = copy.chmod.as_deref().map(ModeChange::parse).transpose()?;
        let destination = Destination::new(&copy.destination, &self.configured.config.working_dir);

        let shown = {
            let slash =
                if destination.slash && destination.path.parent().is_some() { "/" } else { "" };
            format!("{}{slash}", destination.path.display())
        };
        let flag = |name: &str, value: &Option<String>| match value {
            Some(value) => format!("--{name}={value} "),
            None => String::new(),
        };
        let flags = flag("chown", &copy.chown) + &flag("chmod", &copy.chmod);
        let comment = format!("{keyword} {flags}{content} in {shown} ");
        let created_by = history::nop_once(&self.configured.config, &comment);

        // By number, an owner is the same whatever is below.
        let numbers = copy.chown.as_deref().is_none_or(|owner| owner_by_number(owner).is_some());
        let linked = copy.link && numbers;
        let mut key = self.build.root_key("linked");
        for part in [keyword, &content, &shown, &flags] {
            key.add(part);
        }
        key.add([
            u8::from(copy.parents),
            u8::from(place.keeps_owner()),
            u8::from(copy.keep_git_dir),
        ]);
        key.add(format!("{:?}", copy.unpack));
        // Names decide what is written where, and content alone does not tell them.
        sources.paths.iter().for_each(|path| key.add(path));
        copy.exclude.iter().for_each(|pattern| key.add(pattern));
        let alone = key.finish();
        let key = self.key("copied").with(alone.hex()).finish();

        self.remember(key, created_by, text, |running| {
            let cache = running.build.shop.cache;
            if linked
                && !running.no_cache
                && let Some(hit) = cache.find(&alone)
            {
                return Ok(hit.layer);
            }
            let owner = running.owner(&place, copy.chown.as_deref())?;
            let excluded = &excluded;
            let place = &place;
            let terms = Terms { action, keyword, place, excluded, mode, owner, destination };
            let layer = running.write(&terms, &sources, linked)?;
            if linked {
                cache.add(&alone, None, layer.clone(), running.build.now(), &super::short(text));
            }
            Ok(layer)
        })
    }

    /// Sorts the sources, and fetches what is elsewhere.
    fn sources(&self, action: &CopyAction) -> Result<Sources> {
        let mut sources =
            Sources { paths: Vec::new(), inline: Vec::new(), remote: Vec::new(), _fetched: None };
        for source in &action.copy.sources {
            match source {
                CopySource::Inline(inline) => sources.inline.push(inline.clone()),
                CopySource::Path(path) if action.add && remote::is_remote(path) => {
                    if sources._fetched.is_none() {
                        let id = self.build.shop.worker.new_id()?;
                        sources._fetched = Some(self.build.shop.cache.temporary(id.short())?);
                    }
                    let Some(directory) = &sources._fetched else { continue };
                    let number = sources.remote.len();
                    let fetched = remote::fetch(self, path, &action.copy, directory, number)?;
                    sources.remote.push(fetched);
                }
                CopySource::Path(path) => sources.paths.push(path.clone()),
            }
        }
        if action.copy.checksum.is_some() && sources.remote.len() != 1 {
            return Err(Error::Invalid("--checksum is only for a single address".to_owned()));
        }
        Ok(sources)
    }

    /// The digest of everything that is copied, as it stands in the history.
    fn copied(
        &self,
        keyword: &'static str,
        action: &CopyAction,
        place: &Place,
        excluded: &Excluded,
        sources: &Sources,
    ) -> Result<String> {
        let exclude = &action.copy.exclude;
        let local = if sources.paths.is_empty() {
            None
        } else {
            Some(self.content(keyword, place, &sources.paths, excluded, exclude)?)
        };
        if let (Some(local), true) =
            (&local, sources.inline.is_empty() && sources.remote.is_empty())
        {
            return Ok(local.clone());
        }
        let mut all = Vec::new();
        for inline in &sources.inline {
            let text = copy::Hasher::new("inline").with(&inline.name).with(&inline.content);
            all.push((false, text.finish()));
        }
        for remote in &sources.remote {
            all.push((remote.is_dir(), remote.digest(excluded)?));
        }
        if let Some(local) = local {
            all.push((false, copy::of_bytes(local.as_bytes())));
        }
        Ok(copy::combined(&all))
    }

    /// To whom what is copied belongs.
    fn owner(&self, place: &Place, chown: Option<&str>) -> Result<Option<(u32, u32)>> {
        let Some(chown) = chown.filter(|chown| !chown.is_empty()) else {
            return Ok((!place.keeps_owner()).then_some((0, 0)));
        };
        if let Some(owner) = owner_by_number(chown) {
            return Ok(Some(owner));
        }
        let root = self.built.root(&self.build.shop)?;
        Ok(Some(Scratch::user(self.build, &root, chown)?))
    }

    fn write(
        &self,
        terms: &Terms<'_>,
        sources: &Sources,
        linked: bool,
    ) -> Result<Option<Arc<HeldLayer>>> {
        let build = self.build;
        let layers = if linked { Vec::new() } else { self.built.diff_ids() };
        let from = self.root_of(terms.place)?;
        let found = if sources.paths.is_empty() {
            Vec::new()
        } else {
            let origin = copy::Origin { root: &from, place: terms.place.name() };
            let mut found = copy::find(terms.keyword, origin, &sources.paths)?;
            found.retain(|found| !terms.excluded.has_source(found));
            found
        };
        let count = found.len() + sources.inline.len() + sources.remote.len();
        let parents = terms.action.copy.parents;
        if count > 1 && !terms.destination.slash && !parents {
            return Err(Error::ManySources(terms.keyword));
        }
        Scratch::new(build, &layers)?.write(|target| {
            let excluded = |path: &Path| terms.excluded.has(path);
            let (owner, mode) = (terms.owner, terms.mode.as_ref());
            let writer = Writer { target, owner, mode, excluded: &excluded };
            let places = copy::places(terms.keyword, &found, target, &terms.destination, parents)?;
            for (found, place) in found.iter().zip(&places) {
                build.check()?;
                self.local(terms, &writer, &from, found, place)?;
            }
            for inline in &sources.inline {
                let mut content = inline.content.as_bytes();
                let (name, modified) = (inline.name.as_str(), build.epoch);
                let mut loose = Loose { name, content: &mut content, mode: 0o644, modified };
                let place = loose.place(target, &terms.destination)?;
                writer.loose(&mut loose, &place)?;
            }
            for remote in &sources.remote {
                let unpack = terms.action.copy.unpack == Some(true);
                remote.write(&writer, &terms.destination, unpack)?;
            }
            Ok(())
        })
    }

    /// Copies a source that is in a tree; `ADD` unpacks archives.
    fn local(
        &self,
        terms: &Terms<'_>,
        writer: &Writer<'_>,
        from: &Root,
        found: &Found,
        place: &Path,
    ) -> Result<()> {
        let unpacks = terms.action.add
            && !found.is_dir
            && terms.action.copy.unpack != Some(false)
            && matches!(terms.place, Place::Context)
            && is_archive(from, dot(&found.path))?;
        if !unpacks {
            return writer.copy(from, found, place);
        }
        let mut archive = from.open_file(&found.path).at("read", &found.path)?;
        let chown = terms.action.copy.chown.as_ref().and(terms.owner);
        unpack(writer.target, &terms.destination.path, &mut archive, chown)
    }
}

/// Unpacks an archive into a directory of the image, made if need be.
pub(super) fn unpack(
    target: &Root,
    directory: &Path,
    archive: &mut (dyn std::io::Read + Send),
    owner: Option<(u32, u32)>,
) -> Result<()> {
    make_dirs(target, directory, owner.unwrap_or((0, 0)))?;
    let options = PutOptions { no_overwrite_dir_non_dir: false, owner, top: false };
    let path = directory.to_string_lossy();
    put(std::os::fd::AsFd::as_fd(target), &path, archive, &options, &IdMap::default())?;
    Ok(())
}

/// User and group, if both are given by number. A user alone is its own group.
fn owner_by_number(owner: &str) -> Option<(u32, u32)> {
    let (user, group) = owner.split_once(':').unwrap_or((owner, owner));
    Some((user.parse().ok()?, group.parse().ok()?))
}
