// SPDX-License-Identifier: GPL-2.0

//! Synchronous metadata I/O: identify, format, load, checkpoint. Everything here sleeps; what is
//! read and written is the engine's to say.

use super::devices::Devices;
use super::ended::take_ended;
use super::identical::confirm;
use super::identity;
use super::metadata_io::{flushing, read, write};
use super::pm;
use super::report;
use super::state::{Core, WorkerState};
use super::unusable::{Unusable, Usable};
use crate::dm::{
    buffer::BlockBuf,
    claims::{self, Claim},
    dm_info, dm_refuse,
    io::{Durability, IoClient},
    random,
    time::{now_ns, sleep_until},
    word_text, BlockDevice,
};
use crate::engine::{
    base::geometry::Geometry,
    format::{
        bytes,
        layout::{BLANK_BLOCKS, JOURNAL_BLOCKS},
        superblock::Superblock,
        Refusal, BLOCK, BLOCK_SECTORS,
    },
    identity::identical::Places,
    maps::Role,
    record::checkpoint::{Checkpoint, Progress, Step},
    record::load::{check_identity, NewMetadata},
    record::metadata_mode::MetadataMode,
};
use kernel::prelude::*;

/// The superblock of metadata that exists, checked against the geometry of the table line; `None` if
/// the device is blank and may be formatted. `buf` has [`READ_BLOCKS`](super::metadata_io::READ_BLOCKS) blocks. The UUID is claimed.
pub(super) fn identify(
    io: &IoClient,
    devices: &Devices,
    geometry: &Geometry,
    may_format: bool,
    buf: &mut BlockBuf,
    claim: &mut Claim,
) -> Usable<Option<Superblock>> {
    let sectors = devices.metadata.sectors();
    let count = BLANK_BLOCKS.min(sectors / BLOCK_SECTORS);
    buf.fill(0);
    read(io, &devices.metadata, 0, count, buf)?;
    let (Some(first), Some(second)) = (buf.block(0), buf.block(1)) else {
        return Err(Refusal::Truncated.into());
    };
    let is_blank = || bytes::is_zero(buf.get(BLOCK.saturating_mul(2)..).unwrap_or(&[]));
    let Some(superblock) = Superblock::find(first, second, is_blank)? else {
        // A format that was cut off, or one that goes on: under another name of the device.
        if let Some(begun) = Superblock::decode(second)? {
            claim.identify(begun.uuid)?;
        }
        return if may_format {
            Ok(None)
        } else {
            Err(Refusal::Blank.into())
        };
    };
    claim.identify(superblock.uuid)?;
    check_identity(&superblock, geometry, sectors, devices.block_size())?;
    Ok(Some(superblock))
}

/// Loads or formats, at the first resume of a table. Returns what
/// [`Checkpoint::activation`] is to begin with.
pub(super) fn load(core: &Core, worker: &mut WorkerState) -> Result<Option<u64>> {
    let mut buf = worker.reading.take().ok_or(EIO)?;
    let loaded = try_load(core, worker, &mut buf);
    worker.reading = Some(buf);
    if let Err(unusable) = &loaded {
        let reason = word_text(unusable.reason());
        unusable.tell(core.name);
        dm_refuse!(core.name, "metadata not loaded: {reason}");
        core.engine.lock().unload(&core.shared);
    }
    loaded.map_err(|unusable| unusable.error())
}

fn identify_again(
    core: &Core,
    worker: &mut WorkerState,
    buf: &mut BlockBuf,
) -> Usable<Option<Superblock>> {
    identify(
        &core.io,
        &core.devices,
        core.shared.maps.geometry(),
        core.features.format,
        buf,
        &mut worker.claim,
    )
}

