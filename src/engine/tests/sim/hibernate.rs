// SPDX-License-Identifier: GPL-2.0

//! Hibernation: an image of the memory is made, and another line of history goes on over the same disks
//! before the image is loaded.

use super::devices::{Op, OpKind};
use super::meta::{self, Loaded, Running};
use super::promise::{Promise, Stop};
use super::world::World;
use crate::engine::base::run::Run;
use crate::engine::format::superblock::Superblock;
use crate::engine::format::BLOCK;
use crate::engine::record::awake::Found;
use crate::engine::record::checkpoint::Checkpoint;
use crate::engine::record::commit::Commit;
use std::rc::Rc;

impl World {
    /// Goes to sleep and wakes up.
    pub(super) fn hibernate(&mut self) -> Result<(), Stop> {
        if !self.recordable() {
            return Ok(());
        }
        self.trace(|| "hibernate".into());
        self.engine.rest(true);
        self.until(Self::is_at_rest)?;
        if self.recordable() {
            self.stats.hibernations += 1;
            match self.rng.below(3) {
                0 => self.left_behind()?,
                1 => self.taken_up()?,
                _ => {}
            }
            self.look_again()?;
            self.crash_here()?;
            // It may have to wait for requests of the host that are in flight.
            self.checkpoint = Some(Running::new(Checkpoint::activation(None)));
            self.until(|world| world.checkpoint.is_none())?;
        }
        self.engine.rest(false);
        Ok(())
    }

    /// Nothing of the target's own is under way. Requests of the host may be.
    fn is_at_rest(&self) -> bool {
        let own = |op: &Op| {
            matches!(
                op.kind,
                OpKind::Copy { .. } | OpKind::Commit { .. } | OpKind::OwnFlush { .. }
            )
        };
        let mut under_way = self.ops.iter().chain(&self.ended);
        let busy = self.checkpoint.is_some() || self.engine.is_committing();
        !busy && !under_way.any(own)
    }

    fn load_beside(&self) -> Result<Loaded, Stop> {
        match meta::load(&self.meta.view(), &self.params, self.settings) {
            Ok(Some(loaded)) => Ok(loaded),
            other => {
                let how = format!("beside an image: {:?}", other.map(|_| ()));
                Err(Promise::Recovery.broken(how))?
            }
        }
    }

    /// The line that is left behind records something. It should not; but if it did, that must not
    /// count.
    fn left_behind(&mut self) -> Result<(), Stop> {
        let Loaded {
            mut engine, shared, ..
        } = self.load_beside()?;
        for _ in 0..=self.rng.below(4) {
            let extents = self.delta.extents();
            let extent = extents.start() + self.rng.below(extents.len());
            engine.first_touches.gather(Run::one(extent));
            let mut block = [0; BLOCK];
            let Commit::Write(place) = engine.next_commit(&shared, &mut block) else {
                break;
            };
            self.trace(|| format!("left behind: journal block {place}, extent {extent}"));
            self.delta.may_be_marked(Run::one(extent));
            self.meta.write_fua(place, Rc::new(block));
            engine.commit_written(&shared, true, 0);
            self.crash_here()?;
        }
        Ok(())
    }

    /// The kernel that loads the image takes the volume up, and uses it no further.
    fn taken_up(&mut self) -> Result<(), Stop> {
        let mut loaded = self.load_beside()?;
        self.trace(|| "taken up by the kernel that loads the image".into());
        self.stats.taken_up += 1;
        core::mem::swap(&mut self.engine, &mut loaded.engine);
        core::mem::swap(&mut self.shared, &mut loaded.shared);
        if self.params.one_disk {
            // Who gives the metadata device up cannot say what its failed flushes have dropped from the
            // cache that the source shares: nobody will hear of it.
            self.engine.set_suspending(None);
            self.engine.settings.metadata_patience = u32::MAX;
        }
        // Requests of the host are in the image: the disks get none meanwhile.
        let frozen = core::mem::take(&mut self.ops);
        let done = self.checkpoint_now(Checkpoint::activation(loaded.torn));
        if done.is_ok() {
            self.ops = frozen;
        }
        core::mem::swap(&mut self.engine, &mut loaded.engine);
        core::mem::swap(&mut self.shared, &mut loaded.shared);
        done.map(drop)
    }

    /// What the target does behind a hibernation before it writes anything else.
    fn look_again(&mut self) -> Result<(), Stop> {
        let refused = |how: &str| Promise::Recovery.broken(format!("behind an image: {how}"));
        let view = self.meta.view();
        let newest = match Superblock::find(&view[0], &view[1], || false) {
            Ok(Some(newest)) => newest,
            other => Err(refused(&format!("{other:?}")))?,
        };
        match self.engine.find(&newest) {
            Found::AsLeft => return Ok(()),
            Found::Changed => Err(refused("the volume was used"))?,
            Found::TakenUp => {}
        }
        let first = self.engine.layout().journal(newest.tail);
        if !self.engine.follow(&newest, &view[first as usize]) {
            Err(refused("something was recorded"))?;
        }
        let (mut crc, mut index) = (0, 0);
        while let Some(place) = self.engine.table_place(index) {
            let taken = self.engine.load_table(index, &view[place as usize], crc);
            crc = taken.map_err(|bad| refused(&format!("{bad:?}")))?;
            index += 1;
        }
        let checked = self.engine.check_table(crc);
        Ok(checked.map_err(|bad| refused(&format!("{bad:?}")))?)
    }
}
