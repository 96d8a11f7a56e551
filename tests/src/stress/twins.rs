// SPDX-License-Identifier: GPL-2.0

//! Other volumes that want the same disks in other roles: all are refused, whatever goes on.

use crate::disks;
use crate::dm::{self, New};
use crate::rig::Rig;
use anyhow::{ensure, Result};

/// Devices of its own that a volume needs to be a twin of another.
pub struct Twins {
    name: String,
    /// One that could be a source or a clone.
    data: String,
    metadata: String,
}

impl Twins {
    /// For the volume of this rig.
    ///
    /// # Errors
    ///
    /// The devices cannot be made.
    pub fn new(rig: &Rig) -> Result<Self> {
        let name = format!("{}-twin", rig.name);
        let (data, metadata) = (format!("{name}-data"), format!("{name}-meta"));
        let blank = disks::take_metadata(rig.spec.blocks, rig.metadata.part.sectors)?;
        let new = |name, line| New {
            name,
            read_only: false,
            table: vec![line],
        };
        let zeros = format!("0 {} zero", rig.spec.length);
        dm::create_all(&[new(&data, zeros), new(&metadata, blank.line(0))])?;
        Ok(Self {
            name,
            data: dm::path(&data),
            metadata: dm::path(&metadata),
        })
    }

    /// Offers the disks of the rig in one of the combinations that must be refused.
    ///
    /// # Errors
    ///
    /// It was not.
    pub fn offer(&self, rig: &Rig, which: u64) -> Result<()> {
        let (source, clone, metadata) = (rig.source.path(), rig.clone.path(), rig.metadata.path());
        let [metadata, source, clone] = match which % 3 {
            0 => [&self.metadata, &source, &self.data],
            1 => [&self.metadata, &self.data, &source],
            _ => [&metadata, &self.data, &clone],
        };
        let table = format!(
            "0 {} restore {metadata} {source} {clone} {} 1 format",
            rig.spec.length, rig.spec.extent
        );
        let made = dm::run(&["create", &self.name, "--table", &table])?;
        // If it was made it is taken away, so that the run can go on to say so.
        dm::run(&["remove", "--retry", &self.name])?;
        ensure!(!made.ok, "a second volume was made: {table}");
        Ok(())
    }

    /// Takes the devices away.
    ///
    /// # Errors
    ///
    /// One is in use.
    pub fn close(self) -> Result<()> {
        let names = ["data", "meta"].map(|part| format!("{}-{part}", self.name));
        dm::ok(&["remove", "--retry", &names[0], &names[1]]).map(drop)
    }
}
