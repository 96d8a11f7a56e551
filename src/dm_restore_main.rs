// SPDX-License-Identifier: GPL-2.0

//! dm-restore: rolls a volume back to a full copy of it while it is in use.
//!
//! | folder | what |
//! |---|---|
//! | `engine` | decides: maps, plans, journal, recovery, copy choice; pure, also built on the host |
//! | `dm` | safe Rust over device-mapper; the only place with `unsafe` |
//! | `restore` | the device-mapper target: puts the two together |

#[allow(unreachable_pub)] // What the target may use of it; what it does not use is not there.
mod dm;
#[path = "engine/mod.rs"]
pub mod engine;
mod restore;

use dm::{pm, Registration};
use kernel::prelude::*;
use restore::Restore;

/// What log lines begin with behind `device-mapper: `, see [`dm::log`].
pub(crate) const DM_MSG_PREFIX: &str = "restore";

module! {
    type: RestoreModule,
    name: "dm_restore",
    authors: ["The dm-restore developers"],
    description: "device-mapper target for protected restores from a clone",
    license: "GPL",
}

/// What `modinfo` and `/sys/module/dm_restore/version` say: the target's version. `module!` has no
/// word for it.
#[link_section = ".modinfo"]
#[used]
static MODINFO_VERSION: [u8; 14] = *b"version=1.0.0\0";

/// The module: a target type, registered as long as the module is loaded.
pub(crate) struct RestoreModule {
    _target: Registration<Restore>,
    _watch: pm::Watch,
}

impl kernel::Module for RestoreModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let watch = pm::Watch::new(c"dm-restore", module)?;
        Ok(Self {
            _target: Registration::new(module)?,
            _watch: watch,
        })
    }
}
