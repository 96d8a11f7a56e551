// SPDX-License-Identifier: GPL-2.0

//! Suspend, what can be done while suspended, and resume.

use super::devices::OpKind;
use super::identity::Promised;
use super::meta::{self, Running};
use super::params::Faults;
use super::promise::{ExtentLocks, Promise, Stop};
use super::world::World;
use crate::engine::identity::identical::Places;
use crate::engine::maps::{Mode, Role};
use crate::engine::record::checkpoint::{Checkpoint, Purpose};
use crate::engine::request::in_flight::InFlight;

/// More rounds than this mean that somebody waits for ever.
const PATIENCE: u32 = 20_000;
/// Flushes before the checkpoint of a clean shutdown.
const ROUNDS: u32 = 3;

impl World {
    /// Suspends, does something, resumes.
    pub(super) fn suspend_and_resume(&mut self) -> Result<(), Stop> {
        self.trace(|| "suspend".into());
        self.stats.suspends += 1;
        self.suspending();
        self.drain_host()?;
        self.postsuspend()?;
        self.during.suspended = true;
        self.while_suspended()?;
        self.during.suspended = false;
        Ok(())
    }

    fn suspending(&mut self) {
        self.engine.quiesce(true);
        self.engine.set_suspending(Some(self.now));
    }

    /// The host's requests come again.
    pub(super) fn resumed(&mut self) {
        self.engine.quiesce(false);
        self.engine.set_suspending(None);
    }

    fn while_suspended(&mut self) -> Result<(), Stop> {
        self.crash_here()?;
        match self.rng.below(10) {
            0..=3 => self.start_restore()?,
            4 => self.assume_identical()?,
            5..=7 => return self.reload(),
            _ => {}
        }
        if !self.recordable() && self.rng.below(3) != 0 {
            return self.reload();
        }
        if self.recordable() {
            let _ = self.checkpoint_now(Checkpoint::activation(None))?;
        }
        self.engine.go_on(&self.shared);
        self.resumed();
        Ok(())
    }

    /// Everything that the worker does, once.
    fn pass(&mut self) -> Result<(), Stop> {
        self.now += 10_000_000;
        self.skip_pause();
        self.map_rest()?;
        self.take_ended()?;
        self.admit()?;
        self.commit();
        self.advance_checkpoint()?;
        self.own_flush();
        self.background();
        self.settle()?;
        self.progress()?;
        self.idle_passes = if self.is_idle() {
            self.idle_passes + 1
        } else {
            0
        };
        self.after_step()
    }

    /// If only the metadata device is waited for: until it is tried again.
    fn skip_pause(&mut self) {
        if !self.ops.is_empty() || !self.ended.is_empty() {
            return;
        }
        let block = self.failed_block.as_ref().map(|(at, _)| *at);
        let step = self.checkpoint.as_ref().map(Running::due);
        self.now = self.now.max(block.or(step).unwrap_or(0));
    }

    /// Device-mapper waits for the host's requests before postsuspend.
    pub(super) fn drain_host(&mut self) -> Result<(), Stop> {
        for _ in 0..PATIENCE {
            if self.requests.is_empty() {
                return Ok(());
            }
            self.pass()?;
        }
        let stuck = self.requests.iter().map(|r| r.id).collect::<Vec<_>>();
        Err(Promise::Faults.broken(format!("requests {stuck:?} wait for ever")))?
    }

    /// Drains copies, flushes, commits, and makes the checkpoint of a clean shutdown. What cannot be
    /// recorded in a few rounds is put back by it.
    fn postsuspend(&mut self) -> Result<(), Stop> {
        self.until(Self::is_idle)?;
        for _ in 0..ROUNDS {
            if self.engine.has_uncommitted(&self.shared) {
                let sent = InFlight::own_flush(&self.shared);
                self.submit(OpKind::OwnFlush { sent });
                self.until(Self::is_committed)?;
            }
        }
        if self.recordable() {
            // It covers all that is complete by now.
            self.tick += 1;
            let failed = self.stats.failed_flushes;
            let sent = InFlight::own_flush(&self.shared);
            self.submit(OpKind::OwnFlush { sent });
            self.until(Self::is_idle)?;
            let flushed = failed == self.stats.failed_flushes;
            self.sample_source(flushed);
            self.check_sampled()?;
        }
        self.checkpoint_suspended()
    }

