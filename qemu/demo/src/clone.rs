// SPDX-License-Identifier: GPL-2.0

//! Making the clone: a plain full copy, past the page cache.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;

use anyhow::{anyhow, Context, Result};
use dm_restore_demo::VOLUME_BYTES;

use crate::disk::by_serial;

const CHUNK: usize = 4 << 20;
const JOBS: u64 = 2;
/// What O_DIRECT asks of a buffer, at most.
const ALIGN: usize = 4096;

/// Copy the whole source over the clone.
///
/// # Errors
///
/// A disk cannot be opened, read or written.
pub fn copy_source() -> Result<()> {
    let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits())?;
    let source = by_serial("source");
    let from = OpenOptions::new()
        .read(true)
        .custom_flags(direct)
        .open(&source)
        .with_context(|| format!("cannot open {source}"))?;
    let clone = by_serial("clone");
    let to = OpenOptions::new()
        .write(true)
        .custom_flags(direct)
        .open(&clone)
        .with_context(|| format!("cannot open {clone}"))?;
    let part = VOLUME_BYTES / JOBS;
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..JOBS)
            .map(|job| {
                let (from, to) = (&from, &to);
                scope.spawn(move || copy(from, to, job * part, part))
            })
            .collect();
        for job in jobs {
            job.join().map_err(|_| anyhow!("a copy job panicked"))??;
        }
        anyhow::Ok(())
    })?;
    to.sync_all().context("cannot flush the clone")
}

/// Copy `len` bytes at `start`; both are multiples of [`CHUNK`].
fn copy(from: &File, to: &File, start: u64, len: u64) -> Result<()> {
    let mut memory = vec![0; CHUNK + ALIGN];
    let skip = memory.as_ptr().align_offset(ALIGN);
    let buffer = memory
        .get_mut(skip..skip + CHUNK)
        .context("no aligned buffer")?;
    for at in (start..start + len).step_by(CHUNK) {
        from.read_exact_at(buffer, at)
            .context("cannot read the source")?;
        to.write_all_at(buffer, at)
            .context("cannot write the clone")?;
    }
    Ok(())
}
