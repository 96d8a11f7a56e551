// SPDX-License-Identifier: GPL-2.0

//! Construction: from the words of a table line to a [`Core`]. Each way in which a line can be bad
//! has its own reason; the figures are in the log. Nothing is written here.

use super::devices::Devices;
use super::identity::Reader;
use super::memory::KernelMemory;
use super::metadata;
use super::metadata_io::READ_BLOCKS;
use super::roles;
use super::state::Core;
use super::worker;
use crate::dm::{
    buffer::BlockBuf, claims::Claim, dm_refuse, io::IoClient, shared::Owner, word_bytes, Args,
    BlockDevice, Device, Disks, Events, MappedDisk, MappedName, ReadOnlyDevice, Setup, TableId,
};
use crate::engine::{
    base::geometry::{Geometry, MAX_EXTENTS},
    format::{layout::Layout, superblock::Superblock, BLOCK},
    machine::Engine,
    shared::Shared,
    sync::cache::Cache,
    words::settings::{Features, Settings},
    words::table_line::{BadLine, Line},
};
use kernel::prelude::*;

const SECTOR: u64 = 512;

/// Makes a table line from its words.
pub(super) fn construct(setup: &mut Setup<'_>, args: Args<'_>) -> Result<Owner<Core>> {
    let parsed = Line::parse(setup.len(), args.clone().map(word_bytes));
    let mut names = args;
    let (Some(metadata), Some(source), Some(clone)) = (names.next(), names.next(), names.next())
    else {
        return setup.fail(BadLine::TooFewWords.reason(), EINVAL);
    };
    let Line {
        geometry,
        features,
        settings,
    } = match parsed {
        Err(bad @ BadLine::TooFewWords) => return refuse(setup, bad),
        _ if setup.is_read_only() => {
            return setup.fail(c"The device cannot be read-only", EROFS);
        }
        Err(bad) => return refuse(setup, bad),
        Ok(line) => line,
    };
    let devices = Devices {
        metadata: open(
            setup,
            metadata,
            c"Metadata device cannot be opened",
            c"Metadata device is read-only",
        )?,
        source: open(
            setup,
            source,
            c"Source device cannot be opened",
            c"Source device is read-only",
        )?,
        clone: open_clone(setup, clone)?,
    };
    check_devices(setup, &devices, &geometry)?;
    let mut reading = BlockBuf::new(READ_BLOCKS)?;
    let (claim, found) = check_metadata(setup, &devices, &geometry, &features, &mut reading)?;
    check_block_size(
        setup,
        found
            .as_ref()
            .map_or(devices.block_size(), |found| found.block_size),
    )?;
    declare(setup, &devices, features.no_discard_passdown);
    let mut engine = new_engine(geometry, features, settings)?;
    engine.cache = common_cache(&devices);
    if let Some(found) = &found {
        engine.identified(found);
    }
    let identity = (
        setup.name(),
        setup.table(),
        setup.events(),
        setup.mapped_disk(),
    );
    let load = (claim, reading);
    build(identity, devices, engine, load)
}

/// The engine is large, and a kernel stack is not: it is built apart from what reads the devices.
#[inline(never)]
fn new_engine(
    geometry: Geometry,
    features: Features,
    settings: Settings,
) -> Result<KBox<Engine<KernelMemory>>> {
    let engine = Engine::new(geometry, features, settings).map_err(|_| ENOMEM)?;
    Ok(KBox::new(engine, GFP_KERNEL)?)
}

/// For the same reason.
#[inline(never)]
fn build(
    identity: (MappedName, TableId, Events, MappedDisk),
    devices: Devices,
    engine: KBox<Engine<KernelMemory>>,
    load: (Claim, BlockBuf),
) -> Result<Owner<Core>> {
    let geometry = engine.geometry();
    let shared = Shared::<KernelMemory>::new(geometry).map_err(|_| ENOMEM)?;
    Owner::new(Core::new(
        identity,
        devices,
        shared,
        engine,
        load,
        worker::run,
    )?)
}

/// Whether metadata and source have a volatile cache in common. What has none at all loses nothing.
fn common_cache(devices: &Devices) -> Cache {
    if !devices.metadata.has_write_cache() || !devices.source.has_write_cache() {
        return Cache::Apart;
    }
    match Disks::of(&devices.metadata, &devices.source) {
        Disks::One => Cache::Shared,
        Disks::Two => Cache::Apart,
        Disks::Unknown => Cache::Unknown,
    }
}

/// Says what is wrong with a line.
fn refuse<R>(setup: &mut Setup<'_>, bad: BadLine<'_>) -> Result<R> {
    match bad {
        BadLine::TooFewWords | BadLine::ExtentNotANumber => {}
        BadLine::Geometry(_, extent) => dm_refuse!(
            setup.name(),
            "extents of {extent} sectors over {} sectors; at most {MAX_EXTENTS} extents",
            setup.len()
        ),
        BadLine::Word(_, word) => {
            let word = word
                .and_then(|word| ::core::str::from_utf8(word).ok())
                .unwrap_or("");
            dm_refuse!(setup.name(), "bad table line at '{word}'");
        }
    }
    setup.fail(bad.reason(), EINVAL)
}

