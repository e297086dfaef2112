//! Where a container's output goes.

use proto::launch::{Log, LogFile};
use types::container::LogConfig;

use crate::container::validate;
use crate::record::Record;

/// Logs rotate at this size unless told otherwise: a container that talks must not fill the disk.
const LOG_SIZE: u64 = 20 << 20;
/// How many log files are kept unless told otherwise.
const LOG_FILES: u32 = 5;

/// Where the container's output goes.
pub(crate) fn log(directory: &std::path::Path, record: &Record) -> Log {
    let LogConfig { kind, config } = &record.host.log_config;
    let local = kind == "local";
    let name = if local { "container.log".to_owned() } else { format!("{}-json.log", record.id) };
    let file = LogFile {
        path: directory.join(name),
        max_size: Some(
            config.get("max-size").and_then(|size| validate::size(size)).unwrap_or(LOG_SIZE),
        ),
        max_file: config.get("max-file").and_then(|n| n.parse().ok()).unwrap_or(LOG_FILES),
        compress: config.get("compress").map_or(local, |value| value == "true"),
        attributes: log_attributes(record),
    };
    match kind.as_str() {
        "none" => Log::None,
        "local" => Log::Local(file),
        _ => Log::JsonFile(file),
    }
}

/// Labels and variables that the user wants in every log record.
fn log_attributes(record: &Record) -> std::collections::BTreeMap<String, String> {
    let options = &record.host.log_config.config;
    let mut attributes = std::collections::BTreeMap::new();
    let names = |key: &str| options.get(key).map(String::as_str).unwrap_or_default().split(',');
    for name in names("labels") {
        if let Some(value) = record.config.labels.get(name) {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    for name in names("env").filter(|name| !name.is_empty()) {
        let variable = record.config.env.iter().find_map(|line| {
            line.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value)
        });
        if let Some(value) = variable {
            attributes.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(tag) = options.get("tag") {
        let tag = tag
            .replace("{{.ID}}", record.id.short())
            .replace("{{.FullID}}", record.id.as_str())
            .replace("{{.Name}}", &record.name)
            .replace("{{.ImageName}}", &record.config.image);
        attributes.insert("tag".to_owned(), tag);
    }
    attributes
}
