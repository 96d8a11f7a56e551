// SPDX-License-Identifier: GPL-2.0

//! The machine's sleep: suspend to RAM, hibernation, and the load of a hibernation image. What the
//! kernel does then is told in [`crate::dm::pm`].
//!
//! With hibernation there are two lines of history over the same disks from the snapshot of the memory
//! on. Whatever the one that is left behind writes by itself, the other one knows nothing of: a journal
//! block would be overwritten by another one of the same number, or a checkpoint would have dropped
//! records that are still in use. So:
//!
//! - *Prepare*: the background begins no copies; those under way are waited for. The host writes on, the
//!   kernel most of all, which syncs the file systems behind this. All of that gets its records.
//! - Until the queues are frozen a run of the worker does not end before everything that was begun has
//!   ended (see [`worker`](super::worker)). The freezer waits for the run. So at the snapshot nothing of
//!   the target's own is in flight, and behind it there is no worker that could begin anything.
//! - In the line that is left behind, what would have to wait for the worker fails at once
//!   ([`fast`](super::map)): the task that writes the image must not wait for a queue that is frozen. What
//!   is marked already goes on, since it changes nothing but the host's data.
//! - Where the worker runs for the first time behind a snapshot it looks whether the metadata device is as
//!   it was left. It does so before it takes in the end of any request, because the data may be gone, and
//!   before it writes anything. Then a new activation begins.
//!
//! A table that is loaded while the machine goes to sleep needs no call: its worker looks, too.

use super::metadata_io;
use super::state::{Core, WorkerState};
use crate::dm::{dm_err, dm_info, noio::NoIo, pm, shared::Ref, time::now_ns};
use crate::engine::{
    format::superblock::Superblock, record::awake::Found, record::checkpoint::Checkpoint,
    record::metadata_mode::MetadataMode,
};
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};

const SECOND: u64 = 1_000_000_000;
/// How long copies under way may keep the machine awake. As long as the kernel's freezer waits.
const PATIENCE: u64 = 20 * SECOND;
/// Between two looks at them, in milliseconds.
const PAUSE: i64 = 5;

impl pm::Transitions for Core {
    fn prepare(this: &Ref<Self>) -> Result {
        let _noio = NoIo::enter();
        let deadline = now_ns().saturating_add(PATIENCE);
        this.job.enqueue(this);
        // From the first look on, the worker begins no more of them.
        while this.engine.lock().is_copying_behind() {
            if now_ns() > deadline {
                dm_err!(
                    this.name,
                    "the machine cannot sleep: copies under way do not end"
                );
                return Err(EBUSY);
            }
            fsleep(Delta::from_millis(PAUSE));
        }
        Ok(())
    }

    fn post(this: &Ref<Self>) {
        this.job.enqueue(this);
    }
}

/// Whether a snapshot of the memory was taken since metadata was written last.
pub(super) fn is_behind_snapshot(worker: &WorkerState) -> bool {
    worker.snapshots != pm::snapshots()
}

/// Behind a snapshot, before anything else is written: the checkpoint that begins a new activation, so
/// that no block of another line of history can count as one of this. No journal block is in flight.
pub(super) fn begin_anew(core: &Core, worker: &WorkerState) -> Option<Checkpoint> {
    if !is_behind_snapshot(worker) || core.engine.lock().metadata_mode() != MetadataMode::ReadWrite
    {
        return None;
    }
    dm_info!(core.name, "the machine is awake: a new activation begins");
    Some(Checkpoint::activation(None))
}

/// Before metadata is written: [`look`], and its errors.
pub(super) fn expect_as_left(core: &Core, worker: &mut WorkerState) -> Result {
    worker.snapshots = pm::snapshots();
    look(core, worker)
}

/// The first time behind a snapshot: looks whether the metadata device is as it was left, or was no more
/// than taken up by the kernel that has loaded the image. If the volume was used meanwhile, what is in
/// memory is no longer true.
///
/// # Errors
///
/// `EIO`: it was used, and the metadata mode is `fail` now. Or as the device answers: it cannot be read,
/// and is looked at again the next time.
pub(super) fn look(core: &Core, worker: &mut WorkerState) -> Result {
    let snapshots = pm::snapshots();
    if worker.looked == snapshots {
        return Ok(());
    }
    let in_use = worker.loaded && core.engine.lock().metadata_mode() == MetadataMode::ReadWrite;
    let as_left = !in_use || is_as_left(core, worker)?;
    worker.looked = snapshots;
    if as_left {
        return Ok(());
    }
    core.engine.lock().overtaken(&core.shared);
    dm_err!(
        core.name,
        "another system has used the volume while this one was hibernated: metadata mode fail until \
         it is loaded again"
    );
    Err(EIO)
}

/// Whether what is in memory is still true.
fn is_as_left(core: &Core, worker: &mut WorkerState) -> Result<bool> {
    let (first, second) = (superblock(core, worker, 0)?, superblock(core, worker, 1)?);
    let (Some(first), Some(second)) = (first, second) else {
        return Ok(false);
    };
    let Ok(newest) = Superblock::newer(first, second) else {
        return Ok(false);
    };
    // Bound to a name, so that the lock is not held while more is read.
    let found = core.engine.lock().find(&newest);
    match found {
        Found::AsLeft => Ok(true),
        Found::TakenUp => follow(core, worker, &newest),
        Found::Changed => Ok(false),
    }
}

fn superblock(core: &Core, worker: &mut WorkerState, place: u64) -> Result<Option<Superblock>> {
    let block = metadata_io::read_scratch(core, worker, place)?;
    Ok(Superblock::decode(block).ok().flatten())
}

/// The volume was taken up by the kernel that has loaded the image. False if it was used, too.
fn follow(core: &Core, worker: &mut WorkerState, newest: &Superblock) -> Result<bool> {
    let place = core.layout().journal(newest.tail);
    let block = metadata_io::read_scratch(core, worker, place)?;
    if !core.engine.lock().follow(newest, block) {
        return Ok(false);
    }
    let (mut index, mut crc) = (0u64, 0);
    loop {
        let place = core.engine.lock().table_place(index);
        let Some(place) = place else { break };
        let block = metadata_io::read_scratch(core, worker, place)?;
        let loaded = core.engine.lock().load_table(index, block, crc);
        let Ok(so_far) = loaded else {
            return Ok(false);
        };
        crc = so_far;
        index = index.saturating_add(1);
    }
    Ok(core.engine.lock().check_table(crc).is_ok())
}
