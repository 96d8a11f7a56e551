// SPDX-License-Identifier: GPL-2.0

//! Plain files next to the database, and content that can be told from any other.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};

/// How many files there are.
pub const COUNT: u64 = 24;
const FILE_BYTES: usize = 2 << 20;

/// What content is for: no two of these ever look alike.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A document of the database.
    Document = 1,
    /// An entry of its ledger.
    Entry,
    /// A plain file.
    File,
    /// A part of the export.
    Export,
    /// Damage.
    Noise,
}

/// Fill `buffer` with the pseudo-random bytes (xorshift64) that belong to a kind and a number.
pub fn fill(buffer: &mut [u8], kind: Kind, number: u64) {
    let seed = number.wrapping_mul(8).wrapping_add(kind as u64);
    // Small seeds would give much the same first words; zero gives nothing else.
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in buffer.chunks_mut(8) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
}

fn directory() -> PathBuf {
    Path::new(crate::MOUNT).join("pictures")
}

fn path(number: u64) -> PathBuf {
    directory().join(format!("{number:03}.raw"))
}

fn content(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; FILE_BYTES];
    fill(&mut bytes, Kind::File, number);
    bytes
}

/// Make all files.
///
/// # Errors
///
/// As the file system says.
pub fn create() -> Result<()> {
    fs::create_dir_all(directory())?;
    for number in 0..COUNT {
        fs::write(path(number), content(number))?;
    }
    Ok(())
}

/// Check that every file is there with its content.
///
/// # Errors
///
/// A file is missing or differs.
pub fn verify() -> Result<()> {
    for number in 0..COUNT {
        let path = path(number);
        let mut found = Vec::with_capacity(FILE_BYTES);
        fs::File::open(&path)
            .with_context(|| format!("{} is missing", path.display()))?
            .read_to_end(&mut found)?;
        ensure!(found == content(number), "{} differs", path.display());
    }
    Ok(())
}

/// Remove every `step`th file; returns how many that were.
///
/// # Errors
///
/// As the file system says.
pub fn remove(step: usize) -> Result<u64> {
    let mut removed = 0;
    for number in (0..COUNT).step_by(step) {
        fs::remove_file(path(number))?;
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::{fill, Kind};

    #[test]
    fn contents_differ() {
        let block = |kind, number| {
            let mut block = [0; 24];
            fill(&mut block, kind, number);
            block
        };
        let one = block(Kind::File, 3);
        assert_eq!(one, block(Kind::File, 3));
        assert_ne!(one, block(Kind::File, 4));
        assert_ne!(one, block(Kind::Entry, 3));
        assert_ne!(one[..8], one[8..16]);
    }
}
