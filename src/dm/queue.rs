// SPDX-License-Identifier: GPL-2.0

//! Work queues, and the jobs that run on them.
//!
//! A [`Job`] is a delayed work item that runs a function with a [`Ref`] to some state. While it is
//! pending it holds that `Ref`, so the state cannot go; it always holds its [`Queue`], so the queue
//! cannot go while a timer may still put the job on it.
//!
//! Who waits for whom: dropping the last handle of a queue waits for every job on it, and
//! [`Job::cancel`], [`Job::disable`], [`Job::flush`] and dropping a job wait for that job. None of
//! this may be done by the job itself. State that an [`Owner`](super::shared::Owner) owns cannot get
//! this wrong by dropping its last reference in a job, since that drops nothing else.
//!
//! Lock: the job's `pending`, a spin lock taken with interrupts disabled. The work queue's own locks
//! are taken under it, never the other way round.

use kernel::bindings;
use kernel::ffi::{c_int, c_ulong};
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_spinlock_irq, Arc, LockClassKey, SpinLockIrq};
use kernel::time::msecs_to_jiffies;
use kernel::types::Opaque;

use core::ptr::NonNull;

use super::shared::Ref;

/// Where a queue's workers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anywhere: for work that takes long or waits.
    Unbound,
    /// On the processor that queued the work: for short work.
    PerCpu,
}

/// A work queue that makes progress when memory is short: it has a thread of its own in reserve.
///
/// Destroyed with its last handle, after the work on it.
///
/// # Invariants
///
/// `raw` is a valid work queue, which only `drop` destroys.
pub struct Queue {
    raw: NonNull<bindings::workqueue_struct>,
}

// SAFETY: Work queues belong to no thread.
unsafe impl Send for Queue {}
// SAFETY: The functions on work queues used here have locks of their own.
unsafe impl Sync for Queue {}

impl Queue {
    /// Creates a queue that runs at most `max_active` jobs at once (per processor if
    /// [`Kind::PerCpu`]; 0: the kernel's default). Sleeps.
    ///
    /// Errors: `ENOMEM`, and `EINVAL` if `max_active` is beyond the kernel's limit.
    pub fn new(name: &CStr, kind: Kind, max_active: u32) -> Result<Arc<Self>> {
        if max_active > bindings::wq_consts_WQ_MAX_ACTIVE {
            return Err(EINVAL);
        }
        // The block layer may wait for this queue, and its memory for the block layer.
        let flags = bindings::wq_flags_WQ_MEM_RECLAIM
            | match kind {
                Kind::Unbound => bindings::wq_flags_WQ_UNBOUND,
                Kind::PerCpu => bindings::wq_flags_WQ_PERCPU,
            };
        // SAFETY: The format wants one string, which is given and lives during the call.
        let raw = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                flags,
                max_active as c_int,
                name.as_char_ptr(),
            )
        };
        // INVARIANT: Just created, and ours.
        let queue = Self {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
        };
        Ok(Arc::new(queue, GFP_KERNEL)?)
    }

    /// Sleeps until everything on the queue now has run. Jobs still waiting for their time are not
    /// on it. Not from a job on it.
    pub fn flush(&self) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::__flush_workqueue(self.raw.as_ptr()) };
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariant and not used again. No timer puts anything on it any
        // more: each job holds its queue until it has been cancelled for good.
        unsafe { bindings::destroy_workqueue(self.raw.as_ptr()) };
    }
}

/// The processor of a job on a [`Kind::PerCpu`] queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu(c_int);

impl Cpu {
    /// The one where the job is enqueued.
    pub const ANY: Self = Self(bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int);

    /// The next of all in turn that are not isolated: for jobs that are to run side by side. If it
    /// goes offline, the job runs on another one.
    pub fn next() -> Self {
        static NEXT: Atomic<u32> = Atomic::new(0);
        let next = NEXT.fetch_add(1, Relaxed);
        // SAFETY: No requirements.
        Self(unsafe { super::bindings::rust_dm_spread_cpu(next) })
    }
}

