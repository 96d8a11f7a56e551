// SPDX-License-Identifier: GPL-2.0

//! Features and core args: what the words of a table line and of a message mean.

use core::fmt;

/// Names and ranges of the core args, in the order in which they are shown.
const CORE_ARGS: [(&str, u32, u32); 5] = [
    ("copy_jobs", 1, 64),
    ("copy_size", 8, 65536),
    ("copy_rate", 0, u32::MAX),
    ("copy_min_rate", 0, u32::MAX),
    ("metadata_patience", 1, 3600),
];

/// The features of a table line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Blank metadata may be formatted.
    pub format: bool,
    /// With `format`: source and clone are the same now.
    pub identical: bool,
    /// The source was changed behind the target's back.
    pub assume_different: bool,
    /// The source is the recorded one, whatever its samples say: the caller vouches for it.
    pub assume_same: bool,
    /// In a restore: everything is unrestored again.
    pub start_over: bool,
    /// The clone is to be taken as it is now.
    pub accept_clone: bool,
    /// The background copy waits for `resume_copy`.
    pub no_copy: bool,
    /// Discards complete and change nothing.
    pub no_discard_passdown: bool,
}

impl Features {
    /// Whether they declare that a device was changed, or was not.
    pub fn declare(&self) -> bool {
        self.assume_different || self.assume_same || self.start_over || self.accept_clone
    }

    fn contradiction(&self) -> Option<BadWord> {
        let different = self.assume_different || self.start_over;
        if self.identical && !self.format {
            Some(BadWord::IdenticalWithoutFormat)
        } else if self.identical && (different || self.accept_clone) {
            Some(BadWord::IdenticalAndDifferent)
        } else if self.assume_same && different {
            Some(BadWord::SameAndDifferent)
        } else if self.assume_different && self.start_over {
            Some(BadWord::DifferentAndOver)
        } else {
            None
        }
    }
}

/// The core args.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Copies in flight.
    pub copy_jobs: u32,
    /// Largest single copy, in sectors.
    pub copy_size: u32,
    /// Ceiling in KiB/s; 0 is none.
    pub copy_rate: u32,
    /// What the background gets even when the host is busy, in KiB/s.
    pub copy_min_rate: u32,
    /// How long a request to the metadata device is tried, in seconds.
    pub metadata_patience: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            copy_jobs: 4,
            copy_size: 2048,
            copy_rate: 0,
            copy_min_rate: 1024,
            metadata_patience: 30,
        }
    }
}

/// Why a word was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadWord {
    /// The count of features is not a number.
    FeatureCount,
    /// There are fewer words than features counted.
    FeaturesMissing,
    /// A feature that is not one.
    UnknownFeature,
    /// A feature was given twice.
    DuplicateFeature,
    /// `identical` without `format`.
    IdenticalWithoutFormat,
    /// `identical` contradicts `assume_different`, `start_over` and `accept_clone`.
    IdenticalAndDifferent,
    /// `assume_same` contradicts `assume_different` and `start_over`.
    SameAndDifferent,
    /// One is for tracking, the other for a restore.
    DifferentAndOver,
    /// The count of core args is not a number.
    CoreArgCount,
    /// The count of core args is odd: they come as pairs.
    CoreArgOdd,
    /// There are fewer words than core args counted.
    CoreArgsMissing,
    /// A core arg that is not one.
    UnknownCoreArg,
    /// A core arg was given twice.
    DuplicateCoreArg,
    /// A value that is not a decimal number.
    NotANumber,
    /// A value outside its range.
    OutOfRange,
    /// Words behind the last counted one.
    Trailing,
}

impl BadWord {
    /// The reason in words, NUL-terminated for `ti->error`.
    pub fn reason(self) -> &'static core::ffi::CStr {
        match self {
            Self::FeatureCount => c"Invalid number of feature arguments",
            Self::FeaturesMissing => c"Fewer feature arguments than counted",
            Self::UnknownFeature => c"Unknown feature argument",
            Self::DuplicateFeature => c"Feature argument given twice",
            Self::IdenticalWithoutFormat => c"Feature 'identical' needs 'format'",
            Self::IdenticalAndDifferent => {
                c"Feature 'identical' contradicts 'assume_different', 'start_over' and 'accept_clone'"
            }
            Self::SameAndDifferent => {
                c"Feature 'assume_same' contradicts 'assume_different' and 'start_over'"
            }
            Self::DifferentAndOver => c"Features 'assume_different' and 'start_over' contradict",
            Self::CoreArgCount => c"Invalid number of core arguments",
            Self::CoreArgOdd => c"Number of core arguments must be even",
            Self::CoreArgsMissing => c"Fewer core arguments than counted",
            Self::UnknownCoreArg => c"Unknown core argument",
            Self::DuplicateCoreArg => c"Core argument given twice",
            Self::NotANumber => c"Core argument value is not a number",
            Self::OutOfRange => c"Core argument value is out of range",
            Self::Trailing => c"Words behind the last argument",
        }
    }
}

/// A decimal number, digits only.
pub fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

