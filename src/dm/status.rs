// SPDX-License-Identifier: GPL-2.0

//! How a bio ended.

use kernel::{error::to_result, prelude::*};

use super::bindings;

/// The result of a bio, a `blk_status_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(bindings::blk_status_t);

impl Status {
    /// Success.
    pub const OK: Self = Self(0);
    /// The operation is not supported (`EOPNOTSUPP`).
    pub const NOTSUPP: Self = Self(bindings::BLK_STS_NOTSUPP);
    /// Timed out (`ETIMEDOUT`).
    pub const TIMEOUT: Self = Self(bindings::BLK_STS_TIMEOUT);
    /// No space left (`ENOSPC`).
    pub const NOSPC: Self = Self(bindings::BLK_STS_NOSPC);
    /// The device refused (`EREMOTEIO`).
    pub const TARGET: Self = Self(bindings::BLK_STS_TARGET);
    /// Medium error (`ENODATA`).
    pub const MEDIUM: Self = Self(bindings::BLK_STS_MEDIUM);
    /// Protection information does not match (`EILSEQ`).
    pub const PROTECTION: Self = Self(bindings::BLK_STS_PROTECTION);
    /// Out of memory (`ENOMEM`).
    pub const RESOURCE: Self = Self(bindings::BLK_STS_RESOURCE);
    /// I/O error (`EIO`).
    pub const IOERR: Self = Self(bindings::BLK_STS_IOERR);
    /// Push back to device-mapper; an I/O error unless it is suspending without flush.
    pub const DM_REQUEUE: Self = Self(bindings::BLK_STS_DM_REQUEUE);
    /// The bio must not block and would have to (`EAGAIN`).
    pub const AGAIN: Self = Self(bindings::BLK_STS_AGAIN);
    /// Bad size or alignment (`EINVAL`).
    pub const INVAL: Self = Self(bindings::BLK_STS_INVAL);

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

    /// The same as a kernel error.
    pub fn to_result(self) -> Result {
        // SAFETY: a table lookup, for any value.
        to_result(unsafe { bindings::blk_status_to_errno(self.0) })
    }
}

/// The block layer's status for an error; `IOERR` where it has no other.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        // SAFETY: a table lookup, for any value.
        Self(unsafe { bindings::errno_to_blk_status(error.to_errno()) })
    }
}
