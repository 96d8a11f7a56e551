// SPDX-License-Identifier: GPL-2.0

//! A mapped device of any target.

use crate::dm;
use anyhow::Result;

/// A mapped device. It goes away when it is dropped.
pub struct Mapped {
    name: String,
}

impl Mapped {
    /// Makes one with this table.
    pub fn new(name: &str, table: &str) -> Result<Self> {
        dm::ok(&["create", name, "--table", table])?;
        Self::at(name)
    }

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

    /// Sends a message.
    pub fn message(&self, message: &str) -> Result<()> {
        dm::ok(&["message", &self.name, "0", message]).map(drop)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Err(error) = dm::ok(&["remove", "--retry", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}
