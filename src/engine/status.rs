// SPDX-License-Identifier: GPL-2.0

//! The status line.

use super::copying::Activity;
use super::machine::{Engine, Errors, MetadataMode, Shared};
use super::maps::{Mode, Role};
use super::settings;
use super::storage::Storage;
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

impl<S: Storage> Engine<S> {
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
