//! `RUN --mount=…`.

/// What a mount brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// Files of the context, of a stage or of an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// A file system in memory.
    Tmpfs,
    /// A file that never enters a layer.
    Secret,
    /// The socket of the client's ssh agent.
    Ssh,
}

/// How builds at the same time share a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// All write to it.
    #[default]
    Shared,
    /// Each has its own.
    Private,
    /// One waits for the other.
    Locked,
}

/// A mount whose values are final.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What it brings.
    pub kind: MountKind,
    /// Where it comes from: a stage's name or number, or an image (`bind`, `cache`).
    pub from: Option<String>,
    /// The path within `from` or the context (`bind`, `cache`).
    pub source: Option<String>,
    /// Where it stands; relative to the working directory. `None` for a secret that is only an
    /// environment variable, or where the default applies (see [`Mount::target`]).
    pub target: Option<String>,
    /// It cannot be written to.
    pub read_only: bool,
    /// The name of a cache, secret or ssh agent; for a cache the target if none was given.
    pub id: Option<String>,
    /// How a cache is shared.
    pub sharing: Sharing,
    /// A secret or agent that is absent fails the build.
    pub required: bool,
    /// Permissions of a cache's new directory (default 0755), secret (0400) or socket (0600).
    pub mode: Option<u32>,
    /// Owner of the same; 0 by default.
    pub uid: Option<u32>,
    /// Group of the same; 0 by default.
    pub gid: Option<u32>,
    /// Bytes of a tmpfs; `None` has no limit.
    pub size: Option<u64>,
    /// The environment variable that gets a secret's content.
    pub env: Option<String>,
}

impl Mount {
    /// The name of a cache, secret or ssh agent, defaults applied.
    pub fn id(&self) -> &str {
        let target = self.target.as_deref().unwrap_or_default();
        match (&self.id, self.kind) {
            (Some(id), _) => id,
            (None, MountKind::Secret) if target.is_empty() => {
                self.env.as_deref().unwrap_or_default()
            }
            (None, MountKind::Secret) => target.rsplit('/').next().unwrap_or_default(),
            (None, MountKind::Ssh) => "default",
            (None, _) => target,
        }
    }

    /// Where it stands, defaults applied; `None` for a secret that is only an environment
    /// variable. The `number`th ssh mount (from zero) has a default of its own.
    pub fn target(&self, number: usize) -> Option<String> {
        match (&self.target, self.kind) {
            (Some(target), _) => Some(target.clone()),
            (None, MountKind::Secret) if self.env.is_some() => None,
            (None, MountKind::Secret) => Some(format!("/run/secrets/{}", self.id())),
            (None, MountKind::Ssh) => Some(format!("/run/buildkit/ssh_agent.{number}")),
            (None, _) => None,
        }
    }
}

/// Why a mount cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// The value is no list of fields.
    #[error("failed to parse mount {0:?}: {1}")]
    Csv(String, &'static str),
    /// No such kind.
    #[error("unsupported mount type {0:?}{1}")]
    Kind(String, String),
    /// A field without a value that needs one.
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    /// No such field, or not for this kind.
    #[error("unexpected key '{key}' in '{field}'{hint}")]
    Key {
        /// The key.
        key: String,
        /// The whole field.
        field: String,
        /// Another that may be meant.
        hint: String,
    },
    /// A field that this kind of mount does not have.
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    Foreign {
        /// The key.
        key: String,
        /// The kind's name.
        kind: &'static str,
    },
    /// A value that makes no sense.
    #[error("invalid value for {key}: {value}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Where the mount comes from must be known before anything runs.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    FromVariable,
    /// Nothing says where it stands.
    #[error("invalid mount target {0:?}")]
    NoTarget(String),
    /// A field that must be given.
    #[error("mount requires {0} to be set")]
    Missing(&'static str),
}

/// The fields of the comma separated value, quotes of CSV taken away.
fn fields(text: &str) -> Result<Vec<String>, MountError> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    loop {
        if field.is_empty() && chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(c) => field.push(c),
                    None => return Err(MountError::Csv(text.to_owned(), "a quote has no end")),
                }
            }
            if chars.peek().is_some_and(|c| *c != ',') {
                return Err(MountError::Csv(text.to_owned(), "text follows a quoted field"));
            }
        }
        match chars.next() {
            None => break,
            Some(',') => fields.push(std::mem::take(&mut field)),
            Some('"') => {
                return Err(MountError::Csv(text.to_owned(), "a quote within a bare field"));
            }
            Some(c) => field.push(c),
        }
    }
    fields.push(field);
    Ok(fields)
}

/// Kind and origin, which must not hold variables: they decide what is built.
pub(super) fn outline(text: &str) -> Result<(MountKind, Option<String>), MountError> {
    let (mut kind, mut from) = (MountKind::Bind, None);
    for field in fields(text)? {
        match field.split_once('=') {
            Some((key, value)) if key.eq_ignore_ascii_case("type") => kind = kind_of(value)?,
            Some((key, value)) if key.eq_ignore_ascii_case("from") => {
                if value.contains('$') {
                    return Err(MountError::FromVariable);
                }
                from = Some(value.to_owned());
            }
            _ => {}
        }
    }
    Ok((kind, from))
}

