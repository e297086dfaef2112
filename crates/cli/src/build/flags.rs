//! `build`'s options.

use types::resources::Ulimit;

use crate::options::{device, size, words};

/// `build`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Add a line to /etc/hosts: HOST:ADDRESS
    #[arg(long, value_parser = words::extra_host)]
    pub(super) add_host: Vec<String>,
    /// Allow what is not allowed by default: network.host, security.insecure
    #[arg(long)]
    pub(super) allow: Vec<String>,
    /// Set a variable of the Dockerfile's ARGs: NAME[=VALUE]
    #[arg(long)]
    pub(super) build_arg: Vec<String>,
    /// What FROM NAME and --from=NAME mean: NAME=docker-image://IMAGE or NAME=URL
    #[arg(long)]
    pub(super) build_context: Vec<String>,
    /// Image whose steps count as done
    #[arg(long)]
    pub(super) cache_from: Vec<String>,
    /// Only check the Dockerfile; build nothing
    #[arg(long)]
    pub(super) check: bool,
    /// Stage of the Dockerfile that is wanted
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) target: String,
    /// Dockerfile: a path, or - for standard input (default PATH/Dockerfile)
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(super) file: String,
    /// Write the image's id to a file
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) iidfile: String,
    /// Add a label: NAME[=VALUE]
    #[arg(long, value_parser = words::label)]
    pub(super) label: Vec<String>,
    /// Write what is known of the result to a file, as JSON
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) metadata_file: String,
    /// Do every step again
    #[arg(long)]
    pub(super) no_cache: bool,
    /// Do every step of these stages again
    #[arg(long)]
    pub(super) no_cache_filter: Vec<String>,
    /// Where the result goes: a directory, -, or type=local|tar|docker|oci|image|registry|cacheonly[,dest=PATH]
    #[arg(short, long)]
    pub(super) output: Vec<String>,
    /// For which platform
    #[arg(long)]
    pub(super) platform: Vec<String>,
    /// How it is shown: auto, plain, tty, quiet or rawjson
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) progress: String,
    /// Look for newer base images in the registry
    #[arg(long)]
    pub(super) pull: bool,
    /// Push the result to its registry
    #[arg(long)]
    pub(super) push: bool,
    /// Print the image's id only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// A secret for RUN --mount=type=secret: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long)]
    pub(super) secret: Vec<String>,
    /// Make one layer of all steps
    #[arg(long)]
    pub(super) squash: bool,
    /// An ssh agent or keys for RUN --mount=type=ssh: default|ID[=SOCKET|KEY[,KEY]]
    #[arg(long)]
    pub(super) ssh: Vec<String>,
    /// A name for the image: NAME[:TAG]
    #[arg(short, long, value_parser = name)]
    pub(super) tag: Vec<String>,
    #[command(flatten)]
    pub(super) limits: Limits,
    #[command(flatten)]
    pub(super) accepted: Accepted,
    /// Context: a directory, a URL, or - for standard input
    #[arg(value_name = "PATH")]
    pub(super) context: Vec<String>,
}

/// What the commands of a build may use.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Limits {
    /// Cgroup under which the steps run
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) cgroup_parent: String,
    /// Length of a CPU period in microseconds
    #[arg(long, default_value = "0", hide_default_value = true)]
    pub(super) cpu_period: i64,
    /// CPU time within a period in microseconds
    #[arg(long, default_value = "0", hide_default_value = true)]
    pub(super) cpu_quota: i64,
    /// Relative CPU weight
    #[arg(short, long, default_value = "0", hide_default_value = true)]
    pub(super) cpu_shares: i64,
    /// CPUs the steps may run on, such as 0-2,7
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) cpuset_cpus: String,
    /// Memory nodes the steps may use
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) cpuset_mems: String,
    /// Limit of memory
    #[arg(short, long, value_parser = size::bytes, default_value = "0", hide_default_value = true)]
    pub(super) memory: i64,
    /// Limit of memory and swap together; -1 for unlimited swap
    #[arg(long, value_parser = size::bytes_or_unlimited, default_value = "0", hide_default_value = true)]
    pub(super) memory_swap: i64,
    /// Network of RUN: default, none, host
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) network: String,
    /// Size of /dev/shm
    #[arg(long, value_parser = size::bytes, default_value = "0", hide_default_value = true)]
    pub(super) shm_size: i64,
    /// Limit of setrlimit(2): NAME=SOFT[:HARD]
    #[arg(long, value_parser = device::ulimit)]
    pub(super) ulimit: Vec<Ulimit>,
}

/// Options of docker and its plugins that change nothing here, and some that cannot be had.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Accepted {
    #[arg(long, hide = true)]
    pub(super) annotation: Vec<String>,
    #[arg(long, hide = true)]
    pub(super) attest: Vec<String>,
    #[arg(long, hide = true)]
    pub(super) builder: Option<String>,
    #[arg(long, hide = true)]
    pub(super) cache_to: Vec<String>,
    #[arg(long, hide = true)]
    pub(super) compress: bool,
    #[arg(long, hide = true)]
    pub(super) disable_content_trust: bool,
    #[arg(long, hide = true)]
    pub(super) force_rm: bool,
    #[arg(long, hide = true)]
    pub(super) isolation: Option<String>,
    #[arg(long, hide = true)]
    pub(super) load: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) provenance: Option<String>,
    #[arg(long, hide = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = crate::verbs::switch)]
    pub(super) rm: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) sbom: Option<String>,
    #[arg(long, hide = true)]
    pub(super) security_opt: Vec<String>,
}

/// A name that an image may get.
fn name(text: &str) -> Result<String, types::reference::InvalidReference> {
    types::reference::Reference::parse(text).map(|_| text.to_owned())
}
