// SPDX-License-Identifier: GPL-2.0

//! What one table line consists of.
//!
//! Locks, in the order in which they are taken:
//!
//! 1. `worker`: a mutex, held by whoever does metadata I/O and moves requests on: the worker for as
//!    long as it runs, and the hooks for suspend, resume and messages. Sleeps, also for I/O.
//!    Messages wait for it interruptibly, and only on a suspended device.
//! 2. `engine`: a mutex, held for moments, never across I/O: `dmsetup status` takes it.
//! 3. `handover`: a spin lock that disables interrupts, held for moments; the only lock in `map`,
//!    `end_io` and completions.

use super::copies::{self, Copies, CopyOwner};
use super::devices::Devices;
use super::memory::KernelMemory;
use super::per_bio::Io;
use crate::dm::{
    atomic::{AtomicU64, Ordering},
    buffer::{BlockBuf, SECTORS_PER_BLOCK},
    claims::Claim,
    io::{AsyncIo, IoClient, IoDone},
    kcopyd::{CopyDone, CopyResult as CopyEnd},
    pm,
    queue::{new_job, Job, Kind, Queue},
    shared::Ref,
    time::now_ns,
    wakeup::{new_wakeup, Wakeup},
    Bio, BioList, BlockDevice, DoneBio, Events, LogLimit, MappedDisk, MappedName, TableId,
};
use crate::engine::{
    copy::job::CopyResult,
    copy::job::BACKGROUND_JOBS,
    copy::job::URGENT_JOBS,
    format::{items::END_SECTORS, layout::Layout, BLOCK_SECTORS},
    identity::identical::PIECE,
    machine::Engine,
    record::checkpoint::Checkpoint,
    record::commit_delay::CommitDelay,
    request::in_flight::InFlight,
    shared::Shared,
    words::settings::Features,
};
use kernel::{
    new_mutex, new_spinlock_irq,
    prelude::*,
    sync::{lock::mutex::MutexGuard, Mutex, SpinLockIrq},
};

/// Results of copies that the worker has not seen yet: there can be no more than copies.
const RESULTS: usize = BACKGROUND_JOBS + URGENT_JOBS;

/// Blocks for what is read of one device at a time to compare it.
pub(super) const PLACE_BLOCKS: usize = (PIECE as u32).div_ceil(SECTORS_PER_BLOCK) as usize;
/// Blocks for what is read of source and clone to compare them.
pub(super) const COMPARED_BLOCKS: usize = 2 * PLACE_BLOCKS;
/// Blocks for samples: those of an end.
pub(super) const SAMPLE_BLOCKS: usize = (END_SECTORS / BLOCK_SECTORS) as usize;

/// What `map`, `end_io` and completions leave for the worker.
pub(super) struct Handover {
    /// Requests that cannot go at once.
    deferred: BioList<Bio<Io>>,
    /// The worker sleeps until so many more of them have come.
    awaited: usize,
    /// Requests whose I/O is done but that are not.
    pub(super) ended: BioList<DoneBio<Io>>,
    /// Results of copies, by job, and how many there are.
    copies: [Option<CopyResult>; RESULTS],
    copies_done: usize,
    /// The journal block that was written.
    pub(super) commit: Option<(bool, Option<BlockBuf>)>,
    /// The source flush of the target's own that is under way, or else the one that has ended.
    pub(super) flushing: Option<InFlight>,
    pub(super) flushed: Option<InFlight>,
}

impl Handover {
    /// Leaves a request that cannot go at once. Returns whether the worker has to be woken for it.
    pub(super) fn defer(&mut self, bio: Bio<Io>) -> bool {
        self.deferred.push(bio);
        let was_last = self.awaited == 1;
        self.awaited = self.awaited.saturating_sub(1);
        was_last
    }

    /// Takes the requests that cannot go at once.
    pub(super) fn take_deferred(&mut self) -> BioList<Bio<Io>> {
        self.awaited = 0;
        ::core::mem::take(&mut self.deferred)
    }

    /// The worker is about to sleep until `count` more requests have come. False if some have come since
    /// it took them last.
    pub(super) fn await_deferred(&mut self, count: usize) -> bool {
        self.awaited = count;
        self.deferred.is_empty()
    }

