// SPDX-License-Identifier: GPL-2.0

//! What mapped device a scenario wants.

use super::disks::Blocks;

/// What device is wanted. Sizes in sectors.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Logical block size.
    pub blocks: Blocks,
    /// Extent size.
    pub extent: u64,
    /// Mapped length.
    pub length: u64,
    /// Where in its table the target begins.
    pub table_start: u64,
    /// How much the clone is larger than the mapped length.
    pub clone_extra: u64,
    /// How much the metadata device is larger than needed.
    pub metadata_extra: u64,
    /// Features of the table line.
    pub features: Vec<String>,
    /// Core args of the table line.
    pub core: Vec<(String, u64)>,
}

impl Spec {
    /// A few extents of the given size, the last one short where that is possible.
    pub fn new(blocks: Blocks, extent: u64) -> Self {
        let whole = match extent {
            8 => 16,
            128 => 8,
            2048 => 4,
            _ => 3,
        };
        let short = (extent / 2 + 1).next_multiple_of(blocks.sectors()).min(264);
        let tail = if short < extent { short } else { 0 };
        Self {
            blocks,
            extent,
            length: whole * extent + tail,
            table_start: 0,
            clone_extra: 0,
            metadata_extra: 0,
            features: Vec::new(),
            core: Vec::new(),
        }
    }

    /// With another length.
    pub fn length(self, length: u64) -> Self {
        Self { length, ..self }
    }

    /// With these features, as in a table line.
    pub fn features(self, features: &str) -> Self {
        Self {
            features: features.split_whitespace().map(str::to_string).collect(),
            ..self
        }
    }

    /// With a core arg.
    pub fn core(mut self, key: &str, value: u64) -> Self {
        self.core.push((key.to_string(), value));
        self
    }

    /// Extents, a short last one counted.
    pub fn extents(&self) -> u64 {
        self.length.div_ceil(self.extent)
    }

    pub(super) fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|word| word == feature)
    }

    /// The optional words of the table line.
    pub fn optional_words(&self) -> String {
        let mut words = vec![self.features.len().to_string()];
        words.extend(self.features.iter().cloned());
        words.push((self.core.len() * 2).to_string());
        for (key, value) in &self.core {
            words.push(format!("{key} {value}"));
        }
        words.join(" ")
    }
}
