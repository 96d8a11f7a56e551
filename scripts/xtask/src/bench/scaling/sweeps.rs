// SPDX-License-Identifier: GPL-2.0

//! What is drawn: curves over sizes, extents and processors.

use super::super::line::Sample;

/// Something that is made larger step by step, and what is measured at each step.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Its name.
    pub name: &'static str,
    /// What grows, for page and plots.
    pub what: &'static str,
    /// What its points count.
    pub axis: Axis,
    /// What is measured at them, and which way is better.
    pub measured: &'static str,
    /// The points, from the smallest to the largest.
    pub points: &'static [u64],
    /// What is measured at each of them.
    pub curves: &'static [Curve],
}

/// What the points of a sweep count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Sectors.
    Sectors,
    /// Processors of the guest. Each point is a machine of its own.
    Processors,
}

/// One measurement at each point of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Curve {
    /// Its name, unique in its sweep.
    pub name: &'static str,
    /// What the figures count.
    pub unit: &'static str,
    /// Who is measured in turns with us, if anybody is.
    pub peer: Option<&'static str>,
}

impl Axis {
    /// A point, as one would write it.
    #[must_use]
    pub fn label(self, point: u64) -> String {
        match self {
            Self::Sectors => size(point),
            Self::Processors => point.to_string(),
        }
    }
}

/// Sectors in the largest unit that they are a whole number of.
fn size(sectors: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut count = sectors * 512;
    let mut unit = UNITS.iter();
    let mut name = unit.next();
    while count > 0 && count % 1024 == 0 && unit.len() > 0 {
        count /= 1024;
        name = unit.next();
    }
    format!("{count} {}", name.unwrap_or(&""))
}

const KIB: u64 = 2;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

/// Sectors of the volume while its extents grow.
pub const VOLUME: u64 = TIB;

/// 4 KiB reads, one after the other, while a restore has begun.
pub const READ: Curve = request("read");
/// 4 KiB writes, one after the other, to marked extents.
pub const WRITE: Curve = request("write");
/// The call of `start_restore`.
pub const START: Curve = alone("start_restore");
/// A table's first resume, up to the end of the first read.
pub const ACTIVATION: Curve = alone("activation");
/// 4 KiB reads, many at a time.
pub const READS: Curve = against("reads", "IOPS", "linear");
/// 4 KiB writes to marked extents, many at a time.
pub const WRITES: Curve = against("writes", "IOPS", "linear");
/// A whole restore.
pub const RESTORE: Curve = against("restore", "MiB/s", "dd");

const fn request(name: &'static str) -> Curve {
    against(name, "us a request", "linear")
}

const fn against(name: &'static str, unit: &'static str, peer: &'static str) -> Curve {
    Curve {
        name,
        unit,
        peer: Some(peer),
    }
}

const fn alone(name: &'static str) -> Curve {
    Curve {
        name,
        unit: "us",
        peer: None,
    }
}

/// A volume that grows, with extents of [`EXTENT`](super::super::settings::EXTENT): the largest one
/// has as many as the target takes.
pub const SIZE: Sweep = Sweep {
    name: "size",
    what: "volume size",
    axis: Axis::Sectors,
    measured: "Time (less is better)",
    points: &[GIB, 16 * GIB, 256 * GIB, 4 * TIB, 64 * TIB, 256 * TIB],
    curves: &[READ, WRITE, START, ACTIVATION],
};

/// Extents that grow.
pub const EXTENTS: Sweep = Sweep {
    name: "extent",
    what: "extent size",
    axis: Axis::Sectors,
    measured: "Time (less is better)",
    points: &[4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 16 * MIB],
    curves: &[READ, WRITE, START, ACTIVATION],
};

/// Processors that become more.
pub const PROCESSORS: Sweep = Sweep {
    name: "processors",
    what: "processors",
    axis: Axis::Processors,
    measured: "Throughput (more is better)",
    points: &[1, 2],
    curves: &[READS, WRITES, RESTORE],
};

/// All of them, in the order in which they run.
pub const SWEEPS: &[Sweep] = &[SIZE, EXTENTS, PROCESSORS];

/// The sweep of this name.
#[must_use]
pub fn sweep(name: &str) -> Option<&'static Sweep> {
    SWEEPS.iter().find(|sweep| sweep.name == name)
}

impl Sweep {
    /// Whether a measurement is one of a curve at a point.
    #[must_use]
    pub fn has(&self, sample: &Sample, curve: &Curve, point: u64) -> bool {
        sample.row == self.name && sample.case == curve.name && sample.at == Some(point)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::settings::EXTENT;
    use super::*;

    #[test]
    fn sizes_have_their_units() {
        assert_eq!(size(8), "4 KiB");
        assert_eq!(size(3 * GIB), "3 GiB");
        assert_eq!(size(1), "512 bytes");
        assert_eq!(size(2048 * TIB), "2048 TiB");
        assert_eq!(Axis::Processors.label(2), "2");
    }

    #[test]
    fn points_grow_and_names_are_there_once() {
        for sweep in SWEEPS {
            assert!(sweep.points.is_sorted_by(|a, b| a < b), "{}", sweep.name);
            let mut names: Vec<_> = sweep.curves.iter().map(|curve| curve.name).collect();
            names.sort_unstable();
            assert!(names.is_sorted_by(|a, b| a < b), "{}", sweep.name);
        }
        assert!(sweep("size").is_some() && sweep("sizes").is_none());
    }

    #[test]
    fn no_volume_has_more_extents_than_the_format_allows() {
        // Fixed by the metadata format.
        const MOST: u64 = 1 << 32;
        assert!(SIZE.points.iter().all(|size| size / EXTENT <= MOST));
        assert!(EXTENTS.points.iter().all(|extent| VOLUME / extent <= MOST));
    }
}
