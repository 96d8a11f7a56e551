// SPDX-License-Identifier: GPL-2.0

//! Who may use which device as what: sources and metadata are one line's alone, clones are shared.

use super::trial;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::refusal::Reasons;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::{dm, sh, wait};
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("roles::devices_of_another", devices_of_another),
        trial("roles::one_clone_for_many", one_clone_for_many),
        trial("roles::decided_at_resume", decided_at_resume),
        trial("roles::lines_of_one_table", lines_of_one_table),
        trial("roles::another_clone_in_a_reload", another_clone),
        trial("roles::one_metadata_under_two_names", two_names),
        trial("roles::blank_metadata_under_two_names", two_names_blank),
        trial(
            "roles::formatted_at_once_under_two_names",
            two_names_at_once,
        ),
    ]
}

/// Long enough that a source or a clone could be a metadata device.
fn spec() -> Spec {
    Spec::new(Blocks::B512, 128).length(8192).features("format")
}

/// The nodes of a line.
struct Nodes {
    metadata: String,
    source: String,
    clone: String,
}

impl Nodes {
    fn of(rig: &Rig) -> Self {
        Self {
            metadata: rig.metadata.path(),
            source: rig.source.path(),
            clone: rig.clone.path(),
        }
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut nodes = Self {
            metadata: self.metadata.clone(),
            source: self.source.clone(),
            clone: self.clone.clone(),
        };
        change(&mut nodes);
        nodes
    }

    /// A line of 1024 sectors, shorter than all devices.
    fn line(&self, start: u64) -> String {
        let Self {
            metadata,
            source,
            clone,
        } = self;
        format!("{start} 1024 restore {metadata} {source} {clone} 128 1 format")
    }

    fn table(&self) -> String {
        self.line(0)
    }
}

/// A device with a clone that could be written, so that only its role keeps others away.
fn user(writable: &Rig) -> Result<Rig> {
    let mut user = Rig::slices(spec())?;
    user.clone.stand_in = Some(writable.source.path());
    user.create()?;
    Ok(user)
}

fn devices_of_another() -> Result<()> {
    let (writable, other) = (Rig::slices(spec())?, Rig::slices(spec())?);
    let user = user(&writable)?;
    let (taken, own) = (Nodes::of(&user), Nodes::of(&other));
    let mut reasons = Reasons::default();
    let mut refuse = |role: &str, must: &str, change: &dyn Fn(&mut Nodes)| {
        reasons.table(&other, role, &own.with(|nodes| change(nodes)).table(), must);
    };
    for (role, node) in [
        ("metadata", &taken.metadata),
        ("source", &taken.source),
        ("clone", &taken.clone),
    ] {
        let holder = format!("# uses {}", number(node)?);
        let holder = holder.replace('#', user.number());
        refuse(
            &format!("{role} as source"),
            "Source device is in use",
            &|nodes| nodes.source = node.clone(),
        );
        refuse(&format!("{role} as source, who"), &holder, &|nodes| {
            nodes.source = node.clone()
        });
        refuse(
            &format!("{role} as metadata"),
            "Metadata device is in use",
            &|nodes| nodes.metadata = node.clone(),
        );
        if role != "clone" {
            refuse(
                &format!("{role} as clone"),
                "Clone device is source or metadata",
                &|nodes| nodes.clone = node.clone(),
            );
        }
    }
    reasons.check(8)?;
    user.close()?;
    other.close()?;
    writable.close()
}

/// The `major:minor` of a node.
fn number(node: &str) -> Result<String> {
    let sysfs = dm_restore_tests::stats::sysfs(node)?;
    Ok(sysfs.rsplit('/').next().context("no number")?.to_string())
}

/// A golden image: it is only read.
fn one_clone_for_many() -> Result<()> {
    let mut first = Rig::new(spec())?;
    let mut second = Rig::slices(spec())?;
    second.clone.stand_in = Some(first.clone.path());
    second.create()?;
    first.start_restore()?;
    first.wait_restored()?;
    first.check(first.all())?;
    ensure!(
        second.status()?.mode == "tracking",
        "{:?}",
        second.status()?
    );
    // It is not made anew under another volume.
    first.suspend()?;
    let mut reasons = Reasons::default();
    reasons.message(&first, "assume_identical", "take that out of use first");
    first.resume()?;
    reasons.check(1)?;
    second.close()?;
    first.close()
}

/// A table that was loaded only keeps nobody away. Of two, the first that is resumed has the source.
fn decided_at_resume() -> Result<()> {
    let (one, two) = (Rig::slices(spec())?, Rig::slices(spec())?);
    let shared = Nodes::of(&two).with(|nodes| nodes.source = one.source.path());
    let names = [format!("{}-one", one.name), format!("{}-two", one.name)];
    let [first, second] = [&names[0], &names[1]];
    for (name, table) in [(first, Nodes::of(&one).table()), (second, shared.table())] {
        dm::ok(&["create", name, "--notable"])?;
        dm::ok(&["load", name, "--table", &table])?;
    }
    dm::ok(&["resume", second])?;
    let mut log = Log::from_now()?;
    let ran = dm::run(&["resume", first])?;
    ensure!(
        !ran.ok && ran.err.contains("Device or resource busy"),
        "{ran:?}"
    );
    let lines = log.lines()?;
    ensure!(
        lines
            .iter()
            .any(|line| line.contains("Source device is in use by another restore target")),
        "{lines:?}"
    );
    // It waits for its turn.
    dm::ok(&["remove", "--retry", second])?;
    dm::ok(&["resume", first])?;
    dm::ok(&["remove", "--retry", first])?;
    one.close()?;
    two.close()
}

