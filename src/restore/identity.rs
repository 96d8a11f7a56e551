// SPDX-License-Identifier: GPL-2.0

//! Telling source and clone apart, from one another and from other disks: samples are read here, what
//! follows from them is the engine's to say. Everything here sleeps, and allocates nothing.

use super::devices::Devices;
use super::ended;
use super::report;
use super::state::{Core, WorkerState};
use super::unusable::{Unusable, Usable};
use crate::dm::{
    buffer::{BlockBuf, Span, SECTOR},
    dm_info, dm_refuse, dm_warn,
    io::IoClient,
    BlockDevice, MappedName,
};
use crate::engine::{
    format::{items::Item, samples::Samples, superblock::Superblock, Refusal},
    identity::devices::{Accepted, Differences, Exchange, Recorded},
    maps::{Mode, Role},
    words::settings::Features,
};
use kernel::prelude::*;

/// The devices of a table line, and how to read them.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) name: MappedName,
    pub(super) io: &'a IoClient,
    pub(super) devices: &'a Devices,
    /// What is mapped of them, in sectors.
    pub(super) length: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn of(core: &'a Core) -> Self {
        Self {
            name: core.name,
            io: &core.io,
            devices: &core.devices,
            length: core.shared.maps.geometry().length(),
        }
    }

    /// Samples of the clone. `buf` has at least [`SAMPLE_BLOCKS`](super::state::SAMPLE_BLOCKS) blocks.
    ///
    /// Errors: as the device answers.
    pub(super) fn clone(
        self,
        items: impl Iterator<Item = Item>,
        buf: &mut BlockBuf,
    ) -> Result<Samples> {
        let mut samples = Samples::default();
        for item in items {
            samples.take(item, self.read(&self.devices.clone, item, buf)?);
        }
        Ok(samples)
    }

    /// Samples of the source: what cannot be read is left out. `buf` has at least [`SAMPLE_BLOCKS`](super::state::SAMPLE_BLOCKS)
    /// blocks.
    pub(super) fn source(self, items: impl Iterator<Item = Item>, buf: &mut BlockBuf) -> Samples {
        let mut samples = Samples::default();
        for item in items {
            match self.read(&self.devices.source, item, buf) {
                Ok(content) => samples.take(item, content),
                Err(_) => {
                    let sector = item.sectors(self.length).start();
                    dm_info!(
                        self.name,
                        "source cannot be read at sector {sector}, which is not compared"
                    );
                }
            }
        }
        samples
    }

    fn read<'b>(
        self,
        device: &impl BlockDevice,
        item: Item,
        buf: &'b mut BlockBuf,
    ) -> Result<&'b [u8]> {
        let sectors = item.sectors(self.length);
        let span = Span {
            first: 0,
            sectors: sectors.len() as u32,
        };
        self.io.read(device, sectors.start(), buf, span)?;
        let bytes = (sectors.len() as usize).saturating_mul(SECTOR);
        buf.get(..bytes).ok_or(EIO)
    }

    /// Compares both devices with what was recorded of them. What differs and was not declared to be
    /// right is refused, and logged with the way out. `exchange` is asked about devices that differ, and
    /// fit crossed; it gets their samples, the clone's first.
    fn compare(
        self,
        recorded: &Recorded,
        mode: Mode,
        accepted: Accepted,
        buf: &mut BlockBuf,
        exchange: impl FnOnce(&Samples, &Samples) -> Option<Exchange>,
    ) -> Usable<()> {
        let clone = match self.clone(recorded.clone.items(), buf) {
            Err(_) if accepted.clone => Samples::default(),
            read => read?,
        };
        let source = self.source(recorded.source.items(), buf);
        let differences = recorded.differences(&clone, &source);
        let exchange = if differences.any() && self.fit_crossed(recorded, buf) {
            exchange(&clone, &source)
        } else {
            Some(Exchange::No)
        };
        let Some(exchange) = exchange else {
            return Ok(());
        };
        let verdict = differences.verdict(accepted, exchange);
        if let Err(refusal) = verdict {
            self.explain(refusal, &differences, exchange, mode);
        }
        Ok(verdict?)
    }

    /// Compares in the constructor of a line, before anything is loaded. The source only if the
    /// shutdown was clean: it may be in use. Whether devices are exchanged the maps tell, so these are
    /// compared once more when the line is resumed.
    pub(super) fn check_line(
        self,
        superblock: &Superblock,
        features: &Features,
        buf: &mut BlockBuf,
    ) -> Usable<()> {
        features.check_mode(superblock.mode, superblock.clean)?;
        let recorded = Recorded::before_load(superblock);
        let mode = superblock.mode;
        let accepted = Accepted::by(features, mode);
        self.compare(&recorded, mode, accepted, buf, |_, _| None)
    }

    fn fit_crossed(self, recorded: &Recorded, buf: &mut BlockBuf) -> bool {
        let clone = self.clone(recorded.source.items(), buf);
        let source = self.source(recorded.clone.items(), buf);
        clone.is_ok_and(|clone| recorded.fits_crossed(&clone, &source))
    }

    fn explain(self, refusal: Refusal, differences: &Differences, exchange: Exchange, mode: Mode) {
        let name = self.name;
        let (source, clone) = (self.devices.source.dev_t(), self.devices.clone.dev_t());
        let at = |item: Option<Item>| item.map_or(0, |item| item.sectors(self.length).start());
        match refusal {
            Refusal::Exchanged if exchange == Exchange::Certain => dm_refuse!(
                name,
                "{source} was the clone and {clone} the source: give them in this order"
            ),
            Refusal::Exchanged => dm_refuse!(
                name,
                "{source} has what was recorded of the clone, and {clone} may be the source: give them in \
                 this order; if it is certain that it is wrong: 'assume_same' and 'accept_clone'"
            ),
            Refusal::CloneContent => dm_refuse!(
                name,
                "clone {clone} is another device or was written to (sector {}): give the right one; or \
                 'accept_clone', and then make it anew",
                at(differences.clone)
            ),
            Refusal::SourceContent => {
                let changed = match mode {
                    Mode::Restoring => "start_over",
                    Mode::Tracking | Mode::Unloaded => "assume_different",
                };
                dm_refuse!(
                    name,
                    "source {source} is another device or was changed (sector {}); \
                     if it was changed: '{changed}', if it is certain that it was not: 'assume_same'",
                    at(differences.source)
                );
            }
            _ => {}
        }
    }
}

