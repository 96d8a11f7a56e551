// SPDX-License-Identifier: GPL-2.0

//! Suspend and resume. All hooks here sleep; they run with I/O blocked and no noio scope of their
//! own, so they set one.
//!
//! `presuspend` stops the background; the host still writes behind it. In `postsuspend` no request is
//! in flight any more: copies are drained, the source is flushed, and a checkpoint leaves an empty
//! journal. `preresume` loads at the first resume of a table, because the old table may be live
//! until then, and takes the metadata up again. Nothing is allocated here: with swap on the mapped
//! device there may be no memory before it is resumed.
//!
//! `preresume` does not put the line to use: another line of the table may fail in its own, and then
//! device-mapper leaves the device suspended and tells nobody. The next thing to come may be a
//! message, `preresume` again, or the destructor. Only `resume` means that all lines have succeeded.

use super::ended;
use super::identity;
use super::metadata;
use super::report;
use super::roles;
use super::state::{Core, WorkerState};
use crate::dm::{buffer::Span, io::Durability};
use crate::dm::{
    dm_refuse,
    noio::NoIo,
    shared::{Owner, Ref},
    time::{now_ns, sleep_until},
    word_text,
};
use crate::engine::{
    format::BLOCK_SECTORS,
    maps::Mode,
    record::checkpoint::{Checkpoint, Purpose},
    record::commit::Commit,
    record::commit::Written,
    record::metadata_mode::MetadataMode,
};
use kernel::prelude::*;

/// How often the remaining records are tried before the checkpoint puts them back instead.
const ROUNDS: u32 = 3;

pub(super) fn presuspend(core: &Owner<Core>, noflush: bool) {
    let mut engine = core.engine.lock();
    engine.quiesce(true);
    engine.set_suspending(Some(now_ns()));
    drop(engine);
    core.worker.lock().noflush = noflush;
}

pub(super) fn postsuspend(core: &Owner<Core>) {
    let _noio = NoIo::enter();
    let this = core.share();
    drain(&this);
    let mut worker = core.worker.lock();
    worker.active = false;
    for _ in 0..ROUNDS {
        if worker.loaded {
            commit_all(core, &mut worker);
        }
    }
    // Not behind a block that was given up: it may be on the device, where the journal is to be empty.
    if worker.loaded && core.engine.lock().metadata_mode() == MetadataMode::ReadWrite {
        if worker.noflush {
            identity::leave_source(core);
        } else {
            identity::sample_source(core, &mut worker);
        }
        // A failure is logged, and the metadata is read-only then.
        let _ = metadata::checkpoint(core, &mut worker, Checkpoint::new(Purpose::Suspended));
    }
    drop(worker);
    report::raise_events(core);
}

/// Waits until nothing of the target's own is in flight and every result was taken in.
fn drain(core: &Ref<Core>) {
    loop {
        core.copies.wait_idle();
        core.async_io.wait_idle();
        core.job.enqueue(core);
        core.job.flush();
        let worker = core.worker.lock();
        let engine = core.engine.lock();
        let in_flight = engine.is_copying() || engine.is_committing() || worker.flushing;
        let busy = in_flight || worker.checkpoint.is_some();
        if !busy {
            return;
        }
        let at = worker.try_again_at;
        drop((engine, worker));
        sleep_until(at);
    }
}

/// Flushes the source and writes every record that this allows.
fn commit_all(core: &Core, worker: &mut WorkerState) {
    if !core.engine.lock().has_uncommitted(&core.shared) {
        return;
    }
    // A failure is taken in, and what it concerns cannot be recorded.
    let _ = ended::flush_now(core);
    loop {
        let Some(block) = worker.scratch.block_mut(0) else {
            return;
        };
        let next = core.engine.lock().next_commit(&core.shared, block);
        match next {
            Commit::Nothing => return,
            Commit::Checkpoint => {
                if metadata::checkpoint(core, worker, Checkpoint::new(Purpose::Running)).is_err() {
                    return;
                }
            }
            Commit::Write(place) => write_now(core, worker, place),
        }
    }
}

