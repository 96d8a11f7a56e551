// SPDX-License-Identifier: GPL-2.0

//! One of the devices under the target: a linear device over a part of a disk, which can be held
//! up, broken in many ways, healed, and counted.

use super::disks::Part;
use super::dm;
use super::stats::{self, Moved};
use anyhow::{Context, Result};
use std::ops::Range;
use std::path::Path;

/// One of the devices under the target.
pub struct Slice {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub part: Part,
    /// Another device that is used in its place.
    pub stand_in: Option<String>,
    sysfs: String,
}

/// What a piece of a slice does with requests.
#[derive(Clone, Copy)]
enum Piece {
    Works,
    Fails,
    /// Behaves as dm-flakey with these features, from now on.
    Flakey(&'static str),
}

/// Every request fails, flushes too. (A device of nothing but `error` takes no flushes, so none
/// would fail.)
const GONE: Piece = Piece::Flakey("2 error_reads error_writes");
const REFUSES_WRITES: Piece = Piece::Flakey("1 error_writes");
/// Writes and flushes are acknowledged, and nothing comes of them.
const DROPS_WRITES: Piece = Piece::Flakey("1 drop_writes");

/// Behind the end of what is mapped: a piece that nobody writes to, but that gets each flush.
const TAIL: u64 = 8;

impl Slice {
    /// The slice of this name, which exists.
    pub fn of(name: &str, part: &Part) -> Result<Self> {
        Ok(Self {
            name: name.to_string(),
            part: part.clone(),
            stand_in: None,
            sysfs: stats::sysfs(&dm::path(name))?,
        })
    }

    /// The node that belongs into the table.
    pub fn path(&self) -> String {
        let stand_in = self.stand_in.clone();
        stand_in.unwrap_or_else(|| dm::path(&self.name))
    }

    /// From now on requests to it wait.
    pub fn hold(&self) -> Result<()> {
        dm::ok(&["suspend", "--nolockfs", "--noflush", &self.name]).map(drop)
    }

    /// Requests to it go on.
    pub fn release(&self) -> Result<()> {
        dm::ok(&["resume", &self.name]).map(drop)
    }

    /// From now on every request to it fails: the device is gone.
    pub fn break_down(&self) -> Result<()> {
        self.become_pieces(&[(self.all(), GONE)])
    }

    /// From now on writes and flushes to it fail; reads go on.
    pub fn break_writes(&self) -> Result<()> {
        self.become_pieces(&[(self.all(), REFUSES_WRITES)])
    }

    /// From now on flushes of it fail; all else goes on.
    pub fn break_flushes(&self) -> Result<()> {
        self.become_pieces(&[(self.all(), Piece::Works), (self.tail(), REFUSES_WRITES)])
    }

    /// From now on requests to these sectors of it fail.
    pub fn break_sectors(&self, bad: Range<u64>) -> Result<()> {
        self.become_with(bad, Piece::Fails)
    }

    /// From now on writes to it are lost, and acknowledged all the same; so are flushes.
    pub fn drop_writes(&self) -> Result<()> {
        self.become_pieces(&[(self.all(), DROPS_WRITES)])
    }

    /// From now on writes to these sectors of it are lost, and acknowledged all the same.
    pub fn drop_writes_to(&self, lost: Range<u64>) -> Result<()> {
        self.become_with(lost, DROPS_WRITES)
    }

    /// From now on writes to it are lost, and flushes fail, so that one learns of it.
    pub fn drop_writes_and_tell(&self) -> Result<()> {
        self.become_pieces(&[(self.all(), DROPS_WRITES), (self.tail(), REFUSES_WRITES)])
    }

    /// From now on writes to it are lost, and requests to these sectors fail, so that one learns of it.
    pub fn drop_writes_and_tell_at(&self, told: Range<u64>) -> Result<()> {
        let (before, behind) = (0..told.start, told.end..self.part.sectors);
        self.become_pieces(&[
            (before, DROPS_WRITES),
            (told, Piece::Fails),
            (behind, DROPS_WRITES),
        ])
    }

