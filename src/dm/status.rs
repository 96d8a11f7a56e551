// SPDX-License-Identifier: GPL-2.0

//! How a bio ended.

use kernel::prelude::*;

use super::bindings;

/// The result of a bio, a `blk_status_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(bindings::blk_status_t);

impl Status {
    /// Success.
    pub const OK: Self = Self(0);
    /// The operation is not supported (`EOPNOTSUPP`).
    pub const NOTSUPP: Self = Self(bindings::BLK_STS_NOTSUPP);
    /// I/O error (`EIO`).
    pub const IOERR: Self = Self(bindings::BLK_STS_IOERR);
    /// The bio must not block and would have to (`EAGAIN`).
    pub const AGAIN: Self = Self(bindings::BLK_STS_AGAIN);

    pub(super) fn from_raw(status: bindings::blk_status_t) -> Self {
        Self(status)
    }

    pub(super) fn to_raw(self) -> bindings::blk_status_t {
        self.0
    }

    /// Whether the bio succeeded.
    pub fn is_ok(self) -> bool {
        self == Self::OK
    }
}

/// The block layer's status for an error; `IOERR` where it has no other.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        // SAFETY: a table lookup, for any value.
        Self(unsafe { bindings::errno_to_blk_status(error.to_errno()) })
    }
}
