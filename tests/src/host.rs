// SPDX-License-Identifier: GPL-2.0

//! What is done outside the virtual machine: making the disks, and hashing the clones before and
//! after.

use super::disks::{is_stamped, Blocks, Disk, DATA_SECTORS, GIB, POOL};
use super::stamps::{Stamp, Writer, BLOCK};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Disks of the tests, outside the virtual machine.
#[derive(Parser)]
#[command(name = "dm-restore-tests host")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the disk images and print for each its serial number, logical block size, whether it
    /// is read-only, and its path
    Images {
        /// Only those with blocks of so many bytes
        #[arg(long)]
        blocks: Option<u64>,
        /// Where
        folder: PathBuf,
    },
    /// Print a hash of all that is written on an image
    Hash {
        /// The image
        image: PathBuf,
    },
}

/// Runs the command in `words`, the program's name first.
pub fn main(words: Vec<String>) -> ExitCode {
    match run(Cli::parse_from(words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Images { blocks, folder } => images(&folder, blocks),
        Command::Hash { image } => {
            println!("{}", hash(&image)?);
            Ok(())
        }
    }
}

fn images(folder: &Path, only: Option<u64>) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let wanted = |blocks: &Blocks| only.is_none_or(|bytes| bytes == blocks.bytes());
    for blocks in Blocks::ALL.into_iter().filter(wanted) {
        for disk in Disk::ALL {
            let serial = disk.serial(blocks);
            let path = folder.join(format!("{serial}.img"));
            make(&path, disk).with_context(|| path.display().to_string())?;
            let mode = if disk == Disk::Clone { "ro" } else { "rw" };
            println!("{serial} {} {mode} {}", blocks.bytes(), path.display());
        }
    }
    Ok(())
}

fn make(path: &Path, disk: Disk) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(disk.sectors() * BLOCK as u64)?;
    let writer = match disk {
        Disk::Source => Writer::Source,
        Disk::Clone => Writer::Clone,
        Disk::Metadata => return Ok(()),
    };
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut block = [0; BLOCK];
    for sectors in written() {
        file.seek(SeekFrom::Start(sectors.start * BLOCK as u64))?;
        for sector in sectors {
            Stamp::initial(writer, sector).fill(&mut block);
            file.write_all(&block)?;
        }
    }
    file.flush()?;
    Ok(())
}

/// The runs of sectors that are stamped.
fn written() -> impl Iterator<Item = Range<u64>> {
    let edges = (GIB..DATA_SECTORS).step_by(GIB as usize).flat_map(|at| {
        let first = (at..at + GIB)
            .find(|sector| !is_stamped(*sector))
            .unwrap_or(at + GIB);
        let len = first - at;
        [at..first, at + GIB - len..at + GIB]
    });
    std::iter::once(0..POOL).chain(edges)
}

/// The hash of what must never change: of a sparse file, the parts that hold data, with their
/// places. A write anywhere else gives the file another part.
pub fn hash(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let len = file.metadata()?.len();
    let mut at = 0;
    while let Some(start) = seek(&file, rustix::fs::SeekFrom::Data(at))? {
        let end = seek(&file, rustix::fs::SeekFrom::Hole(start))?.unwrap_or(len);
        file.seek(SeekFrom::Start(start))?;
        at = start;
        while at < end {
            let want = ((end - at) as usize).min(buffer.len());
            file.read_exact(&mut buffer[..want])?;
            // What is zero is not told from a hole.
            if buffer[..want].iter().any(|byte| *byte != 0) {
                sum.update(at.to_le_bytes());
                sum.update(&buffer[..want]);
            }
            at += want as u64;
        }
    }
    Ok(format!("{:x}", sum.finalize()))
}

fn seek(file: &File, to: rustix::fs::SeekFrom) -> Result<Option<u64>> {
    match rustix::fs::seek(file, to) {
        Ok(at) => Ok(Some(at)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_stamped() {
        let mut runs = written().take(6).flat_map(|run| [run.start, run.end]);
        assert_eq!(runs.next(), Some(0));
        for (at, is_end) in runs.zip([true, false].into_iter().cycle()) {
            // The end of one GiB touches the start of the next.
            let joined = at % GIB == 0;
            assert!(is_stamped(at - 1) == is_end || joined, "{at}");
            assert!(is_stamped(at) != is_end || joined, "{at}");
        }
    }
}
