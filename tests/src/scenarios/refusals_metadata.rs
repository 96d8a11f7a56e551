// SPDX-License-Identifier: GPL-2.0

//! Metadata that must be refused, with the reason, and left as it is.

use super::trial;
use anyhow::{ensure, Context, Result};
use dm_restore_engine::base::run::Run;
use dm_restore_engine::format::event::Event;
use dm_restore_engine::format::{bytes, BLOCK};
use dm_restore_engine::maps::Mode;
use dm_restore_tests::disks::{self, Blocks};
use dm_restore_tests::forge::Forge;
use dm_restore_tests::refusal::Reasons;
use dm_restore_tests::rig::{Rig, Spec};
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("refusals::metadata::not_ours", not_ours),
        trial("refusals::metadata::of_something_else", of_something_else),
        trial("refusals::metadata::superblocks", superblocks),
        trial("refusals::metadata::slot_table_and_maps", table_and_maps),
        trial("refusals::metadata::journal", journal),
        trial(
            "refusals::metadata::each_live_block_damaged",
            each_live_block,
        ),
        trial(
            "refusals::metadata::each_journal_block_damaged",
            each_journal_block,
        ),
        trial("refusals::metadata::dead_blocks_do_not_matter", dead_blocks),
        trial(
            "refusals::metadata::refused_at_resume_stays_unloaded",
            refused_at_resume,
        ),
    ]
}

/// Formatted metadata with something in it, shut down cleanly. The restore is under way.
fn filled() -> Result<Rig> {
    let mut rig = Rig::new(Spec::new(Blocks::B512, 128).features("format no_copy"))?;
    rig.start_restore()?;
    rig.write(0..8)?;
    rig.write(128..256)?;
    rig.shut_down()?;
    Ok(rig)
}

/// Spoils the metadata in many ways, each from the same good state, and tries to use it.
struct Cases {
    rig: Rig,
    good: Vec<u8>,
    reasons: Reasons,
}

impl Cases {
    fn new(rig: Rig) -> Result<Self> {
        let good = Forge::open(&rig)?.blocks.read_all()?;
        Ok(Self {
            rig,
            good,
            reasons: Reasons::default(),
        })
    }

    fn case(
        &mut self,
        name: &str,
        must: &str,
        spoil: impl FnOnce(&Forge) -> Result<()>,
    ) -> Result<()> {
        let words = "1 no_copy".to_string();
        self.case_with(name, must, &words, spoil)
    }

    fn case_with(
        &mut self,
        name: &str,
        must: &str,
        words: &str,
        spoil: impl FnOnce(&Forge) -> Result<()>,
    ) -> Result<()> {
        let forge = Forge::open(&self.rig)?;
        spoil(&forge).with_context(|| name.to_string())?;
        self.reasons
            .table(&self.rig, name, &self.rig.table(words), must);
        forge.blocks.write_all(&self.good)
    }

    /// What was spoiled and put right again must be usable.
    fn end(mut self, reasons: usize) -> Result<()> {
        self.reasons.check(reasons)?;
        self.rig
            .create_with("1 no_copy")
            .context("the good metadata is refused as well")?;
        self.rig.check(self.rig.all())?;
        self.rig.close()
    }
}

fn not_ours() -> Result<()> {
    let rig = Rig::slices(Spec::new(Blocks::B512, 128))?;
    let blocks = dm_restore_tests::maps::Blocks::open(&rig.metadata.part)?;
    let mut reasons = Reasons::default();
    reasons.table(&rig, "blank", &rig.table("0"), "blank");
    reasons.table(
        &rig,
        "blank, other features",
        &rig.table("1 assume_different"),
        "blank",
    );
    let foreign = [0x5a; BLOCK];
    for index in [0, 1, 17, 255] {
        blocks.write(index, &foreign)?;
        reasons.table(&rig, "foreign", &rig.table("0"), "something else");
        reasons.table(
            &rig,
            "foreign, format",
            &rig.table("1 format"),
            "something else",
        );
        blocks.write(index, &[0; BLOCK])?;
    }
    reasons.check(2)?;
    rig.close()
}

fn of_something_else() -> Result<()> {
    let mut rig = filled()?;
    let mut reasons = Reasons::default();
    let (meta, source, clone) = (rig.metadata.path(), rig.source.path(), rig.clone.path());
    let length = rig.spec.length;
    let line = |length: u64, clone: &str, extent: u64| {
        format!("0 {length} restore {meta} {source} {clone} {extent}")
    };
    reasons.table(
        &rig,
        "other length",
        &line(length - 1, &clone, 128),
        "another length",
    );
    reasons.table(
        &rig,
        "other extent size",
        &line(length, &clone, 256),
        "another extent size",
    );
    let other = Rig::slices(rig.spec.clone())?;
    reasons.table(
        &rig,
        "swapped clone",
        &line(length, &other.clone.path(), 128),
        "recorded content",
    );
    other.close()?;
    reasons.table(
        &rig,
        "assume_different while restoring",
        &rig.table("1 assume_different"),
        "assume_different",
    );
    truncated(&mut reasons, &rig)?;
    reasons.check(5)?;
    rig.create_with("1 no_copy")?;
    rig.check(rig.all())?;
    rig.close()
}

