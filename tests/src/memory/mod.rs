// SPDX-License-Identifier: GPL-2.0

//! Restores with the machine's memory exhausted, and swap on one of the mapped devices.
//!
//! | question | module |
//! |---|---|
//! | who needs the memory, and checks what it gets back? | [`hog`], [`pressure`] |
//! | what is restored meanwhile? | [`volumes`] |
//! | in what order, and what is checked when? | [`run`] |

pub mod hog;
pub mod pressure;
pub mod run;
pub mod volumes;
