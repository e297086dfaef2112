//! The settings about registries and about the room that images take.

use std::net::IpAddr;

use engine::{RegistrySettings, Watermarks};

use super::{ConfigError, Settings};

/// Whether the settings make sense.
///
/// # Errors
/// The first thing that does not.
pub(super) fn check(settings: &Settings) -> Result<(), ConfigError> {
    registries(settings)?;
    watermarks(settings)?;
    gzip_level(settings)?;
    max_layer_bytes(settings).map(drop)
}

/// How registries are spoken to.
///
/// # Errors
/// When an address or a number makes no sense.
pub(crate) fn registries(settings: &Settings) -> Result<RegistrySettings, ConfigError> {
    let usual = RegistrySettings::default();
    let at_least_one = |directive, value: Option<i64>, usual: usize| match value {
        None => Ok(usual),
        Some(value) => match usize::try_from(value) {
            Ok(value) if value > 0 => Ok(value),
            _ => Err(ConfigError::value(directive, value.to_string(), "a number from 1 on")),
        },
    };
    let downloads = settings.max_concurrent_downloads;
    let uploads = settings.max_concurrent_uploads;
    let attempts = settings.max_download_attempts;
    let attempts = at_least_one("--max-download-attempts", attempts, usual.attempts as usize)?;
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Ok(RegistrySettings {
        insecure: each(&settings.insecure_registries, insecure)?,
        mirrors: each(&settings.registry_mirrors, mirror)?,
        http_proxy: filled(&settings.http_proxy),
        https_proxy: filled(&settings.https_proxy),
        no_proxy: filled(&settings.no_proxy),
        downloads: at_least_one("--max-concurrent-downloads", downloads, usual.downloads)?,
        uploads: at_least_one("--max-concurrent-uploads", uploads, usual.uploads)?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
    })
}

fn each(
    list: &[String],
    one: impl Fn(&str) -> Result<String, ConfigError>,
) -> Result<Vec<String>, ConfigError> {
    list.iter().map(|text| one(text)).collect()
}

/// A host with an optional port, or a block of addresses. dockerd lets a scheme pass.
fn insecure(text: &str) -> Result<String, ConfigError> {
    let wrong = |reason| ConfigError::value("--insecure-registry", text, reason);
    let bare = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let bare = bare.unwrap_or(text);
    if let Some((address, prefix)) = bare.split_once('/') {
        let address: IpAddr =
            address.parse().map_err(|_| wrong("write HOST[:PORT] or ADDRESS/PREFIX"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        return match prefix.parse::<u8>() {
            Ok(prefix) if prefix <= most => Ok(bare.to_owned()),
            _ => Err(wrong("the prefix is longer than an address")),
        };
    }
    let plausible = !bare.is_empty()
        && !bare.starts_with('-')
        && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte));
    if plausible { Ok(bare.to_owned()) } else { Err(wrong("write HOST[:PORT] or ADDRESS/PREFIX")) }
}

/// The address of a mirror, with the slash at its end that dockerd shows.
fn mirror(text: &str) -> Result<String, ConfigError> {
    let wrong = |reason| ConfigError::value("--registry-mirror", text, reason);
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let rest = rest.ok_or_else(|| wrong("write http://HOST[:PORT] or https://HOST[:PORT]"))?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.is_empty() || host.contains(['/', '?', '#']) {
        return Err(wrong("a mirror has no path, query or fragment"));
    }
    if host.contains('@') {
        return Err(wrong("a mirror has no user"));
    }
    Ok(format!("{}/", text.strip_suffix('/').unwrap_or(text)))
}

