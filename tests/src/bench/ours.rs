// SPDX-License-Identifier: GPL-2.0

//! The target of this project as a contestant.

use super::fill;
use super::mapped::Mapped;
use super::MIB;
use crate::dm;
use crate::status::Status;
use crate::wait;
use anyhow::{ensure, Result};
use std::ops::Deref;
use std::time::Duration;

/// Long enough for the copy of any volume here on an emulated machine.
const COPY: Duration = Duration::from_secs(600);

/// Where a mapped device is to be made.
#[derive(Clone, Debug)]
pub struct Place {
    /// The metadata device.
    pub metadata: String,
    /// The source.
    pub source: String,
    /// The clone.
    pub clone: String,
    /// Sectors of an extent.
    pub extent: u64,
    /// Mapped sectors.
    pub sectors: u64,
}

impl Place {
    /// Over source, clone and metadata device.
    pub fn over([source, clone, metadata]: [String; 3], extent: u64, sectors: u64) -> Self {
        Self {
            metadata,
            source,
            clone,
            extent,
            sectors,
        }
    }

    /// Formats the metadata and makes the device. `features` are words of the table line
    /// besides `format`.
    pub fn format(&self, name: &str, features: &str) -> Result<Ours> {
        fill::blank(&self.metadata)?;
        self.create(name, &format!("format {features}"))
    }

    /// Makes the clone: a copy of the source, so that the two may be called identical.
    pub fn make_clone(&self) -> Result<()> {
        let starts = (0..self.sectors).step_by(MIB as usize);
        let pieces = starts.map(|start| (start, MIB.min(self.sectors - start)));
        fill::copy(&self.source, &self.clone, pieces)
    }

    /// Makes the device over metadata that exist.
    pub fn create(&self, name: &str, features: &str) -> Result<Ours> {
        Mapped::new(name, &self.table(features)).map(Ours)
    }

    /// The table line with these features.
    pub fn table(&self, features: &str) -> String {
        let count = features.split_whitespace().count();
        format!(
            "0 {} restore {} {} {} {} {count} {features}",
            self.sectors, self.metadata, self.source, self.clone, self.extent
        )
    }
}

/// A mapped device of the target.
pub struct Ours(Mapped);

impl Deref for Ours {
    type Target = Mapped;

    fn deref(&self) -> &Mapped {
        &self.0
    }
}

impl Ours {
    /// A device that exists.
    pub fn at(name: &str) -> Result<Self> {
        Mapped::at(name).map(Self)
    }

    /// Suspends it.
    pub fn suspend(&self) -> Result<()> {
        dm::ok(&["suspend", "--nolockfs", self.name()]).map(drop)
    }

    /// Resumes it.
    pub fn resume(&self) -> Result<()> {
        dm::ok(&["resume", self.name()]).map(drop)
    }

    /// Sends a message to the suspended device.
    pub fn message_suspended(&self, message: &str) -> Result<()> {
        self.suspend()?;
        let sent = self.message(message);
        self.resume()?;
        sent
    }

    /// What it says about itself.
    pub fn status(&self) -> Result<Status> {
        dm::target_words(&dm::ok(&["status", self.name()])?, "restore")?.parse()
    }

    /// Waits until the restore is over.
    pub fn wait_restored(&self) -> Result<()> {
        wait::until_within(COPY, "the restore is over", || {
            let status = self.status()?;
            Ok((status.mode == "tracking").then_some(()))
        })?;
        let status = self.status()?;
        ensure!(status.errors() == [0; 3], "errors: {status:?}");
        Ok(())
    }

    /// Restores all that differs, and waits for the end.
    pub fn restore(&self) -> Result<()> {
        self.message_suspended("start_restore")?;
        self.wait_restored()
    }
}
