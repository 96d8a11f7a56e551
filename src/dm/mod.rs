// SPDX-License-Identifier: GPL-2.0

//! Safe Rust over device-mapper.
//!
//! The only part of this module (generated bindings aside) with `unsafe` in it. Nothing here knows
//! what the target does: another target could use it unchanged. Start reading at [`Target`].
//!
//! What keeps a table line, its target and the module's code while C calls into them:
//!
//! | callback | who waits for it |
//! |---|---|
//! | hooks, `map` too | device-mapper: they run under its locks, or in SRCU sections of the live table, for which it waits before `dtr` |
//! | `end_io` | the same, by its RCU section: device-mapper waits for RCU as well |
//! | completions of [`io`] | `dtr`, for the [`Ref`](shared::Ref) and the device that each holds; behind those the unloading of the module, by their RCU section |
//! | completions of [`kcopyd`], [jobs](queue::Job), their timers | whoever drops the client, or the job: C waits there for the call's return |
//!
//! Unloading waits for RCU by itself, and [`Registration`] before it for tasks that were preempted
//! on their last few instructions in the module, behind the end of such a section.

mod args;
pub mod atomic;
mod bindings;
mod bio;
mod bio_list;
pub mod buffer;
mod callbacks;
pub mod claims;
pub mod crc32c;
mod device;
mod events;
mod interruptible;
pub mod io;
pub mod kcopyd;
mod limits;
mod line_ref;
pub mod linger;
pub mod log;
mod mapped;
pub mod noio;
mod op;
pub mod pm;
pub mod queue;
pub mod random;
mod raw_bio;
mod registration;
mod setup;
pub mod shared;
mod slots;
mod status;
mod target;
mod text;
pub mod time;
pub mod wakeup;
pub mod xxhash;

pub use args::{word_bytes, word_text, Args};
pub use bio::{Bio, DoneBio, EndBio, EndVerdict, MapBio, Verdict};
pub use bio_list::BioList;
pub use device::{BlockDevice, Device, Disks, ReadOnlyDevice};
pub use events::{Events, MappedName, TableId};
pub use interruptible::lock_interruptible;
pub use limits::{DeviceVisitor, Limits};
pub use log::LogLimit;
#[allow(unused_imports)] // A target need not use them all.
pub(crate) use log::{
    dm_err, dm_err_limited, dm_info, dm_info_limited, dm_refuse, dm_warn, dm_warn_limited,
};
pub use mapped::{Cached, MappedDisk};
pub use op::Op;
pub use registration::Registration;
pub use setup::Setup;
pub use status::Status;
pub use target::{Features, StatusKind, Target};
pub use text::TextBuf;
