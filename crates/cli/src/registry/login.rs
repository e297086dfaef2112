//! `login`.

use std::io::Read as _;

use distribution::Credentials;
use distribution::credentials::{HUB, Kept, ProgramError, StoreError};
use docker_api::client::{Error, Target};
use docker_api::registry::{AuthConfig, AuthResponse};

use super::{server_name, worded};
use crate::failure::{Failure, describe};
use crate::session::Session;
use crate::terminal::{prompt, stdin_is_terminal};

/// `login`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Password or token; others can see it in the list of processes
    #[arg(short, long)]
    password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Name
    #[arg(short, long)]
    username: Option<String>,
    /// Registry (default Docker Hub)
    #[arg(value_name = "SERVER")]
    server: Vec<String>,
}

pub(crate) async fn login(session: &Session, args: Args) -> anyhow::Result<u8> {
    let server = server_name(args.server.first().map_or("", String::as_str));
    let given = given(session, &args)?;
    let known = session.credentials()?.get(&server);
    let mut asked = match (given, known) {
        (given, Ok(Some(known))) if given.is_empty() => {
            session.line("Authenticating with existing credentials...");
            let known = Credentials { server_address: server.clone(), ..known };
            match attempt(session, &known).await {
                Ok(token) => return keep(session, &server, known, token),
                Err(error) => {
                    if !stdin_is_terminal() {
                        return Err(error);
                    }
                    session.warn(&format!("Login did not succeed, error: {}", describe(&error)));
                }
            }
            Credentials { username: known.username, ..Credentials::default() }
        }
        // What cannot be asked will not keep anything either.
        (_, Err(error @ StoreError::Program(ProgramError::Start { .. }))) => {
            return Err(Failure::with(1, worded(&error)));
        }
        (given, Err(error)) => {
            session.warn(&format!("WARNING: {}", worded(&error)));
            given
        }
        (given, _) => given,
    };
    asked.server_address = server.clone();
    ask(session, &server, &args, &mut asked).await?;
    let token = attempt(session, &asked).await?;
    keep(session, &server, asked, token)
}

/// What the options say.
fn given(session: &Session, args: &Args) -> anyhow::Result<Credentials> {
    if args.password.is_some() {
        session.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        if args.password_stdin {
            anyhow::bail!("--password and --password-stdin are mutually exclusive");
        }
    }
    let username = args.username.clone().unwrap_or_default();
    let mut password = args.password.clone().unwrap_or_default();
    if args.password_stdin {
        if username.is_empty() {
            anyhow::bail!("Must provide --username with --password-stdin");
        }
        std::io::stdin().take(64 << 10).read_to_string(&mut password)?;
        password.truncate(password.trim_end_matches('\n').trim_end_matches('\r').len());
    }
    Ok(Credentials::basic(username, password))
}

/// Asks for what is missing.
async fn ask(
    session: &Session,
    server: &str,
    args: &Args,
    asked: &mut Credentials,
) -> anyhow::Result<()> {
    let named = args.username.is_some();
    if named && !asked.password.is_empty() {
        return Ok(());
    }
    if !stdin_is_terminal() {
        return Err(Failure::with(
            1,
            "Error: Cannot perform an interactive login from a non TTY device: use --username and --password-stdin",
        ));
    }
    if !named {
        if server == HUB {
            session.line("Log in with your Docker ID or email address to push and pull images from Docker Hub.");
        }
        let default = std::mem::take(&mut asked.username);
        let question = match default.as_str() {
            "" => "Username: ".to_owned(),
            name => format!("Username ({name}): "),
        };
        let answer = prompt::line(&question)?;
        asked.username = if answer.is_empty() { default } else { answer };
    }
    if asked.username.is_empty() {
        anyhow::bail!("Error: Non-null Username Required");
    }
    if asked.password.is_empty() {
        asked.password = prompt::secret("Password: ").await?;
    }
    if asked.password.is_empty() {
        anyhow::bail!("Error: Password Required");
    }
    Ok(())
}

/// Asks the registry by way of the daemon, or by ourselves when there is none. A token may
/// come back that is kept instead of the password.
async fn attempt(session: &Session, who: &Credentials) -> anyhow::Result<String> {
    let body = AuthConfig {
        username: who.username.clone(),
        password: who.password.clone(),
        serveraddress: who.server_address.clone(),
        identitytoken: who.identity_token.clone(),
        registrytoken: who.registry_token.clone(),
        ..AuthConfig::default()
    };
    let answer = session.client()?.post::<_, AuthResponse>(&Target::new("/auth"), &body).await;
    match answer {
        Ok(answer) => Ok(answer.identity_token),
        Err(Error::Connect { .. }) => {
            let client = super::client(Vec::new())?;
            Ok(client.login(&who.server_address, who).await?.identity_token)
        }
        Err(error) => Err(error.into()),
    }
}

fn keep(
    session: &Session,
    server: &str,
    mut who: Credentials,
    token: String,
) -> anyhow::Result<u8> {
    if !token.is_empty() {
        who.password = String::new();
        who.identity_token = token;
    }
    let kept = session.credentials()?.store(server, &who)?;
    // A token can be taken back, a password cannot.
    if let (Kept::File(path), false) = (kept, who.password.is_empty()) {
        session.warn(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
             Configure a credential helper to remove this warning: \"credsStore\" in that file\n\
             names a program docker-credential-NAME.\n",
            path.display()
        ));
    }
    session.line("Login Succeeded");
    Ok(0)
}
