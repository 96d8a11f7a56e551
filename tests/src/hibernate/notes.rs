// SPDX-License-Identifier: GPL-2.0

//! What the guest leaves on a disk of its own, since nothing else lives through a crash: what each
//! sector of the volume holds, and a word for the host that waits to kill the machine.

use super::stage::LENGTH;
use crate::io::{Buffer, Device};
use anyhow::{bail, Context, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

const SECTOR: usize = 512;
/// Generations are 8 bytes each, behind the sector with the word.
const TABLE: u64 = LENGTH * 8 / SECTOR as u64;
/// Size of the disk in bytes.
pub const BYTES: u64 = (1 + TABLE) * SECTOR as u64 + (1 << 20);

/// Sectors that are written at a time.
const CHUNK: u64 = 1024;
/// Where the word's length is, and the word.
const WORD: usize = 2;

/// Leaves the generation of each sector, and then a word.
///
/// # Errors
///
/// The disk fails.
pub fn leave(disk: &Device, generations: &[u64], word: &str) -> Result<()> {
    for (place, part) in (1..)
        .step_by(CHUNK as usize)
        .zip(generations.chunks(CHUNK as usize * SECTOR / 8))
    {
        let mut buffer = Buffer::zeroed((part.len() * 8).div_ceil(SECTOR) as u64);
        for (to, from) in buffer.chunks_exact_mut(8).zip(part) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        disk.write(place, &buffer)?;
    }
    disk.flush()?;
    let mut first = Buffer::zeroed(1);
    let bytes = word.as_bytes();
    let len = bytes.len().min(SECTOR - WORD);
    first[..WORD].copy_from_slice(&(len as u16).to_le_bytes());
    first[WORD..WORD + len].copy_from_slice(&bytes[..len]);
    disk.write(0, &first)?;
    disk.flush().context("notes")
}

/// The generations that were left.
///
/// # Errors
///
/// The disk fails, or there are none.
pub fn generations(disk: &Device) -> Result<Vec<u64>> {
    let mut all = Vec::with_capacity(LENGTH as usize);
    for place in (1..=TABLE).step_by(CHUNK as usize) {
        let end = (place + CHUNK).min(TABLE + 1);
        let words = disk.read(place..end)?;
        all.extend(words.chunks_exact(8).map(|word| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            u64::from_le_bytes(bytes)
        }));
    }
    if all.len() != LENGTH as usize {
        bail!("{} sectors are noted", all.len());
    }
    Ok(all)
}

/// The word that was left, as the host finds it in the disk's file.
///
/// # Errors
///
/// The file cannot be read.
pub fn word(file: &Path) -> Result<Option<String>> {
    let mut first = [0; SECTOR];
    File::open(file)?.read_exact(&mut first)?;
    let len = usize::from(u16::from_le_bytes([first[0], first[1]]));
    let bytes = first.get(WORD..WORD + len).unwrap_or_default();
    Ok((len > 0).then(|| String::from_utf8_lossy(bytes).into_owned()))
}
