// SPDX-License-Identifier: GPL-2.0

//! What is checked outside the virtual machine for each power cut.

use super::check::Job;
use super::files::Found;
use super::image::{Image, SECTOR};
use super::oracle::Oracle;
use super::plan::{FILES, LENGTH, STAMPS};
use crate::maps::{self, OnDisk};
use crate::stamps;
use anyhow::{bail, ensure, Context, Result};
use std::collections::BTreeSet;
use std::ops::Range;

/// The disks of one volume.
pub struct Disks<'a> {
    /// The source.
    pub source: &'a Image,
    /// The clone.
    pub clone: &'a Image,
    /// The metadata device.
    pub metadata: &'a Image,
}

/// What the maps say, by extents of the volume in one piece.
struct Maps {
    restoring: bool,
    cdm: BTreeSet<u64>,
    prm: BTreeSet<u64>,
}

impl Maps {
    /// An extent in the gap is marked only where `accept_clone` has marked all.
    fn of(found: &OnDisk, job: &Job) -> Result<Self> {
        let in_one_piece = |map: &BTreeSet<u64>| -> Result<BTreeSet<u64>> {
            let extents = map.iter();
            extents
                .map(|number| job.style.in_one_piece(*number, job.extent))
                .filter(|number| number.is_ok() || !job.accept_clone)
                .collect()
        };
        Ok(Self {
            restoring: found.restoring,
            cdm: in_one_piece(&found.cdm)?,
            prm: in_one_piece(&found.prm)?,
        })
    }

    /// Of metadata that is not formatted, which happens with `format identical`.
    fn blank() -> Self {
        Self {
            restoring: false,
            cdm: BTreeSet::new(),
            prm: BTreeSet::new(),
        }
    }
}

impl Disks<'_> {
    /// What recovery finds.
    fn maps(&self, job: &Job) -> Result<Maps> {
        match maps::recover_image(self.metadata.to_bytes()) {
            Ok(found) => Maps::of(&found, job),
            Err(refused) if job.format && format!("{refused:#}").contains("Blank") => {
                Ok(Maps::blank())
            }
            Err(refused) => Err(refused),
        }
    }

    /// The maps never lie: where the bits are clear, source and clone are the same.
    ///
    /// # Errors
    ///
    /// They are not, or the metadata is refused.
    fn check_maps(&self, job: &Job) -> Result<Maps> {
        let (found, extent) = (self.maps(job)?, job.extent);
        for number in 0..LENGTH.div_ceil(extent) {
            if found.cdm.contains(&number) || (found.restoring && found.prm.contains(&number)) {
                continue;
            }
            for sector in number * extent..((number + 1) * extent).min(LENGTH) {
                let (ours, theirs) = (self.source.sector(sector), self.clone.sector(sector));
                ensure!(
                    ours == theirs,
                    "extent {number} is called the same, but sector {sector} of the source holds {} and of the clone {}",
                    stamps::read(ours),
                    stamps::read(theirs)
                );
            }
        }
        Ok(found)
    }

    /// What a read of the whole volume must return, given what recovery has found.
    fn mapped(&self, found: &Maps, extent: u64) -> Vec<u8> {
        let mut data = self.source.read(0, LENGTH as usize * SECTOR);
        for number in found.cdm.iter().filter(|_| found.restoring) {
            let from = (number * extent) as usize * SECTOR;
            let to = ((number + 1) * extent).min(LENGTH) as usize * SECTOR;
            data[from..to].copy_from_slice(&self.clone.read(from, to - from));
        }
        data
    }
}

/// What has come back from the virtual machine.
pub struct Answer<'a> {
    /// What was read at once, and after the restore had ended.
    pub back: &'a Image,
    /// The disks after the device was taken away.
    pub after: Disks<'a>,
    /// What the guest said.
    pub said: Result<String>,
}

/// Checks one cut.
///
/// # Errors
///
/// A promise is broken.
pub fn check(cut: &Disks<'_>, job: &Job, answer: Answer<'_>, oracle: &Oracle) -> Result<()> {
    let &Job {
        extent,
        finish,
        files,
        ..
    } = job;
    let found = cut.check_maps(job).context("as the cut has left it")?;
    let word = answer.said?;
    let read = part(answer.back, 0..LENGTH);
    oracle.check(&read[range(STAMPS)]).context("read at once")?;
    same(&read, &cut.mapped(&found, extent), 0..LENGTH).context("read at once, by the maps")?;
    if finish {
        let again = part(answer.back, LENGTH..2 * LENGTH);
        let kept = if files { FILES.end..LENGTH } else { 0..LENGTH };
        same(&again, &read, kept).context("read again after the restore")?;
    }
    let after = answer
        .after
        .check_maps(job)
        .context("when it was taken away")?;
    ensure!(!finish || !after.restoring, "the restore has not ended");
    ensure!(
        cut.clone.to_bytes() == answer.after.clone.to_bytes(),
        "the clone was written to"
    );
    if files {
        Found::parse(&word)?.check(oracle)?;
    }
    Ok(())
}

fn part(image: &Image, sectors: Range<u64>) -> Vec<u8> {
    let bytes = range(sectors);
    image.read(bytes.start, bytes.len())
}

fn range(sectors: Range<u64>) -> Range<usize> {
    sectors.start as usize * SECTOR..sectors.end as usize * SECTOR
}

fn same(ours: &[u8], theirs: &[u8], sectors: Range<u64>) -> Result<()> {
    for sector in sectors {
        let at = range(sector..sector + 1);
        let (ours, theirs) = (&ours[at.clone()], &theirs[at]);
        if ours != theirs {
            let (ours, theirs) = (stamps::read(ours), stamps::read(theirs));
            bail!("sector {sector} holds {ours} instead of {theirs}");
        }
    }
    Ok(())
}
