// SPDX-License-Identifier: GPL-2.0

//! Seeds: inputs to breed from. They are made from what is valid, the same each time.

use crate::journal::bases;

/// A small generator of numbers (`SplitMix64`); nothing depends on its quality.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// So many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Superblocks of devices out of seeded lives.
pub fn superblock() -> Vec<Vec<u8>> {
    let pair = |image: &crate::image::Image| {
        let mut seed = vec![0];
        for i in 0..2 {
            seed.extend_from_slice(&image.block(i)[..crate::superblock::SECTOR]);
        }
        seed
    };
    let good: Vec<_> = bases().iter().map(pair).collect();
    let mut seeds = good.clone();
    // The same, sealed again by the target.
    seeds.extend(good.into_iter().map(|mut seed| {
        seed[0] = 3;
        seed
    }));
    seeds
}

/// Bytes by chance: every input is taken apart into something that can be.
pub fn maps() -> Vec<Vec<u8>> {
    by_chance(400)
}

/// As [`maps`], and with no change at all: the devices as they are.
pub fn journal() -> Vec<Vec<u8>> {
    let mut seeds = by_chance(1200);
    for (i, mut seed) in by_chance(400).into_iter().enumerate() {
        (seed[0], seed[1]) = (i as u8, 0);
        seeds.push(seed);
    }
    seeds
}

fn by_chance(longest: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(1);
    (1..=32).map(|i| random.bytes(i * longest / 32)).collect()
}

/// Lines of the manual, and some that are refused.
pub fn table_line() -> Vec<Vec<u8>> {
    let lines = [
        "/dev/m /dev/s /dev/c 128",
        "/dev/m /dev/s /dev/c 8 0",
        "253:0 253:1 253:2 2097152 1 format",
        "m s c 128 2 format identical",
        "m s c 128 1 assume_different 0",
        "m s c 128 2 no_copy no_discard_passdown 10 copy_jobs 64 copy_size 65536 copy_rate 0 copy_min_rate 4294967295 metadata_patience 3600",
        "m s c 256 5 no_copy format no_discard_passdown assume_different identical 2 copy_jobs 1",
        "m s c 100 0",
        "m s c 128 0 3 copy_jobs 1 copy_size",
        "m s c",
    ];
    let lengths = [1u64, 1000, 1 << 21, 1 << 35, 1 << 53, u64::MAX];
    let seed = |length: u64, line: &str| [&length.to_le_bytes(), line.as_bytes()].concat();
    lines
        .iter()
        .flat_map(|line| lengths.map(|length| seed(length, line)))
        .collect()
}

/// Messages of the manual, and some that are refused.
pub fn message() -> Vec<Vec<u8>> {
    let seeds = [
        "start_restore",
        "start_restore force",
        "assume_identical\npause_copy\nresume_copy",
        "copy_jobs 64\ncopy_size 8\ncopy_rate 20480\ncopy_min_rate 4294967295",
        "copy_jobs 65\ncopy_size 4294967296\ncopy_rate -1\ncopy_min_rate x",
        "copy_jobs\ncopy_jobs 1 2\nstart_restore now\nnothing\n\n",
    ];
    seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
}
