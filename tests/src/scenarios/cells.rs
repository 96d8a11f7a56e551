// SPDX-License-Identifier: GPL-2.0

//! The cells of the behaviour table: what one request does in one state, tried for every extent size
//! and block size. What must be is written down by hand in each cell.

use super::trial;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::{Blocks, GIB};
use dm_restore_tests::matrix::{self, Outcome, EXTENTS};
use dm_restore_tests::rig::{AllMoved, Rig, Spec};
use dm_restore_tests::status::Status;
use libtest_mimic::Trial;
use std::ops::Range;

/// The extent that a cell's request goes to.
const TRIED: u64 = 1;

/// What the request meets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Tracking; the extent's bit is clear.
    Tracking,
    /// Tracking; the host has written to the extent before.
    TrackingMarked,
    /// Restoring; the extent is unrestored.
    Unrestored,
    /// Restoring; the extent is as the clone, and the host has not written to it.
    Restored,
    /// Restoring; the extent was restored and the host has written to it.
    RestoredMarked,
}

/// What the host asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Write with FUA.
    Fua,
    /// Write zeroes.
    Zero,
    /// Discard.
    Discard,
    /// Flush.
    Flush,
}

/// How much of the extent the request covers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// All of it.
    Whole,
    /// One logical block within it.
    Part,
}

/// An amount of data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// None.
    None,
    /// As much as the request.
    Request,
    /// As much as the extent.
    Extent,
    /// As much as both.
    ExtentAndRequest,
}

/// What becomes of the extent's bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// Nothing.
    Unchanged,
    /// It is set in the clone delta map.
    SetCdm,
    /// It is set in the protected restore map.
    SetPrm,
    /// It is cleared in the clone delta map and set in the other.
    Restored,
}

/// What happens on the metadata device before the request completes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// Nothing.
    Untouched,
    /// Something is written: a crash right afterwards changes nothing for the host.
    Durable,
    /// Not looked at.
    Any,
}

/// A cell of the table.
#[derive(Clone)]
pub struct Cell {
    name: &'static str,
    state: State,
    request: Request,
    size: Size,
    features: &'static str,
    bits: Bits,
    clone_read: Amount,
    source_read: Amount,
    source_written: Amount,
    source_discarded: Amount,
    metadata: Metadata,
}

/// A cell in which nothing happens.
pub fn cell(name: &'static str, state: State, request: Request, size: Size) -> Cell {
    Cell {
        name,
        state,
        request,
        size,
        features: "",
        bits: Bits::Unchanged,
        clone_read: Amount::None,
        source_read: Amount::None,
        source_written: Amount::None,
        source_discarded: Amount::None,
        metadata: Metadata::Untouched,
    }
}

impl Cell {
    /// With a feature of the table line.
    pub fn feature(self, features: &'static str) -> Self {
        Self { features, ..self }
    }

    /// What becomes of the bits.
    pub fn bits(self, bits: Bits) -> Self {
        Self { bits, ..self }
    }

    /// What is read from the clone.
    pub fn clone_read(self, clone_read: Amount) -> Self {
        Self { clone_read, ..self }
    }

    /// What is read from the source.
    pub fn source_read(self, source_read: Amount) -> Self {
        Self { source_read, ..self }
    }

    /// What is written to the source.
    pub fn source_written(self, source_written: Amount) -> Self {
        Self { source_written, ..self }
    }

    /// What is discarded on the source.
    pub fn source_discarded(self, source_discarded: Amount) -> Self {
        Self { source_discarded, ..self }
    }

    /// What happens to the metadata.
    pub fn metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    /// Whether such a request can be made at all with these sizes.
    fn is_possible(&self, blocks: Blocks, extent: u64) -> bool {
        let is_data = matches!(self.request, Request::Write | Request::Fua);
        // A part must be smaller than the extent; no single write has 1 GiB of data.
        !(self.size == Size::Part && blocks.sectors() == extent)
            && !(self.size == Size::Whole && is_data && extent >= GIB)
    }
}

/// Every cell with every size, as tests.
pub fn trials(cells: Vec<Cell>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (row, cell) in cells.into_iter().enumerate() {
        for blocks in Blocks::ALL {
            for extent in EXTENTS {
                if !cell.is_possible(blocks, extent) {
                    matrix::note(row, cell.name, (blocks, extent), Outcome::Impossible);
                    continue;
                }
                let name = format!("cell::{}::{}::{extent}", slug(cell.name), blocks.bytes());
                let cell = cell.clone();
                trials.push(trial(name, move || {
                    let result = run(&cell, blocks, extent);
                    let outcome = if result.is_ok() { Outcome::Passed } else { Outcome::Failed };
                    matrix::note(row, cell.name, (blocks, extent), outcome);
                    result
                }));
            }
        }
    }
    trials
}

fn slug(name: &str) -> String {
    let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("_")
}

fn run(cell: &Cell, blocks: Blocks, extent: u64) -> Result<()> {
    let mut rig = prepare(cell, blocks, extent).context("preparing")?;
    let sectors = sectors(cell, &rig);
    let (before, status) = (rig.moved()?, rig.status()?);
    request(cell.request, &mut rig, sectors.clone())?;
    let moved = difference(rig.moved()?, before);
    check_moved(cell, &rig, &sectors, moved)?;
    check_bits(cell, &status, &rig.status()?)?;
    rig.check_counts()?;
    check_content(&rig)?;
    if cell.metadata == Metadata::Durable {
        rig = rig.crash().context("crash")?;
        check_content(&rig).context("after a crash")?;
    }
    rig.close()
}