/// Creates an initialiser of a [`Job`]: `new_job!(queue, run)`, with `queue: Arc<Queue>` and
/// `run: fn(Ref<T>)`, or `new_job!(queue, run, cpu)`, with `cpu: Cpu`.
#[macro_export]
macro_rules! new_job {
    ($queue:expr, $run:expr $(,)?) => {
        $crate::dm::queue::new_job!($queue, $run, $crate::dm::queue::Cpu::ANY)
    };
    ($queue:expr, $run:expr, $cpu:expr $(,)?) => {
        $crate::dm::queue::Job::new(
            $queue,
            $run,
            $cpu,
            ::kernel::static_lock_class!(),
            ::kernel::static_lock_class!(),
        )
    };
}
pub use new_job;

struct Pending<T: Send + Sync + 'static> {
    /// For whom the job is to run, from being queued until it starts.
    target: Option<Ref<T>>,
    /// When, in jiffies, if there is a target.
    due: c_ulong,
    /// Whether it may be queued no more.
    disabled: bool,
}

/// A function to be run on a queue, soon or at a given time.
///
/// Pending at most once, and never run twice at the same time; what is enqueued while it runs makes
/// it run again. Enqueuing it while it is pending for one state does not make it run for another.
/// Dropping it cancels it (sleeps; not from the job itself).
///
/// # Invariants
///
/// `work` is an initialised `delayed_work` whose function is `Job::<T>::start`; it is only ever
/// queued on `queue`.
#[pin_data(PinnedDrop)]
pub struct Job<T: Send + Sync + 'static> {
    #[pin]
    pending: SpinLockIrq<Pending<T>>,
    #[pin]
    work: Opaque<bindings::delayed_work>,
    run: fn(Ref<T>),
    queue: Arc<Queue>,
    cpu: Cpu,
}

// SAFETY: A pinned job never moves, and what it holds may be used and dropped by any thread.
unsafe impl<T: Send + Sync> Send for Job<T> {}
// SAFETY: The functions on `work` may be called by several threads at once, the rest is `Sync`.
unsafe impl<T: Send + Sync> Sync for Job<T> {}

/// What to do about the time of a job that is pending already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retime {
    /// Take the new time if it is earlier.
    Earlier,
    /// Take the new time.
    Always,
}

