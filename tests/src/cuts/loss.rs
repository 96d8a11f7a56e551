// SPDX-License-Identifier: GPL-2.0

//! Which of the unflushed writes a power cut takes.

use super::disk::Unflushed;
use super::image::Image;
use super::world::{Instant, Role};
use crate::random::Random;
use std::fmt;

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them are lost.
    All,
    /// None is.
    None,
    /// All but the one that was received last.
    AllButLast,
    /// Only one, chosen by chance.
    One(u64),
    /// All of this disk; none of the others.
    Of(Role),
    /// Each write by chance.
    Whole(u64),
    /// Each block of each write by chance.
    Torn(u64),
}

impl Loss {
    /// Number `number` of the choices for an instant; chance follows from `seed`.
    pub fn choose(number: u64, seed: u64) -> Self {
        match number {
            0 => Self::All,
            1 => Self::Torn(seed),
            2 => [
                Self::None,
                Self::AllButLast,
                Self::One(seed),
                Self::Of(Role::Source),
                Self::Of(Role::Metadata),
            ][(seed % 5) as usize],
            3 => Self::Whole(seed),
            _ => Self::Torn(seed.wrapping_add(number)),
        }
    }

    /// What is on the disks of source, clone and metadata device after it.
    pub fn take(self, instant: &Instant) -> [Image; 3] {
        let disks = [&instant.source, &instant.clone, &instant.metadata];
        let all = || disks.iter().flat_map(|disk| &disk.unflushed);
        let last = all().map(|write| write.at).max();
        let mut chance = Random::new(match self {
            Self::One(seed) | Self::Whole(seed) | Self::Torn(seed) => seed,
            _ => 0,
        });
        let one = all().nth(chance.below(all().count().max(1) as u64) as usize);
        let one = one.map(|write| write.at);
        let mut coin = PerWrite::default();
        let mut keep = |role: Role, write: &Unflushed| match self {
            Self::All => false,
            Self::None => true,
            Self::AllButLast => Some(write.at) == last,
            Self::One(_) => Some(write.at) != one,
            Self::Of(lost) => role != lost,
            Self::Whole(_) => coin.of(write.at, &mut chance),
            Self::Torn(_) => chance.below(2) == 0,
        };
        let source = instant.source.cut(|write| keep(Role::Source, write));
        let clone = instant.clone.cut(|write| keep(Role::Clone, write));
        let metadata = instant.metadata.cut(|write| keep(Role::Metadata, write));
        [source, clone, metadata]
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// One toss of a coin for all blocks of a write.
#[derive(Default)]
struct PerWrite(Option<(u64, bool)>);

impl PerWrite {
    fn of(&mut self, write: u64, chance: &mut Random) -> bool {
        match self.0 {
            Some((at, kept)) if at == write => kept,
            _ => {
                let kept = chance.below(2) == 0;
                self.0 = Some((write, kept));
                kept
            }
        }
    }
}
