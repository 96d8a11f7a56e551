// SPDX-License-Identifier: GPL-2.0

//! Table lines and messages that are wrong: each is refused with its own reason, and nothing is
//! written.

use super::{on, trial};
use anyhow::{Context, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::refusal::Reasons;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::sh;
use libtest_mimic::Trial;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("refusals::words_of_the_table", words),
        trial("refusals::devices_of_the_table", devices),
        trial("refusals::sizes_of_the_table", sizes),
        trial("refusals::zoned_devices", zoned),
        trial("refusals::messages", messages),
    ]
}

/// A rig whose metadata is formatted and not in use.
fn formatted() -> Result<Rig> {
    let mut rig = Rig::new(Spec::new(Blocks::B512, 128).features("format"))?;
    rig.shut_down()?;
    Ok(rig)
}

/// Optional words and what the reason must contain.
const WORDS: [(&str, &str); 27] = [
    ("x", "Invalid number of feature arguments"),
    ("-1", "Invalid number of feature arguments"),
    (
        "99999999999999999999",
        "Invalid number of feature arguments",
    ),
    ("1", "Fewer feature arguments than counted"),
    ("3 no_copy format", "Fewer feature arguments than counted"),
    ("1 no_cpoy", "no_cpoy"),
    ("1 NO_COPY", "NO_COPY"),
    ("2 no_copy no_copy", "Feature argument given twice"),
    ("2 format format", "Feature argument given twice"),
    ("1 identical", "needs 'format'"),
    ("3 format identical assume_different", "contradict"),
    ("0 x", "Invalid number of core arguments"),
    ("0 -2", "Invalid number of core arguments"),
    ("0 1 copy_jobs", "must be even"),
    ("0 2", "Fewer core arguments than counted"),
    ("0 4 copy_jobs 1", "Fewer core arguments than counted"),
    ("0 2 copy_job 1", "copy_job"),
    ("0 4 copy_jobs 1 copy_jobs 1", "Core argument given twice"),
    ("0 2 copy_jobs one", "not a number"),
    ("0 2 copy_size 0x10", "not a number"),
    ("0 2 copy_jobs 0", "out of range"),
    ("0 2 copy_jobs 65", "'65'"),
    ("0 2 copy_size 7", "'7'"),
    ("0 2 copy_size 65537", "'65537'"),
    ("0 2 copy_rate 4294967296", "'4294967296'"),
    ("0 2 copy_min_rate 4294967297", "'4294967297'"),
    ("0 0 more", "Words behind the last argument"),
];

fn words() -> Result<()> {
    let rig = formatted()?;
    let mut reasons = Reasons::default();
    for (words, must) in WORDS {
        reasons.table(&rig, words, &rig.table(words), must);
    }
    reasons.check(24)?;
    rig.close()
}

/// A line with other devices or another extent size.
fn line(rig: &Rig, metadata: &str, source: &str, clone: &str, extent: &str) -> String {
    format!(
        "0 {} restore {metadata} {source} {clone} {extent}",
        rig.spec.length
    )
}

fn devices() -> Result<()> {
    let rig = formatted()?;
    let (meta, source, clone) = (&rig.metadata.path(), &rig.source.path(), &rig.clone.path());
    let mut reasons = Reasons::default();
    let length = rig.spec.length;
    let mut table = |case: &str, table: String, must: &str| reasons.table(&rig, case, &table, must);
    table("no words", format!("0 {length} restore"), "Four arguments");
    table(
        "three words",
        format!("0 {length} restore {meta} {source} {clone}"),
        "Four arguments",
    );
    table(
        "no metadata",
        line(&rig, "/dev/none", source, clone, "128"),
        "Metadata device cannot be opened",
    );
    table(
        "no source",
        line(&rig, meta, "/dev/none", clone, "128"),
        "Source device cannot be opened",
    );
    table(
        "no clone",
        line(&rig, meta, source, "/dev/none", "128"),
        "Clone device cannot be opened",
    );
    table(
        "source no disk",
        line(&rig, meta, "/dev/null", clone, "128"),
        "Source device cannot be opened",
    );
    table(
        "read-only metadata",
        line(&rig, clone, source, clone, "128"),
        "Metadata device is read-only",
    );
    table(
        "read-only source",
        line(&rig, meta, clone, source, "128"),
        "Source device is read-only",
    );
    table(
        "metadata and source the same",
        line(&rig, source, source, clone, "128"),
        "Metadata and source are the same",
    );
    table(
        "metadata and clone the same",
        line(&rig, source, meta, source, "128"),
        "Metadata and clone are the same",
    );
    table(
        "source and clone the same",
        line(&rig, meta, source, source, "128"),
        "Source and clone are the same",
    );
    let words = rig.table("0");
    reasons.create(
        &rig,
        "read-only table",
        &["--readonly", "--table", &words],
        "cannot be read-only",
    );
    busy(&mut reasons, &rig)?;
    reasons.check(13)?;
    rig.close()
}

/// Devices that somebody else has: a program, or another target of this kind.
fn busy(reasons: &mut Reasons, rig: &Rig) -> Result<()> {
    let table = rig.table("0");
    for (slice, must) in [
        (&rig.source, "Source device cannot be opened"),
        (&rig.metadata, "Metadata device cannot be opened"),
    ] {
        let claimed = claim(&slice.path())?;
        reasons.table(rig, "claimed by a program", &table, must);
        drop(claimed);
    }
    let user = Rig::new(rig.spec.clone())?;
    let taken = line(
        rig,
        &user.metadata.path(),
        &rig.source.path(),
        &rig.clone.path(),
        "128",
    );
    reasons.table(rig, "metadata in use", &taken, "in use");
    user.close()
}

