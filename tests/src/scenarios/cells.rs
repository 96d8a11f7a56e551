// SPDX-License-Identifier: GPL-2.0

//! The cells of the behaviour table: what one request does in one state, tried for every extent size
//! and block size. What must be is written down by hand in each cell.

use super::trial;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::{Blocks, GIB};
use dm_restore_tests::maps;
use dm_restore_tests::matrix::{self, Outcome, EXTENTS};
use dm_restore_tests::rig::{AllMoved, Rig, Spec};
use dm_restore_tests::status::Status;
use libtest_mimic::Trial;
use std::ops::Range;

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
    /// Something is written: what became of the bits would be found after a crash.
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
        Self {
            source_read,
            ..self
        }
    }

    /// What is written to the source.
    pub fn source_written(self, source_written: Amount) -> Self {
        Self {
            source_written,
            ..self
        }
    }

    /// What is discarded on the source.
    pub fn source_discarded(self, source_discarded: Amount) -> Self {
        Self {
            source_discarded,
            ..self
        }
    }

    /// What happens to the metadata.
    pub fn metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    /// Whether such a request can be made at all with these sizes.
    fn is_possible(&self, blocks: Blocks, extent: u64) -> bool {
        let is_data = matches!(self.request, Request::Write | Request::Fua);
        // A part must be smaller than the extent; no single write has 1 GiB of data.
        match self.size {
            Size::Part => blocks.sectors() < extent,
            Size::Whole => !is_data || extent < GIB,
        }
    }
}

/// Every cell with every size, as tests: one for all the requests that meet the same state, each of
/// which goes to an extent of its own.
pub fn trials(cells: Vec<Cell>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for group in groups(cells) {
        for blocks in Blocks::ALL {
            for extent in EXTENTS {
                let name = format!("table::{}::{}::{extent}", group.name(), blocks.bytes());
                let group = group.clone();
                trials.push(trial(name, move || group.run(blocks, extent)));
            }
        }
    }
    trials
}

/// Cells with the same state and features, each with its row in the matrix.
#[derive(Clone)]
struct Group {
    state: State,
    features: &'static str,
    cells: Vec<(usize, Cell)>,
}

fn groups(cells: Vec<Cell>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (row, cell) in cells.into_iter().enumerate() {
        let (state, features) = (cell.state, cell.features);
        match groups
            .iter_mut()
            .find(|group| (group.state, group.features) == (state, features))
        {
            Some(group) => group.cells.push((row, cell)),
            None => groups.push(Group {
                state,
                features,
                cells: vec![(row, cell)],
            }),
        }
    }
    groups
}

impl Group {
    fn name(&self) -> String {
        let state = match self.state {
            State::Tracking => "tracking",
            State::TrackingMarked => "tracking_marked",
            State::Unrestored => "unrestored",
            State::Restored => "restored",
            State::RestoredMarked => "restored_marked",
        };
        format!(
            "{state}{}{}",
            if self.features.is_empty() { "" } else { "_" },
            self.features
        )
    }

    fn run(&self, blocks: Blocks, extent: u64) -> Result<()> {
        let mut rig = self.prepare(blocks, extent).context("preparing")?;
        let mut wrong = Vec::new();
        // From back to front: ahead of who writes the other way, more would be marked.
        let numbers = (1..=self.cells.len() as u64).rev();
        for (number, (row, cell)) in numbers.zip(&self.cells) {
            if !cell.is_possible(blocks, extent) {
                matrix::note(*row, cell.name, (blocks, extent), Outcome::Impossible);
                continue;
            }
            let result = cell.try_on(&mut rig, number);
            let outcome = if result.is_ok() {
                Outcome::Passed
            } else {
                Outcome::Failed
            };
            matrix::note(*row, cell.name, (blocks, extent), outcome);
            wrong.extend(
                result
                    .err()
                    .map(|error| format!("{}: {error:#}", cell.name)),
            );
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        check_content(&rig, 0..rig.spec.extents()).context("at the end")?;
        rig.flush()?;
        let rig = rig.crash().context("crash")?;
        check_content(&rig, 0..rig.spec.extents()).context("after a crash")?;
        rig.close()
    }

    /// A device in the wanted state, with an extent for each cell behind the first.
    fn prepare(&self, blocks: Blocks, extent: u64) -> Result<Rig> {
        let spec = Spec::new(blocks, extent);
        let tail = spec.length % extent;
        let first = if self.state == State::Unrestored {
            "format no_copy"
        } else {
            "format identical no_copy"
        };
        let spec = spec
            .length((self.cells.len() as u64 + 2) * extent + tail)
            .features(&format!("{first} {}", self.features));
        let mut rig = Rig::new(spec)?;
        if matches!(self.state, State::Restored | State::RestoredMarked) {
            // A restore with nothing to do is over at once: there must be an unrestored extent.
            rig.write(0..blocks.sectors())?;
        }
        if !matches!(self.state, State::Tracking | State::TrackingMarked) {
            rig.start_restore()?;
        }
        Ok(rig)
    }
}

impl Cell {
    /// Makes the request on extent `number`, and looks.
    fn try_on(&self, rig: &mut Rig, number: u64) -> Result<()> {
        let extent = rig.extent(number);
        if matches!(self.state, State::TrackingMarked | State::RestoredMarked) {
            rig.write(extent.start..extent.start + rig.spec.blocks.sectors())
                .context("preparing")?;
        }
        // What earlier requests have left to be recorded: else the target may do that by itself, at any
        // time, and it would count here.
        rig.flush()?;
        let sectors = self.sectors(rig, extent);
        let (before, status) = (rig.moved()?, rig.status()?);
        self.request(rig, sectors.clone())?;
        let moved = difference(rig.moved()?, before);
        if self.metadata == Metadata::Durable {
            self.check_durable(rig, number)?;
        }
        self.check_moved(rig, &sectors, moved)?;
        self.check_bits(&status, &rig.status()?)?;
        check_content(rig, number - 1..number + 2)
    }

