// SPDX-License-Identifier: GPL-2.0

//! What the target keeps for each request of the host.

use crate::dm::Status;
use crate::engine::copy::host_latency::Sample;
use crate::engine::request::in_flight::InFlight;

/// What the target keeps for each request.
#[derive(Default)]
pub(crate) struct Io {
    /// What the engine wants to know of it at its end.
    pub(super) in_flight: InFlight,
    /// Its I/O has failed, and how.
    pub(super) error: Option<Status>,
    /// Whether its time is taken.
    pub(super) sample: Sample,
}

impl Io {
    /// What the host is told.
    pub(super) fn status(&self, ok: bool) -> Status {
        if ok {
            Status::OK
        } else {
            self.error.unwrap_or(Status::IOERR)
        }
    }
}