fn write_now(core: &Core, worker: &WorkerState, place: u64) {
    let sector = place.saturating_mul(BLOCK_SECTORS);
    let span = Span::whole(&worker.scratch);
    let device = &core.devices.metadata;
    loop {
        core.engine.lock().commit_sent(&core.shared);
        let ok = core
            .io
            .write(device, sector, &worker.scratch, span, Durability::Fua)
            .is_ok();
        // Bound to a name, so that the lock is not held during the pause.
        let written = core
            .engine
            .lock()
            .commit_written(&core.shared, ok, now_ns());
        match written {
            Written::Done => return,
            Written::Again(at) => metadata::wait_for_attempt(core, at),
            Written::Waiting => {}
        }
    }
}

pub(super) fn preresume(core: &Owner<Core>) -> Result {
    let _noio = NoIo::enter();
    let mut worker = core.worker.lock();
    // From now on no other mapped device gets what this line uses.
    worker.claim.take().map_err(|conflict| {
        roles::tell(core.name, &conflict);
        let reason = word_text(roles::reason(&core.devices, &conflict));
        dm_refuse!(core.name, "not resumed: {reason}");
        EBUSY
    })?;
    take_up(core, &mut worker)
}

/// Loads, the first time, and begins a new activation.
fn take_up(core: &Core, worker: &mut WorkerState) -> Result {
    if worker.loaded {
        take_up_again(core, worker);
        return Ok(());
    }
    let torn = metadata::load(core, worker)?;
    let activated = metadata::checkpoint(core, worker, Checkpoint::activation(torn));
    if activated.is_ok() {
        worker.loaded = true;
        worker.reading = None;
        drop_stale_pages(core);
        core.take_time();
        report::loaded(core);
    } else {
        // What was loaded may differ from what is on the device: the next resume loads again.
        core.engine.lock().unload(&core.shared);
    }
    activated
}

/// In the middle of a restore the mapped device holds something else than what another table shows,
/// the bare source say: before this one, or after it. What cannot be dropped is in use by somebody.
pub(super) fn drop_stale_pages(core: &Core) {
    if core.shared.maps.state().mode == Mode::Restoring {
        core.mapped.drop_pages();
    }
}

/// Begins a new activation of what is in memory.
fn take_up_again(core: &Core, worker: &mut WorkerState) {
    if core.engine.lock().metadata_mode() == MetadataMode::ReadWrite {
        // A failure is logged, and the metadata is read-only then. What is in memory is still
        // true: that is no reason to hold up the host's reads.
        let _ = metadata::checkpoint(core, worker, Checkpoint::activation(None));
    }
    core.engine.lock().go_on(&core.shared);
}

pub(super) fn resume(core: &Owner<Core>) {
    let _noio = NoIo::enter();
    let mut worker = core.worker.lock();
    // A message that came after `preresume` has left the metadata as if nothing were to follow.
    // Bound to a name, so that the engine is not locked meanwhile.
    let is_clean = core.engine.lock().is_clean();
    if is_clean {
        take_up_again(core, &mut worker);
    }
    worker.active = true;
    drop(worker);
    go_on(core);
}

pub(super) fn presuspend_undo(core: &Owner<Core>) {
    go_on(core);
}

/// Lets the background go on.
fn go_on(core: &Owner<Core>) {
    let mut engine = core.engine.lock();
    engine.quiesce(false);
    engine.set_suspending(None);
    drop(engine);
    report::raise_events(core);
    core.job.enqueue(&core.share());
}

/// The line goes, with the table that it stands in. A removal or a reboot in the middle of a restore loses
/// nothing. But if the mapped device goes on with another target over the source, who uses it sees
/// a mixture of old and new.
pub(super) fn gone(core: &Core) {
    let worker = core.worker.lock();
    let restoring = worker.loaded && core.shared.maps.state().mode == Mode::Restoring;
    if restoring && !worker.claim.was_succeeded() && core.events.device_stays() {
        report::taken_away(core);
    }
}
