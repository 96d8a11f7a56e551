// SPDX-License-Identifier: GPL-2.0

//! The write load: an application that commits one entry after the other, durably, and rewrites
//! its export meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{anyhow, Result};

use crate::database::{Database, Era};
use crate::export;

/// Between two transactions: a busy application, not a benchmark.
const PAUSE: Duration = Duration::from_millis(25);

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    commits: AtomicU64,
}

/// Reads how far the load is.
#[derive(Clone)]
pub struct Meter(Arc<Shared>);

impl Meter {
    /// Transactions committed so far.
    pub fn commits(&self) -> u64 {
        self.0.commits.load(Ordering::Relaxed)
    }
}

/// What the load did.
pub struct Done {
    /// Transactions committed.
    pub commits: u64,
    /// Parts of the export rewritten.
    pub rewritten: u64,
}

/// A running write load.
pub struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Done>>,
}

impl Load {
    /// Start the load of restore `number`.
    pub fn start(number: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        Self {
            shared,
            thread: thread::spawn(move || work(&worker, number)),
        }
    }

    /// What reads its progress.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.shared))
    }

    /// Stop it.
    ///
    /// # Errors
    ///
    /// A write failed meanwhile.
    pub fn stop(self) -> Result<Done> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the write load panicked"))?
    }
}

fn work(shared: &Shared, number: u64) -> Result<Done> {
    let database = Database::open()?;
    let mut id = database.next_entry()?;
    let mut done = Done {
        commits: 0,
        rewritten: 0,
    };
    while !shared.stop.load(Ordering::Relaxed) {
        database.append(id, Era::Restore(number))?;
        id += 1;
        done.commits += 1;
        shared.commits.store(done.commits, Ordering::Relaxed);
        if done.commits % 8 == 0 && done.rewritten < export::PARTS {
            export::rewrite(done.rewritten, number)?;
            done.rewritten += 1;
        }
        thread::sleep(PAUSE);
    }
    database.close()?;
    Ok(done)
}
