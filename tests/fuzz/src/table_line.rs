// SPDX-License-Identifier: GPL-2.0

//! A table line.
//!
//! Input: the length, eight bytes, little-endian; then the words.

use crate::words::split;
use dm_restore_engine::base::geometry::{
    Geometry, MAX_EXTENTS, MAX_EXTENT_SECTORS, MIN_EXTENT_SECTORS,
};
use dm_restore_engine::base::run::Run;
use dm_restore_engine::format::layout::Layout;
use dm_restore_engine::words::settings::Features;
use dm_restore_engine::words::table_line::{BadLine, Line};

/// Takes an input.
pub fn run(data: &[u8]) {
    let Some((length, text)) = data.split_first_chunk() else {
        return;
    };
    let length = u64::from_le_bytes(*length);
    let words = split(text);
    match Line::parse(length, words.iter().copied()) {
        Ok(line) => {
            check_geometry(&line.geometry, length);
            check_settings(&line);
            check_written(&line);
        }
        Err(bad) => check_refused(bad, &words),
    }
}

fn check_geometry(geometry: &Geometry, length: u64) {
    assert_eq!(geometry.length(), length);
    let (extents, sectors) = (geometry.extents(), geometry.extent_sectors());
    assert!((MIN_EXTENT_SECTORS..=MAX_EXTENT_SECTORS).contains(&sectors));
    assert!(sectors.is_power_of_two());
    assert!((1..=MAX_EXTENTS).contains(&extents));
    assert_eq!(geometry.sectors_of(geometry.all()), Run::new(0, length));
    let last = geometry.sectors_of(Run::one(extents - 1));
    assert!(!last.is_empty() && last.len() <= sectors && last.end() == length);
    let layout = Layout::new(extents);
    // 2 + 256 + 2 maps x 2 slots x blocks, and the slot table: what the manual promises.
    let map_blocks = extents.div_ceil(32256);
    assert_eq!(layout.entries(), 2 * map_blocks);
    let table = 2 * layout.entries().div_ceil(504);
    assert_eq!(layout.blocks(), 258 + table + 4 * map_blocks);
}

fn check_settings(line: &Line) {
    let (features, settings) = (line.features, line.settings);
    assert!((1..=64).contains(&settings.copy_jobs));
    assert!((8..=65536).contains(&settings.copy_size));
    assert!(!features.identical || features.format && !features.assume_different);
}

/// The line that `dmsetup table` shows means the same.
fn check_written(line: &Line) {
    let mut text = String::new();
    let written = line.write(&mut text, ["253:1", "253:2", "253:3"]);
    assert!(written.is_ok());
    let shown = Features {
        no_copy: line.features.no_copy,
        no_discard_passdown: line.features.no_discard_passdown,
        ..Features::default()
    };
    let expected = Line {
        features: shown,
        ..*line
    };
    let words = split(text.as_bytes());
    let again = Line::parse(line.geometry.length(), words.into_iter());
    assert_eq!(again, Ok(expected));
}

/// A reason, and a word that was there.
fn check_refused(bad: BadLine<'_>, words: &[&[u8]]) {
    assert!(!bad.reason().is_empty());
    match bad {
        BadLine::TooFewWords => assert!(words.len() < 4),
        BadLine::Word(_, Some(word)) => assert!(words[4..].contains(&word)),
        _ => assert!(words.len() >= 4),
    }
}
