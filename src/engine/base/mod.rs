// SPDX-License-Identifier: GPL-2.0

//! What everything else is made of: runs, sizes, storage, atomics, checksums.

pub mod atomics;
pub(in crate::engine) mod checksum;
pub mod flag;
pub mod geometry;
pub mod hash;
pub mod run;
pub mod storage;
