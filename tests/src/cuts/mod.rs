// SPDX-License-Identifier: GPL-2.0

//! Power cuts on the real module.
//!
//! The disks of a virtual machine are served from outside ([`nbd`]), by a process that models the
//! volatile cache of each ([`disk`]) and keeps one order over all of them ([`world`]). In the
//! machine a [`volume`] of some [`style`] is used, restored, reloaded and cloned again and again
//! ([`load`], [`writers`], [`files`]); what
//! it has sent, and what was flushed, it tells a witness that has its place in the same order
//! ([`witness`], [`record`]). At instants that are chosen by chance the disks are taken as a power
//! cut could leave them ([`loss`]). The machine then starts the real module on such disks
//! ([`check`]), and what is read, and what is on the disks, is compared outside ([`verify`]) with
//! what the promises allow ([`oracle`]).
//!
//! Outside: [`machine`] has the virtual machine, [`campaign`] goes through lives and cuts,
//! [`tally`] counts, [`saved`] keeps what broke a promise, [`soak`] goes on from run to run.

pub mod campaign;
pub mod check;
pub mod disk;
pub mod files;
pub mod image;
pub mod load;
pub mod loss;
pub mod machine;
pub mod nbd;
pub mod oracle;
pub mod plan;
pub mod record;
pub mod saved;
pub mod scsi;
pub mod soak;
pub mod style;
pub mod tally;
pub mod verify;
pub mod volume;
pub mod witness;
pub mod world;
pub mod writers;