    /// Leaves the result of a copy.
    pub(super) fn put_copy(&mut self, job: usize, result: CopyResult) {
        if let Some(place) = self.copies.get_mut(job) {
            *place = Some(result);
            self.copies_done = self.copies_done.saturating_add(1);
        }
    }

    /// Takes the result of a copy.
    pub(super) fn take_copy(&mut self) -> Option<(usize, CopyResult)> {
        if self.copies_done == 0 {
            return None;
        }
        let job = self.copies.iter().position(Option::is_some)?;
        let result = self.copies.get_mut(job)?.take()?;
        self.copies_done = self.copies_done.saturating_sub(1);
        Some((job, result))
    }
}

/// What is under way in the worker, or in a hook in its place.
pub(super) struct WorkerState {
    /// Requests that wait for something, in order.
    pub(super) waiting: BioList<Bio<Io>>,
    /// Flushes and FUA writes that wait for records.
    pub(super) syncing: BioList<DoneBio<Io>>,
    /// For synchronous metadata I/O, one block.
    pub(super) scratch: BlockBuf,
    /// For what is read to compare source and clone.
    pub(super) compared: BlockBuf,
    /// For the next journal block; absent while one is being written.
    pub(super) block: Option<BlockBuf>,
    /// Where the journal block that is being written goes, in blocks.
    pub(super) block_place: u64,
    /// The checkpoint under way in the worker. What its step writes is in `scratch`, which nobody else uses
    /// until it is over.
    pub(super) checkpoint: Option<Checkpoint>,
    /// When the request to the metadata device that has failed, of the block or the checkpoint, is tried
    /// again; 0: none.
    pub(super) try_again_at: u64,
    /// When the next block may be filled.
    pub(super) commit_delay: CommitDelay,
    /// A source flush of the target's own is under way.
    pub(super) flushing: bool,
    /// Whether state was loaded from the metadata device.
    pub(super) loaded: bool,
    /// From `resume` to `postsuspend`: requests may come, and the worker may write metadata. The
    /// target's own flag, because device-mapper lets I/O flow before it clears its own.
    pub(super) active: bool,
    /// The suspension under way is to do without the source.
    pub(super) noflush: bool,
    /// Snapshots of the machine's memory before metadata was written last.
    pub(super) snapshots: u32,
    /// The same of when the metadata device was looked at last.
    pub(super) looked: u32,
    /// To the devices, and the UUID of the metadata; takes them at the first resume.
    pub(super) claim: Claim,
    /// For loading, until that has been done: [`READ_BLOCKS`](super::metadata_io::READ_BLOCKS). Resume
    /// allocates nothing, since there may be no memory until swap can be written.
    pub(super) reading: Option<BlockBuf>,
    /// For samples of source and clone.
    pub(super) sampling: BlockBuf,
}

/// That, held.
pub(super) type WorkerGuard<'a> = MutexGuard<'a, WorkerState>;

/// Everything that belongs to a table line.
#[pin_data]
pub(super) struct Core {
    pub(super) name: MappedName,
    pub(super) table: TableId,
    pub(super) events: Events,
    pub(super) mapped: MappedDisk,
    pub(super) devices: Devices,
    pub(super) features: Features,
    /// When the restore that runs began or was loaded, in nanoseconds.
    pub(super) since: AtomicU64,
    /// For messages about failed requests.
    #[pin]
    pub(super) log_limit: LogLimit,
    /// What the fast path looks at.
    pub(super) shared: Shared<KernelMemory>,
    #[pin]
    pub(super) handover: SpinLockIrq<Handover>,
    /// Wakes the worker when something has happened that it waits for.
    #[pin]
    pub(super) wakeup: Wakeup,
    #[pin]
    pub(super) engine: Mutex<KBox<Engine<KernelMemory>>>,
    #[pin]
    pub(super) worker: Mutex<WorkerState>,
    /// Synchronous I/O on metadata and clone.
    pub(super) io: IoClient,
    /// Journal writes and source flushes.
    pub(super) async_io: AsyncIo<Core>,
    #[pin]
    pub(super) copies: Copies<Core>,
    #[pin]
    pub(super) job: Job<Core>,
    #[pin]
    pub(super) sleep: pm::Notifier<Core>,
}