fn try_load(core: &Core, worker: &mut WorkerState, buf: &mut BlockBuf) -> Usable<Option<u64>> {
    if let Some(superblock) = identify_again(core, worker, buf)? {
        return load_existing(core, worker, superblock, buf);
    }
    if core.features.identical {
        // Before the naming: it reads much.
        confirm(core, Places::anywhere(*core.shared.maps.geometry()), worker)?;
    }
    // Somebody else may find the same device blank under another name. One goes first, and the other
    // finds what it has formatted.
    let _naming = claims::naming();
    match identify_again(core, worker, buf)? {
        Some(superblock) => load_existing(core, worker, superblock, buf),
        None => format(core, worker).map(|()| None),
    }
}

/// Formats blank metadata.
fn format(core: &Core, worker: &mut WorkerState) -> Usable<()> {
    let new = NewMetadata {
        uuid: random::uuid(),
        identical: core.features.identical,
        block_size: core.devices.block_size(),
        clone_sectors: core.devices.clone.sectors(),
    };
    worker.claim.identify(new.uuid)?;
    core.engine.lock().format(&core.shared, &new);
    // Behind that: the maps say where they are to be taken.
    let wanted = core.engine.lock().clone_wanted(&core.shared);
    let clone = identity::Reader::of(core).clone(wanted.items(), &mut worker.sampling)?;
    core.engine.lock().clone_is(clone);
    identity::sample_source(core, worker);
    checkpoint(core, worker, Checkpoint::formatting())?;
    report::formatted(core, core.features.identical);
    Ok(())
}

/// Loads metadata that exists. Returns the place of a journal block that a crash has torn.
fn load_existing(
    core: &Core,
    worker: &mut WorkerState,
    superblock: Superblock,
    buf: &mut BlockBuf,
) -> Usable<Option<u64>> {
    let torn = read_all(core, superblock, buf)?;
    identity::check_loaded(core, worker, buf)?;
    if torn.is_some() {
        dm_info!(core.name, "the last journal block was torn by a crash");
    }
    Ok(torn)
}

/// Reads everything. The engine's lock is not held meanwhile, so that the status never waits for a
/// device.
fn read_all(core: &Core, superblock: Superblock, buf: &mut BlockBuf) -> Usable<Option<u64>> {
    core.engine.lock().adopt(&core.shared, superblock);
    load_table(core, buf)?;
    load_maps(core, buf)?;
    let first = core.layout().journal(0);
    read(&core.io, &core.devices.metadata, first, JOURNAL_BLOCKS, buf)?;
    let mut engine = core.engine.lock();
    Ok(engine.replay(&core.shared, |i| buf.block(i as usize))?)
}

fn load_table(core: &Core, buf: &mut BlockBuf) -> Usable<()> {
    let (mut index, mut crc) = (0u64, 0);
    loop {
        // Bound to a name, so that the lock is not held while the block is read.
        let place = core.engine.lock().table_place(index);
        let Some(place) = place else { break };
        read(&core.io, &core.devices.metadata, place, 1, buf)?;
        let block = buf.block(0).ok_or(EIO)?;
        crc = core.engine.lock().load_table(index, block, crc)?;
        index = index.saturating_add(1);
    }
    Ok(core.engine.lock().check_table(crc)?)
}

/// Map blocks are read many at a time: the slots of neighbours lie side by side.
fn load_maps(core: &Core, buf: &mut BlockBuf) -> Usable<()> {
    let layout = core.layout();
    let entries = layout.entries();
    // The blocks that `buf` holds: from `start` up to `end`.
    let (mut start, mut end) = (0u64, 0u64);
    for entry in 0..entries {
        // As in `load_table`.
        let place = core.engine.lock().map_place(&core.shared, entry);
        let Some(place) = place else { continue };
        if place < start || place >= end {
            start = place;
            end = place
                .saturating_add(buf.blocks() as u64)
                .min(layout.blocks());
            read(
                &core.io,
                &core.devices.metadata,
                start,
                end.saturating_sub(start),
                buf,
            )?;
        }
        let block = buf.block(place.saturating_sub(start) as usize).ok_or(EIO)?;
        core.engine.lock().load_map(&core.shared, entry, block)?;
    }
    Ok(())
}