const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];

fn kind_of(value: &str) -> Result<MountKind, MountError> {
    let lower = value.to_ascii_lowercase();
    KINDS.iter().find(|(name, _)| *name == lower).map(|(_, kind)| *kind).ok_or_else(|| {
        let hint = super::suggest::did_you_mean(&lower, &KINDS.map(|(name, _)| name));
        MountError::Kind(value.to_owned(), hint)
    })
}

impl MountKind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl Mount {
    /// Reads a value whose variables are replaced.
    ///
    /// # Errors
    /// [`MountError`].
    pub fn parse(text: &str) -> Result<Self, MountError> {
        let (kind, from) = outline(text)?;
        let mut mount = Self {
            kind,
            from,
            // What is shared with other builds is not for this one to change.
            read_only: kind == MountKind::Bind,
            ..Self::default()
        };
        for field in fields(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (field.as_str(), None),
            };
            mount.set(&key.to_ascii_lowercase(), value, &field)?;
        }
        mount.checked(text)
    }

    fn set(&mut self, key: &str, value: Option<&str>, field: &str) -> Result<(), MountError> {
        if !KEYS.contains(&key) {
            return Err(MountError::Key {
                key: key.to_owned(),
                field: field.to_owned(),
                hint: super::suggest::did_you_mean(key, &KEYS),
            });
        }
        use MountKind::{Cache, Secret, Ssh, Tmpfs};
        let flag = || match value {
            None => Ok(true),
            Some(value) => boolean(value).ok_or_else(|| invalid(key, value)),
        };
        match key {
            "readonly" | "ro" => {
                self.read_only = flag()?;
                return Ok(());
            }
            "readwrite" | "rw" => {
                self.read_only = !flag()?;
                return Ok(());
            }
            "required" if matches!(self.kind, Secret | Ssh) => {
                self.required = flag()?;
                return Ok(());
            }
            _ => {}
        }
        let value = value.ok_or_else(|| MountError::NoValue(field.to_owned()))?;
        let number = |radix| u32::from_str_radix(value, radix).map_err(|_| invalid(key, value));
        match (key, self.kind) {
            ("type" | "from", _) => {}
            ("source" | "src", Secret | Ssh) => self.id = Some(value.to_owned()),
            ("source" | "src", _) => self.source = Some(value.to_owned()),
            ("target" | "dst" | "destination", _) => self.target = Some(value.to_owned()),
            ("id", _) => self.id = Some(value.to_owned()),
            ("sharing", Cache) => self.sharing = sharing(value)?,
            ("size", Tmpfs) => {
                self.size = Some(bytes(value).ok_or_else(|| invalid(key, value))?);
            }
            ("mode", Cache | Secret | Ssh) => self.mode = Some(number(8)?),
            ("uid", Cache | Secret | Ssh) => self.uid = Some(number(10)?),
            ("gid", Cache | Secret | Ssh) => self.gid = Some(number(10)?),
            ("env", Secret) => self.env = Some(value.to_owned()),
            (key, kind) => {
                return Err(MountError::Foreign { key: key.to_owned(), kind: kind.as_str() });
            }
        }
        Ok(())
    }

    fn checked(self, text: &str) -> Result<Self, MountError> {
        match self.kind {
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {
                if self.target.as_deref().is_none_or(str::is_empty) {
                    return Err(MountError::Missing("target"));
                }
                if self.target.as_deref() == Some("/") {
                    return Err(MountError::NoTarget("/".to_owned()));
                }
            }
            MountKind::Secret
                if self.id.is_none() && self.target.is_none() && self.env.is_none() =>
            {
                return Err(MountError::Missing("id or target"));
            }
            MountKind::Secret | MountKind::Ssh => {}
        }
        if self.from.is_some() && !matches!(self.kind, MountKind::Bind | MountKind::Cache) {
            return Err(MountError::Foreign { key: "from".to_owned(), kind: self.kind.as_str() });
        }
        if self.env.as_ref().is_some_and(|env| env.is_empty() || env.contains('=')) {
            return Err(MountError::Csv(text.to_owned(), "env is no name"));
        }
        Ok(self)
    }
}

fn invalid(key: &str, value: &str) -> MountError {
    MountError::Value { key: key.to_owned(), value: value.to_owned() }
}

fn sharing(value: &str) -> Result<Sharing, MountError> {
    match value.to_ascii_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        _ => Err(invalid("sharing", value)),
    }
}

/// The words that Go takes for truth values.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `64m`, `1GiB`, `512`: units are powers of 1024.
fn bytes(value: &str) -> Option<u64> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1024u64.pow(power))
}
