//! The table of commands. A command's parser is only built when it is the one that runs, so
//! that starting takes no longer for there being many.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::failure::Failure;
use crate::session::Session;

/// One command.
pub(crate) struct Verb {
    /// Its name within its group.
    pub(crate) name: &'static str,
    /// Other names within its group.
    pub(crate) aliases: &'static [&'static str],
    /// What it does, in one line.
    pub(crate) about: &'static str,
    /// What follows its name in the usage line.
    pub(crate) usage: &'static str,
    /// How many arguments it takes at least and at most.
    pub(crate) arguments: (usize, usize),
    /// Whether options may stand behind the first argument.
    pub(crate) interspersed: bool,
    /// Adds its options to a parser.
    pub(crate) build: fn(Command) -> Command,
    /// Runs it.
    pub(crate) run: fn(&Session, &ArgMatches) -> anyhow::Result<u8>,
}

/// Commands about one noun.
pub(crate) struct Group {
    /// The noun.
    pub(crate) name: &'static str,
    /// What it is for, in one line.
    pub(crate) about: &'static str,
    /// Its commands.
    pub(crate) verbs: &'static [Verb],
}

/// No upper limit of arguments.
pub(crate) const MANY: usize = usize::MAX;

/// Declares a [`Verb`] whose options are a `clap::Args` struct and whose body is an
/// `async fn(&Session, Args) -> anyhow::Result<u8>`.
macro_rules! verb {
    ($name:literal, $aliases:expr, $least:literal..=$most:expr, $usage:literal, $about:literal,
     $args:ty => $run:path $(, $strict:ident)?) => {
        $crate::verbs::Verb {
            name: $name,
            aliases: &$aliases,
            about: $about,
            usage: $usage,
            arguments: ($least, $most),
            interspersed: verb!(@interspersed $($strict)?),
            build: <$args as clap::Args>::augment_args,
            run: |session, matches| {
                let args = <$args as clap::FromArgMatches>::from_arg_matches(matches)?;
                $crate::block_on(async { $run(session, args).await })
            },
        }
    };
    (@interspersed) => { true };
    (@interspersed strict) => { false };
}
pub(crate) use verb;

/// The nouns.
pub(crate) static GROUPS: &[Group] = &[
    Group { name: "builder", about: "Build images", verbs: crate::build::VERBS },
    Group { name: "config", about: "Work with configs", verbs: crate::secret::CONFIG_VERBS },
    Group { name: "container", about: "Work with containers", verbs: crate::container::VERBS },
    Group {
        name: "context",
        about: "Choose which daemon to speak to",
        verbs: crate::context::VERBS,
    },
    Group { name: "image", about: "Work with images", verbs: crate::image::VERBS },
    Group {
        name: "manifest",
        about: "Work with lists of images for several platforms",
        verbs: crate::manifest::VERBS,
    },
    Group { name: "network", about: "Work with networks", verbs: crate::network::VERBS },
    Group { name: "secret", about: "Work with secrets", verbs: crate::secret::SECRET_VERBS },
    Group { name: "system", about: "Look at the engine as a whole", verbs: crate::system::VERBS },
    Group {
        name: "vm",
        about: "Work with machines that boot a disk of their own",
        verbs: crate::container::MACHINE_VERBS,
    },
    Group { name: "volume", about: "Work with volumes", verbs: crate::volume::VERBS },
];

/// Commands that have a short name at the top: the short name, the group, the name there.
static SHORT: &[(&str, &str, &str)] = &[
    ("run", "container", "run"),
    ("exec", "container", "exec"),
    ("ps", "container", "ls"),
    ("images", "image", "ls"),
    ("build", "image", "build"),
    ("pull", "image", "pull"),
    ("push", "image", "push"),
    ("info", "system", "info"),
    ("attach", "container", "attach"),
    ("commit", "container", "commit"),
    ("cp", "container", "cp"),
    ("create", "container", "create"),
    ("diff", "container", "diff"),
    ("events", "system", "events"),
    ("export", "container", "export"),
    ("history", "image", "history"),
    ("import", "image", "import"),
    ("kill", "container", "kill"),
    ("load", "image", "load"),
    ("logs", "container", "logs"),
    ("pause", "container", "pause"),
    ("port", "container", "port"),
    ("rename", "container", "rename"),
    ("restart", "container", "restart"),
    ("rm", "container", "rm"),
    ("rmi", "image", "rm"),
    ("save", "image", "save"),
    ("start", "container", "start"),
    ("stats", "container", "stats"),
    ("stop", "container", "stop"),
    ("tag", "image", "tag"),
    ("top", "container", "top"),
    ("unpause", "container", "unpause"),
    ("update", "container", "update"),
    ("wait", "container", "wait"),
];

