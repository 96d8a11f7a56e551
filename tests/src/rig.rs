// SPDX-License-Identifier: GPL-2.0

//! A mapped device to try things on: fresh slices of source, clone and metadata, and the target
//! over them. The slices are linear devices, so that they can be held up, broken and counted one
//! by one.

use super::disks::{self, Blocks, Part, GIB};
use super::dm::{self, New};
use super::io::Device;
use super::model::Model;
use super::stats::{self, Moved};
use super::status::Status;
use super::tracker::Tracker;
use super::wait;
use anyhow::{Context, Result};
use dm_restore_engine::format::layout::Layout;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// What device is wanted. Sizes in sectors.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Logical block size.
    pub blocks: Blocks,
    /// Extent size.
    pub extent: u64,
    /// Mapped length.
    pub length: u64,
    /// Where in its table the target begins.
    pub table_start: u64,
    /// How much the clone is larger than the mapped length.
    pub clone_extra: u64,
    /// How much the metadata device is larger than needed.
    pub metadata_extra: u64,
    /// Features of the table line.
    pub features: Vec<String>,
    /// Core args of the table line.
    pub core: Vec<(String, u64)>,
}

impl Spec {
    /// A few extents of the given size, the last one short where that is possible.
    pub fn new(blocks: Blocks, extent: u64) -> Self {
        let whole = match extent {
            8 => 16,
            128 => 8,
            2048 => 4,
            _ => 3,
        };
        let short = (extent / 2 + 1).next_multiple_of(blocks.sectors()).min(264);
        let tail = if short < extent { short } else { 0 };
        Self {
            blocks,
            extent,
            length: whole * extent + tail,
            table_start: 0,
            clone_extra: 0,
            metadata_extra: 0,
            features: Vec::new(),
            core: Vec::new(),
        }
    }

    /// With another length.
    pub fn length(self, length: u64) -> Self {
        Self { length, ..self }
    }

    /// With these features, as in a table line.
    pub fn features(self, features: &str) -> Self {
        Self {
            features: features.split_whitespace().map(str::to_string).collect(),
            ..self
        }
    }

    /// With a core arg.
    pub fn core(mut self, key: &str, value: u64) -> Self {
        self.core.push((key.to_string(), value));
        self
    }

    /// Extents, a short last one counted.
    pub fn extents(&self) -> u64 {
        self.length.div_ceil(self.extent)
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|word| word == feature)
    }

    /// The optional words of the table line.
    pub fn optional_words(&self) -> String {
        let mut words = vec![self.features.len().to_string()];
        words.extend(self.features.iter().cloned());
        words.push((self.core.len() * 2).to_string());
        for (key, value) in &self.core {
            words.push(format!("{key} {value}"));
        }
        words.join(" ")
    }
}

/// One of the devices under the target.
pub struct Slice {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub part: Part,
    sysfs: String,
}

impl Slice {
    /// The node.
    pub fn path(&self) -> String {
        dm::path(&self.name)
    }

    /// From now on requests to it wait.
    pub fn hold(&self) -> Result<()> {
        dm::ok(&["suspend", "--nolockfs", "--noflush", &self.name]).map(drop)
    }

    /// Requests to it go on.
    pub fn release(&self) -> Result<()> {
        dm::ok(&["resume", &self.name]).map(drop)
    }

    /// From now on every request to it fails.
    pub fn break_down(&self) -> Result<()> {
        dm::swap(&self.name, &format!("0 {} error", self.part.sectors))
    }

    /// From now on writes and flushes to it fail; reads go on.
    pub fn break_writes(&self) -> Result<()> {
        let (disk, at) = (self.part.disk.path(self.part.blocks), self.part.start);
        dm::swap(
            &self.name,
            &format!(
                "0 {} flakey {disk} {at} 0 60 1 error_writes",
                self.part.sectors
            ),
        )
    }

    /// From now on requests to these sectors of it fail.
    pub fn break_sectors(&self, bad: Range<u64>) -> Result<()> {
        let piece = |sectors: Range<u64>| {
            let part = Part {
                start: self.part.start + sectors.start,
                sectors: sectors.end - sectors.start,
                ..self.part.clone()
            };
            (part.sectors > 0).then(|| part.line(sectors.start))
        };
        let lines = [
            piece(0..bad.start),
            Some(format!("{} {} error", bad.start, bad.end - bad.start)),
            piece(bad.end..self.part.sectors),
        ];
        let lines: Vec<String> = lines.into_iter().flatten().collect();
        dm::swap(&self.name, &lines.join("\n"))
    }

    /// From now on writes to it take so many milliseconds.
    pub fn slow_down(&self, milliseconds: u64) -> Result<()> {
        let (disk, at) = (self.part.disk.path(self.part.blocks), self.part.start);
        let table = format!(
            "0 {} delay {disk} {at} 0 {disk} {at} {milliseconds}",
            self.part.sectors
        );
        dm::swap(&self.name, &table)
    }

    /// It works again.
    pub fn heal(&self) -> Result<()> {
        dm::swap(&self.name, &self.part.line(0))
    }

    /// Whether the kernel's fault injection may fail requests to it.
    pub fn fail_requests(&self, may: bool) -> Result<()> {
        let path = format!("{}/make-it-fail", self.sysfs);
        std::fs::write(&path, if may { "1" } else { "0" }).context(path)
    }

    /// The major number of its device, as of all mapped devices.
    pub fn major(&self) -> &str {
        let number = self.sysfs.rsplit('/').next().unwrap_or_default();
        number.split(':').next().unwrap_or_default()
    }

    /// What it has moved.
    pub fn moved(&self) -> Result<Moved> {
        stats::moved(&self.sysfs)
    }
}

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
        Self::assemble(spec, source, clone, metadata, tracker)
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
            let sysfs = stats::sysfs(&dm::path(name))?;
            slices.push(Slice {
                name: name.clone(),
                part: part.clone(),
                sysfs,
            });
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
    pub fn create(&mut self) -> Result<()> {
        let words = self.spec.optional_words();
        self.create_with(&words)
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
        self.active = false;
        Ok(())
    }

    /// Closes the rig's own handle. While anybody has the device open, the kernel keeps what it has
    /// cached of it; a file system that is mounted after a restore has begun must not find that.
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
    pub fn start_restore(&mut self) -> Result<()> {
        self.suspend()?;
        let begun = self.message("start_restore");
        self.resume()?;
        begun?;
        self.tracker.begin_restore();
        Ok(())
    }

    /// Waits for the end of the restore.
    pub fn wait_restored(&mut self) -> Result<()> {
        wait::for_condition("the restore is over", || {
            Ok(self.status()?.mode == "tracking")
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
        let _ = dm::run(&["remove", "--retry", &self.name]);
        let _ = self.remove_slices();
    }
}
