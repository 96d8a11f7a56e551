// SPDX-License-Identifier: GPL-2.0

//! What a line claims for the roles of its devices, and what is said when somebody else has it.
//!
//! | role | what nobody else may use it as |
//! |---|---|
//! | metadata, by device and by UUID | anything |
//! | source | anything |
//! | clone | source or metadata. It is only read, so that any number of lines may share it |

use super::devices::Devices;

use crate::dm::{
    claims::{Claim, Conflict, Refused, Thing},
    dm_refuse, BlockDevice, MappedName, Setup,
};
use kernel::prelude::*;

/// Claims the devices of a line that is being constructed.
///
/// # Errors
///
/// `EBUSY`: somebody else has one of them; the reason and the log say who. `ENOMEM`.
pub(super) fn claim(setup: &mut Setup<'_>, devices: &Devices) -> Result<Claim> {
    let things = [
        Thing::Alone(devices.metadata.dev_t()),
        Thing::Alone(devices.source.dev_t()),
        Thing::Shared(devices.clone.dev_t()),
    ];
    match Claim::new(setup.table(), setup.name(), &things) {
        Ok(claim) => Ok(claim),
        Err(Refused::NoMemory) => Err(ENOMEM),
        Err(Refused::Taken(conflict)) => {
            tell(setup.name(), &conflict);
            setup.fail(reason(devices, &conflict), EBUSY)
        }
    }
}

/// Says in the log who has what.
pub(super) fn tell(name: MappedName, conflict: &Conflict) {
    let by = conflict.by;
    match conflict.thing {
        Thing::Identity(_) => dm_refuse!(name, "{by} uses metadata with the same UUID"),
        Thing::Alone(dev) | Thing::Shared(dev) => dm_refuse!(name, "{by} uses {dev}"),
    }
}

/// The reason, for `ti->error` and the log.
pub(super) fn reason(devices: &Devices, conflict: &Conflict) -> &'static CStr {
    match conflict.thing {
        Thing::Identity(_) => c"Metadata is in use by another restore target",
        Thing::Shared(_) => c"Clone device is source or metadata of another restore target",
        Thing::Alone(dev) if dev == devices.metadata.dev_t() => {
            c"Metadata device is in use by another restore target"
        }
        Thing::Alone(_) => c"Source device is in use by another restore target",
    }
}