impl Core {
    /// An initialiser; nothing is loaded yet. `reading`: for that. `run`: a run of the worker.
    pub(super) fn new(
        (name, table, events, mapped): (MappedName, TableId, Events, MappedDisk),
        devices: Devices,
        shared: Shared<KernelMemory>,
        engine: KBox<Engine<KernelMemory>>,
        (claim, reading): (Claim, BlockBuf),
        run: fn(Ref<Self>),
    ) -> Result<impl PinInit<Self, Error>> {
        let queue = Queue::new(format_args!("dm-restore/{name}"), Kind::Unbound, 1)?;
        let worker = WorkerState {
            waiting: BioList::new(),
            syncing: BioList::new(),
            scratch: BlockBuf::new(1)?,
            compared: BlockBuf::new(COMPARED_BLOCKS)?,
            block: Some(BlockBuf::new(1)?),
            block_place: 0,
            checkpoint: None,
            try_again_at: 0,
            commit_delay: CommitDelay::default(),
            flushing: false,
            loaded: false,
            active: false,
            noflush: false,
            snapshots: pm::snapshots(),
            looked: pm::snapshots(),
            claim,
            reading: Some(reading),
            sampling: BlockBuf::new(SAMPLE_BLOCKS)?,
        };
        let features = engine.features;
        Ok(try_pin_init!(Self {
            name,
            table,
            events,
            mapped,
            devices,
            features,
            since: AtomicU64::new(0),
            log_limit <- LogLimit::new(),
            shared,
            handover <- new_spinlock_irq!(Handover {
                deferred: BioList::new(),
                awaited: 0,
                ended: BioList::new(),
                copies: [None; RESULTS],
                copies_done: 0,
                commit: None,
                flushing: None,
                flushed: None,
            }, "dm_restore::handover"),
            wakeup <- new_wakeup!(),
            engine <- new_mutex!(engine, "dm_restore::engine"),
            worker <- new_mutex!(worker, "dm_restore::worker"),
            io: IoClient::new()?,
            async_io: AsyncIo::new(2)?,
            copies <- Copies::new(name)?,
            job <- new_job!(queue, run),
            sleep <- pm::Notifier::new(),
        }))
    }

    /// Where things are on the metadata device.
    pub(super) fn layout(&self) -> Layout {
        *self.engine.lock().layout()
    }

    /// Whether a discard may go to the source.
    pub(super) fn passes_discards(&self) -> bool {
        !self.features.no_discard_passdown
    }

    /// Whether discards may reach the source.
    pub(super) fn takes_discards(&self) -> bool {
        self.passes_discards() && self.devices.source.max_discard_sectors() > 0
    }

    /// The source flush of the target's own has ended. Any context.
    pub(super) fn flush_ended(&self, ok: bool) {
        let mut handover = self.handover.lock();
        if let Some(mut sent) = handover.flushing.take() {
            // It is always the worker's.
            sent.ended(&self.shared, ok);
            handover.flushed = Some(sent);
        }
    }

    /// A restore begins or is taken up: its time is taken from now on.
    pub(super) fn take_time(&self) {
        self.since.store(now_ns(), Ordering::Relaxed);
    }

    /// Something has been left for the worker. Any context.
    pub(super) fn wake(this: &Ref<Self>) {
        this.job.enqueue(this);
        // Its run does not end then, see the worker.
        if pm::in_transition() {
            this.wakeup.ring();
        }
    }
}

/// What an asynchronous I/O was for.
pub(super) const COMMIT: u64 = 0;
/// A source flush of the target's own.
pub(super) const FLUSH: u64 = 1;

impl IoDone for Core {
    /// Any context, also inside the call that submitted it.
    fn io_done(this: &Ref<Self>, cookie: u64, result: Result, buf: Option<BlockBuf>) {
        match cookie {
            COMMIT => this.handover.lock().commit = Some((result.is_ok(), buf)),
            _ => this.flush_ended(result.is_ok()),
        }
        Self::wake(this);
    }
}

impl CopyOwner for Core {
    fn copies(&self) -> &Copies<Self> {
        &self.copies
    }

    fn devices(&self) -> &Devices {
        &self.devices
    }

    fn copy_ended(this: &Ref<Self>, job: usize, result: CopyResult) {
        this.handover.lock().put_copy(job, result);
        Self::wake(this);
    }
}

impl CopyDone for Core {
    fn copy_done(this: &Ref<Self>, cookie: u64, end: CopyEnd) {
        copies::done(this, cookie, end);
    }
}
