// SPDX-License-Identifier: GPL-2.0

//! Single requests to the metadata device, synchronously.

use super::state::{Core, WorkerState};
use crate::dm::{
    buffer::{BlockBuf, Span},
    io::{Durability, IoClient},
    Device,
};
use crate::engine::format::{
    layout::{BLANK_BLOCKS, JOURNAL_BLOCKS},
    Block, BLOCK_SECTORS,
};
use kernel::prelude::*;

/// Blocks that are read at a time: all of the journal, or all that must be blank.
pub(super) const READ_BLOCKS: usize = if BLANK_BLOCKS > JOURNAL_BLOCKS {
    BLANK_BLOCKS as usize
} else {
    JOURNAL_BLOCKS as usize
};

/// Reads `count` blocks from block `place` on to the start of `buf`.
pub(super) fn read(
    io: &IoClient,
    device: &Device,
    place: u64,
    count: u64,
    buf: &mut BlockBuf,
) -> Result {
    let sector = place.saturating_mul(BLOCK_SECTORS);
    io.read(device, sector, buf, Span::blocks(0, count as u32))
}

/// Makes a request to the metadata device that is or contains a flush.
pub(super) fn flushing(core: &Core, request: impl FnOnce() -> Result) -> Result {
    let sent = core.engine.lock().metadata_flush_sent(&core.shared);
    let done = request();
    let mut engine = core.engine.lock();
    engine.metadata_flush_ended(&core.shared, sent, done.is_ok());
    done
}

/// Reads a block into the scratch block.
pub(super) fn read_scratch<'a>(
    core: &Core,
    worker: &'a mut WorkerState,
    place: u64,
) -> Result<&'a Block> {
    let read = read(
        &core.io,
        &core.devices.metadata,
        place,
        1,
        &mut worker.scratch,
    );
    read.inspect_err(|_| core.engine.lock().count_metadata_error())?;
    worker.scratch.block(0).ok_or(EIO)
}

/// Writes the scratch block to `place`, in blocks.
pub(super) fn write(
    core: &Core,
    worker: &WorkerState,
    place: u64,
    durability: Durability,
) -> Result {
    let sector = place.saturating_mul(BLOCK_SECTORS);
    let span = Span::whole(&worker.scratch);
    let device = &core.devices.metadata;
    core.io
        .write(device, sector, &worker.scratch, span, durability)
}
