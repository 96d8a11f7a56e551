// SPDX-License-Identifier: GPL-2.0

//! Operations on their way to a device, and what the devices make of them.

use super::disk::{Fate, Stamp};
use super::oracle::is_discard;
use super::promise::Broken;
use super::world::World;
use crate::engine::base::run::Run;
use crate::engine::copy::job::Copy;
use crate::engine::copy::job::CopyResult;
use crate::engine::format::Block;
use crate::engine::request::in_flight::InFlight;
use std::fmt;
use std::rc::Rc;

/// A write of the host that has failed and may yet land.
pub struct Late {
    op: u64,
    pub(super) sectors: Run,
    pub(super) stamp: Stamp,
}

/// An operation on a device.
pub struct Op {
    pub(super) id: u64,
    pub(super) kind: OpKind,
    /// When it was submitted.
    pub(super) submitted: u64,
    /// The device has done it, well or not; it is not reported yet.
    pub(super) done: Option<bool>,
    /// A flush that can no longer succeed: some of what it is to cover was dropped.
    pub(super) doomed: bool,
    /// A FUA write, or a journal block, on a disk without FUA: its data lies in the cache, the flush behind it is to come.
    pub(super) half: bool,
}

/// What an operation is.
pub enum OpKind {
    /// A part of a read of the host.
    HostRead {
        /// Whose.
        request: Stamp,
        /// Which sectors.
        sectors: Run,
        /// What the target keeps of it.
        sent: InFlight,
        /// What is wrong with what it has returned.
        wrong: Option<Broken>,
    },
    /// A part of a write or discard of the host, to the source.
    HostWrite {
        /// Whose.
        request: Stamp,
        /// Which sectors.
        sectors: Run,
        /// What they hold afterwards.
        stamp: Stamp,
        /// Durable by itself.
        fua: bool,
        /// What the target keeps of it.
        sent: InFlight,
    },
    /// A source flush of the host.
    HostFlush {
        /// Whose.
        request: Stamp,
        /// What the target keeps of it.
        sent: InFlight,
    },
    /// A source flush of the target's own.
    OwnFlush {
        /// What the target keeps of it.
        sent: InFlight,
    },
    /// A copy from clone to source.
    Copy {
        /// Which.
        copy: Copy,
        /// How it ended.
        result: CopyResult,
    },
    /// A journal block.
    Commit {
        /// Where to, in blocks.
        place: u64,
        /// What.
        block: Rc<Block>,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OpKind::HostRead { request, .. } => write!(f, "read {request}")?,
            OpKind::HostWrite { request, fua, .. } => write!(f, "write {request} fua {fua}")?,
            OpKind::HostFlush { request, .. } => write!(f, "flush {request}")?,
            OpKind::OwnFlush { .. } => write!(f, "the target's own flush")?,
            OpKind::Copy { copy, .. } => write!(f, "copy {}", copy.job)?,
            OpKind::Commit { place, .. } => write!(f, "journal block {place}")?,
        }
        let state = match self.done {
            Some(true) => "done",
            Some(false) => "failed",
            None if self.half => "in the cache",
            None => "submitted",
        };
        write!(f, ", {state}")
    }
}

impl OpKind {
    /// What the target keeps of a request of the host, or of a flush of its own.
    pub(super) fn sent_mut(&mut self) -> Option<&mut InFlight> {
        match self {
            Self::HostRead { sent, .. }
            | Self::HostWrite { sent, .. }
            | Self::HostFlush { sent, .. }
            | Self::OwnFlush { sent } => Some(sent),
            Self::Copy { .. } | Self::Commit { .. } => None,
        }
    }
}

impl Op {
    /// Whether it is or contains a source flush, and has failed.
    pub(super) fn is_failed_flush(&self) -> bool {
        let fua = matches!(self.kind, OpKind::HostWrite { fua: true, .. });
        (fua || self.is_flush()) && self.done == Some(false)
    }

    /// Whether it is a source flush.
    pub(super) fn is_flush(&self) -> bool {
        matches!(
            self.kind,
            OpKind::HostFlush { .. } | OpKind::OwnFlush { .. }
        )
    }

    /// Whether it is a journal block that could not be written.
    pub(super) fn is_failed_commit(&self) -> bool {
        matches!(self.kind, OpKind::Commit { .. }) && self.done == Some(false)
    }

    /// Whether it may change what the source holds.
    pub(super) fn writes(&self) -> bool {
        matches!(self.kind, OpKind::HostWrite { .. } | OpKind::Copy { .. })
    }
}

impl World {
    /// A device does an operation.
    pub(super) fn execute(&mut self, i: usize) {
        let mut op = self.ops.remove(i);
        op.done = match &mut op.kind {
            OpKind::HostRead {
                request,
                sectors,
                sent,
                wrong,
            } => Some(self.execute_read(*request, *sectors, sent.is_from_clone(), wrong)),
            OpKind::HostWrite { fua: true, .. } if op.half => Some(self.execute_flush(&op)),
            OpKind::HostWrite { fua, .. } => {
                op.half = *fua && !self.params.has_fua;
                let ok = self.execute_write(&op);
                op.half &= ok;
                // What is sent next is a flush.
                op.submitted = self.tick + 1;
                (!op.half).then_some(ok)
            }
            OpKind::HostFlush { .. } | OpKind::OwnFlush { .. } => Some(self.execute_flush(&op)),
            OpKind::Copy { copy, result } => {
                *result = self.execute_copy(op.id, copy.sectors);
                Some(result.is_ok())
            }
            OpKind::Commit { .. } if op.half => Some(self.execute_meta_flush(op.submitted)),
            OpKind::Commit { place, block } if self.params.has_fua => {
                Some(self.execute_commit(*place, block))
            }
            OpKind::Commit { place, block } => {
                op.half = self.meta_write_half(*place, block);
                op.submitted = self.tick + 1;
                (!op.half).then_some(false)
            }
        };
        self.trace(|| format!("the device: {op}"));
        self.ops.insert(i, op);
    }

