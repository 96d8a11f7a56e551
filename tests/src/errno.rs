// SPDX-License-Identifier: GPL-2.0

//! Error numbers that scenarios expect.

use anyhow::{bail, Result};
use std::io;

/// Input/output error.
pub const EIO: i32 = 5;
/// Invalid argument.
pub const EINVAL: i32 = 22;
/// Device or resource busy.
pub const EBUSY: i32 = 16;

/// Checks that an I/O failed with EIO.
pub fn expect_eio<T>(what: &str, result: io::Result<T>) -> Result<()> {
    match result {
        Ok(_) => bail!("{what} succeeded, expected EIO"),
        Err(error) if error.raw_os_error() == Some(EIO) => Ok(()),
        Err(error) => bail!("{what} failed with {error}, expected EIO"),
    }
}
