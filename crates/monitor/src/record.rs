//! The exit record: how a container ended, for a daemon that may not be there now.

use std::io;
use std::path::Path;

use proto::control::ExitRecord;

/// Its name in the monitor's directory.
const NAME: &str = "exit.json";

/// Writes the record: whoever finds it finds all of it. There is no fsync: the directory is on a
/// tmpfs, where there is nothing to sync, and after a crash of the machine there is no container
/// whose end would have to be known from here.
pub(crate) fn write(directory: &Path, record: &ExitRecord) -> io::Result<()> {
    let unfinished = directory.join("exit.json.new");
    std::fs::write(&unfinished, serde_json::to_vec(record)?)?;
    std::fs::rename(unfinished, directory.join(NAME))
}
