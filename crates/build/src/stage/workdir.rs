//! `WORKDIR`: a directory that is there from then on.

use std::path::Path;

use sys::entry;
use sys::fs::FileType;

use super::scratch::Scratch;
use super::{Running, StageError};
use crate::copy::make_dirs;
use crate::dockerfile::{Instruction, Span};
use crate::history;

impl Running<'_> {
    pub(super) fn workdir(
        &mut self,
        path: &str,
        span: Span,
        text: &str,
    ) -> Result<bool, StageError> {
        self.configured.apply(&Instruction::WorkDir(path.to_owned()), span)?;
        let directory = self.configured.config.working_dir.clone();
        let created_by =
            history::nop_once(&self.configured.config, &format!("WORKDIR {directory}"));
        let key = self.key("directory").with(&directory).finish();
        let done = self.remember(key, created_by, text, |running| {
            let build = running.build;
            let stat = running.built.root(&build.shop)?.stat(&directory);
            if stat.is_ok_and(|stat| entry::kind(&stat) == FileType::Directory) {
                return Ok(None);
            }
            let scratch = Scratch::new(build, &running.built.diff_ids())?;
            scratch.write(|root| make_dirs(root, Path::new(&directory), (0, 0)).map(drop))
        })?;
        Ok(done)
    }
}
