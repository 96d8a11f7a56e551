// SPDX-License-Identifier: GPL-2.0

//! File systems and a database over the target: rolled back at once, used while the copy runs,
//! sound at the end.

use super::trial;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::{self, Blocks};
use dm_restore_tests::dm;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::sh;
use dm_restore_tests::wait;
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for kind in KINDS {
        let name = format!("file_systems::{}_is_rolled_back", kind.name);
        trials.push(trial(name, move || rolled_back(&kind)));
    }
    trials.push(trial("file_systems::sqlite_under_load", sqlite));
    trials.push(trial(
        "file_systems::changes_under_a_busy_mount",
        changes_under_mount,
    ));
    trials
}

/// A kind of file system.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    mebibytes: u64,
    make: &'static str,
    check: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "ext4",
        mebibytes: 96,
        make: "mkfs.ext4 -q",
        check: "e2fsck -fn",
    },
    Kind {
        name: "xfs",
        mebibytes: 320,
        make: "mkfs.xfs -q",
        check: "xfs_repair -n",
    },
    Kind {
        name: "btrfs",
        mebibytes: 160,
        make: "mkfs.btrfs -q",
        check: "btrfs check --readonly",
    },
];

/// A rig whose clone can be made here: it lies on a disk that can be written, and only the target
/// sees it as read-only. The rig keeps the mapped device open, so its page cache outlives the mounts.
pub(super) struct Volume {
    mount: Mount,
    /// The mapped device and what lies under it.
    pub(super) rig: Rig,
}

/// Where something may be mounted.
struct Mount(String);

impl Drop for Mount {
    /// After a failure it may still be.
    fn drop(&mut self) {
        let _ = sh::run("umount", &["--quiet", "--lazy", &self.0]);
    }
}

impl Volume {
    /// A volume without a file system yet.
    pub(super) fn new(mebibytes: u64) -> Result<Self> {
        let sectors = mebibytes << 11;
        let (source, _) = disks::take_data(Blocks::B512, sectors, true)?;
        let (clone, _) = disks::take_data(Blocks::B512, sectors, true)?;
        let spec = Spec::new(Blocks::B512, 128)
            .length(sectors)
            .features("format no_copy");
        let mut rig = Rig::over(spec, source, clone)?;
        rig.create()?;
        let mount = Mount(format!("/mnt/{}", rig.name));
        sh::ok("mkdir", &["-p", &mount.0])?;
        Ok(Self { mount, rig })
    }

    /// Runs a line of shell; `$M` is where it is mounted, `$D` the device.
    pub(super) fn shell(&self, line: &str) -> Result<String> {
        sh::shell(&format!("M={} D={}; {line}", self.mount.0, self.rig.path()))
    }

    /// Makes the clone: the user's own copy, then `assume_identical`.
    pub(super) fn make_clone(&self) -> Result<()> {
        let part = &self.rig.clone.part;
        let (disk, at) = (part.path(), part.start * 512);
        self.shell(&format!(
            "dd if=$D of={disk} bs=1M seek={at} iflag=direct oflag=direct,seek_bytes conv=sparse,notrunc status=none"
        ))?;
        self.rig.suspend()?;
        let assumed = self.rig.message("assume_identical");
        self.rig.resume()?;
        assumed
    }

    fn start_restore(&mut self) -> Result<()> {
        self.rig.start_restore()?;
        let status = self.rig.status()?;
        ensure!(
            status.mode == "restoring" && status.restored == 0,
            "{status:?}"
        );
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.rig.message("copy_rate 0")?;
        self.rig.resume_and_finish()?;
        let status = self.rig.status()?;
        ensure!(status.errors() == [0; 3], "{status:?}");
        Ok(())
    }

    /// Takes everything away; the clone must not have been written.
    pub(super) fn close(self) -> Result<()> {
        let written = self.rig.clone.moved()?;
        ensure!(
            written.written == 0 && written.discarded == 0,
            "the clone was written: {written:?}"
        );
        self.rig.close()
    }
}

/// Files, and their checksums.
pub(super) const FILL: &str = "for i in $(seq 12); do head -c 700k /dev/urandom >$M/old$i; done; mkdir $M/dir; cp $M/old1 $M/dir; \
                    cd $M; cksum old* dir/* >sums; cd /";
/// Nothing stays as it was, and much comes in addition.
const DAMAGE: &str = "for i in $(seq 8); do head -c 700k /dev/urandom >$M/old$i; done; rm -r $M/dir $M/old9 $M/old10; \
                      for i in $(seq 8); do head -c 1M /dev/urandom >$M/bad$i; done; echo bad >$M/sums; sync";
/// What [`FILL`] has made is there.
pub(super) const CHECK_OLD: &str = "cd $M; cksum old* dir/* | cmp - sums; test ! -e bad1; cd /";
/// Work on the volume while it is being restored.
const WORK: &str = "for i in $(seq 12); do head -c 500k /dev/urandom >$M/new$i; sync -d $M/new$i; done; rm $M/old12; \
                    cp $M/old2 $M/copy; cd $M; cksum new* copy old1 old5 >after; cd /";
const CHECK_NEW: &str = "cd $M; cksum new* copy old1 old5 | cmp - after; test ! -e old12; cd /";

