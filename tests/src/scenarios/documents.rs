// SPDX-License-Identifier: GPL-2.0

//! A newcomer pastes the blocks of README and manual, one after the other, and finds what they promise.

use super::trial;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::{self, Blocks, Part};
use dm_restore_tests::dm;
use dm_restore_tests::documents::{block, blocks, MANUAL, README};
use dm_restore_tests::rig;
use dm_restore_tests::sh;
use dm_restore_tests::status::Status;
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![trial("documents::are_safe_to_paste", paste)]
}

/// Sectors of source and clone at first, and when they have grown.
const SECTORS: u64 = 64 << 11;
const GROWN: u64 = 96 << 11;

/// What is there before the first block: names, and stand-ins for what the guest has not.
const PRELUDE: &str = r#"
source=/dev/mapper/doc-source metadata=/dev/mapper/doc-metadata clone=/dev/mapper/doc-clone
sectors=$(blockdev --getsz "$source")
systemctl() { :; }
modprobe() { :; }
findmnt() { command findmnt --tab-file /mnt/doc/fstab "$@"; }
mount() { command mount --fstab /mnt/doc/fstab "$@"; }
lvextend() { dmsetup load "${3##*/}" --table "$(cat "/mnt/doc/${3##*/}")" && dmsetup suspend "${3##*/}" && dmsetup resume "${3##*/}"; }
"#;

/// Runs a block as somebody who pastes it: what fails is not caught by the shell.
fn run(block: &str) -> Result<String> {
    let script = format!("{PRELUDE}{}", block.replace("/srv", "/mnt/doc/srv"));
    let ran = sh::run("bash", &["-c", &script])?;
    ensure!(ran.ok, "{}{}\n{block}", ran.out, ran.err);
    Ok(ran.out)
}

/// Pastes the block of a document that has these words in it.
fn paste_block(document: &str, words: &[&str]) -> Result<()> {
    run(&block(document, words)).map(drop)
}

/// The file that tells the states of the volume apart.
fn write(content: &str) -> Result<()> {
    run(&format!("echo {content} >/srv/file && sync -f /srv/file")).map(drop)
}

fn expect(content: &str) -> Result<()> {
    let found = run("cat /srv/file")?;
    ensure!(found == content, "'{found}' instead of '{content}'");
    Ok(())
}

fn expect_status(word: &str) -> Result<()> {
    let status = dm::ok(&["status", "vol"])?;
    ensure!(
        status.split(' ').any(|other| other == word),
        "no {word}: {status}"
    );
    Ok(())
}

/// The volumes of somebody who does not know the target yet: source, clone and metadata, with a file
/// system on the source that is in use.
fn prepare() -> Result<[Part; 3]> {
    let (source, _) = disks::take_data(Blocks::B512, GROWN, true)?;
    let (clone, _) = disks::take_data(Blocks::B512, GROWN, true)?;
    let metadata = disks::take_metadata(Blocks::B512, rig::metadata_sectors(GROWN / 128))?;
    let at_first = |part: &Part| Part {
        sectors: SECTORS,
        ..part.clone()
    };
    let new = |name, part: &Part| dm::New {
        name,
        read_only: false,
        table: vec![part.line(0)],
    };
    dm::create_all(&[
        new("doc-source", &at_first(&source)),
        new("doc-clone", &at_first(&clone)),
        new("doc-metadata", &metadata),
    ])?;
    let (grown_source, grown_clone) = (source.line(0), clone.line(0));
    run(&format!(
        "mkdir -p /srv && echo '{grown_source}' >/mnt/doc/doc-source && echo '{grown_clone}' >/mnt/doc/doc-clone &&
         echo '/dev/mapper/vol /srv ext4 noauto 0 0' >/mnt/doc/fstab &&
         mkfs.ext4 -q $source && command mount $source /srv"
    ))?;
    write("old")?;
    Ok([source, clone, metadata])
}

fn paste() -> Result<()> {
    sh::ok("modprobe", &["ext4"])?;
    let _parts = prepare()?;
    let done = readme().and_then(|()| manual());
    let _ = sh::run("umount", &["--quiet", "/mnt/doc/srv"]);
    let mut names = vec!["vol", "doc-source", "doc-clone", "doc-metadata"];
    if done.is_err() {
        // Whatever was left suspended waits for nobody else.
        names
            .iter()
            .for_each(|name| drop(dm::run(&["resume", name])));
    }
    names.splice(0..0, ["remove", "--retry"]);
    let removed = dm::run(&names)?;
    done?;
    ensure!(removed.ok, "{}", removed.err);
    Ok(())
}

fn readme() -> Result<()> {
    paste_block(README, &["dmsetup create", "format identical"]).context("put it over")?;
    expect("old")?;
    write("new")?;
    roll_back(README, "old")?;
    write("newer")?;
    paste_block(README, &["dd if=", "assume_identical"]).context("renew the clone")?;
    expect("newer")?;
    write("newest")?;
    roll_back(README, "newer")?;
    run("umount /srv && dmsetup remove vol").context("reboot")?;
    paste_block(README, &["modprobe", "dmsetup create"]).context("at boot")?;
    expect("newer")?;
    paste_block(README, &[" linear "]).context("stop using it")?;
    expect_status("linear")?;
    expect("newer")
}

/// Rolls back by the document's blocks, and waits for the end.
fn roll_back(document: &str, content: &str) -> Result<()> {
    paste_block(document, &["start_restore"]).context("roll back")?;
    expect(content).context("right after the start")?;
    paste_block(document, &["while "]).context("wait")?;
    expect_status("tracking")?;
    expect(content).context("at the end")
}

/// Goes on where the README has ended: another target lies over the source.
fn manual() -> Result<()> {
    write("away")?;
    paste_block(MANUAL, &["assume_different"]).context("put it back")?;
    expect_status("tracking")?;
    paste_block(MANUAL, &["dd if=", "assume_identical"]).context("clone under a mount")?;
    write("damaged")?;
    paste_block(MANUAL, &["copy_jobs 8"]).context("core arguments")?;
    roll_back(MANUAL, "away")?;
    paste_block(MANUAL, &["pause_copy"])?;
    paste_block(MANUAL, &["resume_copy"])?;
    let before = run("df --output=size /srv | tail -1")?;
    paste_block(MANUAL, &["lvextend"]).context("grow")?;
    let after = run("df --output=size /srv | tail -1")?;
    let size = |text: &str| text.trim().parse::<u64>();
    ensure!(size(&after)? > size(&before)?, "{before} to {after} KiB");
    paste_block(MANUAL, &["dd if=", "assume_identical"]).context("clone of the grown volume")?;
    write("damaged again")?;
    roll_back(MANUAL, "away")?;
    trimmed()?;
    let replace = blocks(MANUAL)
        .into_iter()
        .find(|block| block.contains("1 format") && !block.contains("lvextend"));
    run(&replace.context("no block")?).context("replace the clone")?;
    paste_block(MANUAL, &["dd if=", "assume_identical"]).context("clone on the new device")?;
    write("damaged once more")?;
    roll_back(MANUAL, "away")
}

/// What is discarded counts as changed: of a file system that is a quarter full, nearly three quarters.
fn trimmed() -> Result<()> {
    let quarter = (GROWN / 4) >> 11;
    run(&format!(
        "head -c {quarter}M /dev/urandom >/srv/fill && sync -f /srv/fill"
    ))?;
    paste_block(MANUAL, &["dd if=", "assume_identical"])?;
    run("fstrim /srv")?;
    let status = dm::target_words(&dm::ok(&["status", "vol"])?, "restore")?.parse::<Status>()?;
    let share = 100 * status.cdm / status.extents;
    ensure!((55..=75).contains(&share), "{share} % of {status:?}");
    Ok(())
}
