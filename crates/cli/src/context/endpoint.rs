//! `--docker host=…,ca=…,cert=…,key=…,skip-tls-verify=…`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;
use docker_api::client::Endpoint;
use serde_json::{Value, json};

use super::store::{DOCKER, Material};
use crate::config::ConfigDir;
use crate::failure::Failure;

/// A daemon as the command line describes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    from: Option<String>,
    host: Option<String>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    skip_tls_verify: bool,
}

/// Reads the option's value.
///
/// # Errors
/// In Docker's words for keys that mean nothing.
pub(super) fn parse(text: &str) -> anyhow::Result<Described> {
    let mut found = Described::default();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let wrong = |message: String| Failure::with(1, message);
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| wrong(format!("invalid argument {part:?}: write KEY=VALUE")))?;
        let value = value.to_owned();
        match key.trim() {
            "from" => found.from = Some(value),
            "host" => found.host = Some(value),
            "ca" => found.ca = Some(value),
            "cert" => found.cert = Some(value),
            "key" => found.key = Some(value),
            "skip-tls-verify" => {
                found.skip_tls_verify = crate::globals::truth(&value).ok_or_else(|| {
                    wrong(format!("invalid value {value:?} for skip-tls-verify: use true or false"))
                })?;
            }
            other => return Err(wrong(format!("unrecognized config key: {other}"))),
        }
    }
    Ok(found)
}

impl Described {
    /// The endpoint for `meta.json`, and the files that go with it.
    ///
    /// # Errors
    /// No such context, an address that is none, files that cannot be read.
    pub(super) fn settle(&self, directory: &ConfigDir) -> anyhow::Result<(Value, Material)> {
        if let Some(name) = self.from.as_deref().filter(|name| *name != "default") {
            let context = directory.context(name)?;
            let endpoint = super::store::read(directory, &context)?["Endpoints"][DOCKER].clone();
            return Ok((endpoint, super::store::material(directory, &context)?));
        }
        let host = match (&self.host, &self.from) {
            (Some(host), _) => host.clone(),
            (None, Some(_)) => super::default_host(),
            (None, None) => String::new(),
        };
        if !host.is_empty() {
            host.parse::<Endpoint>()?;
        }
        let mut files = BTreeMap::new();
        for (name, path) in [("ca.pem", &self.ca), ("cert.pem", &self.cert), ("key.pem", &self.key)]
        {
            if let Some(path) = path {
                let bytes = fs::read(path).with_context(|| format!("open {path}"))?;
                files.insert(name.to_owned(), bytes);
            }
        }
        if files.contains_key("cert.pem") != files.contains_key("key.pem") {
            return Err(Failure::with(1, "a certificate needs its key: give both, cert= and key="));
        }
        let endpoint = json!({"Host": host, "SkipTLSVerify": self.skip_tls_verify});
        let material = match files.is_empty() {
            true => Material::new(),
            false => Material::from([(DOCKER.to_owned(), files)]),
        };
        Ok((endpoint, material))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_dockers() {
        let found = parse("host=tcp://a:1,ca=/c,cert=x,key=y,skip-tls-verify=true").expect("valid");
        assert_eq!(found.host.as_deref(), Some("tcp://a:1"));
        assert_eq!(found.key.as_deref(), Some("y"));
        assert!(found.skip_tls_verify);
        let message = |text: &str| parse(text).expect_err("refused").to_string();
        assert_eq!(message("hots=x"), "unrecognized config key: hots");
        assert!(message("host").contains("KEY=VALUE"));
        assert!(message("skip-tls-verify=maybe").contains("true or false"));
    }
}
