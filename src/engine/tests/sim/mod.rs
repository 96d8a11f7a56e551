// SPDX-License-Identifier: GPL-2.0

//! A simulation of the target on modelled devices.
//!
//! It drives the *real* engine, the same files as in the module, the way the module does: host
//! requests are planned and deferred, a worker admits them, commits, copies, flushes, makes
//! checkpoints; the device is suspended, a restore is started, the table is reloaded, everything
//! crashes. What is done next is chosen by chance from a seed; one seed is one life.
//!
//! | file | what |
//! |---|---|
//! | [`life`], [`params`] | which life, and what it is like |
//! | [`world`] | all of it together, and the choice of the next step |
//! | [`host`] | requests, and what becomes of them on the source |
//! | [`worker`] | what the target's worker does |
//! | [`meta`] | format, checkpoint and load, block by block |
//! | [`suspend`] | suspend, start of a restore, reload, resume |
//! | [`hibernate`] | an image of the memory, and what happens behind its back |
//! | [`identity`] | samples of source and clone; other devices that are offered at a load |
//! | [`disk`], [`devices`] | source, clone and metadata device with a volatile cache; their faults |
//! | [`crash`] | crash points, and crashes after which the life goes on |
//! | [`oracle`], [`delta`] | what each sector and each bit may be, from the requests alone |
//! | [`check`], [`promise`] | what must hold at any time, and which promise is broken if not |
//! | [`shrink`] | shortens a history that breaks a promise |

#![allow(clippy::arithmetic_side_effects)]

pub mod check;
pub mod crash;
pub mod delta;
pub mod devices;
pub mod disk;
pub mod hibernate;
pub mod host;
pub mod identity;
pub mod life;
pub mod meta;
pub mod oracle;
pub mod params;
pub mod promise;
pub mod rng;
pub mod shrink;
pub mod stats;
pub mod suspend;
pub mod worker;
pub mod world;

#[cfg(test)]
mod formats;
#[cfg(test)]
mod lives;
