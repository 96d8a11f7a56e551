// SPDX-License-Identifier: GPL-2.0

//! A mapped device to try things on: fresh slices of source, clone and metadata, and the target
//! over them. The slices are linear devices, so that they can be held up, broken and counted one
//! by one.

use super::disks::{self, Part, GIB};
use super::dm::{self, New};
use super::io::{Buffer, Device};
use super::model::Model;
use super::stamps::{Stamp, Writer, BLOCK};
use super::stats::{self, Moved};
use super::status::Status;
use super::tracker::Tracker;
use super::wait;
use anyhow::{Context, Result};
use dm_restore_engine::format::layout::Layout;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

pub use super::slice::Slice;
pub use super::spec::Spec;

/// What the three devices have moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllMoved {
    /// The source.
    pub source: Moved,
    /// The clone.
    pub clone: Moved,
    /// The metadata device.
    pub metadata: Moved,
}

/// A mapped device and all that belongs to it.
pub struct Rig {
    /// What was asked for.
    pub spec: Spec,
    /// The name of the mapped device.
    pub name: String,
    /// The source.
    pub source: Slice,
    /// The clone.
    pub clone: Slice,
    /// The metadata device.
    pub metadata: Slice,
    /// What must be.
    pub tracker: Tracker,
    device: Option<Device>,
    /// The source holds what the clone does until the device was made.
    alike: bool,
    active: bool,
    sysfs: String,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The smallest metadata device for so many extents, in sectors.
pub fn metadata_sectors(extents: u64) -> u64 {
    Layout::new(extents).sectors()
}

impl Rig {
    /// Takes fresh slices and makes the mapped device over them.
    pub fn new(spec: Spec) -> Result<Self> {
        let mut rig = Self::slices(spec)?;
        rig.create().context("mapped device")?;
        Ok(rig)
    }

    /// Takes fresh slices, without a mapped device over them yet.
    pub fn slices(spec: Spec) -> Result<Self> {
        let large = spec.extent >= GIB || spec.length > 1 << 17;
        let (mut source, clone) =
            disks::take_data(spec.blocks, spec.length + spec.clone_extra, large)?;
        source.sectors = spec.length;
        Self::over(spec, source, clone)
    }

    /// Makes slices of given parts of source and clone, and of fresh metadata.
    pub fn over(spec: Spec, source: Part, clone: Part) -> Result<Self> {
        let size = metadata_sectors(spec.extents()) + spec.metadata_extra;
        let metadata = disks::take_metadata(spec.blocks, size)?;
        let model = Model::new(source.clone(), clone.clone());
        let filled = !(spec.has("format") && spec.has("identical"));
        let cdm = if filled {
            (0..spec.extents()).collect()
        } else {
            BTreeSet::new()
        };
        let passdown = !spec.has("no_discard_passdown");
        let tracker = Tracker::new(spec.extent, spec.length, cdm, passdown, model);
        let mut rig = Self::assemble(spec, source, clone, metadata, tracker)?;
        if !filled {
            rig.fill_source(Writer::Clone)?;
            rig.alike = true;
        }
        Ok(rig)
    }

    /// Writes to the source, past the mapped device, what it or the clone holds from the start.
    pub fn fill_source(&self, writer: Writer) -> Result<()> {
        let part = &self.source.part;
        let disk = Device::open(&part.disk.path(part.blocks))?;
        let from = match writer {
            Writer::Clone => self.clone.part.start,
            _ => part.start,
        };
        for stamped in disks::stamped(from..from + self.spec.length) {
            for some in super::requests::parts(stamped) {
                let mut data = Buffer::zeroed(some.end - some.start);
                for (sector, block) in some.clone().zip(data.chunks_exact_mut(BLOCK)) {
                    Stamp::initial(writer, sector).fill(block);
                }
                disk.write(part.start + some.start - from, &data)?;
            }
        }
        Ok(disk.flush()?)
    }

