// SPDX-License-Identifier: GPL-2.0

//! Hostile input for the engine. Each module [`Target`] has one function that takes bytes, makes
//! something of them that a user or a metadata device could hand to the module, and checks what the
//! engine does with it. Run by cargo-fuzz with bytes that it breeds, and by `cargo test` with the
//! seeds and with every input that ever found something.
//!
//! | target | what is made of the bytes |
//! |---|---|
//! | [`superblock`] | the two superblocks of a device |
//! | [`maps`] | a slot table and map blocks, and a superblock that names them |
//! | [`journal`] | a device out of a seeded life, changed; then requests and suspends on it |
//! | [`table_line`] | the words of a table line |
//! | [`message`] | messages, one after the other |
//!
//! "Checks" means more than that nothing panics. The engine is compiled with overflow checks and
//! debug assertions, so that what would be a BUG in the kernel is a panic here.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod draft;
pub mod image;
pub mod journal;
pub mod machine;
pub mod maps;
pub mod message;
pub mod seeds;
pub mod superblock;
pub mod table_line;
pub mod words;

/// Something that is fuzzed.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes an input.
    pub run: fn(&[u8]),
    /// Makes its seeds.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target {
        name: "superblock",
        run: superblock::run,
        seeds: seeds::superblock,
    },
    Target {
        name: "maps",
        run: maps::run,
        seeds: seeds::maps,
    },
    Target {
        name: "journal",
        run: journal::run,
        seeds: seeds::journal,
    },
    Target {
        name: "table_line",
        run: table_line::run,
        seeds: seeds::table_line,
    },
    Target {
        name: "message",
        run: message::run,
        seeds: seeds::message,
    },
];
