// SPDX-License-Identifier: GPL-2.0

//! The SQLite database: a table of large documents and a ledger that the write load appends to.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use dm_restore_demo::Content;
use rusqlite::{params, Connection};
use xxhash_rust::xxh3::Xxh3;

use crate::files::{self, Kind};

/// Documents of one MiB.
pub const DOCUMENTS: u64 = 768;
const DOCUMENT_BYTES: usize = 1 << 20;
/// Entries in the ledger before the clone is made.
const ENTRIES: u64 = 1000;
/// What an entry carries: bytes.
const ENTRY_BYTES: usize = 2000;

/// When an entry was made.
#[derive(Clone, Copy)]
pub enum Era {
    /// Before the clone was made: what a restore brings back.
    BeforeClone,
    /// Between the clone and the damage: what a restore takes away.
    AfterClone,
    /// During a restore or later: what must not be lost until the next restore.
    Restore(u64),
}

impl Era {
    fn name(self) -> String {
        match self {
            Self::BeforeClone => "before the clone".into(),
            Self::AfterClone => "after the clone".into(),
            Self::Restore(number) => format!("restore {number}"),
        }
    }
}

/// Where the database is.
pub fn path() -> PathBuf {
    Path::new(crate::MOUNT).join("ledger.db")
}

/// A connection to the database.
pub struct Database(Connection);

impl Database {
    /// Make the database with all documents, as fast as SQLite can: no journal, no syncs.
    ///
    /// # Errors
    ///
    /// As SQLite says.
    pub fn create() -> Result<()> {
        let mut new = Connection::open(path())?;
        new.execute_batch(
            "PRAGMA page_size = 65536;
             PRAGMA journal_mode = off;
             PRAGMA synchronous = off;
             CREATE TABLE document(id INTEGER PRIMARY KEY, body BLOB NOT NULL);
             CREATE TABLE entry(id INTEGER PRIMARY KEY, era TEXT NOT NULL, body BLOB NOT NULL);",
        )?;
        let all = new.transaction()?;
        for id in 0..DOCUMENTS {
            all.execute(
                "INSERT INTO document VALUES (?1, ?2)",
                params![id, document(id)],
            )?;
        }
        for id in 0..ENTRIES {
            add(&all, id, Era::BeforeClone)?;
        }
        all.commit()?;
        // From now on it is used as a production database is: a write-ahead log, synced.
        new.pragma_update(None, "journal_mode", "wal")?;
        new.close().map_err(|(_, error)| error)?;
        Ok(())
    }

    /// Open the database, durable commits.
    ///
    /// # Errors
    ///
    /// There is none, or it is none any more.
    pub fn open() -> Result<Self> {
        ensure!(path().exists(), "{} is missing", path().display());
        let database = Connection::open(path())?;
        database.pragma_update(None, "synchronous", "full")?;
        // 64 pages, 4 MiB: the log goes into the database often enough to be seen.
        database.pragma_update(None, "wal_autocheckpoint", 64)?;
        database.busy_timeout(std::time::Duration::from_secs(60))?;
        Ok(Self(database))
    }

    /// Read one document, and check every byte of it.
    ///
    /// # Errors
    ///
    /// It cannot be read or differs.
    pub fn check_document(&self, id: u64) -> Result<()> {
        let query = "SELECT body FROM document WHERE id = ?1";
        let body: Vec<u8> = self.0.query_row(query, [id], |row| row.get(0))?;
        ensure!(body == document(id), "document {id} differs");
        Ok(())
    }

    /// `PRAGMA integrity_check` must answer `ok`.
    ///
    /// # Errors
    ///
    /// What SQLite finds wrong.
    pub fn check_integrity(&self) -> Result<()> {
        let answer: String = self
            .0
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        ensure!(answer == "ok", "PRAGMA integrity_check: {answer}");
        Ok(())
    }

    /// What the database holds from before the clone.
    ///
    /// # Errors
    ///
    /// As SQLite says.
    pub fn content(&self) -> Result<Content> {
        let mut hash = Xxh3::new();
        let era = Era::BeforeClone.name();
        let documents =
            self.hash_rows(&mut hash, "SELECT id, body FROM document ORDER BY id", &[])?;
        let entries = self.hash_rows(
            &mut hash,
            "SELECT id, body FROM entry WHERE era = ?1 ORDER BY id",
            &[&era],
        )?;
        Ok(Content {
            documents,
            entries,
            files: files::COUNT,
            checksum: format!("{:032x}", hash.digest128()),
            database_bytes: fs::metadata(path())?.len(),
        })
    }

    fn hash_rows(&self, hash: &mut Xxh3, query: &str, arguments: &[&String]) -> Result<u64> {
        let mut statement = self.0.prepare(query)?;
        let mut rows = statement.query(rusqlite::params_from_iter(arguments))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let id: u64 = row.get(0)?;
            hash.update(&id.to_le_bytes());
            hash.update(row.get_ref(1)?.as_blob()?);
            count += 1;
        }
        Ok(count)
    }

    /// How many entries an era has, every byte of them checked.
    ///
    /// # Errors
    ///
    /// As SQLite says; or an entry differs.
    pub fn entries(&self, era: Era) -> Result<u64> {
        let query = "SELECT id, body FROM entry WHERE era = ?1";
        let mut statement = self.0.prepare(query)?;
        let mut rows = statement.query([era.name()])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            ensure!(
                row.get_ref(1)?.as_blob()? == entry(id),
                "entry {id} differs"
            );
            count += 1;
        }
        Ok(count)
    }

    /// Commit one entry, durably.
    ///
    /// # Errors
    ///
    /// As SQLite says; the entry may or may not be there then.
    pub fn append(&self, id: u64, era: Era) -> Result<()> {
        add(&self.0, id, era)
    }

    /// An id that no entry has yet.
    ///
    /// # Errors
    ///
    /// As SQLite says.
    pub fn next_entry(&self) -> Result<u64> {
        let query = "SELECT coalesce(max(id), 0) + 1 FROM entry";
        Ok(self.0.query_row(query, [], |row| row.get(0))?)
    }

    /// Close it, which brings the log into the database.
    ///
    /// # Errors
    ///
    /// As SQLite says.
    pub fn close(self) -> Result<()> {
        self.0
            .close()
            .map_err(|(_, error)| error)
            .context("cannot close the database")
    }
}

fn document(id: u64) -> Vec<u8> {
    let mut body = vec![0; DOCUMENT_BYTES];
    files::fill(&mut body, Kind::Document, id);
    body
}

fn entry(id: u64) -> Vec<u8> {
    let mut body = vec![0; ENTRY_BYTES];
    files::fill(&mut body, Kind::Entry, id);
    body
}

fn add(to: &Connection, id: u64, era: Era) -> Result<()> {
    to.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3)")?
        .execute(params![id, era.name(), entry(id)])?;
    Ok(())
}
