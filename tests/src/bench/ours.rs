// SPDX-License-Identifier: GPL-2.0

//! The target of this project as a contestant.

use super::fill;
use crate::dm;
use crate::status::Status;
use crate::wait;
use anyhow::{ensure, Context, Result};
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
    /// Formats the metadata and makes the device. `features` are words of the table line
    /// besides `format`.
    pub fn format(&self, name: &str, features: &str) -> Result<Ours> {
        fill::blank(&self.metadata)?;
        self.create(name, &format!("format {features}"))
    }

    /// Makes the device over metadata that exist.
    pub fn create(&self, name: &str, features: &str) -> Result<Ours> {
        dm::ok(&["create", name, "--table", &self.table(features)])?;
        Ours::at(name)
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

/// A mapped device. It goes away when it is dropped.
pub struct Ours {
    name: String,
}

impl Ours {
    /// A device that exists.
    pub fn at(name: &str) -> Result<Self> {
        dm::ok(&["mknodes"])?;
        Ok(Self {
            name: name.to_string(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path.
    pub fn path(&self) -> String {
        dm::path(&self.name)
    }

    /// Suspends it.
    pub fn suspend(&self) -> Result<()> {
        dm::ok(&["suspend", "--nolockfs", &self.name]).map(drop)
    }

    /// Resumes it.
    pub fn resume(&self) -> Result<()> {
        dm::ok(&["resume", &self.name]).map(drop)
    }

    /// Sends a message.
    pub fn message(&self, message: &str) -> Result<()> {
        dm::ok(&["message", &self.name, "0", message]).map(drop)
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
        let line = dm::ok(&["status", &self.name])?;
        let words = line.splitn(4, ' ').nth(3);
        words.context("an empty status")?.parse()
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

impl Drop for Ours {
    fn drop(&mut self) {
        if let Err(error) = dm::ok(&["remove", "--retry", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}
