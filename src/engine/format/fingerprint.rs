// SPDX-License-Identifier: GPL-2.0

//! The fingerprint of the clone: its size and checksums of sampled blocks, so that a swapped disk
//! is refused. It is no proof of content.

use super::super::checksum::crc32c;
use super::BLOCK_SECTORS;

/// How many blocks are sampled.
pub const SAMPLES: usize = 32;

/// Size and samples of the clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The clone's size in sectors.
    pub sectors: u64,
    /// CRC-32C of each sampled block of 4 KiB.
    pub samples: [u32; SAMPLES],
}

impl Fingerprint {
    /// A fingerprint with no sample yet.
    pub fn new(sectors: u64) -> Self {
        Self {
            sectors,
            samples: [0; SAMPLES],
        }
    }

    /// The first sector of sample `i` of a copy of `length` sectors: the samples are spread evenly,
    /// both ends included.
    pub fn sample_sector(length: u64, i: usize) -> u64 {
        let blocks = (length / BLOCK_SECTORS).saturating_sub(1);
        let last = SAMPLES.saturating_sub(1) as u64;
        // `blocks` has at most 61 bits, so the product may not fit: divide first, then the rest.
        let (quot, rest) = (blocks / last, blocks % last);
        let i = (i as u64).min(last);
        quot.saturating_mul(i)
            .saturating_add(rest.saturating_mul(i) / last)
            .saturating_mul(BLOCK_SECTORS)
    }

    /// Takes sample `i` from the block that was read there.
    pub fn take(&mut self, i: usize, content: &[u8]) {
        if let Some(sample) = self.samples.get_mut(i) {
            *sample = crc32c(0, content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_lie_on_the_device_and_reach_its_end() {
        for sectors in [8, 16, 24, 800, 801, 1 << 41] {
            let at = |i| Fingerprint::sample_sector(sectors, i);
            assert_eq!(at(0), 0);
            for i in 0..SAMPLES {
                assert!(at(i) + 8 <= sectors);
            }
            assert!(at(SAMPLES - 1) + 16 > sectors);
        }
    }
}