    /// Makes slices of given parts, whose state is known.
    pub fn assemble(
        spec: Spec,
        source: Part,
        clone: Part,
        metadata: Part,
        tracker: Tracker,
    ) -> Result<Self> {
        let name = format!("r{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let names = ["source", "clone", "meta"].map(|role| format!("{name}-{role}"));
        let parts = [source, clone, metadata];
        let new = |i: usize| New {
            name: &names[i],
            read_only: i == 1,
            table: vec![parts[i].line(0)],
        };
        dm::create_all(&[new(0), new(1), new(2)])?;
        let mut slices = Vec::new();
        for (name, part) in names.iter().zip(parts.iter()) {
            slices.push(Slice::of(name, part)?);
        }
        let mut next = || slices.remove(0);
        let (source, clone, metadata) = (next(), next(), next());
        Ok(Self {
            spec,
            name,
            source,
            clone,
            metadata,
            tracker,
            device: None,
            alike: false,
            active: false,
            sysfs: String::new(),
        })
    }

    /// The table with the given optional words.
    pub fn table(&self, optional: &str) -> String {
        let spec = &self.spec;
        let line = format!(
            "{} {} restore {} {} {} {} {optional}",
            spec.table_start,
            spec.length,
            self.metadata.path(),
            self.source.path(),
            self.clone.path(),
            spec.extent,
        );
        if spec.table_start == 0 {
            return line;
        }
        // What lies before the target is never touched: any part of a disk will do.
        let before = Part {
            sectors: spec.table_start,
            ..self.source.part.clone()
        };
        format!("{}\n{line}", before.line(0))
    }

    /// Makes the mapped device, with the optional words of the spec.
    ///
    /// With `identical` source and clone hold the same until then. Afterwards the source has its own
    /// content again, behind the target's back: so scenarios see which of the two answers a read.
    pub fn create(&mut self) -> Result<()> {
        let words = self.spec.optional_words();
        self.create_with(&words)?;
        if std::mem::take(&mut self.alike) {
            self.fill_source(Writer::Source)?;
            // Samples of it are taken anew.
            self.suspend()?;
            self.resume()?;
        }
        Ok(())
    }

    /// Makes the mapped device, with these optional words.
    pub fn create_with(&mut self, optional: &str) -> Result<()> {
        dm::ok(&["create", &self.name, "--table", &self.table(optional)])?;
        self.active = true;
        self.device = Some(Device::open(&self.path())?);
        self.sysfs = stats::sysfs(&self.path())?;
        Ok(())
    }

    /// Takes the mapped device away: a clean shutdown. The slices stay.
    pub fn shut_down(&mut self) -> Result<()> {
        self.device = None;
        dm::ok(&["remove", "--retry", &self.name])?;
        self.was_removed();
        Ok(())
    }

    /// Somebody else has taken the mapped device away.
    pub fn was_removed(&mut self) {
        self.active = false;
    }

    /// Closes the rig's own handle, so that somebody else can take the device away.
    pub fn let_go(&mut self) {
        self.device = None;
    }

    /// Shuts down and makes the mapped device anew, with these optional words.
    pub fn start_again(&mut self, optional: &str) -> Result<()> {
        self.shut_down()?;
        self.create_with(optional)
    }

    /// The node of the mapped device.
    pub fn path(&self) -> String {
        dm::path(&self.name)
    }

    /// The mapped device, open.
    pub fn device(&self) -> Result<&Device> {
        self.device.as_ref().context("there is no mapped device")
    }

    /// The status.
    pub fn status(&self) -> Result<Status> {
        dm::target_words(&dm::ok(&["status", &self.name])?, "restore")?.parse()
    }

    /// Sends a message.
    pub fn message(&self, words: &str) -> Result<()> {
        let ran = self.try_message(words)?;
        anyhow::ensure!(ran.ok, "message '{words}' failed: {}", ran.err);
        Ok(())
    }

    /// Sends a message that may be refused.
    pub fn try_message(&self, words: &str) -> Result<super::sh::Ran> {
        let sector = self.spec.table_start.to_string();
        let mut args = vec!["message", "--", self.name.as_str(), sector.as_str()];
        args.extend(words.split_whitespace());
        dm::run(&args)
    }

    /// Suspends the mapped device.
    pub fn suspend(&self) -> Result<()> {
        dm::ok(&["suspend", "--nolockfs", &self.name]).map(drop)
    }

    /// Resumes the mapped device.
    pub fn resume(&self) -> Result<()> {
        dm::ok(&["resume", &self.name]).map(drop)
    }

    /// Loads a table with other optional words and takes it into use.
    pub fn reload(&self, optional: &str) -> Result<()> {
        dm::ok(&["load", &self.name, "--table", &self.table(optional)])?;
        self.suspend()?;
        self.resume()
    }

    /// Begins a restore.
    /// Returns what the devices have moved until then, the samples of the clone included.
    pub fn start_restore(&mut self) -> Result<AllMoved> {
        self.suspend()?;
        let begun = self.message("start_restore");
        let moved = self.moved();
        self.resume()?;
        begun?;
        self.tracker.begin_restore();
        moved
    }

    /// Waits for the end of the restore.
    pub fn wait_restored(&mut self) -> Result<()> {
        wait::while_it_grows("the restore is over", u64::MAX, || {
            let over = self.status()?.mode == "tracking";
            Ok(if over {
                u64::MAX
            } else {
                self.clone.moved()?.read
            })
        })?;
        self.tracker.finish_restore();
        Ok(())
    }

    /// Its number, `<major>:<minor>`, as in the kernel log.
    pub fn number(&self) -> &str {
        self.sysfs.rsplit('/').next().unwrap_or_default()
    }

    /// What the three devices have moved.
    pub fn moved(&self) -> Result<AllMoved> {
        Ok(AllMoved {
            source: self.source.moved()?,
            clone: self.clone.moved()?,
            metadata: self.metadata.moved()?,
        })
    }

    /// What the mapped device has moved.
    pub fn mapped_moved(&self) -> Result<Moved> {
        stats::moved(&self.sysfs)
    }

    /// Takes everything away.
    pub fn close(mut self) -> Result<()> {
        self.release_slices();
        if self.active {
            self.shut_down()?;
        }
        self.remove_slices()
    }

    fn release_slices(&self) {
        for slice in [&self.source, &self.clone, &self.metadata] {
            // Most are not held, and when one cannot be resumed the removal will say so.
            let _ = slice.release();
        }
    }

    fn remove_slices(&mut self) -> Result<()> {
        let names = [&self.source.name, &self.clone.name, &self.metadata.name];
        if names.iter().all(|name| name.is_empty()) {
            return Ok(());
        }
        dm::ok(&["remove", "--retry", names[0], names[1], names[2]])?;
        for slice in [&mut self.source, &mut self.clone, &mut self.metadata] {
            slice.remove_below()?;
            slice.name.clear();
        }
        Ok(())
    }
}

impl Drop for Rig {
    /// After a failure: as much as goes.
    fn drop(&mut self) {
        if self.source.name.is_empty() {
            return;
        }
        self.release_slices();
        self.device = None;
        // Requests that wait for it must come to an end.
        let _ = dm::run(&["resume", &self.name]);
        let _ = dm::run(&["remove", "--retry", &self.name]);
        let _ = self.remove_slices();
    }
}