    /// From now on each request to it takes so many milliseconds.
    pub fn slow_down(&self, milliseconds: u64) -> Result<()> {
        let (sectors, disk, at) = (self.part.sectors, self.disk(), self.part.start);
        let table = format!("0 {sectors} delay {disk} {at} {milliseconds}");
        self.become_linear_over(&table, sectors)
    }

    /// It works again.
    pub fn heal(&self) -> Result<()> {
        dm::swap(&self.name, &self.part.line(0))?;
        self.remove_below()
    }

    /// Takes away what lies below a slice that is broken. The slice must be healed, or gone.
    pub(super) fn remove_below(&self) -> Result<()> {
        if !Path::new(&dm::path(&self.below())).exists() {
            return Ok(());
        }
        dm::ok(&["remove", "--retry", &self.below()]).map(drop)
    }

    /// The device that fails: below the slice, so that the slice counts what it fails.
    fn below(&self) -> String {
        format!("{}-below", self.name)
    }

    /// Makes it a linear device over one with this table.
    fn become_linear_over(&self, table: &str, sectors: u64) -> Result<()> {
        let below = self.below();
        if Path::new(&dm::path(&below)).exists() {
            dm::swap(&below, table)?;
        } else {
            dm::ok(&["create", &below, "--table", table])?;
        }
        dm::swap(
            &self.name,
            &format!("0 {sectors} linear {} 0", dm::path(&below)),
        )
    }

    fn all(&self) -> Range<u64> {
        0..self.part.sectors
    }

    fn tail(&self) -> Range<u64> {
        self.part.sectors..self.part.sectors + TAIL
    }

    fn disk(&self) -> String {
        self.part.path()
    }

    fn become_with(&self, sectors: Range<u64>, piece: Piece) -> Result<()> {
        let (before, behind) = (0..sectors.start, sectors.end..self.part.sectors);
        self.become_pieces(&[
            (before, Piece::Works),
            (sectors, piece),
            (behind, Piece::Works),
        ])
    }

    fn become_pieces(&self, pieces: &[(Range<u64>, Piece)]) -> Result<()> {
        let lines: Vec<String> = pieces
            .iter()
            .filter(|(sectors, _)| !sectors.is_empty())
            .map(|(sectors, piece)| self.line(sectors, *piece))
            .collect();
        let sectors = pieces.iter().map(|(sectors, _)| sectors.end).max();
        self.become_linear_over(&lines.join("\n"), sectors.unwrap_or_default())
    }

    fn line(&self, sectors: &Range<u64>, piece: Piece) -> String {
        let (start, count) = (sectors.start, sectors.end - sectors.start);
        let (disk, at) = (self.disk(), self.part.start + start);
        match piece {
            Piece::Works => format!("{start} {count} linear {disk} {at}"),
            Piece::Fails => format!("{start} {count} error"),
            // Up for 0 seconds, down for 60, and so on.
            Piece::Flakey(features) => {
                format!("{start} {count} flakey {disk} {at} 0 60 {features}")
            }
        }
    }

    /// Whether the kernel's fault injection may fail requests to it.
    pub fn fail_requests(&self, may: bool) -> Result<()> {
        let path = format!("{}/make-it-fail", self.sysfs);
        std::fs::write(&path, if may { "1" } else { "0" }).context(path)
    }

    /// The major number of its device, as of all mapped devices.
    pub fn major(&self) -> &str {
        let number = self.sysfs.rsplit('/').next().unwrap_or_default();
        number.split(':').next().unwrap_or_default()
    }

    /// Its number, `<major>:<minor>`, as in the kernel log.
    pub fn number(&self) -> &str {
        self.sysfs.rsplit('/').next().unwrap_or_default()
    }

    /// What it has moved.
    pub fn moved(&self) -> Result<Moved> {
        stats::moved(&self.sysfs)
    }
}
