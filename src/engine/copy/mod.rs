// SPDX-License-Identifier: GPL-2.0

//! The copy from clone to source: what is copied next, in which jobs, and how fast.

pub mod choose;
pub mod host_latency;
pub mod hot_reads;
pub mod job;
pub mod jobs;
pub mod pace;
