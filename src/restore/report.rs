// SPDX-License-Identifier: GPL-2.0

//! What happens to a volume, in words for the kernel's log: each start, end, stall, recovery, change of
//! mode and declaration, with figures. What fails or is refused is told where that is found out.

use super::state::Core;
use crate::dm::{
    atomic::Ordering, dm_err, dm_err_limited, dm_info, dm_info_limited, dm_warn, dm_warn_limited,
    time::now_ns, BlockDevice,
};
use crate::engine::{
    base::run::Run,
    copy::job::CopyResult,
    maps::{Mode, Role},
    record::attempts,
    record::metadata_mode::MetadataMode,
    words::notices::Errors,
    words::notices::{Failing, Notice, Restored},
};
use ::core::fmt;

/// Extents with what they come to in bytes.
struct Amount {
    extents: u64,
    /// Sectors of an extent.
    extent: u64,
}

impl Amount {
    fn new(core: &Core, extents: u64) -> Self {
        let extent = core.shared.maps.geometry().extent_sectors();
        Self { extents, extent }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = self.extents.saturating_mul(self.extent) / 2;
        let plural = if self.extents == 1 { "" } else { "s" };
        write!(f, "{} extent{plural} (", self.extents)?;
        if kib < 1024 {
            write!(f, "{kib} KiB)")
        } else {
            write!(f, "{} MiB)", kib / 1024)
        }
    }
}

/// The first and the last of some neighbours.
struct Span(Run);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.end().saturating_sub(1);
        write!(f, "{}", self.0.start())?;
        if last > self.0.start() {
            write!(f, " to {last}")?;
        }
        Ok(())
    }
}

/// Seconds since a time.
struct Since(u64);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = now_ns().saturating_sub(self.0) / 1_000_000;
        write!(f, "{}.{:03} s", ms / 1000, ms % 1000)
    }
}

/// Tells of what has happened: the log, and `dmsetup wait`. Sleeps.
pub(super) fn raise_events(core: &Core) {
    let mut engine = core.engine.lock();
    let (notices, of_metadata) = (engine.take_notices(), engine.take_notice());
    drop(engine);
    if let Some(notice) = of_metadata {
        metadata_device(core, notice);
    }
    if notices.is_empty() {
        return;
    }
    let since = core.since.load(Ordering::Relaxed);
    notices
        .iter()
        .for_each(|notice| self::notice(core, notice, since));
    core.events.raise();
}

/// The metadata device fails, or works again.
fn metadata_device(core: &Core, notice: attempts::Notice) {
    match notice {
        attempts::Notice::Failing(seconds) => dm_warn_limited!(
            core.log_limit,
            core.name,
            "metadata device fails, tried again for {seconds} s; writes that need a record wait"
        ),
        attempts::Notice::Works => {
            dm_info_limited!(core.log_limit, core.name, "metadata device works again");
        }
    }
}

/// A table was loaded: how things stand.
pub(super) fn loaded(core: &Core) {
    let maps = &core.shared.maps;
    let (mode, all) = (maps.state().mode, maps.geometry().extents());
    let delta = Amount::new(core, maps.count(Role::Cdm));
    match mode {
        Mode::Restoring => dm_info!(
            core.name,
            "loaded in the middle of a restore: {delta} of {all} left to restore"
        ),
        Mode::Tracking | Mode::Unloaded => dm_info!(
            core.name,
            "loaded: {delta} of {all} may differ from the clone"
        ),
    }
}

/// Blank metadata was formatted.
pub(super) fn formatted(core: &Core, identical: bool) {
    let all = Amount::new(core, core.shared.maps.geometry().extents());
    if identical {
        dm_info!(
            core.name,
            "formatted blank metadata: {all}, declared identical"
        );
    } else {
        dm_info!(core.name, "formatted blank metadata: {all}, all different");
    }
}

/// The feature `assume_different`. `were`: extents that might differ before.
pub(super) fn assumed_different(core: &Core, were: u64) {
    let all = Amount::new(core, core.shared.maps.geometry().extents());
    dm_info!(
        core.name,
        "source and clone declared different: {all}, of which {were} were so before"
    );
}

