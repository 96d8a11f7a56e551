// SPDX-License-Identifier: GPL-2.0

//! In the virtual machine: threads that write stamps.

use super::plan::{Kind, Life, Op, BATCH, WRITERS};
use super::record::Record;
use super::witness::Witness;
use crate::io::Device;
use crate::model::host_data;
use crate::wait;
use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// When writers that do not come on are given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// How far each writer of this life has come, also over several stays.
static NEXT: [AtomicU64; WRITERS as usize] = [const { AtomicU64::new(0) }; WRITERS as usize];

/// Forget what was written: a new life begins.
pub fn forget() {
    NEXT.iter()
        .for_each(|next| next.store(0, Ordering::Relaxed));
}

/// The threads.
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Writers {
    /// Starts them.
    pub fn start(life: Life, device: &Device, witness: &Witness) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..WRITERS {
            let writer = OneWriter {
                life,
                number,
                device: device.again()?,
                witness: witness.lane(number)?,
            };
            let stop = Arc::clone(&stop);
            threads.push(thread::spawn(move || writer.run(&stop)));
        }
        Ok(Self { stop, threads })
    }

    /// Waits until each has done so many more operations.
    pub fn wait_for(&self, count: u64) -> Result<()> {
        let now = || NEXT.iter().map(|next| next.load(Ordering::Relaxed));
        let goals: Vec<u64> = now().map(|next| next + count).collect();
        wait::until_within(PATIENCE, "the writers come on", || {
            let failed = self.threads.iter().any(JoinHandle::is_finished);
            let done = now().zip(&goals).all(|(next, goal)| next >= *goal);
            Ok((failed || done).then_some(()))
        })
    }

    /// Stops them; nothing of them is under way any more.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok().context("a writer panicked")??;
        }
        Ok(())
    }
}

struct OneWriter {
    life: Life,
    number: u64,
    device: Device,
    witness: Witness,
}

impl OneWriter {
    fn run(&self, stop: &AtomicBool) -> Result<()> {
        let next = &NEXT[self.number as usize];
        while !stop.load(Ordering::Relaxed) {
            let from = next.load(Ordering::Relaxed);
            self.witness.say(Record::Issue(self.number, from + BATCH))?;
            for number in from..from + BATCH {
                self.act(number)?;
                next.store(number + 1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn act(&self, number: u64) -> Result<()> {
        let op = self.life.op(self.number, number);
        let changed = self.change(&op).with_context(|| format!("{op:x?}"));
        if !self.may_fail(changed)? {
            self.witness.say(Record::Failed(self.number, number))?;
        } else if op.kind == Kind::Fua {
            self.witness.say(Record::Fua(self.number, number))?;
        }
        if op.flush_after && self.may_fail(self.device.flush().map_err(Into::into))? {
            self.witness.say(Record::Flushed(self.number, number + 1))?;
        }
        Ok(())
    }

    /// Whether a request has succeeded, which it must where no flush of the disks fails.
    fn may_fail(&self, done: Result<()>) -> Result<bool> {
        match done {
            Ok(()) => Ok(true),
            Err(_) if self.life.style.drops() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn change(&self, op: &Op) -> Result<()> {
        let (device, sectors) = (&self.device, op.sectors.clone());
        match op.kind {
            Kind::Write => {
                device.write(sectors.start, &host_data(sectors.clone(), op.generation))?;
            }
            Kind::Fua => {
                device.write_fua(sectors.start, &host_data(sectors.clone(), op.generation))?;
            }
            Kind::Zero => device.zero(sectors)?,
            Kind::Discard => device.discard(sectors)?,
        }
        Ok(())
    }
}
