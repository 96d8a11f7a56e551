// SPDX-License-Identifier: GPL-2.0

//! What the kernel log says, and how often.

use super::{on, trial};
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::kmsg::{self, Log};
use dm_restore_tests::maps;
use dm_restore_tests::model::host_data;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::sh;
use dm_restore_tests::wait;
use libtest_mimic::Trial;
use std::fs;
use std::time::Instant;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("log::refused_messages_are_rare", refused_messages),
        trial("log::refused_tables_are_rare", refused_tables),
        trial("log::queues_bear_the_name", queue_names),
        trial("log::integrity_measurement_knows_the_volume", measured),
        trial("log::tells_the_life_of_a_volume", life),
        trial("log::tells_of_a_failed_flush", failed_flush),
        trial("log::tells_when_metadata_is_lost", metadata_lost),
        trial("log::warns_when_taken_away_in_a_restore", taken_away),
    ]
}

fn spec() -> Spec {
    Spec::new(Blocks::B512, 128).features("format")
}

/// How often the loud one is refused: far more often than there may be lines.
const TIMES: u64 = 200;

/// Two devices are refused something, one of them all the time. Its lines are few, and do not hide
/// the other one's first.
fn rarely(refused: impl Fn(&Rig, u64) -> Result<()>) -> Result<()> {
    on(spec(), |loud| {
        on(spec(), |quiet| {
            let mut log = Log::from_now()?;
            let since = Instant::now();
            refused(loud, TIMES)?;
            refused(quiet, 1)?;
            let lines = log.lines()?;
            let count = |rig: &Rig| {
                let own = |line: &&String| kmsg::of_target(line, rig.number()).is_some();
                lines.iter().filter(own).count() as u64
            };
            // Ten in five seconds, and one that counts those left out.
            let periods = since.elapsed().as_secs() / 5 + 2;
            let (loud, quiet) = (count(loud), count(quiet));
            ensure!(
                (1..=11 * periods).contains(&loud) && loud < TIMES,
                "{loud} lines in {:?}",
                since.elapsed()
            );
            ensure!(quiet == 1, "{quiet} lines about the other one");
            Ok(())
        })
    })
}

fn refused_messages() -> Result<()> {
    rarely(|rig, times| {
        let name = &rig.name;
        sh::shell(&format!(
            "for i in $(seq {times}); do ! dmsetup message {name} 0 start_restore 2>&- || exit; done"
        ))
        .map(drop)
    })
}

fn refused_tables() -> Result<()> {
    rarely(|rig, times| {
        let (name, table) = (&rig.name, rig.table("1 no_cpoy"));
        sh::shell(&format!(
            "for i in $(seq {times}); do ! dmsetup load {name} --table '{table}' 2>&- || exit; done"
        ))
        .map(drop)
    })
}

/// Kernel threads that stand ready for the target's work queues tell whose they are.
fn queue_names() -> Result<()> {
    on(spec(), |rig| {
        let mut names = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let comm = entry?.path().join("comm");
            // Not a process, or one that has ended.
            names.extend(fs::read_to_string(comm));
        }
        for queue in ["dm-restore", "dm-restore-copy"] {
            let name = format!("kworker/R-{queue}/{}", rig.number());
            ensure!(
                names.iter().any(|comm| comm.trim_end() == name),
                "no {name} among {names:?}"
            );
        }
        Ok(())
    })
}

/// What the kernel's integrity measurement has noted of tables, as text.
fn measurements() -> Result<String> {
    let list = fs::read_to_string("/sys/kernel/security/ima/ascii_runtime_measurements")?;
    let noted = list.lines().filter_map(|line| {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| *word != "dm_table_load");
        words.nth(1)
    });
    let text = noted.map(|hex| {
        let bytes = (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16));
        let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    });
    text.collect()
}

/// Version, extent size and, once there is one, the UUID of the metadata.
fn measured() -> Result<()> {
    sh::shell("mount -t securityfs securityfs /sys/kernel/security")?;
    // There can be a policy of one's own once.
    let policy = "measure func=CRITICAL_DATA label=device-mapper\n";
    fs::write("/sys/kernel/security/ima/policy", policy).context("IMA policy")?;
    on(spec(), |rig| {
        rig.start_again("")?;
        let uuid = maps::Blocks::open(&rig.metadata.part)?.superblock()?.uuid;
        let digits = format!("{:032x}", u128::from_be_bytes(uuid));
        let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| &digits[group]);
        let uuid = groups.join("-");
        let noted = measurements()?;
        let version = "target_name=restore,target_version=1.0.0,extent_sectors=128,";
        for uuid in ["none", uuid.as_str()] {
            let line = format!("{version}metadata_uuid={uuid};");
            ensure!(noted.contains(&line), "no {line} in:\n{noted}");
        }
        Ok(())
    })
}

/// What the log says of a device from some time on.
struct Told {
    log: Log,
    /// Those of all devices: one that is made again may get another number, and its old one may go to
    /// somebody else.
    lines: Vec<String>,
}

impl Told {
    fn from_now() -> Result<Self> {
        Ok(Self {
            log: Log::from_now()?,
            lines: Vec::new(),
        })
    }

