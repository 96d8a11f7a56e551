// SPDX-License-Identifier: GPL-2.0

//! Requests whose I/O has ended, and source flushes of the target's own.

use super::state::{Core, WorkerState};
use crate::dm::dm_err_limited;
use crate::engine::request::in_flight::{InFlight, Taken};
use kernel::prelude::*;

/// Requests whose I/O is done: source flushes, overwrites, FUA writes.
pub(super) fn take_ended(core: &Core, worker: &mut WorkerState) {
    let (own, mut ended) = {
        let mut handover = core.handover.lock();
        (
            handover.flushed.take(),
            ::core::mem::take(&mut handover.ended),
        )
    };
    if let Some(sent) = own {
        worker.flushing = false;
        take_own_flush(core, sent);
    }
    while let Some(mut bio) = ended.pop() {
        let io = bio.io_mut();
        let taken = core
            .engine
            .lock()
            .take_ended(&core.shared, &mut io.in_flight);
        match taken {
            Taken::Settle => worker.syncing.push(bio),
            Taken::Answer(ok) => {
                let status = io.status(ok);
                bio.complete(status);
            }
        }
    }
}

/// The end of a source flush of the target's own.
fn take_own_flush(core: &Core, mut sent: InFlight) {
    let taken = core.engine.lock().take_ended(&core.shared, &mut sent);
    if taken == Taken::Answer(false) {
        dm_err_limited!(
            core.log_limit,
            core.name,
            "source flush failed, what it should have covered is copied again"
        );
    }
}

/// Flushes the source and waits for it. For hooks.
pub(super) fn flush_now(core: &Core) -> Result {
    let mut sent = InFlight::own_flush(&core.shared);
    let flushed = core.io.flush(&core.devices.source);
    sent.ended(&core.shared, flushed.is_ok());
    take_own_flush(core, sent);
    flushed
}
