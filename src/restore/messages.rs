// SPDX-License-Identifier: GPL-2.0

//! Messages: what the engine has read is carried out; what is refused is named in the log.

use super::identity;
use super::metadata;
use super::report;
use super::state::{Core, WorkerGuard, WorkerState};
use crate::dm::{
    dm_refuse, dm_warn, lock_interruptible, noio::NoIo, shared::Owner, word_bytes, Args,
    BlockDevice, Cached,
};
use crate::engine::{
    maps::Mode,
    record::begin::CannotBegin,
    record::metadata_mode::MetadataMode,
    words::message::{BadMessage, Message},
};
use kernel::prelude::*;

/// Carries out a message.
///
/// # Errors
///
/// `EINTR`: a signal has come while another message or a hook was waited for.
/// `EINVAL`: an unknown message, a bad value, a wrong number of words; source and clone are not
/// identical, or the clone is not what was recorded. `EBUSY`: the device is not suspended, a new table
/// waits to be resumed, or somebody holds the device or uses what is cached of it, or shares the clone. `EALREADY`: a restore runs. `EROFS`: nothing can be
/// recorded. `EIO`: it was not made durable.
pub(super) fn message(core: &Owner<Core>, words: Args<'_>) -> Result {
    let done = match Message::parse(words.map(word_bytes)) {
        Ok(Message::Set { key, value }) => set(core, key, value),
        Ok(Message::StartRestore { force }) => return start_restore(core, force),
        Ok(Message::AssumeIdentical) => return assume_identical(core),
        Ok(Message::PauseCopy) => return pause_copy(core),
        Ok(Message::ResumeCopy) => return resume_copy(core),
        Err(bad) => Err(bad),
    };
    done.map_err(|bad| {
        dm_refuse!(core.name, "{bad}");
        EINVAL
    })
}

fn set<'a>(core: &Owner<Core>, key: &'a [u8], value: &'a [u8]) -> Result<(), BadMessage<'a>> {
    let set = core.engine.lock().set(key, value);
    set.map_err(|bad| BadMessage::Value { key, value, bad })?;
    core.job.enqueue(&core.share());
    Ok(())
}

fn pause_copy(core: &Owner<Core>) -> Result {
    core.engine.lock().set_paused(true);
    Ok(())
}

fn resume_copy(core: &Owner<Core>) -> Result {
    core.engine.lock().set_paused(false);
    core.job.enqueue(&core.share());
    Ok(())
}

fn start_restore(core: &Owner<Core>, force: bool) -> Result {
    let _noio = NoIo::enter();
    let mut worker = suspended(core, "start_restore", || can_begin_restore(core))?;
    expect_unused(core, force)?;
    identity::expect_recorded_clone(core, &mut worker)?;
    let begun = metadata::begin_restore(core, &mut worker);
    drop(worker);
    report::raise_events(core);
    begun
}

fn assume_identical(core: &Owner<Core>) -> Result {
    let _noio = NoIo::enter();
    let mut worker = suspended(core, "assume_identical", || can_assume_identical(core))?;
    expect_alone(core, &worker)?;
    let assumed = metadata::assume_identical(core, &mut worker);
    drop(worker);
    report::raise_events(core);
    assumed
}

fn can_begin_restore(core: &Core) -> Result {
    let may = core.engine.lock().can_begin_restore(&core.shared);
    match may {
        Err(CannotBegin::Already) => {
            dm_refuse!(core.name, "start_restore: a restore is running");
            Err(EALREADY)
        }
        Err(CannotBegin::ReadOnly) => {
            dm_refuse!(core.name, "start_restore: metadata is read-only");
            Err(EROFS)
        }
        Err(CannotBegin::Unloaded) | Ok(()) => Ok(()),
    }
}

fn can_assume_identical(core: &Core) -> Result {
    if core.shared.maps.state().mode == Mode::Restoring {
        dm_refuse!(core.name, "assume_identical: a restore is running");
        return Err(EBUSY);
    }
    if core.engine.lock().metadata_mode() != MetadataMode::ReadWrite {
        dm_refuse!(core.name, "assume_identical: metadata is read-only");
        return Err(EROFS);
    }
    Ok(())
}

/// The worker's state of a suspended device, for the message `name`, if `may` says that it can be carried out.
///
/// Device-mapper takes the live table for as long as a message runs, and a suspend waits for it. So on a
/// device in use nothing is waited for: the worker may be busy with a device that does not answer.
fn suspended<'a>(core: &'a Core, name: &str, may: impl Fn() -> Result) -> Result<WorkerGuard<'a>> {
    let in_use = || !core.engine.lock().is_quiesced();
    let worker = match core.worker.try_lock() {
        Some(worker) => worker,
        None if in_use() => {
            may()?;
            dm_refuse!(core.name, "{name}: the device must be suspended");
            return Err(EBUSY);
        }
        None => lock_interruptible(&core.worker)?,
    };
    may()?;
    expect_suspended(core, &worker, name)?;
    Ok(worker)
}

/// Nobody may go on with the content that the device had: a file system that is mounted has read it
/// into its memory; what is cached would be read again, or written over the clone's.
fn expect_unused(core: &Core, force: bool) -> Result {
    let held = core.mapped.is_held();
    if held && !force {
        dm_refuse!(core.name, "start_restore: the device is mounted or held");
        return Err(EBUSY);
    }
    let Cached { dirty, clean } = core.mapped.drop_all_pages();
    if dirty != 0 {
        dm_refuse!(
            core.name,
            "start_restore: {dirty} cached pages are not written to the device yet"
        );
        return Err(EBUSY);
    }
    if clean != 0 && !force {
        dm_refuse!(core.name, "start_restore: {clean} cached pages are in use");
        return Err(EBUSY);
    }
    if held || clean != 0 {
        dm_warn!(
            core.name,
            "start_restore: the content changes under whoever uses the device ({clean} cached pages in use)"
        );
    }
    Ok(())
}

/// A clone that was made anew is no longer what other volumes roll back to.
fn expect_alone(core: &Core, worker: &WorkerState) -> Result {
    let Some(other) = worker.claim.shared_with() else {
        return Ok(());
    };
    let clone = core.devices.clone.dev_t();
    dm_refuse!(
        core.name,
        "assume_identical: clone {clone} is {other}'s, too: take that out of use first"
    );
    Err(EBUSY)
}

/// Whether the state on the metadata device may be changed.
fn expect_suspended(core: &Core, worker: &WorkerState, name: &str) -> Result {
    if worker.claim.successor_waits() {
        dm_refuse!(
            core.name,
            "{name}: a new table over the same devices waits: resume the device first, then suspend it again"
        );
        return Err(EBUSY);
    }
    if !worker.loaded {
        dm_refuse!(core.name, "{name}: the table was never resumed");
        return Err(EBUSY);
    }
    if worker.active {
        dm_refuse!(core.name, "{name}: the device must be suspended");
        return Err(EBUSY);
    }
    Ok(())
}