    /// The lines that have come since.
    fn more(&mut self) -> Result<&[String]> {
        self.lines.extend(self.log.lines()?);
        Ok(&self.lines)
    }

    /// Waits for a line about the rig that begins with this and has all of `parts`, and forgets those
    /// before it.
    fn expect(&mut self, rig: &Rig, begin: &str, parts: &[&str]) -> Result<()> {
        wait::for_condition(&format!("a line '{begin}' with {parts:?}"), || {
            let fits = |line: &String| {
                kmsg::of_target(line, rig.number()).is_some_and(|text| {
                    text.starts_with(begin) && parts.iter().all(|part| text.contains(part))
                })
            };
            let found = self.more()?.iter().position(fits);
            if let Some(found) = found {
                self.lines.drain(..=found);
            }
            Ok(found.is_some())
        })
        .with_context(|| format!("{:#?}", self.lines))
    }

    /// Checks that no line about the rig has come that contains this.
    fn expect_none(&mut self, rig: &Rig, part: &str) -> Result<()> {
        let lines = self.more()?;
        let mut own = lines
            .iter()
            .filter_map(|line| kmsg::of_target(line, rig.number()));
        ensure!(!own.any(|line| line.contains(part)), "{lines:#?}");
        Ok(())
    }
}

/// A volume is rolled back as a whole; then two extents are changed, and restored while the clone
/// fails.
fn life() -> Result<()> {
    on(spec(), |rig| {
        let mut told = Told::from_now()?;
        let all = rig.status()?.extents;
        let (all_of_it, of_all) = (format!("{all} extents ("), format!("of {all} "));
        rig.start_again("1 no_copy")?;
        told.expect(rig, "loaded: ", &[&all_of_it, &of_all])?;
        rig.start_restore()?;
        told.expect(rig, "restore started: ", &[&all_of_it, &of_all])?;
        rig.message("resume_copy")?;
        rig.wait_restored()?;
        told.expect(rig, "restore finished: ", &[&all_of_it, " 0 overwritten"])?;
        rig.suspend()?;
        rig.message("assume_identical")?;
        rig.resume()?;
        told.expect(
            rig,
            "source and clone declared identical: ",
            &["0 extents (0 KiB)"],
        )?;
        rig.message("pause_copy")?;
        rig.write(0..128)?;
        rig.write(130..138)?;
        rig.start_restore()?;
        told.expect(rig, "restore started: ", &["2 extents (128 KiB)", &of_all])?;
        let clone = rig.clone.number().to_string();
        rig.clone.break_down()?;
        rig.message("resume_copy")?;
        told.expect(
            rig,
            "copy failed: clone cannot be read ",
            &[&format!("({clone})"), "sectors 0 to 127, extents 0"],
        )?;
        told.expect(
            rig,
            "restore stalled: clone cannot be read ",
            &[&format!("({clone})"), "2 extents (128 KiB) left", "clone "],
        )?;
        rig.clone.heal()?;
        told.expect(rig, "restore goes on: ", &[" left to restore"])?;
        rig.wait_restored()?;
        told.expect(
            rig,
            "restore finished: ",
            &["2 extents (128 KiB) in ", "2 copied, 0 overwritten"],
        )?;
        rig.start_again("2 assume_different no_copy")?;
        told.expect(rig, "source and clone declared different: ", &[&all_of_it])?;
        told.expect(rig, "loaded: ", &[&all_of_it])
    })
}

/// The source does not take a flush: what waits for it stalls.
fn failed_flush() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        let mut told = Told::from_now()?;
        rig.write(0..128)?;
        rig.source.break_down()?;
        told.expect(rig, "source flush failed", &[])?;
        told.expect(
            rig,
            "restore stalled: source cannot be flushed ",
            &["source 1"],
        )?;
        rig.source.heal()?;
        told.expect(rig, "restore goes on: ", &[])
    })
}

/// The metadata device goes away: the log says which one, and what follows.
fn metadata_lost() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        let mut told = Told::from_now()?;
        let metadata = rig.metadata.number().to_string();
        rig.metadata.break_down()?;
        let host = rig.host()?;
        expect_eio("a first touch", host.write(0, &host_data(0..8, 1)))?;
        told.expect(rig, "metadata mode ro ", &[&format!("({metadata})")])?;
        rig.metadata.heal()
    })
}

/// A reload with the target's own line, and a removal, lose nothing: no warning. Another target over
/// the source is dangerous until the restore is over.
fn taken_away() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        let mut told = Told::from_now()?;
        rig.reload("1 no_copy")?;
        told.expect(
            rig,
            "loaded in the middle of a restore: ",
            &[" left to restore"],
        )?;
        rig.start_again("1 no_copy")?;
        told.expect(rig, "loaded in the middle of a restore: ", &[])?;
        told.expect_none(rig, "replaced")?;
        let linear = format!("0 {} linear {} 0", rig.spec.length, rig.source.path());
        dm::swap(&rig.name, &linear)?;
        told.expect(
            rig,
            "replaced by another target in the middle of a restore: ",
            &[&format!("({})", rig.source.number())],
        )?;
        dm::swap(&rig.name, &rig.table("1 no_copy"))?;
        told.expect(rig, "loaded in the middle", &[])?;
        told.expect_none(rig, "replaced")
    })
}
