//! The engine's memory: one file, one transaction a change.
//!
//! A thread of its own owns the file. Changes that arrive while a transaction is being written
//! go into the next one together, so that a hundred containers created at once cost a few
//! fsyncs and not a hundred.

use std::path::Path;
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

/// The open database.
#[derive(Debug)]
pub(crate) struct Database {
    jobs: mpsc::Sender<Job>,
}

/// Every record of one table, by key.
pub(crate) type Records<T> = Vec<(String, T)>;

impl Database {
    /// Opens the file, making it when it is missing, and starts its thread.
    pub(crate) fn open(path: &Path) -> Result<(Self, redb::Database), Error> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::system(format!(
                "cannot open the database {}: {error}; if another daemon uses this data root, \
                 stop it or choose another --data-root",
                path.display()
            ))
        };
        let file = redb::Builder::new()
            .set_cache_size(CACHE)
            .create(path)
            .map_err(|error| failed(&error))?;
        let transaction = file.begin_write().map_err(|error| failed(&error))?;
        for table in [Table::Containers, Table::Networks] {
            transaction.open_table(table.definition()).map_err(|error| failed(&error))?;
        }
        transaction.commit().map_err(|error| failed(&error))?;
        let (jobs, _) = mpsc::channel();
        Ok((Self { jobs }, file))
    }

    /// Starts the thread that writes; to be called once everything has been read.
    pub(crate) fn serve(&mut self, file: redb::Database) -> Result<(), Error> {
        let (jobs, queue) = mpsc::channel();
        self.jobs = jobs;
        thread::Builder::new()
            .name("database".to_owned())
            .stack_size(256 << 10)
            .spawn(move || write_all(&file, &queue))
            .map_err(|error| Error::system(format!("cannot start the database thread: {error}")))?;
        Ok(())
    }

    /// Makes a change and waits until it is on disk.
    pub(crate) async fn commit(&self, change: Change) -> Result<(), Error> {
        let (done, outcome) = oneshot::channel();
        self.send(Job { change, done: Some(done) })?;
        match outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => Err(Error::system(format!("cannot write the database: {message}"))),
            Err(_) => Err(Error::system("the database thread has ended")),
        }
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

/// Reads a whole table. Records that cannot be read are named and left alone.
pub(crate) fn read<T: DeserializeOwned>(
    file: &redb::Database,
    table: Table,
) -> Result<Records<T>, Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::system(format!("cannot read the database: {error}"));
    let transaction = file.begin_read().map_err(|error| failed(&error))?;
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

fn write_all(file: &redb::Database, queue: &mpsc::Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter());
        let outcome = write(file, &jobs).map_err(|error| error.to_string());
        for job in jobs {
            match (job.done, &outcome) {
                // The one who asked may have gone; then nobody wants to know.
                (Some(done), _) => drop(done.send(outcome.clone())),
                (None, Err(error)) => tracing::error!("cannot write the database: {error}"),
                (None, Ok(())) => {}
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