impl Settings {
    fn value_mut(&mut self, index: usize) -> &mut u32 {
        match index {
            0 => &mut self.copy_jobs,
            1 => &mut self.copy_size,
            2 => &mut self.copy_rate,
            3 => &mut self.copy_min_rate,
            _ => &mut self.metadata_patience,
        }
    }

    fn values(&self) -> [u32; 5] {
        [
            self.copy_jobs,
            self.copy_size,
            self.copy_rate,
            self.copy_min_rate,
            self.metadata_patience,
        ]
    }

    /// Sets the core arg `key`; returns its index.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<usize, BadWord> {
        let found = CORE_ARGS
            .iter()
            .position(|(name, ..)| name.as_bytes() == key);
        let index = found.ok_or(BadWord::UnknownCoreArg)?;
        let value = number(value).ok_or(BadWord::NotANumber)?;
        let value = u32::try_from(value).map_err(|_| BadWord::OutOfRange)?;
        match CORE_ARGS.get(index) {
            Some((_, min, max)) if (*min..=*max).contains(&value) => {
                *self.value_mut(index) = value;
                Ok(index)
            }
            _ => Err(BadWord::OutOfRange),
        }
    }
}

/// Whether `key` is a core arg.
pub fn is_core_arg(key: &[u8]) -> bool {
    CORE_ARGS.iter().any(|(name, ..)| name.as_bytes() == key)
}

/// What was read, or why it was refused, with the word at fault if it is one.
pub type Parsed<'a, T> = Result<T, (BadWord, Option<&'a [u8]>)>;

/// Reads the optional end of a table line:
/// `[<#features> <feature>... [<#core args> <key> <value>...]]`.
pub fn parse<'a, I>(mut words: I) -> Parsed<'a, (Features, Settings)>
where
    I: Iterator<Item = &'a [u8]>,
{
    let features = parse_features(&mut words)?;
    let settings = parse_core_args(&mut words)?;
    match words.next() {
        Some(word) => Err((BadWord::Trailing, Some(word))),
        None => Ok((features, settings)),
    }
}

fn parse_features<'a>(words: &mut impl Iterator<Item = &'a [u8]>) -> Parsed<'a, Features> {
    let mut features = Features::default();
    let Some(word) = words.next() else {
        return Ok(features);
    };
    let count = number(word).ok_or((BadWord::FeatureCount, Some(word)))?;
    for _ in 0..count {
        let word = words.next().ok_or((BadWord::FeaturesMissing, None))?;
        let flag = match word {
            b"format" => &mut features.format,
            b"identical" => &mut features.identical,
            b"assume_different" => &mut features.assume_different,
            b"assume_same" => &mut features.assume_same,
            b"start_over" => &mut features.start_over,
            b"accept_clone" => &mut features.accept_clone,
            b"no_copy" => &mut features.no_copy,
            b"no_discard_passdown" => &mut features.no_discard_passdown,
            _ => return Err((BadWord::UnknownFeature, Some(word))),
        };
        if core::mem::replace(flag, true) {
            return Err((BadWord::DuplicateFeature, Some(word)));
        }
    }
    match features.contradiction() {
        Some(bad) => Err((bad, None)),
        None => Ok(features),
    }
}

fn parse_core_args<'a>(words: &mut impl Iterator<Item = &'a [u8]>) -> Parsed<'a, Settings> {
    let mut settings = Settings::default();
    let Some(word) = words.next() else {
        return Ok(settings);
    };
    let count = number(word).ok_or((BadWord::CoreArgCount, Some(word)))?;
    if count % 2 != 0 {
        return Err((BadWord::CoreArgOdd, Some(word)));
    }
    let mut seen = 0u32;
    for _ in 0..count / 2 {
        let key = words.next().ok_or((BadWord::CoreArgsMissing, None))?;
        if !is_core_arg(key) {
            return Err((BadWord::UnknownCoreArg, Some(key)));
        }
        let value = words.next().ok_or((BadWord::CoreArgsMissing, None))?;
        let index = settings.set(key, value).map_err(|bad| (bad, Some(value)))?;
        let bit = 1u32.wrapping_shl(index as u32);
        if seen & bit != 0 {
            return Err((BadWord::DuplicateCoreArg, Some(key)));
        }
        seen |= bit;
    }
    Ok(settings)
}

/// Writes the features that `dmsetup table` shows and all core args, with their counts: a line
/// that can be loaded again.
pub fn write(out: &mut impl fmt::Write, features: &Features, settings: &Settings) -> fmt::Result {
    let shown = [
        (features.no_copy, "no_copy"),
        (features.no_discard_passdown, "no_discard_passdown"),
    ];
    write!(out, "{}", shown.iter().filter(|(on, _)| *on).count())?;
    for (_, name) in shown.iter().filter(|(on, _)| *on) {
        write!(out, " {name}")?;
    }
    write!(out, " {}", CORE_ARGS.len().saturating_mul(2))?;
    for ((name, ..), value) in CORE_ARGS.iter().zip(settings.values()) {
        write!(out, " {name} {value}")?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "../tests/settings.rs"]
mod tests;
