// SPDX-License-Identifier: GPL-2.0

//! The status line.

use crate::engine::base::storage::Storage;
use crate::engine::copy::choose::Activity;
use crate::engine::machine::Engine;
use crate::engine::maps::{Mode, Role};
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::shared::Shared;
use crate::engine::words::notices::Errors;
use crate::engine::words::settings;
use core::fmt;

impl Mode {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Tracking => "tracking",
            Self::Restoring => "restoring",
        }
    }
}

/// A UUID in its usual form; zeros are none.
struct Uuid([u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == [0; 16] {
            return f.write_str("none");
        }
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl<S: Storage> Engine<S> {
    /// Writes what a volume is known by, for integrity measurement. The UUID of metadata is known from
    /// [`Engine::identified`] on; there is none before it is formatted.
    pub fn write_identity(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let (extent, uuid) = (self.geometry.extent_sectors(), Uuid(self.superblock.uuid));
        write!(out, "extent_sectors={extent},metadata_uuid={uuid};")
    }

    /// Writes the status line of the manual. From memory, without I/O; what is only loaded in part does
    /// not count.
    pub fn write_status(&self, shared: &Shared<S>, out: &mut impl fmt::Write) -> fmt::Result {
        let loaded = self.taken_up;
        let (mode, activity) = if loaded {
            (shared.maps.state().mode, self.activity(shared))
        } else {
            (Mode::Unloaded, Activity::Idle)
        };
        let figure = |value: u64| if loaded { value } else { 0 };
        write!(out, "{} {} ", mode.name(), activity.name())?;
        write!(out, "{} ", self.geometry.extent_sectors())?;
        write!(
            out,
            "{}/{} ",
            figure(shared.maps.count(Role::Cdm)),
            figure(self.geometry.extents())
        )?;
        write!(out, "{} ", figure(shared.maps.count(Role::Prm)))?;
        let restored = figure(self.restored(shared));
        write!(out, "{restored} {} ", self.copying())?;
        let Errors {
            clone,
            source,
            metadata,
        } = self.all_errors(shared);
        write!(out, "{clone} {source} {metadata} ")?;
        settings::write(out, &self.features, &self.settings)?;
        let metadata_mode = if loaded {
            self.metadata_mode
        } else {
            MetadataMode::ReadWrite
        };
        write!(out, " {}", metadata_mode.name())
    }
}

#[cfg(test)]
#[path = "../tests/status.rs"]
mod tests;
