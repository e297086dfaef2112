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

/// The one platform among parameters that may come more than once; `None` when there is none. The
/// images of this store have one platform each.
///
/// # Errors
/// [`types::ErrorKind::Invalid`] for several different ones, in dockerd's words.
pub(crate) fn only<'a>(
    texts: impl Iterator<Item = &'a str>,
    read: fn(&str) -> Result<String, Error>,
) -> Result<Option<String>, Error> {
    let mut texts = texts.filter(|text| !text.is_empty());
    let Some(first) = texts.next() else { return Ok(None) };
    let first = read(first)?;
    for text in texts {
        if read(text)? != first {
            return Err(Error::invalid("multiple platform parameters not supported"));
        }
    }
    Ok(Some(first))
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
    fn there_is_one_platform() {
        let arm = r#"{"os":"linux","architecture":"arm64"}"#;
        let only = |texts: &[&str]| only(texts.iter().copied(), either);
        assert_eq!(only(&[]), Ok(None));
        assert_eq!(only(&["", arm, "linux/arm64"]), Ok(Some("linux/arm64".to_owned())));
        let several = only(&[arm, "linux/amd64"]).expect_err("several");
        assert_eq!(several.message, "multiple platform parameters not supported");
    }

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
