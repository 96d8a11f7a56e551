// SPDX-License-Identifier: GPL-2.0

//! Threads of the module that linger: parameters of the module for the debug kernel, see
//! `src/linger.c`.

use anyhow::{Context, Result};
use dm_restore_tests::wait;
use std::fs;

/// Behind giving away a bio, and so on: as in `src/dm/linger.rs`.
pub const GAVE_AWAY: u32 = 0;
pub const TOLD: u32 = 1;
pub const LET_GO: u32 = 2;

/// For how long, in milliseconds: in that time a request is answered, or a device removed and its module
/// unloaded, or tried to. Were it too short, a fault would not show.
const TIME: u64 = 6000;

/// The next thread that comes to certain places lingers there, each once.
pub struct Linger {
    places: u64,
    before: u64,
}

impl Linger {
    /// From now on, in these places.
    pub fn at(places: &[u32]) -> Result<Self> {
        let places: u64 = places.iter().map(|place| 1 << place).sum();
        let before = read("lingered")?;
        write("linger_ms", TIME)?;
        write("linger_at", places)?;
        Ok(Self { places, before })
    }

    /// Waits until a thread has come to a place.
    pub fn begins(&self, place: u32) -> Result<()> {
        wait::for_condition(&format!("a thread lingers at {place}"), || {
            Ok(read("linger_at")? & (1 << place) == 0)
        })
    }

    /// How many have gone on.
    pub fn times(&self) -> Result<u64> {
        Ok(read("lingered")? - self.before)
    }

    /// Waits until they have gone on.
    pub fn is_over(&self) -> Result<()> {
        let all = u64::from(self.places.count_ones());
        wait::for_condition("no thread lingers", || Ok(self.times()? == all))
    }
}

fn path(name: &str) -> String {
    format!("/sys/module/dm_restore/parameters/{name}")
}

fn read(name: &str) -> Result<u64> {
    let text = fs::read_to_string(path(name)).with_context(|| path(name))?;
    Ok(text.trim().parse()?)
}

fn write(name: &str, value: u64) -> Result<()> {
    fs::write(path(name), value.to_string()).with_context(|| path(name))
}
