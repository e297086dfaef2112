//! What an image says, and what the user says over it.

use types::Error;
use types::container::ContainerConfig;
use types::health::HealthConfig;

/// Checks that the image is for the platform that was asked for.
pub(super) fn check_platform(
    name: &str,
    image: &image::ImageConfig,
    platform: Option<&str>,
) -> Result<(), Error> {
    let Some((os, architecture)) = platform.and_then(parts) else { return Ok(()) };
    if image.os == os && image.architecture == architecture {
        return Ok(());
    }
    Err(Error::not_found(format!(
        "image with reference {name} was found but its platform ({}/{}) does not match the \
         specified platform ({os}/{architecture})",
        image.os, image.architecture
    )))
}

/// Operating system and architecture of a platform as it is written; `None`: none was asked for.
pub(super) fn parts(platform: &str) -> Option<(&str, &str)> {
    if platform.is_empty() {
        return None;
    }
    let mut parts = platform.split('/');
    let (os, architecture) = (parts.next().unwrap_or_default(), parts.next());
    let (os, architecture) = match (os, architecture) {
        (os, Some(architecture)) => (os, architecture),
        ("linux" | "windows" | "darwin", None) => (os, image::host_architecture().0),
        (architecture, None) => ("linux", architecture),
    };
    let architecture = match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Some((os, architecture))
}

/// Puts an image's defaults under what the user said, by Docker's rules.
pub(crate) fn merge(user: &mut ContainerConfig, image: &ContainerConfig) {
    let inherit = |mine: &mut String, theirs: &String| {
        if mine.is_empty() {
            mine.clone_from(theirs);
        }
    };
    inherit(&mut user.user, &image.user);
    inherit(&mut user.working_dir, &image.working_dir);
    inherit(&mut user.stop_signal, &image.stop_signal);
    for (port, set) in &image.exposed_ports {
        user.exposed_ports.entry(port.clone()).or_insert(*set);
    }
    for (path, set) in &image.volumes {
        user.volumes.entry(path.clone()).or_insert(*set);
    }
    for (key, value) in &image.labels {
        user.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    fn key(variable: &str) -> &str {
        variable.split('=').next().unwrap_or_default()
    }
    let mine: Vec<String> = user.env.iter().map(|variable| key(variable).to_owned()).collect();
    user.env.extend(
        image.env.iter().filter(|theirs| !mine.iter().any(|mine| mine == key(theirs))).cloned(),
    );
    if user.entrypoint.as_ref().is_none_or(|words| words.is_empty()) {
        if user.cmd.as_ref().is_none_or(|words| words.is_empty()) {
            user.cmd.clone_from(&image.cmd);
        }
        if user.entrypoint.is_none() {
            user.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if user.shell.is_empty() {
        user.shell.clone_from(&image.shell);
    }
    match (&mut user.healthcheck, &image.healthcheck) {
        (mine @ None, theirs) => mine.clone_from(theirs),
        (Some(mine), Some(theirs)) => merge_health(mine, theirs),
        (Some(_), None) => {}
    }
}

fn merge_health(mine: &mut HealthConfig, theirs: &HealthConfig) {
    if mine.test.is_empty() {
        mine.test.clone_from(&theirs.test);
    }
    for (mine, theirs) in [
        (&mut mine.interval, theirs.interval),
        (&mut mine.timeout, theirs.timeout),
        (&mut mine.start_period, theirs.start_period),
        (&mut mine.start_interval, theirs.start_interval),
        (&mut mine.retries, theirs.retries),
    ] {
        if *mine == 0 {
            *mine = theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Words;

    fn words(words: &[&str]) -> Option<Words> {
        Some(Words(words.iter().map(|&word| word.to_owned()).collect()))
    }

    #[test]
    fn the_image_fills_the_gaps() {
        let image = ContainerConfig {
            cmd: words(&["serve"]),
            entrypoint: words(&["/app"]),
            env: vec!["PATH=/bin".into(), "A=1".into()],
            working_dir: "/srv".into(),
            ..ContainerConfig::default()
        };
        let mut plain = ContainerConfig { env: vec!["A=2".into()], ..ContainerConfig::default() };
        merge(&mut plain, &image);
        assert_eq!(plain.cmd, image.cmd);
        assert_eq!(plain.entrypoint, image.entrypoint);
        assert_eq!(plain.env, ["A=2", "PATH=/bin"]);
        let mut own = ContainerConfig { entrypoint: words(&["/x"]), ..ContainerConfig::default() };
        merge(&mut own, &image);
        assert_eq!(own.cmd, None, "an own entrypoint forgets the image's command");
    }
}
