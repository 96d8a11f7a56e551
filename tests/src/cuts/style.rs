// SPDX-License-Identifier: GPL-2.0

//! What the volume of a life is like: where its parts lie, and what its disks do.
//!
//! Everywhere else sectors are numbered as if the volume were in one piece, of [`LENGTH`] sectors.

use super::image::{Image, SECTOR};
use super::plan::LENGTH;
use anyhow::{ensure, Result};
use std::str::FromStr;

/// Sectors of the metadata device.
pub const METADATA: u64 = 6 << 11;
/// Where a large volume has its gap.
pub const SPLIT: u64 = 30720;
/// Sectors in the gap. With the smallest extents it makes a map of more than 252 blocks, so that the
/// slot table has more than one.
pub const GAP: u64 = 65_044_480;

/// What it is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Three disks of their own.
    Plain,
    /// A large gap in the middle, which nobody uses: maps and slot table of several blocks.
    Large,
    /// Source and metadata device lie on one disk and share its cache.
    OneDisk,
    /// Flushes of the source fail at times, and drop what they should have made durable.
    Drops,
    /// The same on one disk.
    OneDiskDrops,
}

impl Style {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Plain,
        Self::Large,
        Self::OneDisk,
        Self::Drops,
        Self::OneDiskDrops,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Large => "large",
            Self::OneDisk => "one-disk",
            Self::Drops => "drops",
            Self::OneDiskDrops => "one-disk-drops",
        }
    }

    /// Whether flushes fail.
    pub fn drops(self) -> bool {
        matches!(self, Self::Drops | Self::OneDiskDrops)
    }

    /// Whether source and metadata device lie on one disk.
    pub fn is_one_disk(self) -> bool {
        matches!(self, Self::OneDisk | Self::OneDiskDrops)
    }

    /// The mapped length in sectors.
    pub fn mapped(self) -> u64 {
        match self {
            Self::Large => LENGTH + GAP,
            _ => LENGTH,
        }
    }

    /// The number on the volume of extent `number`, as it would be in one piece.
    pub fn on_volume(self, number: u64, extent: u64) -> u64 {
        match self {
            Self::Large if number * extent >= SPLIT => number + GAP / extent,
            _ => number,
        }
    }

    /// Undoes [`Style::on_volume`].
    ///
    /// # Errors
    ///
    /// The extent lies in the gap.
    pub fn in_one_piece(self, number: u64, extent: u64) -> Result<u64> {
        let split = SPLIT / extent;
        match self {
            Self::Large if number >= split => {
                let number = number.checked_sub(GAP / extent);
                let number = number.filter(|number| *number >= split);
                number.ok_or_else(|| anyhow::anyhow!("an extent in the gap is marked"))
            }
            _ => Ok(number),
        }
    }

    /// What the disk of the source holds at first.
    pub fn source_disk(self, source: &Image) -> Image {
        if !self.is_one_disk() {
            return source.clone();
        }
        let mut disk = Image::zeroed((LENGTH + METADATA) as usize * SECTOR);
        disk.write(0, &source.to_bytes());
        disk
    }

    /// Source and metadata device, from what their disks hold.
    pub fn parts(self, source: Image, metadata: Image) -> (Image, Image) {
        if !self.is_one_disk() {
            return (source, metadata);
        }
        let part = |from: u64, sectors: u64| {
            Image::from_bytes(&source.read(from as usize * SECTOR, sectors as usize * SECTOR))
        };
        (part(0, LENGTH), part(LENGTH, METADATA))
    }
}

impl FromStr for Style {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|style| style.name() == name);
        ensure!(found.is_some(), "no style: {name}");
        Ok(found.unwrap_or(Self::Plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dm_restore_engine::format::layout::Layout;

    #[test]
    fn extents_are_found_on_both_sides_of_the_gap() {
        for extent in [8, 16, 32, 64, 128, 256] {
            assert_eq!((SPLIT % extent, GAP % extent), (0, 0));
            for number in 0..LENGTH.div_ceil(extent) {
                let far = Style::Large.on_volume(number, extent);
                assert_eq!(Style::Large.in_one_piece(far, extent).unwrap(), number);
                assert!(far * extent < Style::Large.mapped());
            }
            let gap = (SPLIT + GAP / 2) / extent;
            assert!(Style::Large.in_one_piece(gap, extent).is_err());
        }
    }

    #[test]
    fn a_large_volume_has_several_blocks_of_everything() {
        let layout = Layout::new(Style::Large.mapped().div_ceil(8));
        assert!(layout.map_blocks() > 1 && layout.table_blocks() > 1);
        assert!(layout.sectors() <= METADATA);
    }

    #[test]
    fn names_are_read_back() {
        for style in Style::ALL {
            assert_eq!(style.name().parse::<Style>().unwrap(), style);
        }
        assert!("other".parse::<Style>().is_err());
    }
}
