// SPDX-License-Identifier: GPL-2.0

//! A whole metadata device. It comes out of a seeded life, is taken apart, changed, and put together
//! again with good checksums. Then the engine must refuse it with a reason, or work with it: take
//! requests, copy, commit, be shut down and loaded again as it was.
//!
//! Input: which device, what is changed, then the steps.

use crate::draft::{Draft, Edit};
use crate::image::Image;
use crate::machine::{Machine, Meanwhile, Step};
use crate::seeds::Random;
use arbitrary::{Arbitrary, Result, Unstructured};
use dm_restore_engine::base::geometry::Geometry;
use dm_restore_engine::words::settings::Settings;

/// Most steps of an input; bounds its time.
const MOST_STEPS: usize = 100;
/// A restore of more extents is not waited for.
const LONGEST: u64 = 2000;

/// Takes an input.
pub fn run(data: &[u8]) {
    thread_local! {
        static BASES: Vec<Image> = bases();
    }
    let mut u = Unstructured::new(data);
    if let Ok(input) = Input::take(&mut u) {
        BASES.with(|bases| input.live(&bases[input.base % bases.len()], &mut u));
    }
}

struct Input {
    base: usize,
    edits: Vec<Edit>,
    settings: Settings,
    different: bool,
}

impl Input {
    fn take(u: &mut Unstructured<'_>) -> Result<Self> {
        let base = usize::from(u8::arbitrary(u)?);
        let count = u8::arbitrary(u)? % 8;
        let edits = (0..count).map(|_| Edit::arbitrary(u));
        Ok(Self {
            base,
            edits: edits.collect::<Result<_>>()?,
            settings: settings(u8::arbitrary(u)?),
            different: u8::arbitrary(u)? % 16 == 0,
        })
    }

    fn live(&self, base: &Image, u: &mut Unstructured<'_>) {
        let mut draft = Draft::of(base);
        self.edits.iter().for_each(|edit| draft.edit(*edit));
        let image = draft.finish();
        let loaded = match image.load(self.settings, self.different) {
            Ok(loaded) => loaded,
            Err(refusal) => return assert!(!refusal.reason().is_empty()),
        };
        let mut machine = Machine::take_up(loaded, image, self.settings);
        for step in steps(u).take(MOST_STEPS) {
            machine.step(step);
        }
        machine.finish(LONGEST);
    }
}

fn settings(from: u8) -> Settings {
    Settings {
        copy_jobs: u32::from(from % 8) + 1,
        copy_size: [8, 24, 256, 2048][usize::from(from / 8 % 4)],
        copy_rate: 0,
        copy_min_rate: 0,
        metadata_patience: 1,
    }
}

/// Steps, as long as there are bytes.
fn steps<'u, 'a>(u: &'u mut Unstructured<'a>) -> impl Iterator<Item = Step> + use<'u, 'a> {
    std::iter::from_fn(|| {
        if u.is_empty() {
            return None;
        }
        Step::arbitrary(u).ok()
    })
}

/// Extents, sectors in an extent, and sectors that the last one lacks.
const GEOMETRIES: [(u64, u64, u64); 3] = [(100, 8, 3), (3000, 16, 0), (2 * 32256 + 100, 8, 1)];
/// Lives of each geometry.
const LIVES: u64 = 3;

/// Devices out of seeded lives: crashed, and shut down cleanly.
pub fn bases() -> Vec<Image> {
    let mut bases = Vec::new();
    for (extents, sectors, short) in GEOMETRIES {
        let geometry = Geometry::new(extents * sectors - short, sectors);
        let geometry = geometry.expect("it is a good one");
        for seed in 0..LIVES {
            life(geometry, seed, &mut bases);
        }
    }
    bases
}

fn life(geometry: Geometry, seed: u64, bases: &mut Vec<Image>) {
    let mut random = Random::new(seed);
    let identical = seed % 2 != 0;
    let mut machine = Machine::format(geometry, settings(27), [seed as u8 + 1; 16], identical);
    let mut live = |machine: &mut Machine, bytes| {
        let bytes = random.bytes(bytes);
        steps(&mut Unstructured::new(&bytes)).for_each(|step| machine.step(step));
    };
    live(&mut machine, 1500);
    machine.step(Step::Suspend(Meanwhile::StartRestore));
    bases.push(machine.image().clone());
    live(&mut machine, 1000);
    bases.push(machine.image().clone());
    machine.suspend();
    bases.push(machine.image().clone());
}
