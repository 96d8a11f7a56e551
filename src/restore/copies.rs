// SPDX-License-Identifier: GPL-2.0

//! The copies in flight, in two lanes.
//!
//! A client of kcopyd copies in one thread, on the processor where a copy was begun while it had
//! nothing to do. Where the devices keep that thread busy (memory, emulated or very fast disks), a
//! single client copies no faster than one processor. So there are two, and each is handed the
//! background's copies by a job of its own, on a processor of its own. A copy that a host write waits
//! for is begun on the spot, and so is one that is alone: beside a busy host the scheduler runs the
//! worker where the host does not run, and the copy stays there.
//!
//! Lock: a lane's `handed`, a leaf, held for moments.

use super::core::Core;
use crate::dm::{
    kcopyd::{CopyDone, CopyRange, CopyResult as CopyEnd, Kcopyd},
    noio::NoIo,
    queue::{new_job, Cpu, Job, Kind, Queue},
    shared::Ref,
    MappedName,
};
use crate::engine::copy::jobs::{Copy, CopyResult, BACKGROUND_JOBS, URGENT_JOBS};
use kernel::{new_spinlock, prelude::*, sync::SpinLock};

const LANES: usize = 2;
/// Jobs that can be under way in a lane.
const PLACES: usize = (BACKGROUND_JOBS + URGENT_JOBS) / LANES;

/// Copies from the clone to the source. The engine's jobs take turns with the lanes.
#[pin_data]
pub(super) struct Copies {
    #[pin]
    even: Lane,
    #[pin]
    odd: Lane,
}

#[pin_data]
struct Lane {
    /// Has half a MiB of its own, so that it makes progress when there is no memory.
    client: Kcopyd<Core>,
    /// Copies that `job` has yet to begin, oldest first.
    #[pin]
    handed: SpinLock<KVec<Copy>>,
    #[pin]
    job: Job<Core>,
}

impl Copies {
    /// An initialiser; none is in flight. Sleeps.
    pub(super) fn new(name: &MappedName) -> Result<impl PinInit<Self, Error>> {
        let lanes = LANES as u32;
        let queue = Queue::new(format_args!("dm-restore-copy/{name}"), Kind::PerCpu, lanes)?;
        let (even, odd) = (
            new_job!(
                queue.clone(),
                |core| begin(&core, &core.copies.even),
                Cpu::next()
            ),
            new_job!(queue, |core| begin(&core, &core.copies.odd), Cpu::next()),
        );
        Ok(try_pin_init!(Self {
            even <- Lane::new(even)?,
            odd <- Lane::new(odd)?,
        }))
    }

    /// Starts a copy; its result comes to the inbox. May sleep for memory. For the worker.
    pub(super) fn start(&self, core: &Ref<Core>, copy: Copy) {
        let lane = if copy.job % LANES == 0 {
            &self.even
        } else {
            &self.odd
        };
        if copy.at_once {
            lane.begin(core, copy);
        } else {
            lane.hand(core, copy);
        }
    }

    /// Sleeps until none is in flight that was started before.
    pub(super) fn wait_idle(&self) {
        for lane in [&self.even, &self.odd] {
            lane.job.flush();
            lane.client.wait_idle();
        }
    }

    /// Nothing is handed to the lanes any more. Sleeps.
    pub(super) fn disable(&self) {
        self.even.job.disable();
        self.odd.job.disable();
    }
}

impl Lane {
    fn new(job: impl PinInit<Job<Core>>) -> Result<impl PinInit<Self, Error>> {
        let handed = KVec::with_capacity(PLACES, GFP_KERNEL)?;
        Ok(try_pin_init!(Self {
            client: Kcopyd::new(PLACES)?,
            handed <- new_spinlock!(handed, "dm_restore::copies"),
            job <- job,
        }))
    }

    fn hand(&self, core: &Ref<Core>, copy: Copy) {
        let handed = self.handed.lock().push_within_capacity(copy);
        match handed {
            Ok(()) => {
                self.job.enqueue(core);
            }
            Err(_) => refused(core, copy),
        }
    }

    fn begin(&self, core: &Ref<Core>, copy: Copy) {
        let range = CopyRange {
            from: copy.sectors.start(),
            to: copy.sectors.start(),
            sectors: copy.sectors.len(),
        };
        let (clone, source) = (&core.devices.clone, &core.devices.source);
        let begun = self
            .client
            .copy(core.clone(), copy.job as u64, clone, source, range);
        if begun.is_err() {
            refused(core, copy);
        }
    }
}

/// A lane's job: begins what it was handed.
fn begin(core: &Ref<Core>, lane: &Lane) {
    let _noio = NoIo::enter();
    loop {
        // Bound to a name, so that the lock is not held while the copy begins.
        let next = lane.handed.lock().remove(0);
        match next {
            Ok(copy) => lane.begin(core, copy),
            Err(_) => return,
        }
    }
}

/// Never happens: a lane has as many places as the engine has jobs for it.
fn refused(core: &Ref<Core>, copy: Copy) {
    let failed = CopyResult {
        read_error: false,
        write_error: true,
    };
    Core::copy_ended(core, copy.job, failed);
}

impl CopyDone for Core {
    fn copy_done(this: &Ref<Self>, cookie: u64, end: CopyEnd) {
        let result = CopyResult {
            read_error: end.read_error,
            write_error: end.write_error,
        };
        Core::copy_ended(this, cookie as usize, result);
    }
}
