// SPDX-License-Identifier: GPL-2.0

//! Entries of the cache: directories that are complete or made anew.
//!
//! A stamp, written last and atomically, holds the entry's key (what it was made from) and a
//! digest of the names and sizes of its files. An entry without a stamp is half-made, one with
//! another key is stale, one with another digest is damaged: each is removed and made again. An
//! entry is made in place, because kernel build trees hold their own absolute path. A lock file
//! beside it, held while it is checked and made, keeps two runs apart.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use walkdir::{DirEntry, WalkDir};

use crate::paths;

const STAMP: &str = ".stamp";

/// One directory of the cache.
pub struct Entry {
    dir: PathBuf,
    key: String,
    watched: &'static [&'static str],
}

impl Entry {
    /// The entry `name`, as made from what `key` describes.
    ///
    /// `watched` are the paths in it whose loss is noticed; `"."` is everything.
    #[must_use]
    pub fn new(name: &str, key: &[&str], watched: &'static [&'static str]) -> Self {
        Self {
            dir: paths::cache().join(name),
            key: hash(key),
            watched,
        }
    }

    /// The entry's directory, filled by `make` if it was not there in good order.
    ///
    /// # Errors
    ///
    /// `make` failed (what it left is kept for a look, and removed by the next run), or the
    /// cache cannot be written.
    pub fn ensure(&self, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let mut lock = self.dir.clone().into_os_string();
        lock.push(".lock");
        let _lock = Lock::take(Path::new(&lock))?;
        if let Some(reason) = self.flaw() {
            if self.dir.exists() {
                println!("cache: {} is {reason}: making it anew", self.dir.display());
                fs::remove_dir_all(&self.dir)?;
            }
            fs::create_dir_all(&self.dir)?;
            make(&self.dir)?;
            self.seal()?;
        }
        Ok(self.dir.clone())
    }

    /// What is wrong with the entry, if anything.
    fn flaw(&self) -> Option<&'static str> {
        let Ok(stamp) = fs::read_to_string(self.dir.join(STAMP)) else {
            return Some("incomplete");
        };
        let (key, contents) = stamp.split_once(' ').unwrap_or_default();
        if key != self.key {
            Some("out of date")
        } else if contents != self.contents() {
            Some("damaged")
        } else {
            None
        }
    }

    fn seal(&self) -> Result<()> {
        let temporary = self.dir.join(".stamp.new");
        fs::write(&temporary, format!("{} {}", self.key, self.contents()))?;
        File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, self.dir.join(STAMP))?;
        Ok(())
    }

    /// A digest of the names and sizes of the watched files.
    fn contents(&self) -> String {
        let mut digest = Sha256::new();
        for part in self.watched {
            let walk = WalkDir::new(self.dir.join(part)).sort_by_file_name();
            for entry in walk.into_iter().filter_entry(|entry| !ours(entry)) {
                match entry.and_then(|entry| Ok((entry.metadata()?, entry))) {
                    Ok((data, entry)) => {
                        digest.update(entry.path().as_os_str().as_encoded_bytes());
                        let size = if data.is_file() { data.len() } else { 0 };
                        digest.update(size.to_le_bytes());
                    }
                    Err(_) => digest.update("unreadable"),
                }
            }
        }
        hex(&digest.finalize())
    }
}

fn ours(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(STAMP)
}

/// An exclusive lock on a file, released on drop.
///
/// Lock order: the build root's (`scripts/in-root`), a command's (`build/test.lock` and its like),
/// the module's, an entry's of the cache.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Wait for the lock.
    ///
    /// # Errors
    ///
    /// The file cannot be made or locked.
    pub fn take(path: &Path) -> Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            println!("waiting for another run ({})", path.display());
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        }
        Ok(Self { _file: file })
    }
}

/// A digest of several strings, as hexadecimal text.
#[must_use]
pub fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())
}

/// Bytes as hexadecimal text.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(dir: &Path, key: &str) -> Entry {
        Entry {
            dir: dir.join("entry"),
            key: hash(&[key]),
            watched: &["."],
        }
    }

    fn fill(dir: &Path) -> Result<()> {
        fs::write(dir.join("file"), "content")?;
        Ok(())
    }

    /// Whether `ensure` had to make the entry.
    fn made(entry: &Entry) -> bool {
        let mut made = false;
        entry
            .ensure(|dir| {
                made = true;
                fill(dir)
            })
            .expect("a writable directory");
        made
    }

    #[test]
    fn a_complete_entry_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(made(&entry(dir.path(), "a")));
        assert!(!made(&entry(dir.path(), "a")));
    }

    #[test]
    fn another_key_makes_it_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(made(&entry(dir.path(), "a")));
        assert!(made(&entry(dir.path(), "b")));
    }

    #[test]
    fn a_failed_make_is_not_taken_for_complete() {
        let dir = tempfile::tempdir().expect("a directory");
        let entry = entry(dir.path(), "a");
        let failed = entry.ensure(|dir| {
            fill(dir)?;
            anyhow::bail!("half-way")
        });
        assert!(failed.is_err());
        assert!(made(&entry));
    }

    #[test]
    fn a_lost_or_shortened_file_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let entry = entry(dir.path(), "a");
        assert!(made(&entry));
        fs::write(entry.dir.join("file"), "short").expect("a writable file");
        assert!(made(&entry));
        fs::remove_file(entry.dir.join("file")).expect("a file");
        assert!(made(&entry));
        assert!(!made(&entry));
    }
}
