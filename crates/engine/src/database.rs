//! The engine's memory: one file, one transaction a change.
//!
//! A thread of its own owns the file. Changes that arrive while a transaction is being written
//! go into the next one together, so that a hundred containers created at once cost a few
//! fsyncs and not a hundred.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use types::Error;

const CONTAINERS: TableDefinition<&str, &[u8]> = TableDefinition::new("containers");
const NETWORKS: TableDefinition<&str, &[u8]> = TableDefinition::new("networks");

/// Bytes of the file kept in memory: the records live in the engine anyway.
const CACHE: usize = 512 << 10;

/// One table of the database.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    /// Containers, by id.
    Containers,
    /// User-defined networks, by id.
    Networks,
}

impl Table {
    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        match self {
            Self::Containers => CONTAINERS,
            Self::Networks => NETWORKS,
        }
    }
}

/// One change.
#[derive(Debug)]
pub(crate) enum Change {
    Put(Table, String, Vec<u8>),
    Remove(Table, String),
}

impl Change {
    /// Sets the record of `key`.
    pub(crate) fn put<T: Serialize>(table: Table, key: &str, record: &T) -> Result<Self, Error> {
        let json = serde_json::to_vec(record)
            .map_err(|error| Error::system(format!("cannot write record {key}: {error}")))?;
        Ok(Self::Put(table, key.to_owned(), json))
    }

    /// Removes the record of `key`.
    pub(crate) fn remove(table: Table, key: &str) -> Self {
        Self::Remove(table, key.to_owned())
    }
}

struct Job {
    change: Change,
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// A change on its way to the disk, where it arrives whether or not anybody waits for it.
#[derive(Debug)]
#[must_use = "nobody knows whether it has been written until it is waited for"]
pub(crate) struct Pending(oneshot::Receiver<Result<(), String>>);

impl Pending {
    /// Waits until it is there.
    pub(crate) async fn done(self) -> Result<(), Error> {
        outcome(self.0.await)
    }

    /// The same on a thread that may block.
    pub(crate) fn done_blocking(self) -> Result<(), Error> {
        outcome(self.0.blocking_recv())
    }
}

fn outcome(outcome: Result<Result<(), String>, oneshot::error::RecvError>) -> Result<(), Error> {
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(message)) => Err(Error::system(format!("cannot write the database: {message}"))),
        Err(_) => Err(Error::system("the database thread has ended")),
    }
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Database {
    jobs: mpsc::Sender<Job>,
}

/// Every record of one table, by key.
pub(crate) type Records<T> = Vec<(String, T)>;

impl Database {
    /// Opens the file, making it when it is missing.
    pub(crate) fn open(path: &Path) -> Result<(Self, File), Error> {
        let file = File::open(path).map_err(|error| {
            Error::system(format!(
                "cannot open the database {}: {error}; if another daemon uses this data root, \
                 stop it or choose another --data-root",
                path.display()
            ))
        })?;
        let (jobs, _) = mpsc::channel();
        Ok((Self { jobs }, file))
    }

    /// Starts the thread that writes; to be called once everything has been read.
    pub(crate) fn serve(&mut self, file: File) -> Result<(), Error> {
        let (jobs, queue) = mpsc::channel();
        self.jobs = jobs;
        thread::Builder::new()
            .name("database".to_owned())
            .stack_size(256 << 10)
            .spawn(move || write_all(file, &queue))
            .map_err(|error| Error::system(format!("cannot start the database thread: {error}")))?;
        Ok(())
    }

    /// Makes a change and waits until it is on disk.
    pub(crate) async fn commit(&self, change: Change) -> Result<(), Error> {
        self.begin(change)?.done().await
    }

    /// Begins to make a change: those begun earlier are on disk before it.
    pub(crate) fn begin(&self, change: Change) -> Result<Pending, Error> {
        let (done, outcome) = oneshot::channel();
        self.send(Job { change, done: Some(done) })?;
        Ok(Pending(outcome))
    }

    /// Makes a change soon. For what can be found out again after a crash.
    pub(crate) fn post(&self, change: Change) {
        if let Err(error) = self.send(Job { change, done: None }) {
            tracing::error!("{error}");
        }
    }

    fn send(&self, job: Job) -> Result<(), Error> {
        self.jobs.send(job).map_err(|_| Error::system("the database thread has ended"))
    }
}

/// The file, while it can be used.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    /// `None` after a failure: then it has to be opened anew.
    open: Option<redb::Database>,
}