/// The first blocks of good metadata on a device that is too small for the rest.
fn truncated(reasons: &mut Reasons, rig: &Rig) -> Result<()> {
    let part = disks::Part {
        sectors: rig.metadata.part.sectors - 8,
        ..rig.metadata.part.clone()
    };
    let short = Rig::assemble(
        rig.spec.clone(),
        rig.source.part.clone(),
        rig.clone.part.clone(),
        part,
        rig.tracker.clone(),
    )?;
    reasons.table(&short, "truncated", &short.table("0"), "too small");
    short.close()
}

fn superblocks() -> Result<()> {
    let mut cases = Cases::new(filled()?)?;
    let layout = Forge::open(&cases.rig)?.state.layout;
    for index in 0..2 {
        cases.case("gone", "superblock", |forge| {
            forge.blocks.write(layout.superblock(index), &[0; BLOCK])
        })?;
    }
    cases.case("other UUID", "do not follow", |forge| {
        forge.superblock(|sb| sb.uuid[0] ^= 1)
    })?;
    cases.case("too new", "do not follow", |forge| {
        forge.superblock(|sb| sb.generation += 2)
    })?;
    cases.case("later version", "version", |forge| {
        forge.superblock_bytes(|block| bytes::put_u32(block, 16, 2))
    })?;
    cases.case("unknown feature", "unknown features", |forge| {
        forge.superblock_bytes(|block| bytes::put_u32(block, 20, 3))
    })?;
    cases.case("made by an earlier version", "earlier version", |forge| {
        forge.superblock_bytes(|block| bytes::put_u32(block, 20, 0))
    })?;
    cases.case("block size of 1000", "superblock is invalid", |forge| {
        forge.superblock(|sb| sb.block_size = 1000)
    })?;
    cases.case("unknown flag", "superblock is invalid", |forge| {
        forge.superblock_bytes(|block| block[75] |= 0x80)
    })?;
    cases.case("table area 2", "superblock is invalid", |forge| {
        forge.superblock(|sb| sb.table_area = 2)
    })?;
    cases.case(
        "more begun with than there is",
        "superblock is invalid",
        |forge| forge.superblock(|sb| sb.begun_with = 1 << 40),
    )?;
    cases.case("behind its sector", "superblock is damaged", |forge| {
        let place = layout.superblock(forge.state.superblock.generation);
        let mut block = forge.blocks.read(place)?;
        block[4000] = 1;
        forge.blocks.write(place, &block)
    })?;
    cases.end(6)
}

fn table_and_maps() -> Result<()> {
    let mut cases = Cases::new(filled()?)?;
    cases.case("table block for another place", "slot table", |forge| {
        forge.table_bytes(|block| bytes::put_u32(block, 8, 1))
    })?;
    cases.case(
        "table with an impossible slot",
        "slot table is invalid",
        |forge| forge.table_bytes(|block| bytes::put_u32(block, 64 + 4, 9)),
    )?;
    cases.case(
        "table that is not the named one",
        "not the one the superblock names",
        |forge| forge.superblock(|sb| sb.table_crc ^= 1),
    )?;
    cases.case(
        "map block that is not the named one",
        "not the one the slot table names",
        |forge| forge.map(|_| 0, false),
    )?;
    cases.case("map with bits behind the end", "behind the end", |forge| {
        forge.map(|word| if word == 0 { u64::MAX } else { 0 }, true)
    })?;
    let impossible = "maps do not fit the mode";
    cases.case("host writes of no restore", impossible, |forge| {
        forge.superblock(|sb| sb.mode = Mode::Tracking)
    })?;
    cases.case("more to restore than at the start", impossible, |forge| {
        forge.superblock(|sb| sb.begun_with = 1)
    })?;
    cases.end(6)
}

