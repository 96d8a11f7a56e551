// SPDX-License-Identifier: GPL-2.0

//! The volatile cache that metadata and source may have in common, as two parts of one disk.
//!
//! A flush that fails may drop whatever is in the cache. So a request to the metadata device that is
//! or contains a flush counts among the source's ([`epochs`](crate::engine::sync::flush_epochs)): it may drop copies and
//! overwrites that have yet to be covered. And its own success is confirmed only when no request to
//! the source can have dropped what it was to make durable: if one may have, it is written again.
//!
//! Two disks are apart. What is made of other devices (a logical volume, say) may lie anywhere, and
//! be moved. There all of this holds as well, with one exception. What the host has written plainly
//! the target cannot undo; that it may be lost by a metadata write that has failed the host is told
//! only where it is certain that it is one disk. Else a disk for metadata that fails for a moment
//! would fail the host's flushes on another disk, which has lost nothing.
//!
//! The exception has one of its own. What the host may have written to a copy that is undone is copied
//! over. Then all requests of the host in flight fail, because nobody knows which of them were over it,
//! and so does its next flush. If the host has not written to what is undone, only the reads in flight
//! fail: they may have found what was there before.

use crate::engine::base::storage::Storage;
use crate::engine::machine::Engine;
use crate::engine::maps::Mode;
use crate::engine::shared::Shared;
use crate::engine::sync::cache::Undone;
use crate::engine::sync::cache::{Cache, Confirmation, Doubt, MetadataFlush};

impl<S: Storage> Engine<S> {
    /// A request to the metadata device is about to be sent that is or contains a flush.
    pub fn metadata_flush_sent(&self, shared: &Shared<S>) -> MetadataFlush {
        let counts = match self.cache {
            Cache::Apart => false,
            // There is nothing to undo while tracking.
            Cache::Unknown => shared.maps.state().mode == Mode::Restoring,
            Cache::Shared => true,
        };
        MetadataFlush {
            epoch: counts.then(|| shared.epochs.start()),
            losses: self.cache_losses,
        }
    }

    /// It has ended.
    pub fn metadata_flush_ended(&mut self, shared: &Shared<S>, sent: MetadataFlush, ok: bool) {
        let Some(epoch) = sent.epoch else {
            return;
        };
        if !ok {
            self.metadata_flush_failed(shared);
        }
        // Behind the failure, as with a flush of the source.
        shared.epochs.end(epoch);
        self.confirm(shared);
    }

    /// It may have dropped whatever the source had in its cache.
    fn metadata_flush_failed(&mut self, shared: &Shared<S>) {
        self.cache_lost();
        match self.undo(shared) {
            _ if self.cache == Cache::Shared => shared.count_loss_unheard(),
            Undone::Written => shared.count_loss_unheard(),
            Undone::Copied => shared.count_undone(),
            Undone::Nothing => {}
        }
    }

    /// Behind a hibernation, if the kernel that has loaded the image has met such a failure: it has said
    /// so in its superblock.
    pub(in crate::engine) fn take_loss_asleep(&mut self, shared: &Shared<S>) {
        if core::mem::take(&mut self.lost_asleep) && self.cache != Cache::Apart {
            self.metadata_flush_failed(shared);
            self.confirm(shared);
        }
    }

    /// Whatever is under way may have lost a part of its data.
    pub(in crate::engine) fn cache_lost(&mut self) {
        self.cache_losses = self.cache_losses.saturating_add(1);
    }

    /// What was sent when there were `losses` has succeeded. See [`Engine::confirms`].
    pub(in crate::engine) fn doubt(&mut self, shared: &Shared<S>, losses: u64) -> Doubt {
        let batch = if self.cache == Cache::Apart {
            0
        } else {
            self.unconfirmed.add_fua()
        };
        self.confirm(shared);
        Doubt { batch, losses }
    }

    /// The same of a request that was noted when it was sent.
    pub(in crate::engine) fn doubt_sent(
        &mut self,
        shared: &Shared<S>,
        sent: Option<MetadataFlush>,
    ) -> Doubt {
        let losses = sent.map_or(self.cache_losses, |sent| sent.losses);
        self.doubt(shared, losses)
    }

    /// Whether that is confirmed now.
    pub(in crate::engine) fn confirms(&self, shared: &Shared<S>, doubt: Doubt) -> Confirmation {
        if self.cache == Cache::Apart {
            Confirmation::Yes
        } else if shared.sync.has_untaken_failure() || !self.unconfirmed.is_confirmed(doubt.batch) {
            Confirmation::NotYet
        } else if self.cache_losses != doubt.losses {
            Confirmation::No
        } else {
            Confirmation::Yes
        }
    }
}

#[cfg(test)]
#[path = "../tests/cache.rs"]
mod tests;
