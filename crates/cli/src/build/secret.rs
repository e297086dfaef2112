//! `--secret` and `--ssh`: what the steps of a build may ask this machine for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::options::words;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
}

/// Where an ssh agent's answers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Agent {
    /// A running agent's socket.
    Socket(PathBuf),
    /// Private keys, for which an agent is started.
    Keys(Vec<PathBuf>),
}

/// Everything that may be asked for, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Secrets {
    pub(super) secrets: BTreeMap<String, Secret>,
    pub(super) agents: BTreeMap<String, Agent>,
}

impl Secrets {
    /// Reads the options; looks whether what they name is there.
    pub(super) fn parse(
        secrets: &[String],
        agents: &[String],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let mut all = Self::default();
        for text in secrets {
            let (id, secret) = secret(text, &variable)?;
            all.secrets.insert(id, secret);
        }
        for text in agents {
            let (id, agent) = agent(text, &variable)?;
            if all.agents.insert(id.clone(), agent).is_some() {
                return Err(format!("invalid duplicate ssh id {id:?}"));
            }
        }
        Ok(all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.agents.is_empty()
    }
}

/// `id=NAME[,src=FILE|,env=VARIABLE]`; without either, the variable of that name, or the file.
fn secret(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(String, Secret), String> {
    let (mut id, mut file, mut env, mut kind) = (None, None, None, String::new());
    for field in words::csv(text)? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        let value = value.to_owned();
        match key.to_lowercase().as_str() {
            "id" => id = Some(value),
            "src" | "source" => file = Some(value),
            "env" => env = Some(value),
            "type" if value == "file" || value == "env" => kind = value,
            "type" => return Err(format!("unsupported secret type {value:?}")),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or("secret without an id: use id=NAME,src=FILE")?;
    let found = match (env, file) {
        (Some(name), _) => Secret::Variable(name),
        (None, Some(name)) if kind == "env" => Secret::Variable(name),
        (None, Some(path)) => Secret::File(path.into()),
        (None, None) if kind != "file" && variable(&id).is_some() => Secret::Variable(id.clone()),
        (None, None) => Secret::File(id.clone().into()),
    };
    match &found {
        Secret::Variable(name) if variable(name).is_none() => {
            return Err(format!("secret {id}: the environment variable {name} is not set"));
        }
        Secret::File(path) => {
            if let Err(error) = std::fs::metadata(path) {
                let path = path.display();
                return Err(format!("secret {id}: stat {path}: {}", words::reason(&error)));
            }
        }
        Secret::Variable(_) => {}
    }
    Ok((id, found))
}

/// `default`, `ID=SOCKET` or `ID=KEY[,KEY]`.
fn agent(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<(String, Agent), String> {
    use std::os::unix::fs::FileTypeExt as _;
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { "default" } else { id };
    if paths.is_empty() {
        let socket = variable("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).ok_or(
            "invalid empty ssh agent socket: start an ssh agent, so that SSH_AUTH_SOCK is set, or name a key: --ssh default=PATH",
        )?;
        return Ok((id.to_owned(), Agent::Socket(socket.into())));
    }
    let paths: Vec<PathBuf> = paths.split(',').map(PathBuf::from).collect();
    for path in &paths {
        let metadata = std::fs::metadata(path).map_err(|error| {
            format!("ssh {id}: stat {}: {}", path.display(), words::reason(&error))
        })?;
        if metadata.file_type().is_socket() {
            if paths.len() > 1 {
                return Err(format!("ssh {id}: only a single socket is allowed"));
            }
            return Ok((id.to_owned(), Agent::Socket(path.clone())));
        }
    }
    Ok((id.to_owned(), Agent::Keys(paths)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("t".to_owned()),
            "SSH_AUTH_SOCK" => Some("/agent".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn secrets_are_files_or_variables() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().display().to_string();
        let read = |text: &str| secret(text, variable);
        let from_file = Secret::File(file.path().to_owned());
        assert_eq!(read(&format!("id=a,src={path}")), Ok(("a".into(), from_file.clone())));
        assert_eq!(read(&format!("type=file,id=a,source={path}")), Ok(("a".into(), from_file)));
        assert_eq!(read("id=a,env=TOKEN"), Ok(("a".into(), Secret::Variable("TOKEN".into()))));
        assert_eq!(read("id=TOKEN"), Ok(("TOKEN".into(), Secret::Variable("TOKEN".into()))));
        assert_eq!(
            read("id=a,src=/no/such"),
            Err("secret a: stat /no/such: no such file or directory".into())
        );
        for bad in ["src=/etc/passwd", "id=a,env=UNSET", "id", "id=a,x=y", "id=a,type=magic"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn agents_are_sockets_or_keys() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().display().to_string();
        let read = |text: &str| agent(text, variable);
        let running = Agent::Socket("/agent".into());
        assert_eq!(read("default"), Ok(("default".into(), running.clone())));
        assert_eq!(read("work"), Ok(("work".into(), running)));
        let keys = Agent::Keys(vec![file.path().to_owned()]);
        assert_eq!(read(&format!("git={path}")), Ok(("git".into(), keys)));
        assert!(read("git=/no/such").is_err());
        assert!(agent("default", |_| None).is_err());
        let twice = ["default".to_owned(), "default".to_owned()];
        assert!(Secrets::parse(&[], &twice, variable).is_err());
    }
}
