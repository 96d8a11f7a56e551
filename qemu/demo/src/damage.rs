// SPDX-License-Identifier: GPL-2.0

//! What goes wrong: noise over the database, files removed.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{ensure, Context, Result};

use crate::database::{self, Database};
use crate::export;
use crate::files::{self, Kind};

const CHUNK: u64 = 1 << 20;

/// Overwrite the first `len` bytes of a file, or all there are, with noise, durably.
fn overwrite(path: &Path, len: u64, seed: u64) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .with_context(|| format!("cannot damage {}", path.display()))?;
    let end = file.metadata()?.len().min(len);
    let mut noise = vec![0; 1 << 20];
    for at in (0..end).step_by(1 << 20) {
        files::fill(&mut noise, Kind::Noise, (at / CHUNK) * 8 + seed);
        let room = usize::try_from(CHUNK.min(end - at))?;
        file.write_all_at(noise.get(..room).unwrap_or_default(), at)?;
    }
    file.sync_all().context("cannot flush the damage")
}

/// Overwrite the whole database and the export, remove every file.
///
/// # Errors
///
/// As the file system says; or the database is still readable.
pub fn everything() -> Result<u64> {
    overwrite(&database::path(), u64::MAX, 1)?;
    overwrite(&export::path(), u64::MAX, 2)?;
    let removed = files::remove(1)?;
    ensure!(!readable(), "the damaged database can still be read");
    Ok(removed)
}

/// Overwrite the first 384 MiB of the database, remove every third file.
///
/// # Errors
///
/// As the file system says; or the database is still readable.
pub fn again() -> Result<u64> {
    overwrite(&database::path(), 384 << 20, 3)?;
    let removed = files::remove(3)?;
    ensure!(!readable(), "the damaged database can still be read");
    Ok(removed)
}

/// Whether the database still answers.
fn readable() -> bool {
    Database::open().is_ok_and(|database| database.next_entry().is_ok())
}
