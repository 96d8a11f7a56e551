// SPDX-License-Identifier: GPL-2.0

//! Work queues, and the jobs that run on them.
//!
//! A [`Job`] is a work item that runs a function with a [`Ref`] to some state, at once or at a given
//! time. The kernel's delayed work counts in ticks of its clock, of which there may be as few as 100
//! in a second: here a high-resolution timer puts the work on its queue. While the job is pending it
//! holds the `Ref`, so the state cannot go; it always holds its [`Queue`], so the queue cannot go while
//! the timer may still put the job on it.
//!
//! Who waits for whom: dropping the last handle of a queue waits for every job on it, and
//! [`Job::disable`], [`Job::flush`] and dropping a job wait for that job. None of this may be done by
//! the job itself. State that an [`Owner`](super::shared::Owner) owns cannot get this wrong by dropping
//! its last reference in a job, since that drops nothing else.
//!
//! Lock: the job's `pending`, a spin lock taken with interrupts disabled. The locks of work queue and
//! timer are taken under it, never the other way round: the timer's function takes none.

use kernel::bindings;
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::str::NullTerminatedFormatter;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_spinlock_irq, Arc, LockClassKey, SpinLockIrq};
use kernel::types::Opaque;

use core::fmt::{self, Arguments};
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

/// Longest name of a queue with its NUL, as in the kernel (`WQ_NAME_LEN`).
const NAME_SIZE: usize = 32;

/// A work queue that makes progress when memory is short: it has a thread of its own in reserve.
///
/// It is frozen with the machine's kernel threads, see [`pm`](super::pm): the freezer waits for the jobs
/// that run, and none begins before the thaw.
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
    /// Creates a queue, with its name for `ps` and traces, that runs at most `max_active` jobs at once (per processor if
    /// [`Kind::PerCpu`]; 0: the kernel's default). Sleeps.
    ///
    /// Errors: `ENOMEM`, and `EINVAL` if `max_active` is beyond the kernel's limit.
    pub fn new(name: Arguments<'_>, kind: Kind, max_active: u32) -> Result<Arc<Self>> {
        if max_active > bindings::wq_consts_WQ_MAX_ACTIVE {
            return Err(EINVAL);
        }
        let mut text = [0; NAME_SIZE];
        let mut out = NullTerminatedFormatter::new(&mut text).ok_or(EINVAL)?;
        // A name that is too long is cut.
        let _ = fmt::write(&mut out, name);
        // The block layer may wait for this queue, and its memory for the block layer.
        let flags = bindings::wq_flags_WQ_MEM_RECLAIM
            | bindings::wq_flags_WQ_FREEZABLE
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
                text.as_ptr(),
            )
        };
        // INVARIANT: Just created, and ours.
        let queue = Self {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
        };
        Ok(Arc::new(queue, GFP_KERNEL)?)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariant and not used again. No timer puts anything on it any
        // more: each job holds its queue until its timer was cancelled.
        unsafe { bindings::destroy_workqueue(self.raw.as_ptr()) };
    }
}

/// The processor of a job on a [`Kind::PerCpu`] queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// The one where the job is enqueued.
    Any,
    /// One of those that are online and not isolated then: jobs with numbers in a row run side by side.
    Nth(u32),
}

impl Cpu {
    /// The next in turn.
    pub fn next() -> Self {
        static NEXT: Atomic<u32> = Atomic::new(0);
        Self::Nth(NEXT.fetch_add(1, Relaxed))
    }

    /// Its number now. Any context.
    fn number(self) -> c_int {
        match self {
            Self::Any => bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
            // SAFETY: No requirements.
            Self::Nth(nth) => unsafe { super::bindings::rust_dm_spread_cpu(nth) },
        }
    }
}

/// Creates an initialiser of a `Job`: `new_job!(queue, run)`, with `queue: Arc<Queue>` and
/// `run: fn(Ref<T>)`, or `new_job!(queue, run, cpu)`, with `cpu: Cpu`.
#[macro_export]
macro_rules! new_job {
    ($queue:expr, $run:expr $(,)?) => {
        $crate::dm::queue::new_job!($queue, $run, $crate::dm::queue::Cpu::Any)
    };
    ($queue:expr, $run:expr, $cpu:expr $(,)?) => {
        $crate::dm::queue::Job::new($queue, $run, $cpu, ::kernel::static_lock_class!())
    };
}
pub use new_job;

struct Pending<T: Send + Sync + 'static> {
    /// For whom the job is to run, from being queued until it starts.
    target: Option<Ref<T>>,
    /// When, in nanoseconds of the monotonic clock, if there is a target.
    due: u64,
    /// Whether it may be queued no more.
    disabled: bool,
}

/// When a job is due that does not wait for a time.
const AT_ONCE: u64 = 0;
/// A job may run so much after its time, in nanoseconds, if the processor is awake then anyway: as much
/// as the kernel grants to sleeping tasks.
const SLACK: u64 = 50_000;

/// A function to be run on a queue, at once or at a given time.
///
/// Pending at most once, and never run twice at the same time; what is enqueued while it runs makes
/// it run again. Enqueuing it while it is pending for one state does not make it run for another.
/// Dropping it cancels it (sleeps; not from the job itself).
///
/// # Invariants
///
/// - `work` is an initialised `work_struct` whose function is `Job::<T>::start`; it is only ever queued
///   on `queue`.
/// - `timer` is an initialised `hrtimer` of the monotonic clock whose function is `Job::<T>::due`.
#[pin_data(PinnedDrop)]
pub struct Job<T: Send + Sync + 'static> {
    #[pin]
    pending: SpinLockIrq<Pending<T>>,
    #[pin]
    work: Opaque<bindings::work_struct>,
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    run: fn(Ref<T>),
    queue: Arc<Queue>,
    cpu: Cpu,
}