/// Writes the durable state beside the old one and makes it count, while no request of the host is
/// in flight. For hooks: sleeps between attempts, for as long as the engine allows.
pub(super) fn checkpoint(
    core: &Core,
    worker: &mut WorkerState,
    mut checkpoint: Checkpoint,
) -> Result {
    loop {
        match advance(core, worker, &mut checkpoint)? {
            Advance::Done => return Ok(()),
            Advance::Waits => take_ended(core, worker),
            Advance::Again(at) => wait_for_attempt(core, at),
            Advance::Failed => return Err(EIO),
        }
    }
}

/// A request has failed; the log says so while the next attempt is waited for.
pub(super) fn wait_for_attempt(core: &Core, at: u64) {
    report::raise_events(core);
    sleep_until(at);
}

/// How far a checkpoint has come.
pub(super) enum Advance {
    /// It is durable.
    Done,
    /// It waits for the end of a request to the source.
    Waits,
    /// A step has failed, and is done again at this time. Until then nothing else may use the scratch
    /// block.
    Again(u64),
    /// It has failed for good.
    Failed,
}

/// Goes on with a checkpoint as far as it comes.
pub(super) fn advance(
    core: &Core,
    worker: &mut WorkerState,
    checkpoint: &mut Checkpoint,
) -> Result<Advance> {
    if pm::expect_as_left(core, worker).is_err() {
        return Ok(not_as_left(core, checkpoint));
    }
    loop {
        let block = worker.scratch.block_mut(0).ok_or(EIO)?;
        let step = checkpoint.next(&mut **core.engine.lock(), &core.shared, block);
        let done = match step {
            Step::Write(place) => write(core, worker, place, Durability::None),
            Step::WriteFua(place) => flushing(core, || write(core, worker, place, Durability::Fua)),
            Step::Flush => flushing(core, || core.io.flush(&core.devices.metadata)),
            Step::Wait => return Ok(Advance::Waits),
            Step::Done => return Ok(Advance::Done),
        };
        let mut engine = core.engine.lock();
        match checkpoint.done(&mut *engine, &core.shared, done.is_ok(), now_ns()) {
            Progress::Next => {}
            Progress::Again(at) => return Ok(Advance::Again(at)),
            Progress::Failed => return Ok(Advance::Failed),
        }
    }
}

/// The device was used by another system, or it cannot be read: then it is tried again.
fn not_as_left(core: &Core, checkpoint: &mut Checkpoint) -> Advance {
    let mut engine = core.engine.lock();
    if engine.metadata_mode() != MetadataMode::ReadWrite {
        checkpoint.give_up(&mut **engine, &core.shared);
        return Advance::Failed;
    }
    match checkpoint.unread(&mut **engine, &core.shared, now_ns()) {
        Progress::Again(at) => Advance::Again(at),
        Progress::Next | Progress::Failed => Advance::Failed,
    }
}

/// Begins a restore: one superblock.
pub(super) fn begin_restore(core: &Core, worker: &mut WorkerState) -> Result {
    let delta = core.shared.maps.count(Role::Cdm);
    identity::sample_clone_places(core, worker);
    let begun = core.engine.lock().begin_restore(&core.shared);
    checkpoint(core, worker, begun)?;
    core.take_time();
    report::begun(core, delta);
    Ok(())
}

/// The clone has just been made: the delta map becomes empty, and samples are taken anew. Nothing has
/// changed if that is not confirmed; the reason is in the log.
pub(super) fn assume_identical(core: &Core, worker: &mut WorkerState) -> Result {
    let places = Places::touched(&core.shared.maps);
    let clone = confirm(core, places, worker).map_err(|unusable| {
        // What cannot be read or written is in the log already.
        if let Unusable::Refused(refusal) = &unusable {
            let reason = word_text(refusal.reason());
            dm_refuse!(core.name, "assume_identical: {reason}");
        }
        unusable.error()
    })?;
    let were = core.shared.maps.count(Role::Cdm);
    let identical = core.engine.lock().assume_identical(&core.shared, clone);
    identity::sample_source(core, worker);
    checkpoint(core, worker, identical)?;
    report::assumed_identical(core, were);
    Ok(())
}
