// SPDX-License-Identifier: GPL-2.0

//! Which device is which, by samples of what they hold.

pub mod devices;
pub mod identical;
pub mod remembered;