// SAFETY: A pinned job never moves, and what it holds may be used and dropped by any thread.
unsafe impl<T: Send + Sync> Send for Job<T> {}
// SAFETY: The functions on `work` and `timer` may be called by several threads at once, the rest is
// `Sync`.
unsafe impl<T: Send + Sync> Sync for Job<T> {}

impl<T: Send + Sync> Job<T> {
    /// An initialiser; use [`new_job!`], which makes the lock class.
    pub fn new(
        queue: Arc<Queue>,
        run: fn(Ref<T>),
        cpu: Cpu,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        let idle = Pending {
            target: None,
            due: AT_ONCE,
            disabled: false,
        };
        // INVARIANT: `work` and `timer` are initialised here with these functions.
        pin_init!(Self {
            pending <- new_spinlock_irq!(idle, "dm_restore::job"),
            work <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes; name and key live for ever.
                unsafe {
                    bindings::init_work_with_key(
                        slot,
                        Some(Self::start),
                        false,
                        c"dm_restore::work".as_char_ptr(),
                        key.as_ptr(),
                    )
                }
            }),
            timer <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes.
                unsafe {
                    bindings::hrtimer_setup(
                        slot,
                        Some(Self::due),
                        bindings::CLOCK_MONOTONIC as c_int,
                        bindings::hrtimer_mode_HRTIMER_MODE_ABS,
                    )
                }
            }),
            run,
            queue,
            cpu,
        })
    }

    /// Runs the job for `this` as soon as possible, also if it was to run later. Any context.
    pub fn enqueue(&self, this: &Ref<T>) {
        self.arm(this, AT_ONCE);
    }

    /// Runs the job for `this` at `ns` nanoseconds of the [monotonic clock](super::time::now_ns) at the
    /// latest: never puts it off. Any context.
    pub fn run_at(&self, this: &Ref<T>, ns: u64) {
        self.arm(this, ns.clamp(AT_ONCE + 1, i64::MAX as u64));
    }

    fn arm(&self, this: &Ref<T>, due: u64) {
        // Not under the lock, with interrupts off: it takes a while with many processors.
        let cpu = self.cpu.number();
        let mut pending = self.pending.lock();
        if pending.disabled {
            return;
        }
        if pending.target.is_none() {
            pending.target = Some(this.clone());
        } else if due >= pending.due {
            return;
        }
        pending.due = due;
        // Both under the lock, so that they agree with `due`, but for a job that is just being queued by
        // its timer, or has just left the queue and waits for the lock in `start`: it then runs for this
        // call too, and finds nothing to do the second time.
        // SAFETY: The timer is valid by the type invariants, and `drop` cancels it. May be called in
        // any context.
        unsafe {
            if due == AT_ONCE {
                bindings::hrtimer_try_to_cancel(self.timer.get());
                self.queue(cpu);
            } else {
                // CAST: At most `i64::MAX`, see `run_at`.
                bindings::hrtimer_start_range_ns(
                    self.timer.get(),
                    due as i64,
                    SLACK,
                    bindings::hrtimer_mode_HRTIMER_MODE_ABS,
                );
            }
        }
    }

    /// Puts the work on the queue, unless it is there.
    fn queue(&self, cpu: c_int) {
        // SAFETY: Both are valid by the type invariants, and remain so while the work is pending:
        // `drop` cancels it before it lets go of either. May be called in any context.
        unsafe {
            bindings::queue_work_on(cpu, self.queue.raw.as_ptr(), self.work.get());
        }
    }

    /// Cancels the job for good, and waits if it is running: it can be enqueued no more. Sleeps; not
    /// from the job itself.
    ///
    /// Returns what it was pending for.
    pub fn disable(&self) -> Option<Ref<T>> {
        self.pending.lock().disabled = true;
        self.cancel();
        // Bound to a name, so that the lock is released before the caller drops what it gets.
        let target = self.pending.lock().target.take();
        target
    }

    /// The work neither is queued nor runs any more, nor can be queued again; the timer does not run.
    fn cancel(&self) {
        // SAFETY: Valid by the type invariants. The timer last, since the work may start it.
        unsafe {
            bindings::disable_work_sync(self.work.get());
            bindings::hrtimer_cancel(self.timer.get());
        }
    }

    /// Runs the job now if it is pending, and waits until it has run. Sleeps; not from the job.
    pub fn flush(&self) {
        // SAFETY: Valid by the type invariant.
        let waited = unsafe { bindings::hrtimer_cancel(self.timer.get()) } > 0;
        if waited {
            self.queue(self.cpu.number());
        }
        // SAFETY: As above.
        unsafe { bindings::flush_work(self.work.get()) };
    }

    /// The function of `timer`. Hard interrupt context.
    ///
    /// # Safety
    ///
    /// `timer` must be the `timer` of a `Job<T>` that lives until this returns.
    unsafe extern "C" fn due(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // CAST: `Opaque` is transparent.
        let timer = timer.cast::<Opaque<bindings::hrtimer>>();
        // SAFETY: Promised by the caller; a job is never borrowed mutably once it is pinned.
        let job = unsafe { &*kernel::container_of!(timer, Self, timer) };
        job.queue(job.cpu.number());
        bindings::hrtimer_restart::HRTIMER_NORESTART
    }

    /// The function of `work`.
    ///
    /// # Safety
    ///
    /// `work` must be the `work` of a `Job<T>` that lives until this returns.
    unsafe extern "C" fn start(work: *mut bindings::work_struct) {
        // CAST: `Opaque` is transparent.
        let work = work.cast::<Opaque<bindings::work_struct>>();
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
        self.cancel();
    }
}
