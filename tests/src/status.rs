// SPDX-License-Identifier: GPL-2.0

//! The status line of the target.

use anyhow::{anyhow, bail, Context, Result};
use std::collections::BTreeMap;
use std::str::FromStr;

/// What `dmsetup status` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `tracking`, `restoring` or `unloaded`.
    pub mode: String,
    /// `idle`, `copying`, `paused` or `stalled`.
    pub activity: String,
    /// Extent size in sectors.
    pub extent: u64,
    /// Set bits of the clone delta map.
    pub cdm: u64,
    /// Extents.
    pub extents: u64,
    /// Set bits of the protected restore map.
    pub prm: u64,
    /// Extents restored since the restore began.
    pub restored: u64,
    /// Extents being copied.
    pub copying: u64,
    /// Failed requests on the clone.
    pub clone_errors: u64,
    /// Failed requests on the source.
    pub source_errors: u64,
    /// Failed requests on the metadata device.
    pub metadata_errors: u64,
    /// Features.
    pub features: Vec<String>,
    /// Core args.
    pub core: BTreeMap<String, u64>,
    /// `rw`, `ro` or `fail`.
    pub metadata_mode: String,
}

impl Status {
    /// Mode, activity and metadata mode.
    pub fn summary(&self) -> String {
        format!("{} {} {}", self.mode, self.activity, self.metadata_mode)
    }

    /// Failed requests on clone, source and metadata.
    pub fn errors(&self) -> [u64; 3] {
        [self.clone_errors, self.source_errors, self.metadata_errors]
    }
}

const MODES: [&str; 3] = ["tracking", "restoring", "unloaded"];
const ACTIVITIES: [&str; 4] = ["idle", "copying", "paused", "stalled"];
const METADATA_MODES: [&str; 3] = ["rw", "ro", "fail"];

impl FromStr for Status {
    type Err = anyhow::Error;

    /// Reads the words behind the target's name; there may be none too many and none too few.
    fn from_str(line: &str) -> Result<Self> {
        let mut words = Words {
            left: line.split(' '),
        };
        let status = words
            .status()
            .with_context(|| format!("status '{line}' is not as agreed"))?;
        match words.left.next() {
            Some(word) => bail!("status '{line}' goes on with '{word}'"),
            None => Ok(status),
        }
    }
}

struct Words<'a> {
    left: std::str::Split<'a, char>,
}

impl Words<'_> {
    fn status(&mut self) -> Result<Status> {
        let mode = self.one_of(&MODES)?;
        let activity = self.one_of(&ACTIVITIES)?;
        let extent = self.number()?;
        let pair = self.word()?;
        let (cdm, extents) = pair
            .split_once('/')
            .context("no <CDM extents>/<total extents>")?;
        Ok(Status {
            mode,
            activity,
            extent,
            cdm: cdm.parse()?,
            extents: extents.parse()?,
            prm: self.number()?,
            restored: self.number()?,
            copying: self.number()?,
            clone_errors: self.number()?,
            source_errors: self.number()?,
            metadata_errors: self.number()?,
            features: self.features()?,
            core: self.core()?,
            metadata_mode: self.one_of(&METADATA_MODES)?,
        })
    }

    fn features(&mut self) -> Result<Vec<String>> {
        let count = self.number()?;
        (0..count).map(|_| self.word()).collect()
    }

    fn core(&mut self) -> Result<BTreeMap<String, u64>> {
        let count = self.number()?;
        (0..count / 2)
            .map(|_| Ok((self.word()?, self.number()?)))
            .collect()
    }

    fn word(&mut self) -> Result<String> {
        self.left
            .next()
            .map(str::to_string)
            .context("a word is missing")
    }

    fn number(&mut self) -> Result<u64> {
        let word = self.word()?;
        word.parse()
            .map_err(|_| anyhow!("'{word}' is not a number"))
    }

    fn one_of(&mut self, names: &[&str]) -> Result<String> {
        let word = self.word()?;
        if names.contains(&word.as_str()) {
            Ok(word)
        } else {
            bail!("'{word}' is none of {names:?}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "restoring copying 128 5/16 3 8 2 0 1 0 1 no_copy 10 copy_jobs 4 copy_size 2048 copy_rate 0 copy_min_rate 1024 metadata_patience 30 rw";

    #[test]
    fn a_line_is_read_to_its_end_and_no_further() {
        let status: Status = LINE.parse().unwrap();
        assert_eq!((status.cdm, status.extents, status.prm), (5, 16, 3));
        assert_eq!(
            (status.restored, status.copying, status.source_errors),
            (8, 2, 1)
        );
        assert_eq!(status.features, ["no_copy"]);
        assert_eq!(status.core["copy_min_rate"], 1024);
        assert!(format!("{LINE} more").parse::<Status>().is_err());
        let (short, _) = LINE.rsplit_once(' ').unwrap();
        assert!(short.parse::<Status>().is_err());
        assert!(LINE.replace("copying", "busy").parse::<Status>().is_err());
    }
}
