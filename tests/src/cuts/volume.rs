// SPDX-License-Identifier: GPL-2.0

//! In the virtual machine: a mapped device, with what has to lie below and above it for its style.

use super::plan::LENGTH;
use super::style::{Style, GAP, METADATA, SPLIT};
use crate::dm::{self, New};
use anyhow::Result;

/// Where something begins on a disk.
pub struct Part {
    /// The disk.
    pub disk: String,
    /// The first sector.
    pub start: u64,
}

impl Part {
    /// The whole disk.
    pub fn whole(disk: String) -> Self {
        Self { disk, start: 0 }
    }

    /// Whether a device of its own is needed for it.
    fn needs_device(&self, gap: bool) -> bool {
        gap || self.start > 0
    }

    fn line(&self, at: u64, sectors: u64, from: u64) -> String {
        format!("{at} {sectors} linear {} {}", self.disk, self.start + from)
    }

    /// The table of a device with these sectors, and with the gap of a large volume.
    fn lines(&self, sectors: u64, gap: bool) -> Vec<String> {
        if !gap {
            return vec![self.line(0, sectors, 0)];
        }
        vec![
            self.line(0, SPLIT, 0),
            format!("{SPLIT} {GAP} zero"),
            self.line(SPLIT + GAP, sectors - SPLIT, SPLIT),
        ]
    }
}

/// A volume: its mapped device is called as it is.
pub struct Volume {
    /// Its name.
    pub name: String,
    /// What it is like.
    pub style: Style,
    /// Where its source lies.
    pub source: Part,
    /// Where its clone lies.
    pub clone: Part,
    /// Where its metadata lies.
    pub metadata: Part,
}

impl Volume {
    /// The device that writers use: the volume in one piece.
    pub fn path(&self) -> String {
        match self.style {
            Style::Large => dm::path(&self.part_name("view")),
            _ => dm::path(&self.name),
        }
    }

    /// The table of the mapped device; `words` follow the extent size.
    pub fn table(&self, extent: u64, words: &str) -> String {
        let [source, clone, metadata] = self.parts().map(|(part, at, _, gap)| {
            if at.needs_device(gap) {
                dm::path(&self.part_name(part))
            } else {
                at.disk.clone()
            }
        });
        let length = self.style.mapped();
        format!("0 {length} restore {metadata} {source} {clone} {extent} {words}")
    }

    fn part_name(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }

    /// Each part with its name, its length and whether it has the gap.
    fn parts(&self) -> [(&'static str, &Part, u64, bool); 3] {
        let gap = self.style == Style::Large;
        [
            ("source", &self.source, LENGTH, gap),
            ("clone", &self.clone, LENGTH, gap),
            ("metadata", &self.metadata, METADATA, false),
        ]
    }

    fn below(&self) -> Vec<Made> {
        let needed = self.parts().into_iter();
        let needed = needed.filter(|(_, at, _, gap)| at.needs_device(*gap));
        let made = needed.map(|(part, at, sectors, gap)| Made {
            name: self.part_name(part),
            read_only: part == "clone",
            table: at.lines(sectors, gap),
        });
        made.collect()
    }

    fn above(&self) -> Option<Made> {
        let whole = dm::path(&self.name);
        let behind = SPLIT + GAP;
        let table = vec![
            format!("0 {SPLIT} linear {whole} 0"),
            format!("{SPLIT} {} linear {whole} {behind}", LENGTH - SPLIT),
        ];
        (self.style == Style::Large).then(|| Made {
            name: self.part_name("view"),
            read_only: false,
            table,
        })
    }

    /// Makes what lies below the mapped devices.
    ///
    /// # Errors
    ///
    /// Device-mapper refuses.
    pub fn make_below(volumes: &[&Self]) -> Result<()> {
        make(volumes.iter().flat_map(|volume| volume.below()))
    }

    /// Makes what lies above the mapped devices.
    ///
    /// # Errors
    ///
    /// Device-mapper refuses.
    pub fn make_above(volumes: &[&Self]) -> Result<()> {
        make(volumes.iter().filter_map(|volume| volume.above()))
    }

    /// Takes away what is there of these volumes; `made` tells which have their mapped device.
    ///
    /// # Errors
    ///
    /// Something is in use.
    pub fn remove(volumes: &[&Self], made: impl Fn(&Self) -> bool) -> Result<()> {
        let mut names: Vec<String> = Vec::new();
        for volume in volumes.iter().filter(|volume| made(volume)) {
            names.extend(volume.above().map(|above| above.name));
            names.push(volume.name.clone());
        }
        for volume in volumes {
            names.extend(volume.below().into_iter().map(|below| below.name));
        }
        if names.is_empty() {
            return Ok(());
        }
        let mut args = vec!["remove", "--retry"];
        args.extend(names.iter().map(String::as_str));
        dm::ok(&args).map(drop)
    }
}

/// A device to be made.
struct Made {
    name: String,
    read_only: bool,
    table: Vec<String>,
}

fn make(devices: impl Iterator<Item = Made>) -> Result<()> {
    let devices: Vec<_> = devices.collect();
    let new: Vec<New> = devices
        .iter()
        .map(|made| New {
            name: &made.name,
            read_only: made.read_only,
            table: made.table.clone(),
        })
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    dm::create_all(&new)
}
