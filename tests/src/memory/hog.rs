// SPDX-License-Identifier: GPL-2.0

//! A process that uses more memory than it can keep: what it wrote to a page comes back from swap,
//! and is checked.

use crate::stamps::{self, Found, Stamp, Writer, BLOCK};
use anyhow::{ensure, Result};
use std::path::Path;

/// Goes over so many MiB again and again, checks each block and writes it anew, until the file
/// `stop` is there. Prints how often it went around.
pub fn run(mib: usize, stop: &Path) -> Result<()> {
    let mut memory = vec![0; mib << 20];
    let mut pass = 0;
    while pass < 2 || !stop.exists() {
        for (index, block) in memory.chunks_exact_mut(BLOCK).enumerate() {
            let stamp = |generation| Stamp {
                writer: Writer::Host,
                sector: index as u64,
                generation,
            };
            let expected = if pass == 0 {
                Found::Zero
            } else {
                Found::Stamp(stamp(pass))
            };
            let found = stamps::read(block);
            ensure!(
                found == expected,
                "block {index} of the memory holds {found}, must be {expected}"
            );
            stamp(pass + 1).fill(block);
        }
        pass += 1;
    }
    println!("{mib} MiB of memory checked {pass} times");
    Ok(())
}