impl<T: Send + Sync> Job<T> {
    /// An initialiser; use [`new_job!`], which makes the lock classes.
    pub fn new(
        queue: Arc<Queue>,
        run: fn(Ref<T>),
        cpu: Cpu,
        work_key: Pin<&'static LockClassKey>,
        timer_key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        let idle = Pending {
            target: None,
            due: 0,
            disabled: false,
        };
        // INVARIANT: `work` is initialised here with this function.
        pin_init!(Self {
            pending <- new_spinlock_irq!(idle, "Job::pending"),
            work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: `slot` is valid for writes; names and keys live for ever; the timer's
                // function is the one for a timer in a `delayed_work`, with the flag it needs.
                unsafe {
                    bindings::init_work_with_key(
                        &raw mut (*slot).work,
                        Some(Self::start),
                        false,
                        c"dm_restore_job".as_char_ptr(),
                        work_key.as_ptr(),
                    );
                    bindings::timer_init_key(
                        &raw mut (*slot).timer,
                        Some(bindings::delayed_work_timer_fn),
                        bindings::TIMER_IRQSAFE,
                        c"dm_restore_job_timer".as_char_ptr(),
                        timer_key.as_ptr(),
                    );
                }
            }),
            run,
            queue,
            cpu,
        })
    }

    /// Runs the job for `this` as soon as possible, also if it was to run later. Any context.
    ///
    /// Returns false if it was pending already, or is disabled.
    pub fn enqueue(&self, this: &Ref<T>) -> bool {
        self.arm(this, 0, Retime::Earlier)
    }

    /// Runs the job for `this` in `ms` milliseconds at the latest: never puts it off. Any context.
    ///
    /// Returns false if it was pending already, or is disabled.
    pub fn kick_after(&self, this: &Ref<T>, ms: u32) -> bool {
        self.arm(this, msecs_to_jiffies(ms), Retime::Earlier)
    }

    /// Runs the job for `this` in `ms` milliseconds, whatever its time was before. Any context.
    ///
    /// Returns false if it was pending already, or is disabled.
    pub fn postpone(&self, this: &Ref<T>, ms: u32) -> bool {
        self.arm(this, msecs_to_jiffies(ms), Retime::Always)
    }

    fn arm(&self, this: &Ref<T>, delay: c_ulong, retime: Retime) -> bool {
        let due = jiffies().wrapping_add(delay);
        let mut pending = self.pending.lock();
        if pending.disabled {
            return false;
        }
        let fresh = pending.target.is_none();
        if fresh {
            pending.target = Some(this.clone());
        } else if retime == Retime::Earlier && !is_before(due, pending.due) {
            return false;
        }
        pending.due = due;
        // Queued under the lock, so that the two always agree, but for a job that has just left the
        // queue and waits for the lock in `start`: it then runs for this call too, and finds nothing
        // to do the second time.
        // SAFETY: Both are valid by the type invariants, and remain so while the work is pending:
        // `drop` cancels it before it lets go of either. May be called in any context.
        unsafe {
            bindings::mod_delayed_work_on(
                self.cpu.0,
                self.queue.raw.as_ptr(),
                self.work.get(),
                delay,
            )
        };
        fresh
    }

    /// Takes the job off the queue and waits if it is running. Sleeps; not from the job itself.
    ///
    /// Returns what it was pending for. When this returns, every enqueueing that came before the call
    /// has run or is cancelled; one that comes during it may be cancelled too.
    pub fn cancel(&self) -> Option<Ref<T>> {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
        // Bound to a name, so that the lock is released before the caller drops what it gets.
        let target = self.pending.lock().target.take();
        target
    }

    /// Cancels the job as [`Job::cancel`] does, for good: it can be enqueued no more.
    pub fn disable(&self) -> Option<Ref<T>> {
        self.pending.lock().disabled = true;
        self.cancel()
    }

    /// Whether it is to run. Any context.
    pub fn is_pending(&self) -> bool {
        self.pending.lock().target.is_some()
    }

    /// Runs the job now if it is pending, and waits until it has run. Sleeps; not from the job.
    pub fn flush(&self) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::flush_delayed_work(self.work.get()) };
    }

    /// The function of `work`.
    ///
    /// # Safety
    ///
    /// `work` must be the `work_struct` in the `work` of a `Job<T>` that lives until this returns.
    unsafe extern "C" fn start(work: *mut bindings::work_struct) {
        // SAFETY: Promised by the caller.
        let work = unsafe { kernel::container_of!(work, bindings::delayed_work, work) };
        // CAST: `Opaque` is transparent.
        let work = work.cast::<Opaque<bindings::delayed_work>>();
        // SAFETY: Promised by the caller; a job is never borrowed mutably once it is pinned.
        let job = unsafe { &*kernel::container_of!(work, Self, work) };
        let run = job.run;
        let target = job.pending.lock().target.take();
        // None: this run was cancelled, or ran already for what asked for it.
        if let Some(this) = target {
            run(this);
        }
    }
}

#[pinned_drop]
impl<T: Send + Sync> PinnedDrop for Job<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Valid by the type invariant. Afterwards the work is neither queued nor running nor
        // is its timer, and cannot be queued again.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
    }
}

/// The kernel's clock tick.
fn jiffies() -> c_ulong {
    // SAFETY: A word that the kernel changes; it may be read at any time, in one access.
    unsafe { (&raw const bindings::jiffies).read_volatile() }
}

/// Whether the tick `a` comes before `b`, as long as they are less than half the range apart.
fn is_before(a: c_ulong, b: c_ulong) -> bool {
    // CAST: The sign of the wrapped difference is the answer.
    (a.wrapping_sub(b) as isize) < 0
}