    fn execute_read(
        &mut self,
        request: Stamp,
        sectors: Run,
        from_clone: bool,
        wrong: &mut Option<Broken>,
    ) -> bool {
        let faults = &self.params.faults;
        let often = if from_clone {
            faults.clone_read
        } else {
            faults.source_read
        };
        if self.rng.per_mille(often) {
            self.stats.failed_io += 1;
            return false;
        }
        for sector in sectors.start()..sectors.end() {
            let stamp = if from_clone {
                self.clone.read(sector)
            } else {
                self.source.read(sector)
            };
            let returned = self.oracle.read_returned(request, sector, stamp);
            if let (Err(broken), false) = (returned, self.is_unaware()) {
                wrong.get_or_insert(broken);
            }
        }
        true
    }

    fn execute_write(&mut self, op: &Op) -> bool {
        let OpKind::HostWrite {
            sectors,
            stamp,
            fua,
            sent,
            ..
        } = &op.kind
        else {
            return false;
        };
        let ok = !self.rng.per_mille(self.params.faults.source_write);
        self.stats.failed_io += u64::from(!ok);
        if !ok {
            self.note_unstable(*sectors);
        }
        if !ok && self.comes_late() {
            self.oracle.may_come_late(*stamp, *sectors);
            self.late.push(Late {
                op: op.id,
                sectors: *sectors,
                stamp: *stamp,
            });
            return false;
        }
        // A device may do nothing for a discard.
        let landed = if ok && !is_discard(*stamp) {
            Fate::Landed
        } else {
            Fate::any(&mut self.rng)
        };
        for sector in sectors.start()..sectors.end() {
            if !landed.lands(&mut self.rng) {
                continue;
            }
            if *fua && ok && !op.half {
                self.source.write_fua(sector, *stamp);
            } else {
                self.source.write(op.id, sector, *stamp);
            }
        }
        // The host learns of an overwrite later than the target, and a flush behind data covers it.
        if sent.is_overwrite() || op.half {
            self.source.complete(op.id, *sectors, self.tick);
        }
        ok
    }

    /// Whether a write that fails is not over, for the device. Not if nothing can be recorded.
    fn comes_late(&mut self) -> bool {
        self.params.late && self.recordable() && self.rng.below(2) == 0
    }

    /// A write that has failed lands all the same.
    pub(super) fn land_late(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let i = self.rng.below(self.late.len() as u64) as usize;
        let Late { op, sectors, stamp } = self.late.swap_remove(i);
        self.trace(|| format!("failed write {op} lands late"));
        let fate = Fate::any(&mut self.rng);
        for sector in sectors.start()..sectors.end() {
            if fate.lands(&mut self.rng) {
                self.source.write(op, sector, stamp);
            }
        }
        self.source.complete(op, sectors, self.tick);
        self.stats.landed_late += 1;
    }

    /// Nothing is left that could land late.
    pub(super) fn land_all_late(&mut self) {
        while !self.late.is_empty() {
            self.land_late();
        }
    }

    fn execute_flush(&mut self, flush: &Op) -> bool {
        let ok = !flush.doomed && !self.rng.per_mille(self.params.faults.source_flush);
        if ok {
            self.source.flush(flush.submitted, &mut self.rng);
            if self.params.one_disk && self.rng.below(2) == 0 {
                self.meta.flush();
            }
        } else {
            if self.params.one_disk {
                self.meta.flush_failed(&mut self.rng);
            }
            let dropped = self.source.flush_failed(flush.submitted, &mut self.rng);
            let covers = |op: &Op| dropped.is_some_and(|at| at < op.submitted);
            for op in self.ops.iter_mut().filter(|op| !op.writes()) {
                op.doomed |= op.done.is_none() && covers(op);
            }
            let host = match flush.kind {
                OpKind::HostFlush { request, .. } => Some(request),
                _ => None,
            };
            self.oracle.lost(host);
        }
        ok
    }

    fn execute_copy(&mut self, id: u64, sectors: Run) -> CopyResult {
        let result = CopyResult {
            read_error: self.rng.per_mille(self.params.faults.clone_read),
            write_error: self.rng.per_mille(self.params.faults.source_write),
        };
        self.stats.failed_io += u64::from(!result.is_ok());
        if result.write_error {
            let extents = self.geometry.met_by(sectors);
            self.note_unstable(self.geometry.sectors_of(extents));
        }
        let landed = if result.is_ok() {
            Fate::Landed
        } else {
            Fate::any(&mut self.rng)
        };
        for sector in sectors.start()..sectors.end() {
            if landed.lands(&mut self.rng) {
                self.source.write(id, sector, self.clone.read(sector));
            }
        }
        self.source.complete(id, sectors, self.tick);
        result
    }

    pub(super) fn execute_commit(&mut self, place: u64, block: &Rc<Block>) -> bool {
        if !self.meta_fails(self.params.faults.meta_write) {
            self.meta.write_fua(place, block.clone());
            return true;
        }
        let fate = Fate::any(&mut self.rng);
        self.meta.write_fua_torn(place, block, fate, &mut self.rng);
        if self.params.one_disk && self.rng.below(2) == 0 {
            self.meta.flush_failed(&mut self.rng);
            self.metadata_dropped(self.tick);
        }
        false
    }
}
