// SPDX-License-Identifier: GPL-2.0

//! The end of a restore follows the last durable clear, in the journal as in memory.

use super::*;
use crate::checkpoint::Step;
use crate::clears::{Cause, Clear};
use crate::format::fingerprint::Fingerprint;
use crate::format::{Refusal, BLOCK};
use crate::geometry::Geometry;
use crate::run::Run;
use crate::settings::{Features, Settings};
use crate::storage::Heap;

const EXTENT: u64 = 8;
const EXTENTS: u64 = 700;

struct Device {
    engine: Engine<Heap>,
    shared: Shared<Heap>,
    block: Block,
}

impl Device {
    /// A restore has just begun that has these extents to restore.
    fn restoring(delta: impl Iterator<Item = u64>) -> Self {
        let geometry = Geometry::new(EXTENTS * EXTENT, EXTENT).unwrap();
        let shared = Shared::new(geometry).unwrap();
        let mut engine = Engine::new(geometry, Features::default(), Settings::default()).unwrap();
        engine.format(&shared, [1; 16], Fingerprint::new(1 << 20), true);
        delta.for_each(|extent| shared.maps.set(Role::Cdm, Run::one(extent)));
        let (mut begun, mut block) = (engine.begin_restore(&shared), [0; BLOCK]);
        while begun.next(&mut engine, &shared, &mut block) != Step::Done {}
        Self {
            engine,
            shared,
            block,
        }
    }

    fn copied(&mut self, extent: u64) {
        assert!(self.engine.clears.reserve(1));
        let (run, cause) = (Run::one(extent), Cause::Copied);
        self.engine.cleared(&self.shared, Clear { run, cause });
    }

    fn flush(&mut self) {
        let point = self.shared.sync_point();
        self.engine.flush_succeeded(&self.shared, point);
    }

    fn next_commit(&mut self) -> Commit {
        self.engine.next_commit(&self.shared, &mut self.block)
    }

    /// The next journal block is written.
    fn commit(&mut self) {
        assert!(matches!(self.next_commit(), Commit::Write(_)));
        let written = self.engine.commit_written(&self.shared, true);
        assert_eq!(written, Written::Done);
    }

    fn mode(&self) -> Mode {
        self.shared.maps.state().mode
    }
}

#[test]
fn no_block_is_written_before_the_last_clear_is_covered() {
    let mut device = Device::restoring(0..1);
    device.copied(0);
    assert_eq!(device.next_commit(), Commit::Nothing);
    device.flush();
    device.commit();
    assert_eq!(device.mode(), Mode::Tracking);
    assert_eq!(device.next_commit(), Commit::Nothing);
}

#[test]
fn a_block_without_the_end_does_not_end_a_restore() {
    let mut device = Device::restoring(0..1);
    device.copied(0);
    device.engine.touches.gather(Run::one(5)).unwrap();
    device.commit();
    assert_eq!(device.mode(), Mode::Restoring);
    device.flush();
    device.commit();
    assert_eq!(device.mode(), Mode::Tracking);
}

#[test]
fn the_end_waits_for_clears_that_a_block_has_no_room_for() {
    let mut device = Device::restoring((0..EXTENTS).step_by(2));
    (0..EXTENTS)
        .step_by(2)
        .for_each(|extent| device.copied(extent));
    device.flush();
    device.commit();
    assert_eq!(device.mode(), Mode::Restoring);
    device.commit();
    assert_eq!(device.mode(), Mode::Tracking);
    assert_eq!(device.engine.clears.waiting(), 0);
}

#[test]
fn an_end_before_the_last_clear_is_refused() {
    for (delta, replayed) in [(1, Err(Refusal::JournalFinishEarly)), (0, Ok(None))] {
        let mut device = Device::restoring(0..1);
        let Device { engine, shared, .. } = &mut device;
        let place = Place {
            uuid: engine.superblock.uuid,
            activation: engine.superblock.activation,
            sequence: engine.journal.sequence,
            chain: engine.journal.chain,
        };
        engine.superblock.clean = false;
        let (mut forged, zeros) = ([0; BLOCK], [0; BLOCK]);
        let mut writer = Writer::new(&mut forged, &place);
        if delta == 0 {
            writer.push(Event::Restored(Run::one(0)));
        }
        writer.push(Event::RestoreFinished);
        writer.finish();
        let found = engine.replay(shared, |i| Some(if i == 0 { &forged } else { &zeros }));
        assert_eq!(found, replayed, "{delta} left");
    }
}
