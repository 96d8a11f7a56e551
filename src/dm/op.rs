// SPDX-License-Identifier: GPL-2.0

//! What a bio asks for.

/// What a bio asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Read.
    Read,
    /// Write data.
    Write,
    /// Write zeroes, without data.
    WriteZeroes,
    /// Discard.
    Discard,
    /// Flush the write cache; has no sectors.
    Flush,
    /// Erase for good.
    SecureErase,
    /// Anything else.
    Other,
}