    /// What the request goes to.
    fn sectors(&self, rig: &Rig, extent: Range<u64>) -> Range<u64> {
        let block = rig.spec.blocks.sectors();
        match (self.size, self.request) {
            (Size::Whole, Request::Read) => extent.start..extent.end.min(extent.start + 128),
            (Size::Whole, _) => extent,
            (Size::Part, _) => extent.start + block..extent.start + 2 * block,
        }
    }

    fn request(&self, rig: &mut Rig, sectors: Range<u64>) -> Result<()> {
        match self.request {
            Request::Read => rig.check(sectors),
            Request::Write => rig.write(sectors),
            Request::Fua => rig.write_fua(sectors),
            Request::Zero => rig.zero(sectors),
            Request::Discard => rig.discard(sectors),
            Request::Flush => rig.flush(),
        }
    }

    /// The request has completed: what a crash now would find about the extent.
    fn check_durable(&self, rig: &Rig, number: u64) -> Result<()> {
        let durable = maps::read(&rig.metadata.part)?;
        let found = (
            durable.restoring,
            durable.cdm.contains(&number),
            durable.prm.contains(&number),
        );
        let tracker = &rig.tracker;
        let must = (
            tracker.restoring,
            tracker.cdm.contains(&number),
            tracker.prm.contains(&number),
        );
        ensure!(
            found == must,
            "durable (restoring, CDM, PRM) are {found:?}, must be {must:?}"
        );
        Ok(())
    }

    fn check_moved(&self, rig: &Rig, sectors: &Range<u64>, moved: AllMoved) -> Result<()> {
        let (request, extent) = (sectors.end - sectors.start, rig.spec.extent);
        let check = |what: &str, found: u64, amount: Amount| {
            let expected = match amount {
                Amount::None => 0,
                Amount::Request => request,
                Amount::Extent => extent,
                Amount::ExtentAndRequest => extent + request,
            };
            ensure!(
                found == expected,
                "{what}: {found} sectors, must be {expected}; all: {moved:?}"
            );
            Ok(())
        };
        check("read from the clone", moved.clone.read, self.clone_read)?;
        check("read from the source", moved.source.read, self.source_read)?;
        check(
            "written to the source",
            moved.source.written,
            self.source_written,
        )?;
        check(
            "discarded on the source",
            moved.source.discarded,
            self.source_discarded,
        )?;
        check(
            "written to the clone",
            moved.clone.written + moved.clone.discarded,
            Amount::None,
        )?;
        let recorded = moved.metadata.written;
        match self.metadata {
            Metadata::Untouched => {
                ensure!(recorded == 0, "{recorded} sectors of metadata were written")
            }
            Metadata::Durable => ensure!(recorded > 0, "no metadata was written"),
            Metadata::Any => {}
        }
        if self.request == Request::Flush {
            ensure!(
                moved.source.writes > 0,
                "the flush did not reach the source: {moved:?}"
            );
        }
        Ok(())
    }

    fn check_bits(&self, before: &Status, after: &Status) -> Result<()> {
        let must = match self.bits {
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
            found == must,
            "changes of (CDM, PRM, restored) are {found:?}, must be {must:?}"
        );
        ensure!(after.errors() == [0; 3], "errors were counted: {after:?}");
        Ok(())
    }
}

fn difference(after: AllMoved, before: AllMoved) -> AllMoved {
    AllMoved {
        source: after.source - before.source,
        clone: after.clone - before.clone,
        metadata: after.metadata - before.metadata,
    }
}

/// All of these extents, but of extents of 1 GiB only where something is.
fn check_content(rig: &Rig, extents: Range<u64>) -> Result<()> {
    for extent in extents.map(|number| rig.extent(number)) {
        if rig.spec.extent < GIB {
            rig.check(extent)?;
            continue;
        }
        rig.check(extent.start..(extent.start + 256).min(extent.end))?;
        rig.check(extent.end.saturating_sub(256).max(extent.start)..extent.end)?;
    }
    Ok(())
}
