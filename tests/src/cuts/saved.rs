// SPDX-License-Identifier: GPL-2.0

//! A cut that broke a promise, in a folder: the disks, what was heard, and what was found.

use super::campaign::Cut;
use super::check::Job;
use super::image::Image;
use super::loss::Loss;
use super::machine::Volume;
use super::oracle::Oracle;
use super::plan::Life;
use super::record::{Place, Record};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Saving and loading.
pub struct Saved;

impl Saved {
    /// Saves a cut below `parent` and returns its folder.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn save(parent: &Path, cut: &Cut, back: &Image, why: &str) -> Result<PathBuf> {
        let number = cut.life.number;
        let folder = parent.join(format!("life-{number}-at-{}-{}", cut.at, cut.job.slot));
        fs::create_dir_all(&folder)?;
        let images = [
            ("source", &cut.left.source),
            ("clone", &cut.left.clone),
            ("metadata", &cut.left.metadata),
            ("back", back),
        ];
        for (name, image) in images {
            fs::write(folder.join(format!("{name}.img")), image.to_bytes())?;
        }
        let heard: Vec<String> = cut.heard.iter().map(Record::to_string).collect();
        fs::write(folder.join("heard"), heard.join("\n"))?;
        fs::write(folder.join("report"), why)?;
        let job = Job { slot: 0, ..cut.job };
        fs::write(folder.join("cut"), format!("{} {job}", cut.life.words()))?;
        Ok(folder)
    }

    /// Loads a cut.
    ///
    /// # Errors
    ///
    /// It is not such a folder.
    pub fn load(folder: &Path) -> Result<Cut> {
        let image = |name: &str| -> Result<Image> {
            let path = folder.join(format!("{name}.img"));
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            Ok(Image::from_bytes(&bytes))
        };
        let text = |name: &str| fs::read_to_string(folder.join(name)).context(name.to_string());
        let cut = text("cut")?;
        let mut words = cut.split_whitespace();
        let mut word = || words.next().context("a word is missing");
        let life = Life::from_words([word()?, word()?, word()?])?;
        let job = word()?.parse()?;
        let heard: Vec<Record> = text("heard")?
            .lines()
            .map(str::parse)
            .collect::<Result<_>>()?;
        let mut oracle = Oracle::new(life);
        heard.iter().for_each(|record| oracle.hear(*record));
        Ok(Cut {
            life,
            place: Place::Tracking,
            at: 0,
            loss: Loss::None,
            unflushed: false,
            left: Volume {
                source: image("source")?,
                clone: image("clone")?,
                metadata: image("metadata")?,
            },
            job,
            heard: Arc::new(heard),
            oracle: Arc::new(oracle),
        })
    }
}
