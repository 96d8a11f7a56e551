// SPDX-License-Identifier: GPL-2.0

//! What each sector may hold while requests fail.
//!
//! A write that was acknowledged is durable when a flush that was sent later has succeeded. Until
//! then the content may go back to what was durable before: the target undoes a restored extent
//! whose flush has failed, and tells the host by failing its next flush. Writes from before such a
//! failure stay in doubt, whatever later flushes say. A write that failed may have landed.

/// The clone's content.
pub const CLONE: u64 = 0;
/// Zeros.
pub const ZERO: u64 = u64::MAX;

/// A moment in the order of acknowledgements.
pub type Ticket = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Later {
    content: u64,
    /// When it was acknowledged; `None` if it failed or is in doubt.
    acknowledged: Option<Ticket>,
}

/// One sector: contents are generations of the host, [`CLONE`] or [`ZERO`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sector {
    durable: u64,
    later: Vec<Later>,
}

impl Sector {
    /// A restore begins: it holds what the clone holds.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// A write has ended.
    pub fn written(&mut self, content: u64, acknowledged: Option<Ticket>) {
        self.later.push(Later {
            content,
            acknowledged,
        });
    }

    /// A flush has succeeded that was sent at `sent`.
    pub fn flushed(&mut self, sent: Ticket) {
        let covered = |later: &Later| later.acknowledged.is_some_and(|ticket| ticket < sent);
        if let Some(last) = self.later.iter().rposition(covered) {
            self.durable = self.later[last].content;
            self.later.drain(..=last);
        }
    }

    /// A FUA write has succeeded.
    pub fn pinned(&mut self, content: u64) {
        self.durable = content;
        self.later.clear();
    }

    /// A flush has failed, or the state was loaded anew.
    pub fn doubted(&mut self) {
        for later in &mut self.later {
            later.acknowledged = None;
        }
    }

    /// Whether it may hold this, if requests fail.
    pub fn may_be(&self, content: u64) -> bool {
        self.durable == content || self.later.iter().any(|later| later.content == content)
    }

    /// What it holds if no request ever fails.
    pub fn last(&self) -> u64 {
        self.later.last().map_or(self.durable, |last| last.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(writes: &[(u64, Option<Ticket>)]) -> Sector {
        let mut sector = Sector::default();
        for (content, acknowledged) in writes {
            sector.written(*content, *acknowledged);
        }
        sector
    }

    fn may(sector: &Sector) -> Vec<u64> {
        (0..9).filter(|content| sector.may_be(*content)).collect()
    }

    #[test]
    fn until_a_flush_anything_later_may_be_there() {
        let mut sector = sector(&[(1, Some(10)), (2, None), (3, Some(11))]);
        assert_eq!((may(&sector), sector.last()), (vec![CLONE, 1, 2, 3], 3));
        sector.flushed(11);
        assert_eq!(may(&sector), [1, 2, 3]);
        sector.flushed(12);
        assert_eq!(may(&sector), [3]);
    }

    #[test]
    fn a_failed_write_behind_the_durable_one_stays_possible() {
        let mut sector = sector(&[(1, Some(10)), (2, None)]);
        sector.flushed(20);
        assert_eq!(may(&sector), [1, 2]);
    }

    #[test]
    fn doubt_is_not_ended_by_a_flush_but_by_a_write() {
        let mut sector = sector(&[(1, Some(10))]);
        sector.doubted();
        sector.flushed(20);
        assert_eq!(may(&sector), [CLONE, 1]);
        sector.written(2, Some(21));
        sector.flushed(22);
        assert_eq!(may(&sector), [2]);
        sector.pinned(3);
        assert_eq!(may(&sector), [3]);
        sector.reset();
        assert_eq!(may(&sector), [CLONE]);
    }
}
