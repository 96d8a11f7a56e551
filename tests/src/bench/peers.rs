// SPDX-License-Identifier: GPL-2.0

//! The peers, over the same devices.

use super::fill;
use super::mapped::Mapped;
use crate::dm;
use crate::wait;
use anyhow::{Context, Result};
use std::ops::Deref;
use std::time::Duration;
use xtask::bench::settings::CloneSettings;

/// A mapped device of another target.
pub struct Peer(Mapped);

impl Deref for Peer {
    type Target = Mapped;

    fn deref(&self) -> &Mapped {
        &self.0
    }
}

impl Peer {
    fn new(name: &str, table: &str) -> Result<Self> {
        Mapped::new(name, table).map(Self)
    }

    /// `linear` over the first sectors of a device.
    pub fn linear(name: &str, device: &str, sectors: u64) -> Result<Self> {
        Self::new(name, &format!("0 {sectors} linear {device} 0"))
    }

    /// `clone`: `from` is copied to `to`, from the message `enable_hydration` on.
    pub fn clone(
        metadata: &str,
        to: &str,
        from: &str,
        sectors: u64,
        settings: CloneSettings,
    ) -> Result<Self> {
        fill::blank(metadata)?;
        let CloneSettings {
            region,
            threshold,
            batch,
        } = settings;
        let table = format!(
            "0 {sectors} clone {metadata} {to} {from} {region} 1 no_hydration \
             4 hydration_threshold {threshold} hydration_batch_size {batch}"
        );
        Self::new("clone", &table)
    }

    /// `era`: each block of so many sectors is recorded when it is first written in an era.
    pub fn era(metadata: &str, origin: &str, sectors: u64, block: u64) -> Result<Self> {
        fill::blank(metadata)?;
        Self::new(
            "era",
            &format!("0 {sectors} era {metadata} {origin} {block}"),
        )
    }

    /// The words of its status behind the target's name.
    pub fn status(&self) -> Result<Vec<String>> {
        let line = dm::ok(&["status", self.name()])?;
        Ok(line.split(' ').skip(3).map(str::to_string).collect())
    }

    /// Of a `clone`: lets it copy everything, and waits for the end.
    pub fn hydrate(&self) -> Result<()> {
        self.message("enable_hydration")?;
        wait::until_within(Duration::from_secs(600), "clone has copied all", || {
            Ok(self.hydrated()?.then_some(()))
        })
    }

    /// Of a `clone`: whether all regions are copied.
    pub fn hydrated(&self) -> Result<bool> {
        let status = self.status()?;
        // <metadata block size> <used>/<total metadata> <region size> <hydrated>/<regions> ...
        let regions = status.get(3).context("clone's status is too short")?;
        let (done, all) = regions.split_once('/').context("no <hydrated>/<regions>")?;
        Ok(done == all)
    }
}

/// A snapshot of a device whose writes go through an origin.
pub struct Snapshot {
    // Dropped in this order.
    origin: Peer,
    snapshot: Option<Peer>,
    device: String,
    store: String,
    sectors: u64,
    chunk: u64,
}

impl Snapshot {
    /// Takes one: chunks of so many sectors are kept on `store` before they change.
    pub fn take(device: &str, store: &str, sectors: u64, chunk: u64) -> Result<Self> {
        fill::blank(store)?;
        let table = format!("0 {sectors} snapshot {device} {store} P {chunk}");
        let snapshot = Peer::new("snapshot", &table)?;
        // After the snapshot: when it is resumed it learns the size of chunks, at which it has to
        // cut. Otherwise only the first chunk of a larger write would be kept.
        let origin = Peer::new("origin", &format!("0 {sectors} snapshot-origin {device}"))?;
        Ok(Self {
            origin,
            snapshot: Some(snapshot),
            device: device.to_string(),
            store: store.to_string(),
            sectors,
            chunk,
        })
    }

    /// The path of the origin.
    pub fn path(&self) -> String {
        self.origin.path()
    }

    /// Sectors that it uses of the store.
    pub fn used(&self) -> Result<u64> {
        let snapshot = self.snapshot.as_ref().context("there is no snapshot")?;
        Ok(allocated(&snapshot.status()?)?.parse()?)
    }

    /// Gets everything ready for a merge: it begins when [`Self::origin`] is resumed.
    pub fn prepare_merge(&mut self) -> Result<()> {
        let name = self.origin.name().to_string();
        let table = format!(
            "0 {} snapshot-merge {} {} P {}",
            self.sectors, self.device, self.store, self.chunk
        );
        dm::ok(&["suspend", "--nolockfs", &name])?;
        self.snapshot = None;
        dm::ok(&["load", &name, "--table", &table]).map(drop)
    }

    /// The origin, which is the merging device in the end.
    pub fn origin(&self) -> &Peer {
        &self.origin
    }

    /// Whether the merge is complete: only the store's own administration is left in it.
    pub fn merged(&self) -> Result<bool> {
        let status = self.origin.status()?;
        let used = allocated(&status)?;
        Ok(status.get(1).map(String::as_str) == Some(used))
    }
}

/// The first figure of a snapshot's `<allocated>/<total> <metadata>`.
fn allocated(status: &[String]) -> Result<&str> {
    let pair = status.first().and_then(|pair| pair.split_once('/'));
    let (allocated, _) = pair.with_context(|| format!("the status is {}", status.join(" ")))?;
    Ok(allocated)
}
