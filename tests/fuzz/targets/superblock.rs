// SPDX-License-Identifier: GPL-2.0

//! `dm_restore_fuzz::superblock` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dm_restore_fuzz::superblock::run(data));
