// SPDX-License-Identifier: GPL-2.0

//! A table line: what its words mean, and how they are shown.
//!
//! ```text
//! <metadata dev> <source dev> <clone dev> <extent sectors>
//!     [<#features> <feature>... [<#core args> <key> <value>...]]
//! ```

use crate::engine::base::geometry::{BadGeometry, Geometry};
use crate::engine::words::settings::{self, BadWord, Features, Settings};
use core::fmt;

/// What a table line says, the names of its devices aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its length in extents.
    pub geometry: Geometry,
    /// The features.
    pub features: Features,
    /// The core args.
    pub settings: Settings,
}

/// Why a table line was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLine<'a> {
    /// There are fewer than four words.
    TooFewWords,
    /// The extent size is not a decimal number.
    ExtentNotANumber,
    /// Extents of this size cannot be.
    Geometry(BadGeometry, u64),
    /// A feature or a core arg; the word at fault, if it is one.
    Word(BadWord, Option<&'a [u8]>),
}

impl BadLine<'_> {
    /// The reason in words, NUL-terminated for `ti->error`.
    pub fn reason(self) -> &'static core::ffi::CStr {
        match self {
            Self::TooFewWords => c"Four arguments are needed: metadata, source, clone, extent size",
            Self::ExtentNotANumber => c"Extent size is not a number",
            Self::Geometry(bad, _) => bad.reason(),
            Self::Word(bad, _) => bad.reason(),
        }
    }
}

impl Line {
    /// Reads the words of a line of `length` sectors, from the first device on.
    pub fn parse<'a, I>(length: u64, mut words: I) -> Result<Self, BadLine<'a>>
    where
        I: Iterator<Item = &'a [u8]>,
    {
        let (Some(_), Some(_), Some(_), Some(extent)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(BadLine::TooFewWords);
        };
        let extent = settings::number(extent).ok_or(BadLine::ExtentNotANumber)?;
        let geometry =
            Geometry::new(length, extent).map_err(|bad| BadLine::Geometry(bad, extent))?;
        let (features, settings) =
            settings::parse(words).map_err(|(bad, word)| BadLine::Word(bad, word))?;
        Ok(Self {
            geometry,
            features,
            settings,
        })
    }

    /// Writes a line that can be loaded again, with `devices` in the order of the line.
    pub fn write<D: fmt::Display>(
        &self,
        out: &mut impl fmt::Write,
        devices: [D; 3],
    ) -> fmt::Result {
        for device in devices {
            write!(out, "{device} ")?;
        }
        write!(out, "{} ", self.geometry.extent_sectors())?;
        settings::write(out, &self.features, &self.settings)
    }
}
