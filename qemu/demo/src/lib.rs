// SPDX-License-Identifier: GPL-2.0

//! What the demo's guest tells the host: one [`Event`] a line, as JSON, on its standard output.
//!
//! The guest does the work, measures and checks; the host draws, hashes the disk images outside
//! the virtual machine, and judges.

#![warn(missing_docs)]

use serde::{Deserialize, Serialize};

/// Size of source and clone: bytes.
pub const VOLUME_BYTES: u64 = 2 << 30;

/// The unit of tracking: bytes.
pub const EXTENT_BYTES: u64 = 64 << 10;

/// The file in the payload that brings the [`Content`] of the first boot to the second.
pub const CONTENT_FILE: &str = "content.json";

/// One thing the guest has to say.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Event {
    /// A new section of the story begins.
    Section {
        /// A few words.
        title: String,
        /// What is going to happen, and why.
        why: String,
    },
    /// Something was done or seen.
    Fact(String),
    /// A promise was checked and holds.
    Checked(String),
    /// A command that a user would type, as it was run.
    Command(String),
    /// How far the copy is.
    Progress(Progress),
    /// What the clone holds; the last word of the first boot.
    Cloned(Content),
    /// What one restore measured.
    Restored(Box<Figures>),
    /// The last word of the second boot.
    End {
        /// Extents that `dmsetup status` counts as changed since the clone.
        marked_extents: u64,
    },
}

impl Event {
    /// The line to print, without the line feed.
    #[must_use]
    pub fn to_line(&self) -> String {
        // Strings, integers and their structs always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The event of a line; `None` for any other output of the guest.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }
}

/// How far a restore is, from `dmsetup status`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Progress {
    /// Extents that differed when the restore began.
    pub delta: u64,
    /// Extents that still do.
    pub unrestored: u64,
    /// Transactions that the write load has committed.
    pub commits: u64,
}

/// What the file system held when the clone was made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Content {
    /// Documents in the database.
    pub documents: u64,
    /// Entries in the ledger.
    pub entries: u64,
    /// Plain files next to the database.
    pub files: u64,
    /// Checksum over all rows of both tables (XXH3, 128 bits, hexadecimal).
    pub checksum: String,
    /// Size of the database file: bytes.
    pub database_bytes: u64,
}

/// What one restore measured. Byte counts are the disks' own statistics.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Figures {
    /// Extents of the volume.
    pub extents: u64,
    /// Extents that differed when the restore began.
    pub delta: u64,
    /// From `start_restore` to the first correct query: milliseconds.
    pub first_query_ms: u64,
    /// From `start_restore` to the integrity check, the checksum over all tables and the check
    /// of the files: milliseconds.
    pub verified_ms: u64,
    /// Extents that were still unrestored then.
    pub unrestored_when_verified: u64,
    /// From `start_restore` to the end of the copy: milliseconds.
    pub whole_ms: u64,
    /// The rate that the copy was held to until everything was verified: KiB/s.
    pub held_rate: u64,
    /// Extents copied from the clone.
    pub copied: u64,
    /// Extents that needed no copy because the host overwrote them whole.
    pub overwritten: u64,
    /// Bytes read from the clone to copy them.
    pub clone_copy_bytes: u64,
    /// Bytes read from the clone to answer the host's reads.
    pub clone_host_bytes: u64,
    /// Bytes the host wrote during the restore.
    pub host_write_bytes: u64,
    /// Transactions the write load committed during the restore.
    pub commits: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_line() {
        let events = [
            Event::Fact("a \"quoted\" fact".into()),
            Event::Progress(Progress {
                delta: 9,
                unrestored: 4,
                commits: 1,
            }),
            Event::Restored(Box::default()),
        ];
        for event in events {
            assert_eq!(Event::from_line(&event.to_line()), Some(event));
        }
    }

    #[test]
    fn other_output_is_no_event() {
        for line in ["", "mke2fs 1.47", "{", "{\"Nonsense\":1}", "42"] {
            assert_eq!(Event::from_line(line), None, "{line}");
        }
    }
}