fn open(
    setup: &mut Setup<'_>,
    path: &CStr,
    closed: &'static CStr,
    read_only: &'static CStr,
) -> Result<Device> {
    match setup.device(path) {
        Ok(device) if device.is_read_only() => setup.fail(read_only, EACCES),
        Ok(device) => Ok(device),
        Err(EACCES) => setup.fail(read_only, EACCES),
        Err(error) => setup.fail(closed, error),
    }
}

fn open_clone(setup: &mut Setup<'_>, path: &CStr) -> Result<ReadOnlyDevice> {
    match setup.read_only_device(path) {
        Ok(device) => Ok(device),
        Err(error) => setup.fail(c"Clone device cannot be opened", error),
    }
}

/// What must hold for the devices, each with its reason.
fn check_devices(setup: &mut Setup<'_>, devices: &Devices, geometry: &Geometry) -> Result {
    let Devices {
        metadata,
        source,
        clone,
    } = devices;
    let block = devices.block_size();
    let block_sectors = u64::from(block) / SECTOR;
    let divides = |sectors: u64| sectors.checked_rem(block_sectors.max(1)) == Some(0);
    let needed = Layout::new(geometry.extents()).sectors();
    let refusals = [
        (
            metadata.dev_t() == source.dev_t(),
            c"Metadata and source are the same device",
        ),
        (
            metadata.dev_t() == clone.dev_t(),
            c"Metadata and clone are the same device",
        ),
        (
            source.dev_t() == clone.dev_t(),
            c"Source and clone are the same device",
        ),
        (source.is_zoned(), c"Zoned source devices are not supported"),
        (clone.is_zoned(), c"Zoned clone devices are not supported"),
        (
            metadata.is_zoned(),
            c"Zoned metadata devices are not supported",
        ),
        (
            source.sectors() < geometry.length(),
            c"Source device is too small",
        ),
        (
            clone.sectors() < geometry.length(),
            c"Clone device is too small",
        ),
        (
            block as usize > BLOCK,
            c"Source or clone has blocks above 4096 bytes",
        ),
        (
            metadata.logical_block_size() as usize > BLOCK,
            c"Metadata device has blocks above 4096 bytes",
        ),
        (
            !divides(geometry.extent_sectors()),
            c"Extent size is not a multiple of the logical block size",
        ),
        (
            !divides(geometry.length()),
            c"Length is not a multiple of the logical block size",
        ),
        (metadata.sectors() < needed, c"Metadata device is too small"),
    ];
    let Some((_, reason)) = refusals.into_iter().find(|(refused, _)| *refused) else {
        return Ok(());
    };
    let (m, s, c) = (metadata.sectors(), source.sectors(), clone.sectors());
    let length = geometry.length();
    dm_refuse!(
        setup.name(),
        "length {length}, source {s}, clone {c}, metadata {m} of {needed} needed sectors, blocks of {block} bytes"
    );
    setup.fail(reason, EINVAL)
}

/// Identity and geometry of the metadata; its superblock, if it is formatted. Its state is loaded at the
/// first resume.
fn check_metadata(
    setup: &mut Setup<'_>,
    devices: &Devices,
    geometry: &Geometry,
    features: &Features,
    buf: &mut BlockBuf,
) -> Result<(Claim, Option<Superblock>)> {
    let mut claim = roles::claim(setup, devices)?;
    let io = IoClient::new()?;
    let reader = Reader {
        name: setup.name(),
        io: &io,
        devices,
        length: geometry.length(),
    };
    let identified = metadata::identify(&io, devices, geometry, features.format, buf, &mut claim);
    let checked = identified.and_then(|found| {
        if let Some(superblock) = &found {
            reader.check_line(superblock, features, buf)?;
        }
        Ok(found)
    });
    match checked {
        Ok(found) => Ok((claim, found)),
        Err(unusable) => {
            unusable.tell(setup.name());
            setup.fail(unusable.reason(), unusable.error())
        }
    }
}

/// Whoever has the mapped device open may use blocks of the size that it has now. Whether anybody
/// does is not asked: he may come before the table is resumed.
fn check_block_size(setup: &mut Setup<'_>, bytes: u32) -> Result {
    match setup.mapped_disk().logical_block_size() {
        Some(live) if live < bytes => {
            dm_refuse!(
                setup.name(),
                "logical blocks of {bytes} bytes, the mapped device in use has {live}"
            );
            setup.fail(
                c"Logical blocks of a mapped device in use cannot grow",
                EBUSY,
            )
        }
        _ => Ok(()),
    }
}

/// What device-mapper may send to the target.
fn declare(setup: &mut Setup<'_>, devices: &Devices, no_passdown: bool) {
    setup.set_num_flush_bios(1);
    // A write cache is always advertised: flushes must come here even if the source has none.
    setup.set_flush_supported(true);
    setup.set_discards(true);
    setup.set_discards_supported(no_passdown || devices.source.max_discard_sectors() > 0);
    setup.set_write_zeroes(true);
    setup.set_limit_swap_bios(true);
}
