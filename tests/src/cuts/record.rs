// SPDX-License-Identifier: GPL-2.0

//! What the load in the virtual machine tells the witness: a sector on a disk of its own, so that
//! it has its place in the one order of all disks.

use std::fmt;
use std::str::FromStr;

/// Where in the life of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The metadata is being formatted.
    Format,
    /// No restore is under way.
    Tracking,
    /// A new clone is being made, and declared identical.
    Identical,
    /// Another table of the same volume takes over.
    Reload,
    /// From before `start_restore` until the host has written for a while.
    Start,
    /// Copies are made.
    Middle,
    /// Few extents are left, or none has been for a short while.
    End,
}

impl Place {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::Format,
        Self::Tracking,
        Self::Identical,
        Self::Reload,
        Self::Start,
        Self::Middle,
        Self::End,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Tracking => "tracking",
            Self::Identical => "identical",
            Self::Reload => "reload",
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.name() == name)
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A writer is about to send its operations below this number.
    Issue(u64, u64),
    /// A writer's operation of this number, with FUA, has ended.
    Fua(u64, u64),
    /// A flush has ended that a writer sent when its operations below this number had ended.
    Flushed(u64, u64),
    /// A writer's operation of this number has failed: nobody knows what it has written.
    Failed(u64, u64),
    /// A disk has dropped writes that it had acknowledged, and says so by a flush that fails. Noted
    /// by the disks themselves.
    Dropped,
    /// The volume was formatted.
    Formatted,
    /// Somebody begins to write to the clone; nobody writes to the volume.
    Cloning,
    /// The clone is declared identical; nobody has written to the volume since.
    Identified,
    /// The database has committed this row of this restore.
    Row(u64, u64),
    /// The restore of this number is about to be started; nobody writes.
    Starting(u64),
    /// It was acknowledged; nobody has written yet.
    Started(u64),
    /// From here on it is this place.
    Enter(Place),
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issue(writer, end) => write!(f, "issue {writer} {end}"),
            Self::Fua(writer, number) => write!(f, "fua {writer} {number}"),
            Self::Flushed(writer, end) => write!(f, "flushed {writer} {end}"),
            Self::Failed(writer, number) => write!(f, "failed {writer} {number}"),
            Self::Dropped => write!(f, "dropped"),
            Self::Formatted => write!(f, "formatted"),
            Self::Cloning => write!(f, "cloning"),
            Self::Identified => write!(f, "identified"),
            Self::Row(epoch, number) => write!(f, "row {epoch} {number}"),
            Self::Starting(epoch) => write!(f, "starting {epoch}"),
            Self::Started(epoch) => write!(f, "started {epoch}"),
            Self::Enter(place) => write!(f, "enter {}", place.name()),
        }
    }
}

impl FromStr for Record {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let record = match words[..] {
            ["issue", writer, end] => Self::Issue(writer.parse()?, end.parse()?),
            ["fua", writer, number] => Self::Fua(writer.parse()?, number.parse()?),
            ["flushed", writer, end] => Self::Flushed(writer.parse()?, end.parse()?),
            ["failed", writer, number] => Self::Failed(writer.parse()?, number.parse()?),
            ["dropped"] => Self::Dropped,
            ["formatted"] => Self::Formatted,
            ["cloning"] => Self::Cloning,
            ["identified"] => Self::Identified,
            ["row", epoch, number] => Self::Row(epoch.parse()?, number.parse()?),
            ["starting", epoch] => Self::Starting(epoch.parse()?),
            ["started", epoch] => Self::Started(epoch.parse()?),
            ["enter", name] => match Place::from_name(name) {
                Some(place) => Self::Enter(place),
                None => anyhow::bail!("no place: {line}"),
            },
            _ => anyhow::bail!("not a record: {line}"),
        };
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_are_written() {
        let records = [
            Record::Issue(2, 17),
            Record::Fua(0, 3),
            Record::Flushed(1, 4),
            Record::Failed(5, 6),
            Record::Dropped,
            Record::Formatted,
            Record::Cloning,
            Record::Identified,
            Record::Row(2, 9),
            Record::Starting(1),
            Record::Started(1),
            Record::Enter(Place::End),
        ];
        for record in records {
            assert_eq!(record.to_string().parse::<Record>().unwrap(), record);
        }
        assert!("issue 2".parse::<Record>().is_err());
        assert!("enter nowhere".parse::<Record>().is_err());
    }
}
