// SPDX-License-Identifier: GPL-2.0

//! The lines of `dmsetup status` and `dmsetup table`, and what integrity measurement notes.

use super::devices::Devices;
use super::state::Core;
use crate::dm::{word_text, BlockDevice};
use crate::engine::words::table_line::Line;
use ::core::fmt;
use kernel::prelude::*;

/// The target's name in tables.
pub(super) const NAME: &CStr = c"restore";
/// Its version: major, minor, patch level.
pub(super) const VERSION: [u32; 3] = [1, 0, 0];

/// The line of `dmsetup status`.
pub(super) fn write_info(core: &Core, out: &mut impl fmt::Write) -> fmt::Result {
    core.engine.lock().write_status(&core.shared, out)
}

/// What integrity measurement notes when the table is loaded.
pub(super) fn write_ima(core: &Core, out: &mut impl fmt::Write) -> fmt::Result {
    let [major, minor, patch] = VERSION;
    let name = word_text(NAME);
    write!(
        out,
        "target_name={name},target_version={major}.{minor}.{patch},"
    )?;
    core.engine.lock().write_identity(out)
}

/// The line of `dmsetup table`.
pub(super) fn write_table(core: &Core, out: &mut impl fmt::Write) -> fmt::Result {
    let Devices {
        metadata,
        source,
        clone,
    } = &core.devices;
    let engine = core.engine.lock();
    let line = Line {
        geometry: *core.shared.maps.geometry(),
        features: engine.features,
        settings: engine.settings,
    };
    drop(engine);
    line.write(out, [metadata.dev_t(), source.dev_t(), clone.dev_t()])
}
