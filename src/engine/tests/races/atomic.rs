// SPDX-License-Identifier: GPL-2.0

//! The model checker's atomics, with orderings that a test can take away.
//!
//! loom interleaves an access with the *last* access of another thread that it depends on. If the
//! thread itself has been there since, for instance because it reads a word before it changes it,
//! loom finds no other thread to try first, and leaves orders out. So each atomic has a *gate* for
//! each thread, which nobody passes but that thread, and whoever writes: no access hides another.

use loom::sync::atomic;
use std::cell::Cell;
use std::sync::atomic::Ordering;

/// Orderings that are taken away, to see that a model finds it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// Everything is as it is in the module.
    Nothing,
    /// Loads acquire nothing.
    Acquire,
    /// Stores release nothing.
    Release,
}

/// Most threads of a model.
pub const THREADS: usize = 3;

thread_local! {
    static WITHOUT: Cell<Without> = const { Cell::new(Without::Nothing) };
}

loom::thread_local! {
    /// Which of the model's threads this is.
    static THREAD: Cell<usize> = Cell::new(0);
}

/// Runs `f` without some orderings. A model runs on one thread of the host.
pub fn without<R>(what: Without, f: impl FnOnce() -> R) -> R {
    WITHOUT.set(what);
    let result = f();
    WITHOUT.set(Without::Nothing);
    result
}

/// Says which of the model's threads this one is; the first is 0.
pub fn enter(thread: usize) {
    THREAD.with(|own| own.set(thread));
}

fn left_of(order: Ordering) -> Ordering {
    match (WITHOUT.get(), order) {
        (Without::Acquire, Ordering::Acquire) | (Without::Release, Ordering::Release) => {
            Ordering::Relaxed
        }
        (Without::Acquire, Ordering::AcqRel) => Ordering::Release,
        (Without::Release, Ordering::AcqRel) => Ordering::Acquire,
        _ => order,
    }
}

/// As `core`'s.
#[derive(Debug)]
pub struct AtomicU64 {
    value: atomic::AtomicU64,
    gates: [atomic::AtomicU64; THREADS],
}

impl AtomicU64 {
    /// As `core`'s.
    pub fn new(value: u64) -> Self {
        Self {
            value: atomic::AtomicU64::new(value),
            gates: std::array::from_fn(|_| atomic::AtomicU64::new(0)),
        }
    }

    fn to_read(&self) -> &atomic::AtomicU64 {
        THREAD.with(|own| self.gates[own.get()].fetch_add(1, Ordering::Relaxed));
        &self.value
    }

    fn to_write(&self) -> &atomic::AtomicU64 {
        for gate in &self.gates {
            gate.fetch_add(1, Ordering::Relaxed);
        }
        &self.value
    }

    /// As `core`'s.
    pub fn load(&self, order: Ordering) -> u64 {
        self.to_read().load(left_of(order))
    }

    /// As `core`'s.
    pub fn store(&self, value: u64, order: Ordering) {
        self.to_write().store(value, left_of(order));
    }

    /// As `core`'s.
    pub fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.to_write().swap(value, left_of(order))
    }

    /// As `core`'s.
    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.to_write().fetch_add(value, left_of(order))
    }

    /// As `core`'s.
    pub fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.to_write().fetch_sub(value, left_of(order))
    }

    /// As `core`'s.
    pub fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
        self.to_write().fetch_or(value, left_of(order))
    }

    /// As `core`'s.
    pub fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
        self.to_write().fetch_and(value, left_of(order))
    }
    /// As `core`'s.
    pub fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        let (success, failure) = (left_of(success), left_of(failure));
        self.to_write()
            .compare_exchange(current, new, success, failure)
    }
}
