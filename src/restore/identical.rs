// SPDX-License-Identifier: GPL-2.0

//! Before source and clone are taken to be the same: what others have written to them is put on the
//! disks, and samples of both are compared.
//!
//! The order matters. Pages that are still in the page cache are written first: the target holds the
//! devices open, so no program's close has done it. Then both caches of the disks are flushed. Then
//! the pages are dropped, for whoever reads the devices next through the page cache. The samples are
//! read past it, so they are what the disks hold.
//!
//! Sleeps. Nothing here is written to a device but what others have left in its page cache.

use super::ended;
use super::identity::Reader;
use super::state::{Core, WorkerState, PLACE_BLOCKS};
use super::unusable::Unusable;
use crate::dm::{
    buffer::{BlockBuf, Span, BLOCK, SECTOR},
    dm_refuse, BlockDevice,
};
use crate::engine::{
    format::{samples::Samples, Refusal},
    identity::identical::{Place, Places},
};
use kernel::prelude::*;

/// Blocks for what is read from one device at a time.
const HALF: u32 = PLACE_BLOCKS as u32;
/// Checks that source and clone are the same, as far as samples tell, and that both are there for
/// good. Returns samples of the clone, which the source has, too.
///
/// # Errors
///
/// What was written could not be put on the disks, samples could not be read, or they differ. The
/// reason is in the log.
pub(super) fn confirm(
    core: &Core,
    mut places: Places,
    worker: &mut WorkerState,
) -> Result<Samples, Unusable> {
    settle(core)?;
    while let Some(place) = places.next(&core.shared.maps) {
        read_both(core, place, &mut worker.compared)?;
        compare(core, place, &worker.compared)?;
    }
    same_samples(core, &mut worker.sampling)
}

/// Samples of the clone. The source must have the same where they lie: ends and places, too.
fn same_samples(core: &Core, buf: &mut BlockBuf) -> Result<Samples, Unusable> {
    let wanted = core.engine.lock().clone_wanted(&core.shared);
    let reader = Reader::of(core);
    let clone = reader
        .clone(wanted.items(), buf)
        .inspect_err(|_| core.shared.count_error(true))?;
    let source = reader.source(clone.items(), buf);
    let Some(item) = clone.difference(&source) else {
        return Ok(clone);
    };
    let sectors = item.sectors(core.shared.maps.geometry().length());
    let (start, end) = (sectors.start(), sectors.end());
    dm_refuse!(
        core.name,
        "source and clone differ in sectors {start} to {end}"
    );
    Err(Refusal::NotIdentical.into())
}

/// Puts on both disks what was written to them.
fn settle(core: &Core) -> Result {
    let (source, clone) = (&core.devices.source, &core.devices.clone);
    let tell = |what: &str, done: Result| {
        done.inspect_err(|error| {
            let error = error.to_errno();
            dm_refuse!(core.name, "{what} failed: error {error}");
        })
    };
    tell("write-back of the source's pages", source.write_pages())?;
    tell("write-back of the clone's pages", clone.write_pages())?;
    tell("source flush", ended::flush_now(core))?;
    let flushed = core.io.flush(clone);
    let flushed = flushed.inspect_err(|_| core.shared.count_error(true));
    tell("clone flush", flushed)?;
    source.drop_pages();
    clone.drop_pages();
    Ok(())
}

/// Reads a place from both: the source's half first. What is not read counts as zeros.
fn read_both(core: &Core, place: Place, buf: &mut BlockBuf) -> Result {
    let half = |block| Span {
        sectors: place.sectors.len() as u32,
        ..Span::blocks(block, 0)
    };
    let start = place.sectors.start();
    buf.fill(0);
    let source = core.io.read(&core.devices.source, start, buf, half(0));
    source.inspect_err(|_| {
        core.shared.count_error(false);
        dm_refuse!(core.name, "source cannot be read at sector {start}");
    })?;
    let clone = core.io.read(&core.devices.clone, start, buf, half(HALF));
    clone.inspect_err(|_| {
        core.shared.count_error(true);
        dm_refuse!(core.name, "clone cannot be read at sector {start}");
    })
}

fn compare(core: &Core, place: Place, buf: &BlockBuf) -> Result<(), Unusable> {
    let (ours, theirs) = buf
        .split_at_checked(HALF as usize * BLOCK)
        .ok_or(Unusable::Unreadable(EIO))?;
    let first = ours.iter().zip(theirs).position(|(a, b)| a != b);
    let Some(byte) = first else {
        return Ok(());
    };
    let sector = place.sectors.start().saturating_add((byte / SECTOR) as u64);
    dm_refuse!(core.name, "source and clone differ in sector {sector}");
    Err(Refusal::NotIdentical.into())
}