/// A device with extent [`TRIED`] in the wanted state.
fn prepare(cell: &Cell, blocks: Blocks, extent: u64) -> Result<Rig> {
    let from_full = cell.state == State::Unrestored;
    let first = if from_full { "format no_copy" } else { "format identical no_copy" };
    let spec = Spec::new(blocks, extent).features(&format!("{first} {}", cell.features));
    let mut rig = Rig::new(spec)?;
    let block = |rig: &Rig, number| {
        let start = rig.extent(number).start;
        start..start + blocks.sectors()
    };
    if matches!(cell.state, State::Restored | State::RestoredMarked) {
        // A restore with nothing to do is over at once: there must be an unrestored extent.
        let elsewhere = block(&rig, 0);
        rig.write(elsewhere)?;
    }
    if !matches!(cell.state, State::Tracking | State::TrackingMarked) {
        rig.start_restore()?;
    }
    if matches!(cell.state, State::TrackingMarked | State::RestoredMarked) {
        let there = block(&rig, TRIED);
        rig.write(there)?;
    }
    Ok(rig)
}

/// What the request goes to.
fn sectors(cell: &Cell, rig: &Rig) -> Range<u64> {
    let extent = rig.extent(TRIED);
    let block = rig.spec.blocks.sectors();
    match (cell.size, cell.request) {
        (Size::Whole, Request::Read) => extent.start..extent.end.min(extent.start + 128),
        (Size::Whole, _) => extent,
        (Size::Part, _) => extent.start + block..extent.start + 2 * block,
    }
}

fn request(request: Request, rig: &mut Rig, sectors: Range<u64>) -> Result<()> {
    match request {
        Request::Read => rig.check(sectors),
        Request::Write => rig.write(sectors),
        Request::Fua => rig.write_fua(sectors),
        Request::Zero => rig.zero(sectors),
        Request::Discard => rig.discard(sectors),
        Request::Flush => rig.flush(),
    }
}

fn difference(after: AllMoved, before: AllMoved) -> AllMoved {
    AllMoved {
        source: after.source - before.source,
        clone: after.clone - before.clone,
        metadata: after.metadata - before.metadata,
    }
}

fn check_moved(cell: &Cell, rig: &Rig, sectors: &Range<u64>, moved: AllMoved) -> Result<()> {
    let (request, extent) = (sectors.end - sectors.start, rig.spec.extent);
    let check = |what: &str, found: u64, amount: Amount| {
        let expected = match amount {
            Amount::None => 0,
            Amount::Request => request,
            Amount::Extent => extent,
            Amount::ExtentAndRequest => extent + request,
        };
        ensure!(found == expected, "{what}: {found} sectors, must be {expected}; all: {moved:?}");
        Ok(())
    };
    check("read from the clone", moved.clone.read, cell.clone_read)?;
    check("read from the source", moved.source.read, cell.source_read)?;
    check("written to the source", moved.source.written, cell.source_written)?;
    check("discarded on the source", moved.source.discarded, cell.source_discarded)?;
    check("written to the clone", moved.clone.written + moved.clone.discarded, Amount::None)?;
    let recorded = moved.metadata.written;
    match cell.metadata {
        Metadata::Untouched => ensure!(recorded == 0, "{recorded} sectors of metadata were written"),
        Metadata::Durable => ensure!(recorded > 0, "no metadata was written"),
        Metadata::Any => {}
    }
    if cell.request == Request::Flush {
        ensure!(moved.source.writes > 0, "the flush did not reach the source: {moved:?}");
    }
    Ok(())
}

fn check_bits(cell: &Cell, before: &Status, after: &Status) -> Result<()> {
    let (cdm, prm, restored) = match cell.bits {
        Bits::Unchanged => (0, 0, 0),
        Bits::SetCdm => (1, 0, 0),
        Bits::SetPrm => (0, 1, 0),
        Bits::Restored => (-1, 1, 1),
    };
    let change = |after: u64, before: u64| after as i64 - before as i64;
    let found = (
        change(after.cdm, before.cdm),
        change(after.prm, before.prm),
        change(after.restored, before.restored),
    );
    ensure!(
        found == (cdm, prm, restored),
        "changes of (CDM, PRM, restored) are {found:?}, must be {:?}",
        (cdm, prm, restored)
    );
    let errors = (after.clone_errors, after.source_errors, after.metadata_errors);
    ensure!(errors == (0, 0, 0), "errors were counted: {after:?}");
    Ok(())
}

/// Everything, but of extents of 1 GiB only where something is.
fn check_content(rig: &Rig) -> Result<()> {
    if rig.spec.extent < GIB {
        return rig.check(rig.all());
    }
    for number in 0..rig.tracker.extents() {
        let extent = rig.extent(number);
        rig.check(extent.start..(extent.start + 256).min(extent.end))?;
        rig.check(extent.end.saturating_sub(256).max(extent.start)..extent.end)?;
    }
    Ok(())
}
