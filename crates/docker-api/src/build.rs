//! `POST /build`: what is asked, what is told meanwhile, and the session beside it.
//!
//! A build is one request: the parameters of [`BuildOptions`] in the query, the context as a tar
//! (plain, gzip or zstd) in the body, `X-Registry-Config` in the head. The answer is a stream of
//! [`crate::progress::JsonMessage`]. Without `progress=events` it is the text that Docker's classic
//! builder prints, and `aux` is [`BuildResult`]. With it, each line's `aux` is one [`BuildEvent`]
//! and there is no text; a failure still comes as `errorDetail` at the end.
//!
//! Closing the connection cancels the build, as does `POST /build/cancel?id=` with the `buildid`
//! that the request gave.
//!
//! [`session`] is the connection over which the daemon asks the client for secrets, ssh agents
//! and for places to put results.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::Timestamp;
use types::resources::Ulimit;

use crate::client::Target;

pub mod session;

/// The query of `POST /build`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BuildOptions {
    /// `t`: names of the image.
    pub tags: Vec<String>,
    /// `dockerfile`: its path in the context; `Dockerfile` if empty.
    pub dockerfile: String,
    /// `remote`: a git address, or an `http(s)` address of a tar or of a Dockerfile. There is no
    /// body then. `client-session` is BuildKit's and is refused.
    pub remote: String,
    /// `q`: only the image's id is printed.
    pub quiet: bool,
    /// `nocache`: every step is done again.
    pub no_cache: bool,
    /// `nocachefilter` (Isopod's own): as `no_cache`, for these stages only.
    pub no_cache_filter: Vec<String>,
    /// `cachefrom`: images whose steps count as done.
    pub cache_from: Vec<String>,
    /// `pull`: base images are looked for in the registry even if they are here.
    pub pull: bool,
    /// `rm`: intermediate containers are removed; they always are.
    pub rm: bool,
    /// `forcerm`: also after a failure; they always are.
    pub force_rm: bool,
    /// `memory`, bytes.
    pub memory: i64,
    /// `memswap`, bytes; -1 means unlimited.
    pub memory_swap: i64,
    /// `cpushares`.
    pub cpu_shares: i64,
    /// `cpuperiod`, µs.
    pub cpu_period: i64,
    /// `cpuquota`, µs.
    pub cpu_quota: i64,
    /// `cpusetcpus`.
    pub cpuset_cpus: String,
    /// `cpusetmems`.
    pub cpuset_mems: String,
    /// `cgroupparent`.
    pub cgroup_parent: String,
    /// `ulimits`, JSON.
    pub ulimits: Vec<Ulimit>,
    /// `shmsize`, bytes.
    pub shm_size: i64,
    /// `buildargs`, JSON; `None` is `null`.
    pub build_args: BTreeMap<String, Option<String>>,
    /// `labels`, JSON.
    pub labels: BTreeMap<String, String>,
    /// `networkmode`, of `RUN` without `--network`.
    pub network_mode: String,
    /// `extrahosts`, comma-separated `name:address`.
    pub extra_hosts: Vec<String>,
    /// `platform`: `os/arch[/variant]`.
    pub platform: String,
    /// `target`: the stage that is wanted.
    pub target: String,
    /// `squash`: the steps become one layer.
    pub squash: bool,
    /// `outputs`, JSON: `[{"Type":"tar","Attrs":{"dest":"-"}}]`. None means the image store.
    pub outputs: Vec<BuildOutput>,
    /// `allow` (Isopod's own), several: `security.insecure`, `network.host`.
    pub allow: Vec<String>,
    /// `contexts` (Isopod's own), JSON: what `FROM name` and `--from=name` mean beside stages:
    /// `docker-image://name`, a git or tar address.
    pub contexts: BTreeMap<String, String>,
    /// `progress=events`: [`BuildEvent`]s instead of text.
    pub events: bool,
    /// `session`: the id of an open [`session`].
    pub session: String,
    /// `buildid`: a name to cancel it by.
    pub build_id: String,
}

impl BuildOptions {
    /// The request's path and query.
    pub fn target(&self) -> Target {
        let number = |value: i64| (value != 0).then(|| value.to_string());
        let word = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        let mut target = Target::new("/build").with("version", "1");
        for tag in &self.tags {
            target = target.with("t", tag);
        }
        target = target
            .maybe("dockerfile", word(&self.dockerfile))
            .maybe("remote", word(&self.remote))
            .flag("q", self.quiet)
            .flag("nocache", self.no_cache)
            .maybe("nocachefilter", json(&self.no_cache_filter, self.no_cache_filter.is_empty()))
            .maybe("cachefrom", json(&self.cache_from, self.cache_from.is_empty()))
            .flag("pull", self.pull)
            .with("rm", if self.rm { "1" } else { "0" })
            .flag("forcerm", self.force_rm)
            .maybe("memory", number(self.memory))
            .maybe("memswap", number(self.memory_swap))
            .maybe("cpushares", number(self.cpu_shares))
            .maybe("cpuperiod", number(self.cpu_period))
            .maybe("cpuquota", number(self.cpu_quota))
            .maybe("cpusetcpus", word(&self.cpuset_cpus))
            .maybe("cpusetmems", word(&self.cpuset_mems))
            .maybe("cgroupparent", word(&self.cgroup_parent))
            .maybe("ulimits", json(&self.ulimits, self.ulimits.is_empty()))
            .maybe("shmsize", number(self.shm_size))
            .maybe("buildargs", json(&self.build_args, self.build_args.is_empty()))
            .maybe("labels", json(&self.labels, self.labels.is_empty()))
            .maybe("networkmode", word(&self.network_mode))
            .maybe("extrahosts", word(&self.extra_hosts.join(",")))
            .maybe("platform", word(&self.platform))
            .maybe("target", word(&self.target))
            .flag("squash", self.squash)
            .maybe("outputs", json(&self.outputs, self.outputs.is_empty()))
            .maybe("contexts", json(&self.contexts, self.contexts.is_empty()))
            .maybe("progress", self.events.then_some("events"))
            .maybe("session", word(&self.session))
            .maybe("buildid", word(&self.build_id));
        for right in &self.allow {
            target = target.with("allow", right);
        }
        target
    }
}

