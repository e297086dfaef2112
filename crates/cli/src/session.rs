//! What every command needs: the client (made when first used), the configuration, output.

use std::cell::OnceCell;
use std::io::{IsTerminal as _, Write as _};

use docker_api::client::{Client, Config};

use crate::config::{ConfigDir, ConfigFile, Destination};
use crate::failure::Failure;
use crate::globals::Globals;

/// One run of the program.
pub(crate) struct Session {
    /// What stood before the command.
    pub(crate) globals: Globals,
    /// Where the client's configuration is.
    pub(crate) directory: ConfigDir,
    file: OnceCell<ConfigFile>,
    client: OnceCell<Client>,
    destination: OnceCell<Destination>,
}

impl Session {
    /// Does nothing yet.
    pub(crate) fn new(globals: Globals) -> Self {
        Self {
            directory: ConfigDir::find(&globals),
            globals,
            file: OnceCell::new(),
            client: OnceCell::new(),
            destination: OnceCell::new(),
        }
    }

    /// `config.json`. One that cannot be read is done without, after a warning.
    pub(crate) fn config(&self) -> &ConfigFile {
        self.file.get_or_init(|| {
            self.directory.file().unwrap_or_else(|error| {
                self.warn(&format!("WARNING: Error loading config file: {error:#}"));
                ConfigFile::default()
            })
        })
    }

    /// Where the daemon is.
    pub(crate) fn destination(&self) -> anyhow::Result<&Destination> {
        if let Some(destination) = self.destination.get() {
            return Ok(destination);
        }
        let destination = self.directory.destination(&self.globals, self.config())?;
        Ok(self.destination.get_or_init(|| destination))
    }

    /// The client.
    pub(crate) fn client(&self) -> anyhow::Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let destination = self.destination()?;
        let client = Client::new(Config {
            endpoint: destination.endpoint.clone(),
            tls: destination.tls.clone(),
            version: std::env::var("DOCKER_API_VERSION")
                .ok()
                .map(|version| version.trim_start_matches('v').to_owned())
                .filter(|version| !version.is_empty()),
            headers: self.config().http_headers.clone().into_iter().collect(),
        })?;
        Ok(self.client.get_or_init(|| client))
    }

    /// The proxy variables that the configuration has for containers and builds of this daemon.
    pub(crate) fn proxies(&self) -> anyhow::Result<Vec<(String, String)>> {
        let config = self.config();
        if config.proxies.is_empty() {
            return Ok(Vec::new());
        }
        let here = self.destination()?.endpoint.to_string();
        let proxy = config.proxies.get(&here).or_else(|| config.proxies.get("default"));
        Ok(proxy.map(crate::config::Proxy::variables).unwrap_or_default())
    }

    /// A line on standard output. Whoever closed it has heard enough.
    pub(crate) fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
    }

    /// Text on standard output as it is.
    pub(crate) fn text(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// A line on standard error.
    pub(crate) fn warn(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Asks a question whose answer is no unless it is yes.
    pub(crate) fn confirm(&self, question: &str) -> anyhow::Result<bool> {
        self.text(&format!("{question} [y/N] "));
        let mut answer = String::new();
        if std::io::stdin().read_line(&mut answer)? == 0 {
            self.line("");
        }
        Ok(matches!(answer.trim(), "y" | "Y"))
    }

    /// Refuses to write binary data to a terminal.
    pub(crate) fn refuse_terminal(&self, what: &str) -> anyhow::Result<()> {
        if std::io::stdout().is_terminal() {
            return Err(Failure::with(
                1,
                format!("cowardly refusing to {what} to a terminal. Use the -o flag or redirect"),
            ));
        }
        Ok(())
    }
}