/// Opens a block device for this program alone.
fn claim(path: &str) -> Result<File> {
    let exclusive = rustix::fs::OFlags::EXCL.bits() as i32;
    OpenOptions::new()
        .read(true)
        .custom_flags(exclusive)
        .open(path)
        .with_context(|| path.to_string())
}

fn sizes() -> Result<()> {
    let rig = formatted()?;
    let (meta, source, clone) = (&rig.metadata.path(), &rig.source.path(), &rig.clone.path());
    let mut reasons = Reasons::default();
    let mut table = |case: &str, table: String, must: &str| reasons.table(&rig, case, &table, must);
    for (extent, must) in [
        ("x", "Extent size is not a number"),
        ("-8", "Extent size is not a number"),
        ("128k", "Extent size is not a number"),
        ("18446744073709551616", "Extent size is not a number"),
        ("0", "below 8 sectors"),
        ("4", "below 8 sectors"),
        ("4194304", "above 2097152 sectors"),
        ("18446744073709551615", "above 2097152 sectors"),
        ("24", "not a power of two"),
        ("2097151", "not a power of two"),
    ] {
        table(extent, line(&rig, meta, source, clone, extent), must);
    }
    let many = (1u64 << 35) + 8;
    table(
        "too many extents",
        format!("0 {many} restore {meta} {source} {clone} 8"),
        "Too many extents",
    );
    let long = rig.spec.length + 8;
    table(
        "small source",
        format!("0 {long} restore {meta} {source} {clone} 128"),
        "Source device is too small",
    );
    let disk = rig.source.part.path();
    table(
        "small clone",
        format!("0 {long} restore {meta} {disk} {clone} 128"),
        "Clone device is too small",
    );
    let small = Rig::slices(Spec::new(Blocks::B512, 128).length(8))?;
    let tiny = small.source.path();
    table(
        "small metadata",
        line(&rig, &tiny, source, clone, "128"),
        "Metadata device is too small",
    );
    reasons.check(10)?;
    small.close()?;
    rig.close()?;
    blocks_of_4096()
}

fn blocks_of_4096() -> Result<()> {
    let rig = Rig::slices(Spec::new(Blocks::B4096, 128))?;
    let (meta, source, clone) = (rig.metadata.path(), rig.source.path(), rig.clone.path());
    let mut reasons = Reasons::default();
    let table = format!("0 1001 restore {meta} {source} {clone} 128 1 format");
    reasons.table(
        &rig,
        "part of a block",
        &table,
        "multiple of the logical block size",
    );
    reasons.check(1)?;
    rig.close()
}

fn zoned() -> Result<()> {
    sh::shell(
        "modprobe null_blk nr_devices=0; mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
         cd /sys/kernel/config/nullb; mkdir nullzoned; cd nullzoned
         echo 512 >blocksize; echo 64 >size; echo 4 >zone_size; echo 1 >zoned; echo 1 >memory_backed; echo 1 >power",
    )?;
    let rig = formatted()?;
    let (meta, source, clone) = (&rig.metadata.path(), &rig.source.path(), &rig.clone.path());
    let zoned = "/dev/nullzoned";
    let mut reasons = Reasons::default();
    reasons.table(
        &rig,
        "zoned source",
        &line(&rig, meta, zoned, clone, "128"),
        "Zoned source",
    );
    reasons.table(
        &rig,
        "zoned clone",
        &line(&rig, meta, source, zoned, "128"),
        "Zoned clone",
    );
    reasons.table(
        &rig,
        "zoned metadata",
        &line(&rig, zoned, source, clone, "128"),
        "Zoned metadata",
    );
    rig.close()?;
    sh::shell("rmdir /sys/kernel/config/nullb/nullzoned; modprobe -r null_blk")?;
    reasons.check(3)
}

/// Messages and what the reason must contain: the word at fault.
const MESSAGES: [(&str, &str); 27] = [
    ("begin_restore", "'begin_restore'"),
    ("START_RESTORE", "'START_RESTORE'"),
    ("copy_job 1", "'copy_job'"),
    ("start_restore now", "'start_restore'"),
    ("assume_identical yes", "'assume_identical'"),
    ("pause_copy 1", "'pause_copy'"),
    ("resume_copy 1 2", "'resume_copy'"),
    ("copy_jobs", "'copy_jobs'"),
    ("copy_size", "'copy_size'"),
    ("copy_rate", "'copy_rate'"),
    ("copy_min_rate", "'copy_min_rate'"),
    ("copy_jobs 1 2", "'copy_jobs'"),
    ("copy_jobs 0", "'0'"),
    ("copy_jobs 65", "'65'"),
    ("copy_jobs -1", "'-1'"),
    ("copy_jobs four", "'four'"),
    ("copy_size 7", "'7'"),
    ("copy_size 65537", "'65537'"),
    ("copy_size 1M", "'1M'"),
    ("copy_rate 4294967296", "'4294967296'"),
    ("copy_rate 18446744073709551616", "'18446744073709551616'"),
    ("copy_min_rate 4294967296", "'4294967296'"),
    ("copy_min_rate 1.5", "'1.5'"),
    ("metadata_patience 0", "'0'"),
    ("metadata_patience 3601", "'3601'"),
    ("start_restore", "must be suspended"),
    ("assume_identical", "must be suspended"),
];

fn messages() -> Result<()> {
    on(
        Spec::new(Blocks::B512, 128).features("format no_copy"),
        |rig| {
            let mut reasons = Reasons::default();
            for (message, must) in MESSAGES {
                reasons.message(rig, message, must);
            }
            reasons.check(MESSAGES.len())
        },
    )
}
