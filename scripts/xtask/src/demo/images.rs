// SPDX-License-Identifier: GPL-2.0

//! The files behind the virtual disks.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};
use dm_restore_demo::{EXTENT_BYTES, VOLUME_BYTES};
use sha2::{Digest, Sha256};

use crate::cache::hex;
use crate::paths;
use crate::progress::Step;
use crate::vm::{create_disk, Disk};

/// More than the metadata of a volume of this size needs.
const METADATA_BYTES: u64 = 16 << 20;
const READ: usize = EXTENT_BYTES as usize;

/// The files: sparse, in `build/demo`.
pub struct Images {
    source: PathBuf,
    clone: PathBuf,
    metadata: PathBuf,
}

impl Images {
    /// Make them anew.
    ///
    /// # Errors
    ///
    /// A file cannot be made.
    pub fn create() -> Result<Self> {
        let dir = paths::build().join("demo");
        let images = Self {
            source: dir.join("source.img"),
            clone: dir.join("clone.img"),
            metadata: dir.join("metadata.img"),
        };
        create_disk(&images.source, VOLUME_BYTES)?;
        create_disk(&images.clone, VOLUME_BYTES)?;
        create_disk(&images.metadata, METADATA_BYTES)?;
        Ok(images)
    }

    /// Remove them.
    ///
    /// # Errors
    ///
    /// A file cannot be removed.
    pub fn remove(&self) -> Result<()> {
        for file in [&self.source, &self.clone, &self.metadata] {
            fs::remove_file(file)?;
        }
        Ok(())
    }

    /// The disks of a machine.
    #[must_use]
    pub fn disks(&self, clone_read_only: bool) -> Vec<Disk> {
        let clone = Disk::new("clone", &self.clone);
        vec![
            Disk::new("source", &self.source),
            if clone_read_only {
                clone.read_only()
            } else {
                clone
            },
            Disk::new("metadata", &self.metadata),
        ]
    }

    /// SHA-256 of the clone's file, hexadecimal.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn hash_clone(&self) -> Result<String> {
        let step = Step::bytes("   hashing the clone's image", VOLUME_BYTES);
        let mut file = open(&self.clone)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; READ];
        for extent in 0..VOLUME_BYTES / EXTENT_BYTES {
            file.read_exact(&mut buffer)?;
            hash.update(&buffer);
            step.at((extent + 1) * EXTENT_BYTES);
        }
        Ok(hex(&hash.finalize()))
    }

    /// In how many extents source and clone differ.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn differing_extents(&self) -> Result<u64> {
        let (mut source, mut clone) = (open(&self.source)?, open(&self.clone)?);
        let (mut one, mut other) = (vec![0; READ], vec![0; READ]);
        let mut differing = 0;
        for _ in 0..VOLUME_BYTES / EXTENT_BYTES {
            source.read_exact(&mut one)?;
            clone.read_exact(&mut other)?;
            differing += u64::from(one != other);
        }
        Ok(differing)
    }
}

fn open(path: &PathBuf) -> Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}
