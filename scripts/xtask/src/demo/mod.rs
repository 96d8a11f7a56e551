// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask demo`: a damaged database that is usable again long before its data is copied
//! back.
//!
//! The work is done by `demo-guest` (`qemu/demo`) in two boots of the virtual machine: the first
//! makes a volume and its clone, the second, with the clone attached read-only, damages and
//! restores the volume, twice. Between and after them the clone's image is hashed out here.
//! Every promise is a check; one that fails ends the demo with an error.

mod images;
mod screen;
mod summary;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use dm_restore_demo::{Content, Event, Figures, CONTENT_FILE};

use crate::cache::Lock;
use crate::guest::Guest;
use crate::kernel::KernelArg;
use crate::vm::{accel, Config, Vm};
use crate::{cargo, module, paths, setup};
use images::Images;
use screen::Screen;
use summary::Summary;

/// What runs in the guest.
const PROGRAM: &str = "demo-guest";

/// Run the demo.
///
/// # Errors
///
/// Something cannot be built, a step fails, or a promise does not hold.
pub fn run(kernel: &KernelArg) -> Result<ExitCode> {
    let setup = setup::machine(kernel)?;
    let module = module::build(&setup.tree)?;
    let mut stage = Stage {
        payload: vec![
            (module::FILE.into(), module.stripped),
            (PROGRAM.into(), program()?),
        ],
        guest: setup.guest,
        screen: Screen::new(),
    };
    let _lock = Lock::take(&paths::build().join("demo.lock"))?;
    accel();
    stage.screen.line("");
    stage.screen.line(
        "A volume is rolled back to its clone while it is in use, copying only what differs.",
    );
    let clock = Instant::now();
    let images = Images::create()?;
    let summary = play(&mut stage, &images)?;
    summary.print(&stage.screen);
    images.remove()?;
    stage.screen.line("");
    stage.screen.line(&format!(
        "Every promise held ({:.0} s in all).",
        clock.elapsed().as_secs_f64()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The program that runs in the guest (SQLite is compiled into it, which takes a minute the first
/// time).
fn program() -> Result<PathBuf> {
    let mut found = cargo::programs("demo program", "qemu/demo", &["--features", "guest"])?;
    let path = found.remove(PROGRAM);
    path.with_context(|| format!("there is no {PROGRAM}"))
}

/// What both boots need.
struct Stage {
    payload: Vec<(String, PathBuf)>,
    guest: Guest,
    screen: Screen,
}

/// What the guest left to be used here.
#[derive(Default)]
struct Told {
    content: Option<Content>,
    restores: Vec<Figures>,
    marked: Option<u64>,
}

fn play(stage: &mut Stage, images: &Images) -> Result<Summary> {
    let content = stage
        .boot("prepare", images.disks(false))?
        .content
        .context("the guest did not say what the clone holds")?;
    let file = paths::build().join("demo").join(CONTENT_FILE);
    fs::write(&file, serde_json::to_vec(&content)?)?;
    stage.payload.push((CONTENT_FILE.into(), file));

    stage.screen.section(
        "The clone's image, seen from outside",
        "Its SHA-256 is taken where no code of this project can be in the way: on the file \
         behind the virtual disk.",
    );
    let before = images.hash_clone()?;
    stage.screen.fact(&format!("SHA-256 {before}"));

    let told = stage.boot("restore /payload", images.disks(true))?;
    let after = images.hash_clone()?;
    let summary = Summary {
        restores: told.restores,
        before,
        after,
        differing: images.differing_extents()?,
        marked: told.marked.context("the guest did not come to its end")?,
    };
    summary.check()?;
    Ok(summary)
}

impl Stage {
    fn boot(&mut self, act: &str, disks: Vec<crate::vm::Disk>) -> Result<Told> {
        let name = act.split(' ').next().unwrap_or(act);
        let mut config = Config::new(name, self.guest.clone());
        config.dir = paths::build().join("demo").join(name);
        config.memory = 2048;
        config.timeout = Duration::from_secs(900);
        config.disks = disks;
        config.payload.clone_from(&self.payload);
        config.command = format!(
            "modprobe -a dm-mod ext4 && insmod /payload/{} && exec /payload/{PROGRAM} {act}",
            module::FILE
        );
        let mut told = Told::default();
        let mut noise = Vec::new();
        let outcome = Vm::start(config)?.run(|line| match Event::from_line(line) {
            Some(event) => self.show(event, &mut told),
            None => noise.push(line.to_owned()),
        })?;
        self.screen.end_progress();
        if let Err(error) = outcome.check() {
            for line in &noise {
                self.screen.line(&format!("guest: {line}"));
            }
            bail!("{error:#}");
        }
        Ok(told)
    }

    fn show(&mut self, event: Event, told: &mut Told) {
        match event {
            Event::Section { title, why } => self.screen.section(&title, &why),
            Event::Fact(text) => self.screen.fact(&text),
            Event::Checked(text) => self.screen.checked(&text),
            Event::Command(text) => self.screen.command(&text),
            Event::Progress(progress) => self.screen.progress(progress),
            Event::Cloned(content) => told.content = Some(content),
            Event::Restored(figures) => told.restores.push(*figures),
            Event::End { marked_extents } => told.marked = Some(marked_extents),
        }
    }
}
