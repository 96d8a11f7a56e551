// SPDX-License-Identifier: GPL-2.0

//! Whether metadata and source share a volatile cache, and what is kept of a request to metadata then. What
//! follows from it: `shared_cache`.

use crate::engine::sync::flush_epochs::Epoch;

/// Whether metadata and source have a volatile cache in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// No: they are two disks.
    Apart,
    /// Nobody knows.
    #[default]
    Unknown,
    /// Yes: they are parts of one disk.
    Shared,
}

/// A request to the metadata device under way that is or contains a flush.
#[derive(Clone, Copy, Debug)]
pub struct MetadataFlush {
    pub(in crate::engine) epoch: Option<Epoch>,
    pub(in crate::engine) losses: u64,
}

/// A success that cannot be confirmed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The batch of successes with which it is confirmed.
    pub(in crate::engine) batch: u64,
    /// Losses when it was sent.
    pub(in crate::engine) losses: u64,
}

/// Whether a success is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It is durable.
    Yes,
    /// A request to the source is under way that may yet fail.
    NotYet,
    /// One has failed, and may have dropped it.
    No,
}

/// What a failed flush has undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum Undone {
    /// Nothing.
    Nothing,
    /// Copies that the host has not written to.
    Copied,
    /// What the host may have written to, or is writing to: it is copied over.
    Written,
}