/// Compares after the state was loaded, and carries out what the words of the line declare: in memory,
/// an activation makes it durable.
pub(super) fn check_loaded(
    core: &Core,
    worker: &mut WorkerState,
    buf: &mut BlockBuf,
) -> Usable<()> {
    let mode = core.shared.maps.state().mode;
    let recorded = {
        let mut engine = core.engine.lock();
        if core.takes_discards() {
            engine.assume_unstable(&core.shared);
        }
        engine.recorded(&core.shared)
    };
    let accepted = Accepted::by(&core.features, mode);
    let reader = Reader::of(core);
    reader.compare(&recorded, mode, accepted, buf, |clone, source| {
        let engine = core.engine.lock();
        Some(engine.exchange(&core.shared, &recorded, clone, source))
    })?;
    note_clone_size(core);
    if core.features.declare() {
        declare(core, worker, mode)?;
    } else {
        sample_clone_places(core, worker);
    }
    Ok(())
}

/// A restore is about to begin: the clone must be the one that was recorded. What cannot be read is not
/// compared; the restore stalls then.
///
/// # Errors
///
/// `EINVAL`: it is not. The reason is in the log.
pub(super) fn expect_recorded_clone(core: &Core, worker: &mut WorkerState) -> Result {
    let recorded = core.engine.lock().recorded(&core.shared).clone;
    let found = Reader::of(core).clone(recorded.items(), &mut worker.sampling);
    let Ok(found) = found.inspect_err(|_| core.shared.count_error(true)) else {
        return Ok(());
    };
    let Some(item) = recorded.difference(&found) else {
        return Ok(());
    };
    let clone = core.devices.clone.dev_t();
    let sector = item.sectors(core.shared.maps.geometry().length()).start();
    dm_refuse!(
        core.name,
        "start_restore: clone {clone} was written to (sector {sector}): make it anew, then \
         'assume_identical'"
    );
    Err(EINVAL)
}

/// Takes samples of the clone anew where it differs from the source, for the next superblock. What cannot
/// be read is left out.
pub(super) fn sample_clone_places(core: &Core, worker: &mut WorkerState) {
    let places = core.engine.lock().clone_places_wanted(&core.shared);
    let reader = Reader::of(core);
    let samples = reader.clone(places.items(), &mut worker.sampling);
    if let Ok(samples) = samples.inspect_err(|_| core.shared.count_error(true)) {
        core.engine.lock().clone_places_are(&samples);
    }
}

fn declare(core: &Core, worker: &mut WorkerState, mode: Mode) -> Result<(), Unusable> {
    let were = core.shared.maps.count(Role::Cdm);
    core.engine.lock().declare(&core.shared)?;
    if core.features.accept_clone {
        let wanted = core.engine.lock().clone_wanted(&core.shared);
        let clone = Reader::of(core).clone(wanted.items(), &mut worker.sampling)?;
        core.engine.lock().clone_is(clone);
    }
    sample_source(core, worker);
    let name = core.name;
    let over = core.features.start_over || core.features.accept_clone;
    if mode == Mode::Restoring && over {
        dm_warn!(
            name,
            "the restore starts over: what the host has written since its start is lost"
        );
    }
    if core.features.accept_clone {
        let clone = core.devices.clone.dev_t();
        dm_warn!(name, "clone {clone} is taken as it is now");
    }
    if core.features.assume_different {
        report::assumed_different(core, were);
    }
    if core.features.assume_same {
        let source = core.devices.source.dev_t();
        dm_warn!(name, "source {source} is taken to be unchanged");
    }
    Ok(())
}

/// A clone that has grown is the same clone.
fn note_clone_size(core: &Core) {
    let now = core.devices.clone.sectors();
    if let Some(before) = core.engine.lock().clone_has(now) {
        dm_info!(
            core.name,
            "clone has {now} sectors, {before} when it was recorded"
        );
    }
}

/// Takes no samples of the source, which may not answer: the next load compares none.
pub(super) fn leave_source(core: &Core) {
    core.engine
        .lock()
        .source_is(&core.shared, Samples::default());
}

/// Takes samples of the source, for the next superblock. What they are of must be there for good; if
/// the source cannot be flushed there are none.
pub(super) fn sample_source(core: &Core, worker: &mut WorkerState) {
    let samples = match ended::flush_now(core) {
        Ok(()) => {
            let wanted = core.engine.lock().source_wanted(&core.shared);
            Reader::of(core).source(wanted.items(), &mut worker.sampling)
        }
        Err(_) => Samples::default(),
    };
    core.engine.lock().source_is(&core.shared, samples);
}
