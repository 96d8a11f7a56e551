// SPDX-License-Identifier: GPL-2.0

//! Messages: what their words mean. Each is checked word by word, and what is wrong is named.

use crate::engine::words::settings::{is_core_arg, BadWord};
use core::fmt;

/// A message with the right number of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A core arg gets a value; the value is not looked at yet.
    Set {
        /// The core arg.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// `start_restore [force]`
    StartRestore {
        /// Also if the mapped device is held.
        force: bool,
    },
    /// `assume_identical`
    AssumeIdentical,
    /// `pause_copy`
    PauseCopy,
    /// `resume_copy`
    ResumeCopy,
}

/// Why a message was refused. Shown, it is the line for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMessage<'a> {
    /// There is not a single word.
    Empty,
    /// There is no such message.
    Unknown(&'a [u8]),
    /// It has a word that it does not know.
    Option {
        /// The message.
        name: &'a [u8],
        /// The word.
        word: &'a [u8],
    },
    /// It has another number of values than it takes.
    Values {
        /// The message.
        name: &'a [u8],
        /// How many values it takes.
        takes: usize,
        /// How many it has.
        has: usize,
    },
    /// The value of a core arg.
    Value {
        /// The core arg.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// What is wrong with it.
        bad: BadWord,
    },
}

impl<'a> Message<'a> {
    /// Reads the words of a message.
    pub fn parse<I>(mut words: I) -> Result<Self, BadMessage<'a>>
    where
        I: ExactSizeIterator<Item = &'a [u8]>,
    {
        let name = words.next().ok_or(BadMessage::Empty)?;
        let has = words.len();
        let takes = usize::from(is_core_arg(name));
        let message = match (name, words.next()) {
            (key, Some(value)) if takes == 1 => Self::Set { key, value },
            (_, None) if takes == 1 => return Err(BadMessage::Values { name, takes, has }),
            (b"start_restore", option) => return Self::start_restore(name, option, has),
            (b"assume_identical", _) => Self::AssumeIdentical,
            (b"pause_copy", _) => Self::PauseCopy,
            (b"resume_copy", _) => Self::ResumeCopy,
            _ => return Err(BadMessage::Unknown(name)),
        };
        if has != takes {
            return Err(BadMessage::Values { name, takes, has });
        }
        Ok(message)
    }

    /// It may have one word more.
    fn start_restore(
        name: &'a [u8],
        option: Option<&'a [u8]>,
        has: usize,
    ) -> Result<Self, BadMessage<'a>> {
        match option {
            None => Ok(Self::StartRestore { force: false }),
            Some(_) if has > 1 => Err(BadMessage::Values {
                name,
                takes: 1,
                has,
            }),
            Some(b"force") => Ok(Self::StartRestore { force: true }),
            Some(word) => Err(BadMessage::Option { name, word }),
        }
    }
}

/// A word for the log, if it is text.
struct Text<'a>(&'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(self.0).unwrap_or("(not text)"))
    }
}

impl fmt::Display for BadMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("empty message"),
            Self::Unknown(name) => write!(f, "unknown message '{}'", Text(name)),
            Self::Option { name, word } => {
                write!(f, "message '{}': unknown word '{}'", Text(name), Text(word))
            }
            Self::Values { name, takes, has } => {
                write!(
                    f,
                    "message '{}' takes {takes} value(s), not {has}",
                    Text(name)
                )
            }
            Self::Value { key, value, bad } => {
                let reason = bad.reason().to_bytes_with_nul();
                let reason = reason.split_last().map_or(reason, |(_nul, text)| text);
                let (key, value, reason) = (Text(key), Text(value), Text(reason));
                write!(f, "message '{key}': value '{value}': {reason}")
            }
        }
    }
}

#[cfg(test)]
#[path = "../tests/message.rs"]
mod tests;
