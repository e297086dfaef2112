//! What is asked of a build.

use std::collections::BTreeMap;

use types::reference::Reference;
use types::resources::Resources;

/// What is asked, beside the context.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The Dockerfile's path in the context; empty means `Dockerfile`.
    pub dockerfile: String,
    /// The names that the image gets.
    pub names: Vec<Reference>,
    /// `--target`; empty means the last stage.
    pub target: String,
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--platform` as it was asked for; empty means the host's.
    pub platform: String,
    /// What is built for: [`Request::platform`], or the host's, `os/architecture[/variant]`.
    pub target_platform: String,
    /// Where it is built.
    pub build_platform: String,
    /// What `FROM name` and `--from=name` mean beside stages: `docker-image://name`, or the address
    /// of a repository or an archive.
    pub contexts: BTreeMap<String, String>,
    /// Nothing that was done before counts.
    pub no_cache: bool,
    /// The same for these stages.
    pub no_cache_filter: Vec<String>,
    /// Images whose steps count as done.
    pub cache_from: Vec<String>,
    /// Only theirs do, as in the classic builder.
    pub only_cache_from: bool,
    /// Base images are looked for in their registries even if they are here.
    pub pull: bool,
    /// The network of `RUN` without `--network`.
    pub network: String,
    /// Lines for /etc/hosts.
    pub extra_hosts: Vec<String>,
    /// Limits of each `RUN`.
    pub resources: Resources,
    /// Bytes of /dev/shm.
    pub shm_size: i64,
    /// `RUN --security=insecure` may be.
    pub allow_insecure: bool,
    /// The steps become one layer.
    pub squash: bool,
    /// What is made of the result; the image store if there is none.
    pub outputs: Vec<Export>,
}

/// What is made of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export {
    /// An image in the store, with these names beside the request's.
    Image(Vec<Reference>),
    /// The files, as a tar to the client; the number is the output's in the request.
    Files(usize, String),
    /// An archive of the image, to the client.
    Archive(usize, String, Vec<Reference>),
    /// Nothing: the cache is filled.
    Nothing,
}

impl Request {
    /// `SOURCE_DATE_EPOCH`, if it is a number.
    pub(crate) fn epoch(&self) -> Option<i64> {
        self.arguments.get("SOURCE_DATE_EPOCH")?.trim().parse().ok()
    }

    /// Whether contexts that come from git keep their history. Without it the same commit is the
    /// same context; git's own files differ with every checkout.
    pub(crate) fn keeps_git_dir(&self) -> bool {
        let value = self.arguments.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
        value.is_some_and(|value| matches!(value.as_str(), "1" | "true"))
    }
}