/// A value of the query that is JSON, unless it says nothing.
fn json(value: &impl Serialize, empty: bool) -> Option<String> {
    if empty { None } else { serde_json::to_string(value).ok() }
}

api_json! {
/// One of the `outputs`.
///
/// `Type` is `image` (the store; attribute `name`), `tar` or `local` (the files of the target, as
/// a tar through the session), `docker` or `oci` (an image archive through the session; attribute
/// `name`), or `cacheonly` (nothing). Where it is written is the client's business: other
/// attributes are ignored.
pub struct BuildOutput {
    #[serde(rename = "Type")]
    pub kind: String,
    pub attrs: BTreeMap<String, String>,
}

/// `aux` of the classic stream.
pub struct BuildResult {
    #[serde(rename = "ID")]
    pub id: String,
}
}

/// What happens in a build (`progress=events`), in this order for every step: [`BuildEvent::Plan`]
/// names it, [`BuildEvent::Started`], any number of [`BuildEvent::Log`] and
/// [`BuildEvent::Progress`], and one [`BuildEvent::Finished`] or [`BuildEvent::Failed`].
/// Steps of independent stages run at once, so their events mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum BuildEvent {
    /// Steps that are to be done. It comes once at the beginning, and again for what `ONBUILD` or
    /// a result adds.
    Plan {
        /// The steps, none of which was named before.
        steps: Vec<BuildStep>,
    },
    /// A step has begun.
    Started {
        /// [`BuildStep::number`].
        step: u32,
        /// When.
        at: Timestamp,
    },
    /// Part of a step: a layer being pulled, bytes of the context, of a result.
    Progress {
        /// [`BuildStep::number`].
        step: u32,
        /// Which part: a layer's digest, or a few words.
        item: String,
        /// What is being done with it: `downloading`, `extracting`, `transferring`, `done`, ….
        status: String,
        /// Bytes done.
        current: u64,
        /// Bytes in all; 0 when unknown.
        total: u64,
    },
    /// Output of a step's process.
    Log {
        /// [`BuildStep::number`].
        step: u32,
        /// 1 or 2.
        stream: u8,
        /// As it came; not always whole lines. What is no UTF-8 is replaced.
        data: String,
    },
    /// A step is done.
    Finished {
        /// [`BuildStep::number`].
        step: u32,
        /// It did not have to be done.
        cached: bool,
        /// When.
        at: Timestamp,
    },
    /// A step has failed, and the build with it.
    Failed {
        /// [`BuildStep::number`].
        step: u32,
        /// Why, in one sentence.
        message: String,
        /// The step was cut off because another one failed, or by the client.
        cancelled: bool,
        /// When.
        at: Timestamp,
    },
    /// Something in the Dockerfile that is likely wrong.
    Warning {
        /// What and why.
        message: String,
        /// From 1; 0 when it is no line's.
        line: u32,
        /// From 1; 0 when it is no column's.
        column: u32,
    },
    /// Where in the Dockerfile the failure is; `errorDetail` follows.
    Source {
        /// The Dockerfile's path.
        file: String,
        /// From 1.
        line: u32,
        /// From 1.
        column: u32,
        /// The lines around it, as `(number, text)`.
        excerpt: Vec<(u32, String)>,
    },
    /// The build is done.
    Built {
        /// The image's id; empty when no image was asked for.
        id: String,
        /// The names it got.
        names: Vec<String>,
    },
}

/// A step of a build, as [`BuildEvent::Plan`] names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildStep {
    /// Its number in this build, from 0.
    pub number: u32,
    /// `internal` (context, Dockerfile), `pull`, `step`, `export`.
    pub kind: String,
    /// Its stage's name, or `stage-N`; empty for what belongs to none.
    pub stage: String,
    /// What it does: the instruction as it is written, or `load build context` and the like.
    pub name: String,
    /// Its place among the steps of its stage, from 1; 0 for what belongs to none.
    pub index: u32,
    /// How many steps its stage has.
    pub of: u32,
    /// Its line in the Dockerfile, from 1; 0 for what is not there.
    pub line: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_only_what_was_asked() {
        let options = BuildOptions {
            tags: vec!["a:1".to_owned(), "b".to_owned()],
            build_args: BTreeMap::from([("X".to_owned(), None)]),
            rm: true,
            events: true,
            ..BuildOptions::default()
        };
        assert_eq!(
            options.target().as_str(),
            "/build?version=1&t=a:1&t=b&rm=1&buildargs=%7B%22X%22:null%7D&progress=events"
        );
    }

    #[test]
    fn events_are_tagged_objects() {
        let event = BuildEvent::Log { step: 3, stream: 2, data: "x\n".to_owned() };
        let text = serde_json::to_string(&event).expect("written");
        assert_eq!(text, r#"{"event":"log","step":3,"stream":2,"data":"x\n"}"#);
        assert_eq!(serde_json::from_str::<BuildEvent>(&text).expect("read"), event);
    }
}
