//! Platforms in parameters: `os/arch/variant`, or OCI's JSON object since version 1.46.

use docker_api::image::Platform;
use types::Error;

/// Reads OCI's JSON object.
///
/// # Errors
/// [`types::ErrorKind::Invalid`] in dockerd's words.
pub(crate) fn parse(text: &str) -> Result<Platform, Error> {
    let wrong = |reason: String| Error::invalid(format!("failed to parse platform: {reason}"));
    let platform: Platform =
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if platform.os.is_empty() || platform.architecture.is_empty() {
        return Err(wrong("both OS and Architecture must be provided".to_owned()));
    }
    Ok(platform)
}

/// One of either kind, as the engine reads it: what begins like an object is one.
///
/// # Errors
/// Those of [`parse`].
pub(crate) fn either(text: &str) -> Result<String, Error> {
    if text.trim_start().starts_with('{') { written(text) } else { Ok(text.to_owned()) }
}

/// The same as the engine reads it: `os/arch[/variant]`.
///
/// # Errors
/// Those of [`parse`].
pub(crate) fn written(text: &str) -> Result<String, Error> {
    let platform = parse(text)?;
    let (os, architecture, variant) = (platform.os, platform.architecture, platform.variant);
    Ok(match variant.as_str() {
        "" => format!("{os}/{architecture}"),
        variant => format!("{os}/{architecture}/{variant}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_objects() {
        let json = r#"{"os":"linux","architecture":"arm","variant":"v7"}"#;
        assert_eq!(written(json).as_deref(), Ok("linux/arm/v7"));
        assert_eq!(
            written(r#"{"os":"linux","architecture":"amd64"}"#).as_deref(),
            Ok("linux/amd64")
        );
        for bad in ["linux/amd64", "{}", r#"{"os":"linux"}"#, "[]", ""] {
            assert!(written(bad).is_err(), "{bad}");
        }
    }
}
