// SPDX-License-Identifier: GPL-2.0

//! What was done so far, kept in a file from one run to the next.

use super::record::Place;
use anyhow::{Context, Result};
use std::fmt::{self, Write as _};
use std::path::Path;

/// Sums. A cut is counted once: the disks that it leaves are like those of no other cut of its
/// life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lives that were lived, which is also the number of the next one.
    pub lives: u64,
    /// Cuts that were checked.
    pub cuts: u64,
    /// Those that broke a promise.
    pub violations: u64,
    /// Those at whose instant some write was unflushed.
    pub unflushed: u64,
    /// Those at each place, in the order of [`Place::ALL`].
    pub places: [u64; Place::ALL.len()],
    /// Those with fsck and integrity check.
    pub files: u64,
    /// Those after which the restore was let run to its end.
    pub finished: u64,
}

impl Tally {
    /// Reads a file; nothing has been done if it is not there.
    ///
    /// # Errors
    ///
    /// It is no such file.
    pub fn load(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| path.display().to_string()),
            Err(_) => Ok(Self::default()),
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        std::fs::write(&new, self.to_text())?;
        Ok(std::fs::rename(new, path)?)
    }

    /// Adds another one's figures, lives too.
    pub fn add(&mut self, other: &Self) {
        for (sum, (_, value)) in self.fields_mut().into_iter().zip(other.fields()) {
            *sum += value;
        }
    }

    fn fields(&self) -> [(&'static str, u64); 13] {
        let [format, tracking, identical, reload, start, middle, end] = self.places;
        [
            ("lives", self.lives),
            ("cuts", self.cuts),
            ("violations", self.violations),
            ("unflushed", self.unflushed),
            ("format", format),
            ("tracking", tracking),
            ("identical", identical),
            ("reload", reload),
            ("start", start),
            ("middle", middle),
            ("end", end),
            ("files", self.files),
            ("finished", self.finished),
        ]
    }

    fn fields_mut(&mut self) -> [&mut u64; 13] {
        let [format, tracking, identical, reload, start, middle, end] = &mut self.places;
        [
            &mut self.lives,
            &mut self.cuts,
            &mut self.violations,
            &mut self.unflushed,
            format,
            tracking,
            identical,
            reload,
            start,
            middle,
            end,
            &mut self.files,
            &mut self.finished,
        ]
    }

    fn to_text(&self) -> String {
        self.fields()
            .iter()
            .fold(String::new(), |mut text, (name, value)| {
                let _ = writeln!(text, "{name} {value}");
                text
            })
    }

    fn parse(text: &str) -> Result<Self> {
        let mut tally = Self::default();
        let names = Self::default().fields().map(|(name, _)| name);
        for (name, field) in names.into_iter().zip(tally.fields_mut()) {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let value = line.with_context(|| format!("there is no {name}"))?;
            *field = value.trim().parse()?;
        }
        Ok(tally)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = Place::ALL.iter().zip(self.places);
        let places: Vec<String> = places
            .map(|(place, n)| format!("{} {n}", place.name()))
            .collect();
        write!(
            f,
            "{} lives; {}; with unflushed writes {}; with fsck and integrity_check {}; restored to the end {}",
            self.lives,
            places.join(", "),
            self.unflushed,
            self.files,
            self.finished
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_read_as_it_is_written() {
        let mut tally = Tally {
            lives: 1,
            cuts: 2,
            violations: 3,
            unflushed: 4,
            places: [5, 6, 7, 8, 11, 12, 13],
            files: 9,
            finished: 10,
        };
        assert_eq!(Tally::parse(&tally.to_text()).unwrap(), tally);
        tally.add(&tally.clone());
        assert_eq!((tally.places[3], tally.finished), (16, 20));
        assert!(Tally::parse("cuts 1").is_err());
    }
}
