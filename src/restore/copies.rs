// SPDX-License-Identifier: GPL-2.0

//! The copies in flight, in two threads.
//!
//! A client of kcopyd copies in one thread, on the processor where a copy was begun while it had
//! nothing to do. Where the devices keep that thread busy (memory, emulated or very fast disks), a
//! single client copies no faster than one processor. So there are two, and each is handed the
//! background's copies by a job of its own, on a processor of its own. A copy that a host write waits
//! for is begun on the spot, and so is one that is alone: beside a busy host the scheduler runs the
//! worker where the host does not run, and the copy stays there.
//!
//! Lock: a thread's `handed`, a leaf, held for moments.

use super::devices::Devices;
use crate::dm::{
    kcopyd::{CopyDone, CopyRange, CopyResult as CopyEnd, Kcopyd},
    noio::NoIo,
    queue::{new_job, Cpu, Job, Kind, Queue},
    shared::Ref,
    MappedName,
};
use crate::engine::copy::job::Copy;
use crate::engine::copy::job::CopyResult;
use crate::engine::copy::job::BACKGROUND_JOBS;
use crate::engine::copy::job::URGENT_JOBS;
use kernel::{new_spinlock, prelude::*, sync::SpinLock};

const THREADS: usize = 2;
/// Jobs that can be under way in a thread.
const PLACES: usize = (BACKGROUND_JOBS + URGENT_JOBS) / THREADS;

/// What the copies belong to.
pub(super) trait CopyOwner: CopyDone + Send + Sync + 'static {
    /// The copies.
    fn copies(&self) -> &Copies<Self>
    where
        Self: Sized;

    /// Where they copy from and to.
    fn devices(&self) -> &Devices;

    /// The copy of a job has ended. Any context.
    fn copy_ended(this: &Ref<Self>, job: usize, result: CopyResult)
    where
        Self: Sized;
}

/// Copies from the clone to the source. The engine's jobs go to the threads one after the other.
#[pin_data]
pub(super) struct Copies<C: CopyOwner> {
    #[pin]
    even: CopyThread<C>,
    #[pin]
    odd: CopyThread<C>,
}

#[pin_data]
struct CopyThread<C: CopyOwner> {
    /// Has half a MiB of its own, so that it makes progress when there is no memory.
    client: Kcopyd<C>,
    /// Copies that `job` has yet to begin, oldest first.
    #[pin]
    handed: SpinLock<KVec<Copy>>,
    #[pin]
    job: Job<C>,
}

impl<C: CopyOwner> Copies<C> {
    /// An initialiser; none is in flight. Sleeps.
    pub(super) fn new(name: &MappedName) -> Result<impl PinInit<Self, Error>> {
        let threads = THREADS as u32;
        let queue = Queue::new(
            format_args!("dm-restore-copy/{name}"),
            Kind::PerCpu,
            threads,
        )?;
        let (even, odd) = (
            new_job!(
                queue.clone(),
                |owner: Ref<C>| begin(&owner, &owner.copies().even),
                Cpu::next()
            ),
            new_job!(
                queue,
                |owner: Ref<C>| begin(&owner, &owner.copies().odd),
                Cpu::next()
            ),
        );
        Ok(try_pin_init!(Self {
            even <- CopyThread::new(even)?,
            odd <- CopyThread::new(odd)?,
        }))
    }

    /// Starts a copy; its result comes to the hand-over. May sleep for memory. For the worker.
    pub(super) fn start(&self, owner: &Ref<C>, copy: Copy) {
        let thread = if copy.job % THREADS == 0 {
            &self.even
        } else {
            &self.odd
        };
        if copy.at_once {
            thread.begin(owner, copy);
        } else {
            thread.hand(owner, copy);
        }
    }

    /// Sleeps until none is in flight that was started before.
    pub(super) fn wait_idle(&self) {
        for thread in [&self.even, &self.odd] {
            thread.job.flush();
            thread.client.wait_idle();
        }
    }

    /// Nothing is handed to the threads any more. Sleeps.
    pub(super) fn disable(&self) {
        self.even.job.disable();
        self.odd.job.disable();
    }
}

impl<C: CopyOwner> CopyThread<C> {
    fn new(job: impl PinInit<Job<C>>) -> Result<impl PinInit<Self, Error>> {
        let handed = KVec::with_capacity(PLACES, GFP_KERNEL)?;
        Ok(try_pin_init!(Self {
            client: Kcopyd::new(PLACES)?,
            handed <- new_spinlock!(handed, "dm_restore::copies"),
            job <- job,
        }))
    }

    fn hand(&self, owner: &Ref<C>, copy: Copy) {
        let handed = self.handed.lock().push_within_capacity(copy);
        match handed {
            Ok(()) => {
                self.job.enqueue(owner);
            }
            Err(_) => refused(owner, copy),
        }
    }

    fn begin(&self, owner: &Ref<C>, copy: Copy) {
        let range = CopyRange {
            from: copy.sectors.start(),
            to: copy.sectors.start(),
            sectors: copy.sectors.len(),
        };
        let (clone, source) = (&owner.devices().clone, &owner.devices().source);
        let begun = self
            .client
            .copy(owner.clone(), copy.job as u64, clone, source, range);
        if begun.is_err() {
            refused(owner, copy);
        }
    }
}

/// A thread's job: begins what it was handed.
fn begin<C: CopyOwner>(owner: &Ref<C>, thread: &CopyThread<C>) {
    let _noio = NoIo::enter();
    loop {
        // Bound to a name, so that the lock is not held while the copy begins.
        let next = thread.handed.lock().remove(0);
        match next {
            Ok(copy) => thread.begin(owner, copy),
            Err(_) => return,
        }
    }
}

/// Never happens: a thread has as many places as the engine has jobs for it.
fn refused<C: CopyOwner>(owner: &Ref<C>, copy: Copy) {
    let failed = CopyResult {
        read_error: false,
        write_error: true,
    };
    C::copy_ended(owner, copy.job, failed);
}

/// A copy has ended. Any context.
pub(super) fn done<C: CopyOwner>(owner: &Ref<C>, cookie: u64, end: CopyEnd) {
    let result = CopyResult {
        read_error: end.read_error,
        write_error: end.write_error,
    };
    C::copy_ended(owner, cookie as usize, result);
}
