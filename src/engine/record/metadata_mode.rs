// SPDX-License-Identifier: GPL-2.0

//! Whether anything can be recorded.

/// The state of the metadata device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataMode {
    /// All is well.
    ReadWrite,
    /// A write has failed: nothing new can be recorded until the next load.
    ReadOnly,
    /// The truth on the device is unknown until the next load.
    Fail,
}

impl MetadataMode {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "rw",
            Self::ReadOnly => "ro",
            Self::Fail => "fail",
        }
    }
}