    /// Works on until `done`.
    pub(super) fn until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), Stop> {
        for _ in 0..PATIENCE {
            if done(self) {
                return Ok(());
            }
            self.pass()?;
        }
        Err(Promise::Faults.broken("the target waits for ever"))?
    }

    fn is_idle(&self) -> bool {
        let nothing_ends = self.ops.is_empty() && self.ended.is_empty();
        nothing_ends
            && self.checkpoint.is_none()
            && self.failed_block.is_none()
            && !self.engine.is_copying()
    }

    /// Nothing is left that could be recorded without another flush.
    fn is_committed(&self) -> bool {
        self.is_idle() && !self.engine.has_uncommitted(&self.shared) || self.is_idle_for_long()
    }

    /// The worker has had its chance to commit.
    fn is_idle_for_long(&self) -> bool {
        self.is_idle() && self.idle_passes > 3
    }

    fn checkpoint_suspended(&mut self) -> Result<(), Stop> {
        if self.recordable() {
            self.checkpoint_now(Checkpoint::new(Purpose::Suspended))?;
        }
        Ok(())
    }

    fn start_restore(&mut self) -> Result<(), Stop> {
        if self.engine.can_begin_restore(&self.shared).is_err() {
            return Ok(());
        }
        self.trace(|| "start_restore".into());
        self.land_all_late();
        let delta = self.shared.maps.count(Role::Cdm) > 0;
        self.during.beginning = delta;
        self.sample_clone_places();
        let checkpoint = self.engine.begin_restore(&self.shared);
        if self.checkpoint_now(checkpoint)? {
            self.during.beginning = false;
            self.stats.restores += 1;
            if delta != (self.shared.maps.state().mode == Mode::Restoring) {
                Err(Promise::Reads.broken("start_restore has succeeded, and there is no restore"))?;
            }
            if delta {
                self.delta.begun();
                let clone = &self.clone;
                self.oracle.settle(|sector| clone.read(sector));
            }
        }
        self.crash_here()
    }

    /// The caller has just made the clone, perhaps from old pages of the source, and says so.
    fn assume_identical(&mut self) -> Result<(), Stop> {
        let tracking = self.shared.maps.state().mode == Mode::Tracking;
        if !tracking || !self.recordable() {
            return Ok(());
        }
        self.trace(|| "assume_identical".into());
        self.land_all_late();
        self.older_clone = Some(self.clone.clone());
        self.unrecorded = true;
        let good = self.copy_to_clone();
        self.crash_here()?;
        let flushed = self.settle_clone();
        self.crash_here()?;
        if !flushed || !self.looks_identical() {
            // The caller hears of it, and the clone becomes what it is for good.
            self.clone.flush();
            return match good && flushed {
                true => Err(Promise::Maps.broken("a good copy is refused"))?,
                false => Ok(()),
            };
        }
        let differed = self.shared.maps.count(Role::Cdm) > 0;
        let clone = self.clone_samples();
        if differed && clone.places().iter().count() == 0 {
            let how = "no place is sampled where the clone differed";
            Err(Promise::Recovery.broken(how))?;
        }
        self.during.assuming = true;
        let checkpoint = self.engine.assume_identical(&self.shared, clone);
        let before = self.promised;
        self.sample_source(true);
        let now = Promised {
            sampled: self.promised.sampled,
            ..Promised::anew()
        };
        self.promised = before.or(now);
        let done = self.checkpoint_now(checkpoint)?;
        self.during.assuming = false;
        if done {
            self.promised = now;
            self.unrecorded = false;
            self.delta.fill(false);
        }
        Ok(())
    }

    /// Copies the source to the clone; returns whether that is what the source holds. Where the host
    /// wrote since the last copy, the page cache may have what was there before. Only where the
    /// target compares everything does it have to notice.
    fn copy_to_clone(&mut self) -> bool {
        let few = self.shared.maps.count(Role::Cdm) <= 32;
        let stale = few && self.rng.below(3) == 0;
        let buffered = self.rng.below(2) == 0;
        let window = self.params.window;
        let (mut content, mut good) = (Vec::new(), true);
        for sector in window.start()..window.end() {
            let touched = self.shared.maps.view().cdm;
            let (now, old) = (self.source.read(sector), self.clone.read(sector));
            let is_old = stale && touched.get(self.geometry.extent_of(sector));
            content.push(if is_old { old } else { now });
            good &= !is_old || old == now;
        }
        self.trace(|| format!("copy to the clone: good {good} buffered {buffered}"));
        self.clone.fill(content, buffered);
        good
    }

    /// What was written to source and clone is put on the disks.
    pub(super) fn settle_clone(&mut self) -> bool {
        self.clone.write_pages();
        self.source.flush_all();
        if self.rng.per_mille(self.params.faults.clone_read) {
            self.clone.flush_failed(&mut self.rng);
            return false;
        }
        self.clone.flush();
        true
    }

    /// Compares source and clone where the target does.
    fn looks_identical(&self) -> bool {
        let mut places = Places::touched(&self.shared.maps);
        while let Some(place) = places.next(&self.shared.maps) {
            let sectors = place.sectors.intersection(self.params.window);
            let mut sectors = sectors.start()..sectors.end();
            if sectors.any(|sector| self.source.read(sector) != self.clone.read(sector)) {
                return false;
            }
        }
        true
    }

    /// A new table takes over.
    fn reload(&mut self) -> Result<(), Stop> {
        self.trace(|| "reload".into());
        self.stats.reloads += 1;
        let was_clean = self.recordable();
        if !was_clean {
            self.land_all_late();
        }
        self.settings = self.any_settings();
        let mut source = self.source.clone();
        self.change_unstable(&mut source);
        self.source = source;
        let device = self.meta.view();
        let loaded = match meta::load(&device, &self.params, self.settings) {
            Ok(Some(loaded)) => loaded,
            Ok(None) => Err(Promise::Recovery.broken("reload: the metadata is blank"))?,
            Err(refusal) => Err(Promise::Recovery.broken(format!("reload: {refusal:?}")))?,
        };
        if was_clean {
            self.same_maps(&loaded)?;
        }
        self.check_identity(&loaded, (&self.source, &self.clone))?;
        if !was_clean && self.params.passdown {
            self.promised.crashed();
        }
        self.oracle.reloaded(!was_clean);
        self.learn(&loaded, false);
        let words = self.any_words(&loaded);
        if !words.declare() {
            return self.take_up(loaded, words);
        }
        let params = self.params.clone();
        self.params.calm();
        self.take_up(loaded, words)?;
        self.params = params;
        Ok(())
    }

    /// After a clean shutdown the same bits come back.
    fn same_maps(&mut self, loaded: &meta::Loaded) -> ExtentLocks {
        let same = self.shared.maps.state() == loaded.shared.maps.state()
            && (0..self.shared.maps.geometry().extents().div_ceil(64)).all(|i| {
                [0, 1].iter().all(|map| {
                    self.shared.maps.numbered(*map).word(i)
                        == loaded.shared.maps.numbered(*map).word(i)
                })
            });
        // Clears that no flush would cover are put back.
        if same || self.stats.failed_flushes > 0 {
            Ok(())
        } else {
            Err(Promise::Maps.broken("a clean shutdown has lost bits"))
        }
    }

    /// Everything that was sent is answered. Then the devices are back, and a restore comes to its
    /// end.
    pub(super) fn come_to_an_end(&mut self) -> Result<(), Stop> {
        self.drain_host()?;
        self.params.faults = Faults::default();
        if !self.recordable() {
            self.suspending();
            self.postsuspend()?;
            self.reload()?;
        }
        self.engine.set_paused(false);
        self.until(|world| world.shared.maps.state().mode == Mode::Tracking)
    }
}