fn rolled_back(kind: &Kind) -> Result<()> {
    sh::ok("modprobe", &[kind.name])?;
    let mut volume = Volume::new(kind.mebibytes)?;
    volume.shell(&format!("{} $D; mount $D $M; {FILL}; umount $M", kind.make))?;
    volume.make_clone()?;
    volume.shell(&format!("mount $D $M; {DAMAGE}; umount $M"))?;
    let damaged = volume.rig.status()?.cdm;
    volume.start_restore()?;
    volume
        .shell(&format!("mount $D $M; {CHECK_OLD}"))
        .context("right after the start")?;
    let left = volume.rig.status()?.cdm;
    ensure!(
        left * 2 > damaged,
        "only {left} of {damaged} extents were still unrestored"
    );
    volume.rig.message("copy_rate 4096")?;
    volume.rig.message("resume_copy")?;
    volume.shell(WORK)?;
    volume.finish()?;
    volume.shell(CHECK_NEW)?;
    volume
        .shell(&format!("umount $M; {} $D", kind.check))
        .context("file system check")?;
    volume.shell(&format!("mount $D $M; {CHECK_NEW}; umount $M"))?;
    volume.close()
}

const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<4000)";

/// A database is damaged, restored, and takes transactions during the copy; those that it has
/// acknowledged are there.
fn sqlite() -> Result<()> {
    let mut volume = Volume::new(96)?;
    volume.shell(&format!(
        "mkfs.ext4 -q $D; mount $D $M; sqlite3 $M/db 'PRAGMA journal_mode=WAL; CREATE TABLE t(i INTEGER PRIMARY KEY, v BLOB);
         INSERT INTO t {ROWS} SELECT i, randomblob(2000) FROM n; CREATE TABLE log(i INTEGER PRIMARY KEY);' >/dev/null
         sqlite3 $M/db '.sha3sum t' >$M/sum; umount $M"
    ))?;
    volume.make_clone()?;
    volume.shell("mount $D $M; sqlite3 $M/db 'UPDATE t SET v = randomblob(2100); DELETE FROM t WHERE i % 3 = 0'; echo x >$M/sum; umount $M")?;
    volume.start_restore()?;
    volume.shell("mount $D $M; test $(sqlite3 $M/db 'PRAGMA integrity_check') = ok; sqlite3 $M/db '.sha3sum t' | cmp - $M/sum")
        .context("right after the start")?;
    volume.rig.message("copy_rate 3072")?;
    volume.rig.message("resume_copy")?;
    let acknowledged = volume.shell(
        "for i in $(seq 40); do sqlite3 $M/db \"INSERT INTO log VALUES($i); UPDATE t SET v = randomblob(2000) WHERE i = $i * 90\" && echo $i; done | tail -1",
    )?;
    ensure!(acknowledged.trim() == "40", "{acknowledged}");
    volume.finish()?;
    volume.shell("umount $M; e2fsck -fn $D; mount $D $M")?;
    let answer = volume.shell(
        "sqlite3 $M/db 'PRAGMA integrity_check; SELECT count(*) FROM log; SELECT count(*) FROM t'",
    )?;
    ensure!(
        answer.split_whitespace().eq(["ok", "40", "4000"]),
        "{answer}"
    );
    volume.shell("umount $M")?;
    volume.close()
}

/// Under a mounted file system that is being written: from `linear` to `restore`, other core args,
/// suspend and resume, and back to `linear`.
fn changes_under_mount() -> Result<()> {
    let mut volume = Volume::new(96)?;
    volume.rig.shut_down()?;
    let name = volume.rig.name.clone();
    let linear = format!(
        "0 {} linear {} 0",
        volume.rig.spec.length,
        volume.rig.source.path()
    );
    let swap = |table: &str| -> Result<()> {
        dm::ok(&["load", &name, "--table", table])?;
        dm::ok(&["suspend", &name])?;
        dm::ok(&["resume", &name]).map(drop)
    };
    dm::ok(&["create", &name, "--table", &linear])?;
    volume.shell(&format!("mkfs.ext4 -q $D; mount $D $M; {FILL}"))?;
    let busy = {
        let mount = volume.mount.0.clone();
        let line = "i=0; while test ! -e $M/stop; do i=$((i+1)); head -c 200k /dev/urandom >$M/busy$((i%20)); sync -d $M/busy$((i%20)); done; echo $i";
        wait::background("a busy file system", move || {
            sh::shell(&format!("M={mount}; {line}"))
        })
    };
    let changed = (|| {
        swap(&volume.rig.table("2 assume_different no_copy")).context("to restore")?;
        let status = volume.rig.status()?;
        ensure!(
            (&*status.mode, status.cdm) == ("tracking", status.extents),
            "{status:?}"
        );
        swap(&volume.rig.table("1 no_copy 2 copy_jobs 2")).context("other core args")?;
        for _ in 0..3 {
            dm::ok(&["suspend", &name])?;
            dm::ok(&["resume", &name])?;
        }
        let status = volume.rig.status()?;
        ensure!(
            (status.cdm, status.core["copy_jobs"]) == (status.extents, 2),
            "{status:?}"
        );
        swap(&linear).context("back to linear")
    })();
    volume.shell("touch $M/stop")?;
    busy.join()??;
    changed?;
    volume.shell(&format!("{CHECK_OLD}; umount $M; e2fsck -fn $D"))?;
    dm::ok(&["remove", "--retry", &name])?;
    volume.close()
}
