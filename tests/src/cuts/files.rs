// SPDX-License-Identifier: GPL-2.0

//! A file system with a database on the volume: made outside the virtual machine, written to and
//! checked in it.

use super::oracle::Oracle;
use super::plan::FILES;
use super::record::Record;
use super::witness::Witness;
use crate::sh;
use anyhow::{bail, ensure, Context, Result};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Rows that the clone's database has.
pub const ROWS: u64 = 40;
const DATABASE: &str = "ledger.db";

/// Makes the clone's file system and returns its bytes.
///
/// # Errors
///
/// A program failed.
pub fn make(folder: &Path) -> Result<Vec<u8>> {
    let tree = folder.join("files");
    fs::create_dir_all(&tree)?;
    let database = tree.join(DATABASE);
    let _ = fs::remove_file(&database);
    let rows = format!(
        "PRAGMA journal_mode = wal;
         CREATE TABLE entry(epoch INTEGER, number INTEGER, body BLOB NOT NULL);
         CREATE UNIQUE INDEX place ON entry(epoch, number);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO entry SELECT 0, i, randomblob(2000) FROM n;"
    );
    sh::ok("sqlite3", &[text(&database)?, &rows])?;
    let image = folder.join("files.img");
    let kib = format!("{}k", (FILES.end - FILES.start) / 2);
    let _ = fs::remove_file(&image);
    sh::ok(
        "mke2fs",
        &[
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-J",
            "size=4",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=0,lazy_journal_init=0",
            "-d",
            text(&tree)?,
            text(&image)?,
            &kib,
        ],
    )?;
    let bytes = fs::read(&image)?;
    fs::remove_file(&image)?;
    fs::remove_dir_all(&tree)?;
    Ok(bytes)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("not a path for a command line")
}

/// A mounted file system whose database is written to.
pub struct Files {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Files {
    /// Mounts and commits one row after the other.
    pub fn start(device: &str, epoch: u64, witness: Witness) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (device, stopped) = (device.to_string(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mount = Mount::new(&device, "load")?;
            let mut database = Database::open(&mount.at)?;
            // The clone's rows are of epoch 0.
            let first = if epoch == 0 { ROWS + 1 } else { 1 };
            for number in first.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                database.commit(epoch, number)?;
                witness.say(Record::Row(epoch, number))?;
                if number % 100 == 0 {
                    database.thin_out(number)?;
                }
            }
            database.close()?;
            mount.unmount()
        });
        Ok(Self { stop, thread })
    }

    /// Stops and unmounts.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .ok()
            .context("the thread of the database panicked")?
    }
}

struct Mount {
    at: String,
}

impl Mount {
    fn new(device: &str, name: &str) -> Result<Self> {
        let at = format!("/mnt/{name}");
        fs::create_dir_all(&at)?;
        sh::ok("mount", &["-t", "ext4", device, &at])?;
        Ok(Self { at })
    }

    fn unmount(self) -> Result<()> {
        sh::ok("umount", &[&self.at]).map(drop)
    }
}

/// A database that is open.
struct Database {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Database {
    fn open(folder: &str) -> Result<Self> {
        let mut process = Command::new("sqlite3")
            .args(["-batch", "-bail"])
            .arg(format!("{folder}/{DATABASE}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("sqlite3 cannot be run")?;
        let input = process.stdin.take().context("no input")?;
        let output = BufReader::new(process.stdout.take().context("no output")?);
        let mut database = Self {
            process,
            input,
            output,
        };
        // Commits are durable; the log goes into the database often.
        database.ask("PRAGMA synchronous = full; PRAGMA wal_autocheckpoint = 16;")?;
        Ok(database)
    }

    /// Runs SQL that answers with one line.
    fn ask(&mut self, sql: &str) -> Result<String> {
        writeln!(self.input, "{sql}")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "sqlite3 has ended: {sql}");
        Ok(line.trim().to_string())
    }

    fn commit(&mut self, epoch: u64, number: u64) -> Result<()> {
        let answer = self.ask(&format!(
            "INSERT INTO entry VALUES({epoch}, {number}, randomblob(1500)); SELECT {number};"
        ))?;
        ensure!(answer == number.to_string(), "row {number}: {answer}");
        Ok(())
    }

    /// The volume is not to fill up.
    fn thin_out(&mut self, number: u64) -> Result<()> {
        let old = format!("number < {number} AND (epoch <> 0 OR number > {ROWS})");
        self.ask(&format!("DELETE FROM entry WHERE {old}; SELECT 0;"))
            .map(drop)
    }

    fn close(mut self) -> Result<()> {
        drop(self.input);
        ensure!(self.process.wait()?.success(), "sqlite3 failed");
        Ok(())
    }
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// For each epoch: its number, how many rows, the last one's number.
    pub epochs: Vec<(u64, u64, u64)>,
}

impl Found {
    /// One word: `0:40:40,1:17:17`.
    pub fn parse(word: &str) -> Result<Self> {
        let mut epochs = Vec::new();
        for epoch in word.split(',').filter(|epoch| !epoch.is_empty()) {
            let numbers: Vec<u64> = epoch.split(':').map(str::parse).collect::<Result<_, _>>()?;
            let [epoch, count, last] = numbers[..] else {
                bail!("not an epoch: {word}");
            };
            epochs.push((epoch, count, last));
        }
        Ok(Self { epochs })
    }

    /// Whether these rows may be there.
    ///
    /// # Errors
    ///
    /// A committed row is missing, or one is there that must not be.
    pub fn check(&self, oracle: &Oracle) -> Result<()> {
        let now = self.compare(oracle.epoch, oracle.rows, oracle.clone_rows);
        if oracle.starting && now.is_err() {
            return self.compare(oracle.epoch + 1, 0, oracle.clone_rows);
        }
        now
    }

    fn compare(&self, epoch: u64, rows: u64, clone: u64) -> Result<()> {
        let last = |wanted| self.epochs.iter().find(|(number, ..)| *number == wanted);
        let count = |wanted| last(wanted).map_or(0, |(_, _, last)| *last);
        ensure!(count(0) >= clone, "rows of the clone are missing: {self:?}");
        ensure!(
            epoch == 0 || count(0) == clone,
            "rows from before the restore: {self:?}"
        );
        ensure!(
            count(epoch) >= rows,
            "row {rows} of epoch {epoch} was committed: {self:?}"
        );
        let foreign = |(number, ..): &(u64, u64, u64)| *number != 0 && *number != epoch;
        ensure!(
            !self.epochs.iter().any(foreign),
            "rows from before the restore: {self:?}"
        );
        Ok(())
    }
}

/// Mounts a file system after a power cut, which replays its journal, checks the database and the
/// file system, and returns the word for [`Found::parse`].
///
/// # Errors
///
/// One of them is damaged.
pub fn check(device: &str, name: &str) -> Result<String> {
    let mount = Mount::new(device, name)?;
    let database = format!("{}/{DATABASE}", mount.at);
    let query = "PRAGMA integrity_check;
        SELECT group_concat(epoch || ':' || rows || ':' || last) FROM
        (SELECT epoch, count(*) AS rows, max(number) AS last FROM entry GROUP BY epoch);";
    let answer = sh::ok("sqlite3", &["-batch", &database, query])?;
    let Some(("ok", word)) = answer.split_once('\n') else {
        bail!("PRAGMA integrity_check: {answer}");
    };
    mount.unmount()?;
    sh::ok("e2fsck", &["-fn", device])?;
    Ok(word.to_string())
}