/// When images are removed by themselves; nothing when they never are.
///
/// # Errors
/// When a percentage is none, or the low one is not below the high one.
pub(crate) fn watermarks(settings: &Settings) -> Result<Option<Watermarks>, ConfigError> {
    let percent = |directive, value: i64| match u8::try_from(value) {
        Ok(value) if (1..=100).contains(&value) => Ok(value),
        _ => Err(ConfigError::value(directive, value.to_string(), "a percentage from 1 to 100")),
    };
    let high = settings.image_gc_high_percent.filter(|percent| *percent != 0);
    let low = settings.image_gc_low_percent.filter(|percent| *percent != 0);
    let Some(high) = high else {
        return match low {
            None => Ok(None),
            Some(low) => {
                let reason = "has a meaning only with --image-gc-high-percent";
                Err(ConfigError::value("--image-gc-low-percent", low.to_string(), reason))
            }
        };
    };
    let high = percent("--image-gc-high-percent", high)?;
    let low = match low {
        None => high.saturating_sub(10).max(1),
        Some(low) => percent("--image-gc-low-percent", low)?,
    };
    if low >= high && high > 1 {
        let reason = "must be below --image-gc-high-percent";
        return Err(ConfigError::value("--image-gc-low-percent", low.to_string(), reason));
    }
    Ok(Some(Watermarks { high, low }))
}

/// Gzip's level for layers that are pushed.
///
/// # Errors
/// When gzip has no such level.
pub(crate) fn gzip_level(settings: &Settings) -> Result<Option<u32>, ConfigError> {
    match settings.push_compression_level {
        None => Ok(None),
        Some(level) => match u32::try_from(level) {
            Ok(level @ 1..=9) => Ok(Some(level)),
            _ => {
                let reason = "a number from 1 to 9";
                Err(ConfigError::value("--push-compression-level", level.to_string(), reason))
            }
        },
    }
}

/// The most that a layer may unpack to, in bytes.
///
/// # Errors
/// When it is nothing or less.
pub(crate) fn max_layer_bytes(settings: &Settings) -> Result<Option<u64>, ConfigError> {
    match settings.max_layer_size {
        None => Ok(None),
        Some(bytes) => match u64::try_from(bytes) {
            Ok(bytes) if bytes > 0 => Ok(Some(bytes)),
            _ => {
                let reason = "must be more than nothing";
                Err(ConfigError::value("--max-layer-size", bytes.to_string(), reason))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_has_nine_levels() {
        let level = |level| {
            gzip_level(&Settings { push_compression_level: Some(level), ..Settings::default() })
        };
        assert!(matches!(level(9), Ok(Some(9))));
        assert!(level(0).is_err() && level(10).is_err() && level(-1).is_err());
    }

    #[test]
    fn mirrors_and_insecure_registries_are_checked() {
        for (given, kept) in
            [("https://m.example", "https://m.example/"), ("http://a:5000/", "http://a:5000/")]
        {
            assert_eq!(mirror(given).expect(given), kept);
        }
        for bad in ["m.example", "ftp://x", "https://", "https://x/y", "https://u@x", "http://x?a"]
        {
            assert!(mirror(bad).is_err(), "{bad}");
        }
        for good in ["r.example", "r.example:5000", "10.0.0.0/8", "fd00::/8", "[::1]:5000"] {
            assert_eq!(insecure(good).expect(good), good);
        }
        assert_eq!(insecure("http://r:5000").expect("a scheme passes"), "r:5000");
        for bad in ["", "-x", "10.0.0.0/33", "r.example/path", "a b"] {
            assert!(insecure(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn watermarks_have_an_order() {
        let marks = |high, low| {
            watermarks(&Settings {
                image_gc_high_percent: high,
                image_gc_low_percent: low,
                ..Settings::default()
            })
        };
        assert_eq!(marks(None, None).expect("never"), None);
        assert_eq!(marks(Some(0), None).expect("never"), None);
        let ten_less = Watermarks { high: 85, low: 75 };
        assert_eq!(marks(Some(85), None).expect("valid"), Some(ten_less));
        for (high, low) in
            [(None, Some(5)), (Some(101), None), (Some(50), Some(50)), (Some(-1), None)]
        {
            assert!(marks(high, low).is_err(), "{high:?} {low:?}");
        }
    }

    #[test]
    fn numbers_are_positive() {
        let none = Settings { max_concurrent_downloads: Some(0), ..Settings::default() };
        assert!(registries(&none).is_err());
        let some = Settings { max_concurrent_uploads: Some(2), ..Settings::default() };
        let some = registries(&some).expect("valid");
        assert_eq!((some.downloads, some.uploads, some.attempts), (6, 2, 5));
        let nothing = Settings { max_layer_size: Some(0), ..Settings::default() };
        assert!(max_layer_bytes(&nothing).is_err());
    }
}
