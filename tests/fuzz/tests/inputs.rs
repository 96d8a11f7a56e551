// SPDX-License-Identifier: GPL-2.0

//! Every seed, and every input in `found/` that ever broke something, through its target.

use dm_restore_fuzz::{Target, TARGETS};
use std::path::Path;

fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.expect("a target of this name")
}

fn inputs_of(name: &str) {
    let target = target(name);
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| (target.run)(seed));
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("found")
        .join(name);
    // A target in which nothing was found has no directory.
    let Ok(found) = std::fs::read_dir(dir) else {
        return;
    };
    for input in found {
        let path = input.expect("an entry").path();
        println!("{}", path.display());
        (target.run)(&std::fs::read(path).expect("a file"));
    }
}

#[test]
fn superblock() {
    inputs_of("superblock");
}

#[test]
fn maps() {
    inputs_of("maps");
}

#[test]
fn journal() {
    inputs_of("journal");
}

#[test]
fn table_line() {
    inputs_of("table_line");
}

#[test]
fn message() {
    inputs_of("message");
}
