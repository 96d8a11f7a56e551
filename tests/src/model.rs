// SPDX-License-Identifier: GPL-2.0

//! What a read of the mapped device must return, block by block.

use super::disks::{is_stamped, Part};
use super::io::Buffer;
use super::stamps::{self, Found, Stamp, Writer, BLOCK};
use anyhow::{bail, Result};
use std::ops::Range;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// What the source held from the start.
    Source,
    /// What the clone holds.
    Clone,
    /// What the host wrote with the given generation.
    Host(u64),
    /// Zeros.
    Zero,
    /// Discarded: nobody knows.
    Undefined,
}

/// The expected content of a device. Later entries lie over earlier ones.
#[derive(Clone)]
pub struct Model {
    source: Part,
    clone: Part,
    layers: Vec<(Range<u64>, Content)>,
    generation: u64,
}

impl Model {
    /// A device on which everything is the source's.
    pub fn new(source: Part, clone: Part) -> Self {
        Self {
            source,
            clone,
            layers: Vec::new(),
            generation: 0,
        }
    }

    /// From now on `sectors` hold `content`.
    pub fn set(&mut self, sectors: Range<u64>, content: Content) {
        self.layers.push((sectors, content));
    }

    /// Makes the data of the host's next write to `sectors`, with a generation of its own.
    pub fn next_write(&mut self, sectors: Range<u64>) -> (Buffer, Content) {
        self.generation += 1;
        (
            host_data(sectors, self.generation),
            Content::Host(self.generation),
        )
    }

    /// What `sector` holds.
    pub fn at(&self, sector: u64) -> Content {
        let layer = self
            .layers
            .iter()
            .rev()
            .find(|(sectors, _)| sectors.contains(&sector));
        layer.map_or(Content::Source, |(_, content)| *content)
    }

    /// Checks what was read from `sectors`.
    pub fn check(&self, sectors: Range<u64>, data: &[u8]) -> Result<()> {
        let mut wrong = Vec::new();
        for (sector, block) in sectors.clone().zip(data.chunks_exact(BLOCK)) {
            let content = self.at(sector);
            let found = stamps::read(block);
            if self
                .expected(sector, content)
                .is_some_and(|expected| expected != found)
            {
                wrong.push(format!(
                    "sector {sector}: expected {content:?}, found {found}"
                ));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let count = wrong.len();
        wrong.truncate(6);
        bail!(
            "{count} of sectors {sectors:?} are wrong: {}",
            wrong.join("; ")
        )
    }

    /// What a block with this content looks like; `None` if it may be anything.
    pub fn expected(&self, sector: u64, content: Content) -> Option<Found> {
        let initial = |part: &Part, writer| {
            let at = part.start + sector;
            if is_stamped(at) {
                Found::Stamp(Stamp::initial(writer, at))
            } else {
                Found::Zero
            }
        };
        Some(match content {
            Content::Source => initial(&self.source, Writer::Source),
            Content::Clone => initial(&self.clone, Writer::Clone),
            Content::Host(generation) => Found::Stamp(Stamp {
                writer: Writer::Host,
                sector,
                generation,
            }),
            Content::Zero => Found::Zero,
            Content::Undefined => return None,
        })
    }
}

/// The data of a host write to `sectors` with the given generation.
pub fn host_data(sectors: Range<u64>, generation: u64) -> Buffer {
    let mut data = Buffer::zeroed(sectors.end - sectors.start);
    for (sector, block) in sectors.zip(data.chunks_exact_mut(BLOCK)) {
        Stamp {
            writer: Writer::Host,
            sector,
            generation,
        }
        .fill(block);
    }
    data
}