impl File {
    fn open(path: &Path) -> Result<Self, redb::Error> {
        let open = redb::Builder::new().set_cache_size(CACHE).create(path)?;
        let transaction = open.begin_write()?;
        for table in [Table::Containers, Table::Networks] {
            transaction.open_table(table.definition())?;
        }
        transaction.commit()?;
        Ok(Self { path: path.to_owned(), open: Some(open) })
    }

    /// Makes the changes of the jobs in one transaction.
    ///
    /// redb gives up for good when the disk does not take what it writes. The disk may have
    /// room again, so it is asked once more with the file opened anew; what has been committed
    /// before is not touched by that.
    fn write(&mut self, jobs: &[Job]) -> Result<(), redb::Error> {
        if let Some(open) = &self.open {
            match write(open, jobs) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!("cannot write the database, trying again: {error}"),
            }
        }
        // It locks the file: the old one must be closed first.
        self.open = None;
        let again = Self::open(&self.path)?;
        let open = again.open.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        write(open, jobs)?;
        self.open = again.open;
        Ok(())
    }
}

/// Reads a whole table. Records that cannot be read are named and left alone.
pub(crate) fn read<T: DeserializeOwned>(file: &File, table: Table) -> Result<Records<T>, Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::system(format!("cannot read the database: {error}"));
    let open = file.open.as_ref().ok_or_else(|| failed(&"it is closed"))?;
    let transaction = open.begin_read().map_err(|error| failed(&error))?;
    let open = transaction.open_table(table.definition()).map_err(|error| failed(&error))?;
    let mut records = Vec::new();
    for row in open.iter().map_err(|error| failed(&error))? {
        let (key, value) = row.map_err(|error| failed(&error))?;
        match serde_json::from_slice(value.value()) {
            Ok(record) => records.push((key.value().to_owned(), record)),
            Err(error) => tracing::error!("record {} cannot be read: {error}", key.value()),
        }
    }
    Ok(records)
}

fn write_all(mut file: File, queue: &mpsc::Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter());
        let outcome = file.write(&jobs).map_err(|error| error.to_string());
        for job in jobs {
            let untold = match job.done {
                // Whoever asked may not wait.
                Some(done) => done.send(outcome.clone()).err(),
                None => Some(outcome.clone()),
            };
            if let Some(Err(error)) = untold {
                tracing::error!("cannot write the database: {error}");
            }
        }
    }
}

fn write(file: &redb::Database, jobs: &[Job]) -> Result<(), redb::Error> {
    let transaction = file.begin_write()?;
    for job in jobs {
        match &job.change {
            Change::Put(table, key, value) => {
                transaction
                    .open_table(table.definition())?
                    .insert(key.as_str(), value.as_slice())?;
            }
            Change::Remove(table, key) => {
                transaction.open_table(table.definition())?.remove(key.as_str())?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_failed_is_opened_anew() {
        let name = crate::container::names::id().expect("random").to_string();
        let path = std::env::temp_dir().join(format!("isopod-database-{name}"));
        let mut file = File::open(&path).expect("opened");
        let job = |key: &str| {
            vec![Job { change: Change::put(Table::Containers, key, &1).expect("fits"), done: None }]
        };
        file.write(&job("a")).expect("written");
        file.open = None;
        file.write(&job("b")).expect("written");
        let found: Records<u32> = read(&file, Table::Containers).expect("read");
        assert_eq!(found, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        drop(file);
        std::fs::remove_file(&path).expect("removed");
    }

    #[tokio::test]
    async fn changes_are_written_in_the_order_in_which_they_were_begun() {
        let name = crate::container::names::id().expect("random").to_string();
        let path = std::env::temp_dir().join(format!("isopod-database-{name}"));
        let (mut database, file) = Database::open(&path).expect("opened");
        database.serve(file).expect("served");
        let put =
            |key: &str, value: u32| Change::put(Table::Containers, key, &value).expect("fits");
        for value in 0..100 {
            // Nobody waits for these, and they are overtaken by nothing.
            drop(database.begin(put("a", value)).expect("begun"));
            database.post(put("b", value));
        }
        database.post(Change::remove(Table::Containers, "b"));
        database.commit(put("c", 7)).await.expect("written");
        drop(database);
        let begun = std::time::Instant::now();
        // The thread lets go of the file when it sees that nobody can ask any more.
        let file = loop {
            match Database::open(&path) {
                Ok((_, file)) => break file,
                Err(error) => assert!(begun.elapsed().as_secs() < 10, "{error}"),
            }
            thread::sleep(std::time::Duration::from_millis(5));
        };
        let found: Records<u32> = read(&file, Table::Containers).expect("read");
        assert_eq!(found, [("a".to_owned(), 99), ("c".to_owned(), 7)]);
        std::fs::remove_file(&path).expect("removed");
    }
}