/// The message `assume_identical`. `were`: extents that might differ before.
pub(super) fn assumed_identical(core: &Core, were: u64) {
    let were = Amount::new(core, were);
    dm_info!(
        core.name,
        "source and clone declared identical: {were} might have differed before"
    );
}

/// A restore has begun, of `delta` extents.
pub(super) fn begun(core: &Core, delta: u64) {
    let all = core.shared.maps.geometry().extents();
    let delta = Amount::new(core, delta);
    dm_info!(core.name, "restore started: {delta} of {all} to restore");
}

/// What the engine has noted. `since`: when the restore began or was loaded, in nanoseconds.
fn notice(core: &Core, notice: Notice, since: u64) {
    match notice {
        Notice::Stalled {
            failing,
            left,
            errors,
        } => stalled(core, failing, left, errors),
        Notice::Recovered { left } => {
            let left = Amount::new(core, left);
            dm_info!(core.name, "restore goes on: {left} left to restore");
        }
        Notice::Finished(restored) => finished(core, restored, since),
        Notice::MetadataMode(mode) => metadata_mode(core, mode),
    }
}

fn stalled(core: &Core, failing: Failing, left: u64, errors: Errors) {
    let (source, clone) = (core.devices.source.dev_t(), core.devices.clone.dev_t());
    let (device, why) = match failing {
        Failing::Clone => (clone, "clone cannot be read"),
        Failing::Source => (source, "source cannot be written"),
        Failing::Flush => (source, "source cannot be flushed"),
    };
    let left = Amount::new(core, left);
    let Errors {
        clone,
        source,
        metadata,
    } = errors;
    dm_warn!(
        core.name,
        "restore stalled: {why} ({device}), {left} left to restore; errors so far: clone {clone}, source {source}, metadata {metadata}"
    );
}

fn finished(core: &Core, restored: Restored, since: u64) {
    let Restored {
        extents,
        copied,
        overwritten,
    } = restored;
    let all = Amount::new(core, extents);
    let since_then = Since(since);
    if copied.saturating_add(overwritten) == extents {
        dm_info!(
            core.name,
            "restore finished: {all} in {since_then}, {copied} copied, {overwritten} overwritten by the host"
        );
    } else {
        dm_info!(
            core.name,
            "restore finished: {all}; since the table was loaded {since_then} ago {copied} copied, {overwritten} overwritten by the host"
        );
    }
}

fn metadata_mode(core: &Core, mode: MetadataMode) {
    let (device, name) = (core.devices.metadata.dev_t(), mode.name());
    let what = match mode {
        MetadataMode::ReadWrite => "changes are recorded",
        MetadataMode::ReadOnly => {
            "nothing new can be recorded, and writes that need a record fail, until the table is loaded again"
        }
        MetadataMode::Fail => "all writes fail until the table is loaded again",
    };
    dm_err!(core.name, "metadata mode {name} ({device}): {what}");
    dm_err!(
        core.name,
        "to go on make the metadata device work, load the table again and resume; \
         if a file system has stopped unmount it first, or suspend with --nolockfs"
    );
}

/// A copy has failed. `under_way`: its extents, and the sectors of the piece that has failed.
pub(super) fn copy_failed(core: &Core, result: CopyResult, under_way: Option<(Run, Run)>) {
    let (device, why) = if result.read_error {
        (core.devices.clone.dev_t(), "clone cannot be read")
    } else {
        (core.devices.source.dev_t(), "source cannot be written")
    };
    let (extents, sectors) = under_way.unwrap_or_default();
    let (extents, sectors) = (Span(extents), Span(sectors));
    dm_err_limited!(
        core.log_limit,
        core.name,
        "copy failed: {why} ({device}), sectors {sectors}, extents {extents}"
    );
}

/// The line has gone from a mapped device that goes on without it, in the middle of a restore.
pub(super) fn taken_away(core: &Core) {
    let left = Amount::new(core, core.shared.maps.count(Role::Cdm));
    dm_warn!(
        core.name,
        "replaced by another target in the middle of a restore: {left} not restored, the source ({}) alone is a mixture of old and new",
        core.devices.source.dev_t()
    );
}
