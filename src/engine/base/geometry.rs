// SPDX-License-Identifier: GPL-2.0

//! Extents and sectors of one mapped device.

use crate::engine::base::run::Run;

/// Smallest extent, in sectors: 4 KiB.
pub const MIN_EXTENT_SECTORS: u64 = 8;
/// Largest extent, in sectors: 1 GiB.
pub const MAX_EXTENT_SECTORS: u64 = 1 << 21;
/// Most extents one device may have. Two maps of so many bits take 1 GiB of memory.
pub const MAX_EXTENTS: u64 = 1 << 32;
/// Longest device, in sectors: 8 EiB less a sector would overflow byte counts.
const MAX_SECTORS: u64 = 1 << 53;

/// Why a geometry cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadGeometry {
    /// The extent is smaller than [`MIN_EXTENT_SECTORS`].
    ExtentTooSmall,
    /// The extent is larger than [`MAX_EXTENT_SECTORS`].
    ExtentTooLarge,
    /// The extent is not a power of two.
    ExtentNotPowerOfTwo,
    /// There is not a single sector, or more than a device can have.
    Length,
    /// More than [`MAX_EXTENTS`].
    TooManyExtents,
}

impl BadGeometry {
    /// The reason in words, NUL-terminated for `ti->error`.
    pub fn reason(self) -> &'static core::ffi::CStr {
        match self {
            Self::ExtentTooSmall => c"Extent size is below 8 sectors",
            Self::ExtentTooLarge => c"Extent size is above 2097152 sectors",
            Self::ExtentNotPowerOfTwo => c"Extent size is not a power of two",
            Self::Length => c"Length is out of range",
            Self::TooManyExtents => c"Too many extents, use larger ones",
        }
    }
}

/// The mapped length, cut into extents.
///
/// # Invariants
///
/// `0 < length <= MAX_SECTORS`, the extent size is `1 << shift` within its limits, and `extents` is
/// `length` divided by it, rounded up, at most [`MAX_EXTENTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    length: u64,
    shift: u32,
    extents: u64,
}

impl Geometry {
    /// A device of `length` sectors in extents of `extent_sectors`.
    pub fn new(length: u64, extent_sectors: u64) -> Result<Self, BadGeometry> {
        if extent_sectors < MIN_EXTENT_SECTORS {
            return Err(BadGeometry::ExtentTooSmall);
        }
        if extent_sectors > MAX_EXTENT_SECTORS {
            return Err(BadGeometry::ExtentTooLarge);
        }
        if !extent_sectors.is_power_of_two() {
            return Err(BadGeometry::ExtentNotPowerOfTwo);
        }
        if length == 0 || length > MAX_SECTORS {
            return Err(BadGeometry::Length);
        }
        let extents = length.div_ceil(extent_sectors);
        if extents > MAX_EXTENTS {
            return Err(BadGeometry::TooManyExtents);
        }
        Ok(Self {
            length,
            shift: extent_sectors.trailing_zeros(),
            extents,
        })
    }

    /// The mapped length in sectors.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many extents there are, a short last one counted.
    pub fn extents(&self) -> u64 {
        self.extents
    }

    /// Every extent.
    pub fn all(&self) -> Run {
        Run::new(0, self.extents)
    }

    /// Sectors in an extent (the last one may have fewer).
    pub fn extent_sectors(&self) -> u64 {
        1u64.wrapping_shl(self.shift)
    }

    /// The extent that `sector` lies in.
    pub fn extent_of(&self, sector: u64) -> u64 {
        sector.wrapping_shr(self.shift)
    }

    /// The first sector of `extent`, or the device's end if there is none such.
    pub fn first_sector(&self, extent: u64) -> u64 {
        if extent >= self.extents {
            self.length
        } else {
            extent.wrapping_shl(self.shift)
        }
    }

    /// The sectors of a run of extents.
    pub fn sectors_of(&self, extents: Run) -> Run {
        Run::between(
            self.first_sector(extents.start()),
            self.first_sector(extents.end()),
        )
    }

    /// Every extent that `sectors` meets.
    pub fn met_by(&self, sectors: Run) -> Run {
        if sectors.is_empty() {
            return Run::EMPTY;
        }
        let last = self.extent_of(sectors.end().saturating_sub(1));
        Run::between(self.extent_of(sectors.start()), last.saturating_add(1))
    }

    /// The extents that `sectors` covers from end to end. A short last extent is covered by its
    /// last sector.
    pub fn covered_by(&self, sectors: Run) -> Run {
        let round_up = self.extent_sectors().saturating_sub(1);
        let first = self.extent_of(sectors.start().saturating_add(round_up));
        let end = if sectors.end() >= self.length {
            self.extents
        } else {
            self.extent_of(sectors.end())
        };
        Run::between(first, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits() {
        assert_eq!(Geometry::new(100, 4), Err(BadGeometry::ExtentTooSmall));
        assert_eq!(
            Geometry::new(100, 1 << 22),
            Err(BadGeometry::ExtentTooLarge)
        );
        assert_eq!(
            Geometry::new(100, 24),
            Err(BadGeometry::ExtentNotPowerOfTwo)
        );
        assert_eq!(Geometry::new(0, 8), Err(BadGeometry::Length));
        assert_eq!(Geometry::new(1 << 36, 8), Err(BadGeometry::TooManyExtents));
        assert_eq!(
            Geometry::new((1 << 35) + 1, 8),
            Err(BadGeometry::TooManyExtents)
        );
        assert!(Geometry::new(1 << 35, 8).is_ok());
    }

    proptest! {
        /// Met and covered extents agree with asking sector by sector.
        #[test]
        fn against_sectors(length in 1u64..400, shift in 3u32..6, a in 0u64..400, len in 1u64..200) {
            let geometry = Geometry::new(length, 1 << shift).unwrap();
            prop_assume!(a < length);
            let sectors = Run::between(a, (a + len).min(length));
            for extent in 0..geometry.extents() {
                let own = geometry.sectors_of(Run::one(extent));
                prop_assert!(!own.is_empty());
                prop_assert_eq!(geometry.met_by(sectors).contains(extent), own.overlaps(sectors));
                prop_assert_eq!(geometry.covered_by(sectors).contains(extent), sectors.covers(own));
            }
        }
    }
}