fn lines_of_one_table() -> Result<()> {
    let (one, two) = (Rig::slices(spec())?, Rig::slices(spec())?);
    let (front, behind) = (Nodes::of(&one), Nodes::of(&two));
    let mut reasons = Reasons::default();
    for (case, must, nodes) in [
        (
            "two sources",
            "Source device is in use",
            behind.with(|nodes| nodes.source = front.source.clone()),
        ),
        (
            "two metadata",
            "Metadata device is in use",
            behind.with(|nodes| nodes.metadata = front.metadata.clone()),
        ),
        (
            "source as clone",
            "Clone device is source or metadata",
            behind.with(|nodes| nodes.clone = front.source.clone()),
        ),
    ] {
        let table = format!("{}\n{}", front.line(0), nodes.line(1024));
        reasons.table(&one, case, &table, must);
    }
    reasons.check(3)?;
    let clone = behind.with(|nodes| nodes.clone = front.clone.clone());
    let name = format!("{}-lines", one.name);
    let table = format!("{}\n{}", front.line(0), clone.line(1024));
    dm::ok(&["create", &name, "--table", &table])?;
    dm::ok(&["remove", "--retry", &name])?;
    one.close()?;
    two.close()
}

/// A live reload gives up the old table's devices, and keeps what both have.
fn another_clone() -> Result<()> {
    let (writable, other) = (Rig::slices(spec())?, Rig::slices(spec())?);
    let mut user = Rig::slices(spec())?;
    let copy = format!(
        "dd if={} of={} bs=1M iflag=direct oflag=direct",
        user.clone.path(),
        writable.source.path()
    );
    sh::shell(&copy)?;
    user.clone.stand_in = Some(writable.source.path());
    user.create()?;
    let own = Nodes::of(&other);
    let former = own.with(|nodes| nodes.source = writable.source.path());
    let mut reasons = Reasons::default();
    let must = "Source device is in use";
    reasons.table(&other, "a clone as source", &former.table(), must);
    user.clone.stand_in = None;
    user.reload("0")?;
    let still = own.with(|nodes| nodes.source = user.source.path());
    reasons.table(&other, "the source", &still.table(), must);
    reasons.check(1)?;
    let name = format!("{}-former", user.name);
    dm::ok(&["create", &name, "--table", &former.table()])?;
    dm::ok(&["remove", "--retry", &name])?;
    user.close()?;
    other.close()?;
    writable.close()
}

/// Another name for the part that a rig has for its metadata.
fn second_name(rig: &Rig) -> Result<String> {
    let name = format!("{}-meta2", rig.name);
    dm::ok(&["create", &name, "--table", &rig.metadata.part.line(0)])?;
    Ok(name)
}

fn two_names() -> Result<()> {
    let user = Rig::new(spec())?;
    let other = Rig::slices(spec())?;
    let name = second_name(&user)?;
    let table = Nodes::of(&other)
        .with(|nodes| nodes.metadata = dm::path(&name))
        .table();
    let mut reasons = Reasons::default();
    reasons.table(
        &user,
        "another name",
        &table,
        "uses metadata with the same UUID",
    );
    reasons.table(&user, "another name, why", &table, "metadata is in use");
    reasons.check(1)?;
    user.close()?;
    dm::ok(&["remove", "--retry", &name])?;
    other.close()
}

/// Two lines over one blank metadata device, by two names. The first that is resumed formats it.
fn two_names_blank() -> Result<()> {
    let (one, two) = (Rig::slices(spec())?, Rig::slices(spec())?);
    let second = second_name(&one)?;
    let volumes = load_both(&one, &two, &second)?;
    dm::ok(&["resume", &volumes[0]])?;
    let ran = dm::run(&["resume", &volumes[1]])?;
    ensure!(
        !ran.ok && ran.err.contains("Device or resource busy"),
        "{ran:?}"
    );
    remove_all(one, two, &second, &volumes)
}

/// The same, but both see it blank before either has formatted it.
fn two_names_at_once() -> Result<()> {
    let (one, two) = (Rig::slices(spec())?, Rig::slices(spec())?);
    let second = second_name(&one)?;
    let volumes = load_both(&one, &two, &second)?;
    one.metadata.hold()?;
    dm::ok(&["suspend", "--nolockfs", "--noflush", &second])?;
    let resuming = volumes
        .clone()
        .map(|name| wait::background("resume", move || dm::run(&["resume", &name])));
    one.metadata.release()?;
    dm::ok(&["resume", &second])?;
    let mut resumed = 0;
    for resuming in resuming {
        resumed += usize::from(resuming.join()??.ok);
    }
    ensure!(resumed == 1, "{resumed} of 2 have formatted it");
    remove_all(one, two, &second, &volumes)
}

/// Loads the tables of two volumes; `second` is the name for the other's metadata device.
fn load_both(one: &Rig, two: &Rig, second: &str) -> Result<[String; 2]> {
    let names = ["one", "two"].map(|which| format!("{}-{which}", one.name));
    let other = Nodes::of(two).with(|nodes| nodes.metadata = dm::path(second));
    let tables = [Nodes::of(one).table(), other.table()];
    for (name, table) in names.iter().zip(tables) {
        dm::ok(&["create", name, "--notable"])?;
        dm::ok(&["load", name, "--table", &table])?;
    }
    Ok(names)
}

fn remove_all(one: Rig, two: Rig, second: &str, volumes: &[String; 2]) -> Result<()> {
    dm::ok(&["remove", "--retry", &volumes[0], &volumes[1]])?;
    dm::ok(&["remove", "--retry", second])?;
    one.close()?;
    two.close()
}
