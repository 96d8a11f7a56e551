// SPDX-License-Identifier: GPL-2.0

//! Why devices or metadata cannot be used: for `ti->error`, for user space and for the log.

use super::roles;
use crate::dm::{claims::Conflict, dm_refuse, MappedName};
use crate::engine::format::Refusal;
use kernel::prelude::*;

/// Why metadata cannot be used.
pub(super) enum Unusable {
    /// It could not be read.
    Unreadable(Error),
    /// It was read, and refused.
    Refused(Refusal),
    /// Somebody else uses it.
    InUse(Conflict),
}

impl From<Refusal> for Unusable {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Conflict> for Unusable {
    fn from(conflict: Conflict) -> Self {
        Self::InUse(conflict)
    }
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self::Unreadable(error)
    }
}

impl Unusable {
    /// The reason, for `ti->error` and the log.
    pub(super) fn reason(&self) -> &'static CStr {
        match self {
            Self::Unreadable(_) => c"a device cannot be read or flushed",
            Self::Refused(refusal) => refusal.reason(),
            Self::InUse(_) => c"metadata is in use by another restore target",
        }
    }

    /// The error for user space.
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Unreadable(error) => *error,
            Self::Refused(_) => EINVAL,
            Self::InUse(_) => EBUSY,
        }
    }

    /// Says in the log what there is to say beside the reason.
    pub(super) fn tell(&self, name: MappedName) {
        match self {
            Self::InUse(conflict) => roles::tell(name, conflict),
            Self::Refused(Refusal::LargerBlocks { given, recorded }) => dm_refuse!(
                name,
                "source or clone has logical blocks of {given} bytes, the metadata was made for \
                 {recorded}: give devices with blocks of {recorded} bytes or less or, when no restore is \
                 running, blank metadata with 'format'"
            ),
            Self::Refused(_) | Self::Unreadable(_) => {}
        }
    }
}

pub(super) type Usable<T> = Result<T, Unusable>;
