// SPDX-License-Identifier: GPL-2.0

//! What a volume is known by.

use crate::engine::base::geometry::Geometry;
use crate::engine::base::storage::Heap;
use crate::engine::format::superblock::Superblock;
use crate::engine::machine::Engine;
use crate::engine::words::settings::{Features, Settings};

fn identity(engine: &Engine<Heap>) -> String {
    let mut out = String::new();
    engine.write_identity(&mut out).unwrap();
    out
}

#[test]
fn the_uuid_is_told_when_it_is_known() {
    let geometry = Geometry::new(1 << 20, 128).unwrap();
    let mut engine = Engine::new(geometry, Features::default(), Settings::default()).unwrap();
    assert_eq!(identity(&engine), "extent_sectors=128,metadata_uuid=none;");
    let found = Superblock {
        uuid: std::array::from_fn(|i| 16 * (i as u8 % 16) + 1),
        block_size: 4096,
        ..engine.superblock
    };
    engine.identified(&found);
    assert_eq!(engine.block_size(), 4096);
    assert_eq!(
        identity(&engine),
        "extent_sectors=128,metadata_uuid=01112131-4151-6171-8191-a1b1c1d1e1f1;"
    );
}