/// The commands at the top, by the name they have there.
pub(crate) fn top() -> impl Iterator<Item = (&'static str, &'static Verb)> {
    let short = SHORT.iter().filter_map(|(name, group, verb)| {
        let group = GROUPS.iter().find(|g| g.name == *group)?;
        Some((*name, group.verbs.iter().find(|v| v.name == *verb)?))
    });
    let own = crate::top::VERBS.iter().chain(crate::compare::VERBS).chain(crate::registry::VERBS);
    short.chain(own.map(|verb| (verb.name, verb)))
}

impl Group {
    /// A command of the group by any of its names.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Verb> {
        self.verbs.iter().find(|verb| verb.name == name || verb.aliases.contains(&name))
    }
}

impl Verb {
    /// The command's parser. `path` is how it was called: `isopod container ls`.
    pub(crate) fn command(&self, name: &'static str, path: &str) -> Command {
        let command = (self.build)(Command::new(name).next_display_order(None))
            .about(self.about)
            .override_usage(format!("{path} {}", self.usage).trim_end().to_owned())
            .bin_name(path.to_owned())
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
            .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print this help"));
        command.mut_args(lenient_value)
    }

    /// Runs the command with the arguments behind its name.
    pub(crate) fn execute(
        &self,
        session: &Session,
        path: &str,
        args: &[String],
    ) -> anyhow::Result<u8> {
        // Help shows switches as what they are; parsing takes them as Docker's do.
        let command = self.command(self.name, path);
        let command = if args.iter().any(|arg| arg == "--help") {
            command
        } else {
            command.mut_args(lenient_switch)
        };
        let mut words = vec![path.to_owned()];
        let (options, rest) = match first_argument(&command, args) {
            Some(at) if !self.interspersed => args.split_at(at),
            _ => (args, &[] as &[String]),
        };
        words.extend_from_slice(options);
        if !rest.is_empty() {
            words.push("--".to_owned());
            words.extend_from_slice(rest);
        }
        let positionals: Vec<_> =
            command.get_positionals().map(|arg| arg.get_id().clone()).collect();
        let matches = match command.try_get_matches_from(words) {
            Ok(matches) => matches,
            // Made anew only for this: a copy in time costs every command a tenth of a millisecond.
            Err(error) => return Err(self.explain(&self.command(self.name, path), path, &error)),
        };
        let count: usize = positionals
            .iter()
            .filter(|id| {
                matches.value_source(id.as_str()) == Some(clap::parser::ValueSource::CommandLine)
            })
            .filter_map(|id| matches.get_raw(id.as_str()))
            .map(Iterator::count)
            .sum();
        if count < self.arguments.0 || count > self.arguments.1 {
            return Err(self.wrong_count(path));
        }
        (self.run)(session, &matches)
    }

    fn wrong_count(&self, path: &str) -> anyhow::Error {
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        let need = match self.arguments {
            (0, 0) => "accepts no arguments".to_owned(),
            (least, most) if least == most => {
                format!("requires {least} argument{}", plural(least))
            }
            (least, MANY) => format!("requires at least {least} argument{}", plural(least)),
            (0, most) => format!("requires at most {most} argument{}", plural(most)),
            (least, most) => {
                format!("requires at least {least} and at most {most} argument{}", plural(most))
            }
        };
        let usage = self.usage;
        Failure::with(
            1,
            format!(
                "isopod: '{path}' {need}\n\nUsage:  {path} {usage}\n\nSee '{path} --help' for more information"
            ),
        )
    }

