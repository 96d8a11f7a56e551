// SPDX-License-Identifier: GPL-2.0

//! A request of the host, from its arrival to its end.
//!
//! | question | file |
//! |---|---|
//! | where does it go? | [`plan`], without a lock |
//! | when may it go, if not at once? | [`admit`], [`extent_locks`] |
//! | how does it end? | [`in_flight`] |

pub mod admit;
pub mod extent_locks;
pub mod in_flight;
pub mod plan;
