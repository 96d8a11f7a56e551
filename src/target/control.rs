// SPDX-License-Identifier: GPL-2.0

//! Messages. Each is checked word by word; what is refused is named in the log.

use super::core::{Core, Desk};
use super::metadata;
use crate::dm::{atomic::Ordering, dm_err, noio::NoIo, shared::Owner, word_bytes, word_text, Args};
use crate::engine::{
    checkpoint::CannotBegin, machine::MetadataMode, maps::Mode, settings::is_core_arg,
};
use kernel::prelude::*;

/// Carries out a message.
///
/// # Errors
///
/// `EINVAL`: an unknown message, a bad value, a wrong number of words. `EBUSY`: the device is not
/// suspended. `EALREADY`: a restore runs. `EROFS`: nothing can be recorded. `EIO`: it was not made
/// durable.
pub(super) fn message(core: &Owner<Core>, words: Args<'_>) -> Result {
    let count = words.len();
    let mut words = words;
    let name = words.next().ok_or(EINVAL)?;
    let key = word_bytes(name);
    if is_core_arg(key) {
        expect_words(core, name, count, 2)?;
        let value = words.next().ok_or(EINVAL)?;
        return set(core, name, value);
    }
    let command = match key {
        b"start_restore" => start_restore,
        b"assume_identical" => assume_identical,
        b"pause_copy" => pause_copy,
        b"resume_copy" => resume_copy,
        _ => {
            dm_err!(core.name, "unknown message '{}'", word_text(name));
            return Err(EINVAL);
        }
    };
    expect_words(core, name, count, 1)?;
    command(core)
}

fn expect_words(core: &Core, name: &CStr, count: usize, expected: usize) -> Result {
    if count == expected {
        return Ok(());
    }
    let values = expected.saturating_sub(1);
    dm_err!(
        core.name,
        "message '{}' takes {values} value(s), not {}",
        word_text(name),
        count.saturating_sub(1)
    );
    Err(EINVAL)
}

fn set(core: &Owner<Core>, name: &CStr, value: &CStr) -> Result {
    let set = core.engine.lock().set(word_bytes(name), word_bytes(value));
    if let Err(bad) = set {
        let reason = word_text(bad.reason());
        dm_err!(
            core.name,
            "message '{}': value '{}': {reason}",
            word_text(name),
            word_text(value)
        );
        return Err(EINVAL);
    }
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

fn start_restore(core: &Owner<Core>) -> Result {
    let _noio = NoIo::enter();
    let mut desk = core.desk.lock();
    let may = core.engine.lock().can_begin_restore(&core.shared);
    match may {
        Err(CannotBegin::Already) => {
            dm_err!(core.name, "start_restore: a restore is running");
            return Err(EALREADY);
        }
        Err(CannotBegin::ReadOnly) => {
            dm_err!(core.name, "start_restore: metadata is read-only");
            return Err(EROFS);
        }
        Err(CannotBegin::Unloaded) | Ok(()) => {}
    }
    expect_suspended(core, &desk, "start_restore")?;
    let begun = metadata::begin_restore(core, &mut desk);
    drop(desk);
    core.raise_events();
    begun
}

fn assume_identical(core: &Owner<Core>) -> Result {
    let _noio = NoIo::enter();
    let mut desk = core.desk.lock();
    if core.shared.maps.state().mode == Mode::Restoring {
        dm_err!(core.name, "assume_identical: a restore is running");
        return Err(EBUSY);
    }
    if core.engine.lock().metadata_mode() != MetadataMode::ReadWrite {
        dm_err!(core.name, "assume_identical: metadata is read-only");
        return Err(EROFS);
    }
    expect_suspended(core, &desk, "assume_identical")?;
    let assumed = metadata::assume_identical(core, &mut desk);
    drop(desk);
    core.raise_events();
    assumed
}

/// The target's own flag, because device-mapper lets I/O flow before it clears its own.
fn expect_suspended(core: &Core, desk: &Desk, name: &str) -> Result {
    if !desk.loaded {
        dm_err!(core.name, "{name}: the table was never resumed");
        return Err(EBUSY);
    }
    if !core.suspended.load(Ordering::Acquire) {
        dm_err!(core.name, "{name}: the device must be suspended");
        return Err(EBUSY);
    }
    Ok(())
}