fn journal() -> Result<()> {
    let mut cases = Cases::new(filled()?)?;
    let touched = Event::Touched(Run::one(5));
    cases.case(
        "blocks after a clean shutdown",
        "not empty after a clean shutdown",
        |forge| forge.journal(0, touched),
    )?;
    cases.case(
        "a valid block behind a gap",
        "damaged block before valid ones",
        |forge| {
            forge.superblock(|sb| sb.clean = false)?;
            forge.journal(1, touched)
        },
    )?;
    cases.case("an extent that is not there", "invalid event", |forge| {
        forge.superblock(|sb| sb.clean = false)?;
        forge.journal(0, Event::Touched(Run::new(5, 1000)))
    })?;
    cases.case(
        "a restored extent while tracking",
        "invalid event",
        |forge| {
            forge.superblock(|sb| (sb.clean, sb.mode) = (false, Mode::Tracking))?;
            forge.journal(0, Event::Restored(Run::one(5)))
        },
    )?;
    cases.case("a restore that ends too early", "too early", |forge| {
        forge.superblock(|sb| sb.clean = false)?;
        forge.journal(0, Event::RestoreFinished)
    })?;
    cases.end(4)
}

/// Flips a bit of a block, tries, and puts it right.
fn damage(cases: &mut Cases, index: u64, byte: usize) -> Result<()> {
    let name = format!("byte {byte} of block {index}");
    cases.case(&name, "metadata", |forge| {
        let mut block = forge.blocks.read(index)?;
        block[byte] ^= 0x20;
        forge.blocks.write(index, &block)
    })
}

/// Maps of more than one block, both with bits set and clear.
fn large() -> Result<Rig> {
    let spec = Spec::new(Blocks::B512, 8)
        .length(8 * 40_000)
        .features("format identical no_copy");
    let mut rig = Rig::new(spec)?;
    let far = 8 * 36_000;
    rig.write(0..8)?;
    rig.write(far..far + 8)?;
    rig.start_restore()?;
    rig.write(80..88)?;
    rig.write(far + 80..far + 88)?;
    rig.shut_down()?;
    Ok(rig)
}

fn each_live_block() -> Result<()> {
    let rig = large()?;
    let live = Forge::open(&rig)?.state.live;
    ensure!(
        live.len() == 2 + 1 + 4,
        "superblocks, table and four map blocks, but there are: {live:?}"
    );
    let mut cases = Cases::new(rig)?;
    for index in live {
        // Of a superblock the first sector counts; its rest must be zero.
        for byte in [0, 40, 508, BLOCK - 1] {
            damage(&mut cases, index, byte)?;
        }
    }
    cases.reasons.check(3)?;
    cases.rig.create_with("1 no_copy")?;
    cases.rig.check(0..1024)?;
    cases.rig.close()
}

fn each_journal_block() -> Result<()> {
    let rig = filled()?;
    let layout = Forge::open(&rig)?.state.layout;
    let mut cases = Cases::new(rig)?;
    for sequence in (0..256).step_by(23) {
        let name = format!("journal block {sequence}");
        cases.case(&name, "journal", |forge| {
            forge.blocks.write(layout.journal(sequence), &[0x5a; BLOCK])
        })?;
    }
    cases.end(1)
}

/// What no superblock and no table names may hold anything.
fn dead_blocks() -> Result<()> {
    let mut rig = filled()?;
    let forge = Forge::open(&rig)?;
    let (live, layout) = (&forge.state.live, forge.state.layout);
    let dead = (layout.table(0, 0)..layout.blocks()).filter(|index| !live.contains(index));
    let mut count = 0;
    for index in dead {
        forge.blocks.write(index, &[0x5a; BLOCK])?;
        count += 1;
    }
    ensure!(count >= 3, "only {count} blocks are not in use");
    rig.create_with("1 no_copy")?;
    rig.check(rig.all())?;
    rig.resume_and_finish()?;
    rig.start_again("0")?;
    rig.check(rig.all())?;
    rig.close()
}

/// Damage that only the first resume finds: the device stays unloaded, and no message writes.
fn refused_at_resume() -> Result<()> {
    use dm_restore_tests::dm;
    let rig = filled()?;
    let forge = Forge::open(&rig)?;
    let (_, _, place) = forge.slot()?;
    let mut block = forge.blocks.read(place)?;
    block[200] ^= 1;
    forge.blocks.write(place, &block)?;
    let spoiled = forge.blocks.read_all()?;
    dm::ok(&["create", &rig.name, "--notable"])?;
    dm::ok(&["load", &rig.name, "--table", &rig.table("1 no_copy")])?;
    let resumed = dm::run(&["resume", &rig.name])?;
    let begun = rig.try_message("start_restore")?;
    let assumed = rig.try_message("assume_identical")?;
    let status = dm::run(&["status", &rig.name])?;
    dm::ok(&["remove", "--retry", &rig.name])?;
    ensure!(!resumed.ok, "damaged metadata was accepted");
    ensure!(
        !begun.ok && !assumed.ok,
        "a message was accepted: {begun:?} {assumed:?}"
    );
    ensure!(
        !status.out.contains("restoring"),
        "it says what it does not know: {}",
        status.out
    );
    ensure!(
        forge.blocks.read_all()? == spoiled,
        "something was written to metadata that was refused"
    );
    rig.close()
}