    /// Puts the parser's complaint into Docker's words.
    fn explain(&self, parser: &Command, path: &str, error: &clap::Error) -> anyhow::Error {
        use clap::error::{ContextKind, ContextValue, ErrorKind};
        let context = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.clone(),
            Some(ContextValue::Strings(texts)) => texts.join(" "),
            _ => String::new(),
        };
        let at = context(ContextKind::InvalidArg);
        let reason = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                let _ = error.print();
                return Failure::silent(0);
            }
            ErrorKind::MissingRequiredArgument | ErrorKind::TooManyValues => {
                return self.wrong_count(path);
            }
            ErrorKind::UnknownArgument if !at.starts_with('-') => return self.wrong_count(path),
            ErrorKind::UnknownArgument if at.starts_with("--") => {
                let name = at.split('=').next().unwrap_or_default();
                format!("unknown flag: {name}")
            }
            ErrorKind::UnknownArgument => {
                let short = at.chars().nth(1).unwrap_or('-');
                format!("unknown shorthand flag: '{short}' in {at}")
            }
            _ => {
                let long = at.split([' ', '=', '[', '<']).next().unwrap_or_default();
                let value = context(ContextKind::InvalidValue);
                if value.is_empty() && std::error::Error::source(error).is_none() {
                    format!("flag needs an argument: {long}")
                } else {
                    let flag = parser
                        .get_arguments()
                        .find(|arg| arg.get_long() == long.strip_prefix("--"))
                        .and_then(Arg::get_short)
                        .map_or_else(|| long.to_owned(), |short| format!("-{short}, {long}"));
                    let cause = std::error::Error::source(error)
                        .map_or_else(|| "not one of the possible values".into(), |c| c.to_string());
                    let cause = match cause.as_str() {
                        "invalid digit found in string" => {
                            format!("strconv.ParseInt: parsing {value:?}: invalid syntax")
                        }
                        _ if cause.starts_with("number too") => {
                            format!("strconv.ParseInt: parsing {value:?}: value out of range")
                        }
                        _ => cause,
                    };
                    format!("invalid argument {value:?} for {flag:?} flag: {cause}")
                }
            }
        };
        let usage = self.usage;
        Failure::with(
            125,
            format!(
                "{reason}\n\nUsage:  {path} {usage}\n\nRun '{path} --help' for more information"
            ),
        )
    }
}

/// Lets an option's value begin with a dash, as those of Go's pflag may.
fn lenient_value(arg: Arg) -> Arg {
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    if takes && !arg.is_positional() && !arg.is_require_equals_set() {
        arg.allow_hyphen_values(true)
    } else {
        arg
    }
}

/// Lets a switch be turned off with `=false`, as those of Go's pflag can.
fn lenient_switch(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(switch)
}

/// Reads what Go takes for a truth value.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    crate::globals::truth(text)
        .ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
}

/// The option that takes the word behind this one for its value, if one does.
pub(crate) fn awaiting<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let takes = |arg: &&Arg| {
        matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
            && !arg.is_require_equals_set()
    };
    if let Some(long) = word.strip_prefix("--") {
        return option(command, long).filter(takes);
    }
    let shorts = word.strip_prefix('-')?;
    for (at, short) in shorts.char_indices() {
        let known = command.get_arguments().find(|arg| arg.get_short() == Some(short));
        if let Some(known) = known.filter(takes) {
            return Some(known).filter(|_| at + short.len_utf8() == shorts.len());
        }
    }
    None
}

/// The option of a long name, or of another that it has.
pub(crate) fn option<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
    })
}

/// Whether a word is an option, as far as its looks go.
pub(crate) fn is_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

/// Where the first argument stands that belongs to no option, unless `--` stands before it.
fn first_argument(command: &Command, args: &[String]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = args.get(at) {
        if word == "--" {
            return None;
        }
        if !is_option(word) {
            return Some(at);
        }
        at += 1 + usize::from(awaiting(command, word).is_some());
    }
    None
}
