// SPDX-License-Identifier: GPL-2.0

//! What the user says and hears: table line, settings, messages, status, log.

pub mod message;
pub mod notices;
pub mod settings;
pub mod status;
pub mod table_line;
