// SPDX-License-Identifier: GPL-2.0

//! Many requests at a time all through a restore, every read checked.

use super::{on, trial};
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::model::{Content, Model};
use dm_restore_tests::random::Random;
use dm_restore_tests::requests::{parts, Host};
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::{sh, wait};
use libtest_mimic::Trial;
use std::ops::Range;

/// All of them.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (blocks, extent) in [
        (Blocks::B512, 8),
        (Blocks::B512, 128),
        (Blocks::B4096, 128),
        (Blocks::B512, 2048),
    ] {
        let name = format!("load::random_concurrent::{}::{extent}", blocks.bytes());
        trials.push(trial(name, move || random_concurrent(blocks, extent)));
    }
    for (blocks, extent) in [(Blocks::B512, 128), (Blocks::B4096, 8)] {
        let name = format!("load::fio_verify::{}::{extent}", blocks.bytes());
        trials.push(trial(name, move || fio_verify(blocks, extent)));
    }
    trials
}

const WORKERS: usize = 4;
/// Sectors that one worker has to itself before those of the next begin. No multiple of any
/// extent: neighbours share extents, but never a block.
const STRIPE: u64 = 2504;
const STRIPES: u64 = 20;
const REQUESTS: usize = 120;

fn random_concurrent(blocks: Blocks, extent: u64) -> Result<()> {
    let length = STRIPE * STRIPES;
    // About as long as the requests take; it is let go behind them.
    let spec = Spec::new(blocks, extent)
        .length(length)
        .core("copy_rate", 3000)
        .core("copy_min_rate", 1000);
    on(spec.features("format"), |rig| {
        rig.start_restore()?;
        let workers = (0..WORKERS)
            .map(|number| Worker::start(rig, number))
            .collect::<Result<Vec<_>>>()?;
        // Meanwhile the device is suspended and paused more than once.
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(150));
            rig.suspend()?;
            rig.resume()?;
            rig.message("pause_copy")?;
            rig.message("resume_copy")?;
        }
        let models = workers
            .into_iter()
            .map(|worker| worker.join()?)
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            rig.status()?.prm > 0 || rig.status()?.mode == "tracking",
            "nothing was written"
        );
        rig.message("copy_rate 0")?;
        wait::for_condition("the restore is over", || {
            Ok(rig.status()?.mode == "tracking")
        })?;
        check_all(&rig.host()?, &models)?;
        rig.start_again("0")?;
        check_all(&rig.host()?, &models)?;
        // Where nobody wrote, source and clone are the same now.
        rig.shut_down()?;
        rig.check_maps_against_disks()?;
        let status = |rig: &Rig| {
            rig.status()
                .map(|status| status.clone_errors + status.source_errors)
        };
        rig.create_with("0")?;
        ensure!(status(rig)? == 0, "there were errors");
        Ok(())
    })
}

/// The stripes of one worker.
fn stripes(number: usize) -> impl Iterator<Item = Range<u64>> {
    let own = (0..STRIPES).filter(move |stripe| *stripe as usize % WORKERS == number);
    own.map(|stripe| stripe * STRIPE..(stripe + 1) * STRIPE)
}

fn check_all(host: &Host, models: &[Model]) -> Result<()> {
    for (number, model) in models.iter().enumerate() {
        for part in stripes(number).flat_map(parts) {
            model
                .check(part.clone(), &host.read(part)?)
                .with_context(|| format!("worker {number}"))?;
        }
    }
    Ok(())
}

/// Somebody who writes and reads in stripes of its own, and knows what must be there.
struct Worker {
    host: Host,
    model: Model,
    random: Random,
    stripes: Vec<Range<u64>>,
    block: u64,
}

impl Worker {
    fn start(rig: &Rig, number: usize) -> Result<wait::Background<Result<Model>>> {
        let worker = Worker {
            host: rig.host()?,
            model: rig.tracker.model.clone(),
            random: Random::new(number as u64 + rig.spec.extent * 64),
            stripes: stripes(number).collect(),
            block: rig.spec.blocks.sectors(),
        };
        Ok(wait::background(&format!("worker {number}"), move || {
            worker.run()
        }))
    }

    fn run(mut self) -> Result<Model> {
        for request in 0..REQUESTS {
            let sectors = self.somewhere();
            self.request(sectors.clone())
                .with_context(|| format!("request {request} on {sectors:?}"))?;
        }
        Ok(self.model)
    }

    fn somewhere(&mut self) -> Range<u64> {
        let stripe = self.stripes[self.random.below(self.stripes.len() as u64) as usize].clone();
        let blocks = (stripe.end - stripe.start) / self.block;
        let start = self.random.below(blocks);
        // From one block to 1 MiB, short ones more often.
        let longest = 1 << self.random.below(12);
        let count = (1 + self.random.below(longest))
            .min(blocks - start)
            .min(2048 / self.block);
        let first = stripe.start + start * self.block;
        first..first + count * self.block
    }

    fn request(&mut self, sectors: Range<u64>) -> Result<()> {
        let (data, content) = self.model.next_write(sectors.clone());
        match self.random.below(16) {
            0..=5 => return self.model.check(sectors.clone(), &self.host.read(sectors)?),
            6..=11 => self.host.write(sectors.start, &data)?,
            12 => self.host.write_fua(sectors.start, &data)?,
            13 => {
                self.host.zero(sectors.clone())?;
                self.model.set(sectors, Content::Zero);
                return Ok(());
            }
            14 => {
                self.host.discard(sectors.clone())?;
                self.model.set(sectors, Content::Undefined);
                return Ok(());
            }
            _ => return Ok(self.host.flush()?),
        }
        self.model.set(sectors, content);
        Ok(())
    }
}

/// fio writes, and reads everything back, with several jobs of different sizes at a time.
fn fio_verify(blocks: Blocks, extent: u64) -> Result<()> {
    let spec = Spec::new(blocks, extent)
        .length(64 << 11)
        .core("copy_rate", 8000);
    on(spec.features("format"), |rig| {
        rig.start_restore()?;
        let jobs = [
            (
                "small",
                format!("--bs={} --size=1m --io_size=512k", blocks.bytes()),
            ),
            ("pages", "--bs=4k --size=8m --io_size=2m".to_string()),
            ("mixed", "--bsrange=4k-1m --size=24m".to_string()),
            ("large", "--bs=1m --size=24m --rw=write".to_string()),
        ];
        let mut line = format!(
            "fio --filename={} --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --verify=crc32c \
             --verify_fatal=1 --verify_backlog=64 --randseed=1 --minimal",
            rig.path()
        );
        let mut offset = 0;
        for (name, words) in jobs {
            line += &format!(" --name={name} --offset={offset}m {words}");
            // Neighbouring jobs meet in the middle of an extent of any size but the smallest.
            offset += 15;
        }
        // Each job has its own part: a job's size must not reach into the next.
        let line = line.replace("--size=24m", "--size=15m");
        sh::shell(&line)?;
        rig.message("copy_rate 0")?;
        wait::for_condition("the restore is over", || {
            Ok(rig.status()?.mode == "tracking")
        })?;
        let status = rig.status()?;
        ensure!(status.errors() == [0; 3], "{status:?}");
        // Behind the last job nobody wrote.
        rig.tracker.finish_restore();
        rig.check(61 << 11..62 << 11)
    })
}
