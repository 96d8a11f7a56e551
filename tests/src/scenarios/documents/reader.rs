// SPDX-License-Identifier: GPL-2.0

//! Somebody who pastes what README and manual have, with a volume of his own.

use anyhow::{ensure, Result};
use dm_restore_tests::disks::{self, Blocks, Part};
use dm_restore_tests::dm;
use dm_restore_tests::documents::{block, renamed};
use dm_restore_tests::sh;
use dm_restore_tests::status::Status;

/// What is there before a block: names, and stand-ins for what the guest has not. `lvextend` stands for
/// whatever makes a device larger.
const PRELUDE: &str = r#"
source=/dev/mapper/$me-source metadata=/dev/mapper/$me-metadata
sectors=$(blockdev --getsz "$source")
systemctl() { :; }
modprobe() { [ "$1" = dm-restore ] || command modprobe "$@"; }
findmnt() { command findmnt $([ "$1" != --fstab ] || echo "--tab-file /mnt/$me/fstab") "$@"; }
mount() { command mount --fstab "/mnt/$me/fstab" "$@"; }
lvextend() { dmsetup load "${3##*/}" --table "$(cat "/mnt/$me/${3##*/}")" && dmsetup suspend "${3##*/}" && dmsetup resume "${3##*/}"; }
qemu-nbd() { command qemu-nbd ${socket:+--socket=$socket} "$@"; }
"#;

/// A reader. His volume is `vol` and `/srv` in the documents.
pub struct Reader {
    me: &'static str,
    /// What else the shell knows, as it would after the blocks that were pasted before.
    pub more: String,
    /// Another root directory for what he does.
    pub root: &'static str,
    /// The devices under the volume that he has made, in the order in which they go.
    devices: Vec<String>,
}

impl Reader {
    /// One who has prepared nothing yet. Nobody else is called `me`.
    pub fn new(me: &'static str) -> Result<Self> {
        let reader = Self {
            me,
            more: String::new(),
            root: "/",
            devices: Vec::new(),
        };
        reader.run("mkdir -p /srv")?;
        Ok(reader)
    }

    /// The name of his volume.
    pub fn volume(&self) -> String {
        format!("{}-vol", self.me)
    }

    /// The name of his device for this role.
    pub fn device(&self, role: &str) -> String {
        format!("{}-{role}", self.me)
    }

    /// Makes source, clone and metadata of so many sectors; returns what source and clone lie on, which
    /// may be longer.
    pub fn take_devices(&mut self, sectors: u64, longest: u64) -> Result<[Part; 2]> {
        let (source, _) = disks::take_data(Blocks::B512, longest, true)?;
        let clone = self.take_device("clone", sectors, longest)?;
        // What the README says is enough: 2 MiB and a byte for each extent.
        let size = 4097 + longest / 128 / 512;
        let metadata = disks::take_metadata(Blocks::B512, size)?;
        self.add("metadata", &metadata)?;
        let at_first = Part {
            sectors,
            ..source.clone()
        };
        self.add("source", &at_first)?;
        Ok([source, clone])
    }

    /// Makes one more device that can be a clone.
    pub fn take_device(&mut self, role: &str, sectors: u64, longest: u64) -> Result<Part> {
        // On the disk of sources, since the one of clones cannot be written to.
        let (part, _) = disks::take_data(Blocks::B512, longest, true)?;
        let at_first = Part {
            sectors,
            ..part.clone()
        };
        self.add(role, &at_first)?;
        Ok(part)
    }

    fn add(&mut self, role: &str, part: &Part) -> Result<()> {
        let name = self.device(role);
        dm::create_all(&[dm::New {
            name: &name,
            read_only: false,
            table: vec![part.line(0)],
        }])?;
        self.devices.push(name);
        Ok(())
    }

    /// Puts a file system on the source, the line into `fstab`, and mounts the source itself.
    pub fn make_file_system(&self) -> Result<()> {
        let me = self.me;
        self.run(&format!(
            "echo '/dev/mapper/vol /srv ext4 noauto 0 0' >/mnt/{me}/fstab &&
             mkfs.ext4 -q $source && command mount $source /srv"
        ))
        .map(drop)
    }

    /// Runs a block as somebody who pastes it: what fails is not caught by the shell.
    pub fn run(&self, block: &str) -> Result<String> {
        let ran = self.try_run(block)?;
        ensure!(ran.ok, "{}{}\n{block}", ran.out, ran.err);
        Ok(ran.out)
    }

    /// The same of one that may fail.
    pub fn try_run(&self, block: &str) -> Result<sh::Ran> {
        let me = self.me;
        let block = renamed(block, &self.volume(), &format!("/mnt/{me}/srv"));
        let more = &self.more;
        let script = format!("me={me} clone=/dev/mapper/{me}-clone{PRELUDE}{more}\n{block}");
        sh::run("chroot", &[self.root, "bash", "-c", &script])
    }

    /// Pastes the block of a document that has these words in it.
    pub fn paste(&self, document: &str, words: &[&str]) -> Result<()> {
        self.run(&block(document, words)).map(drop)
    }

    /// Writes the file that tells the states of the volume apart.
    pub fn write(&self, content: &str) -> Result<()> {
        self.run(&format!("echo {content} >/srv/file && sync -f /srv/file"))
            .map(drop)
    }

    /// Checks that file.
    pub fn expect(&self, content: &str) -> Result<()> {
        let found = self.run("cat /srv/file")?;
        ensure!(found == content, "'{found}' instead of '{content}'");
        Ok(())
    }

    /// Checks that the status has this word.
    pub fn expect_status(&self, word: &str) -> Result<()> {
        let status = dm::ok(&["status", &self.volume()])?;
        ensure!(
            status.split(' ').any(|other| other == word),
            "no {word}: {status}"
        );
        Ok(())
    }

    /// The target's status.
    pub fn status(&self) -> Result<Status> {
        dm::target_words(&dm::ok(&["status", &self.volume()])?, "restore")?.parse()
    }

    /// Rolls back by the document's blocks, and waits for the end.
    pub fn roll_back(&self, document: &str, content: &str) -> Result<()> {
        self.begin(document, content)?;
        self.finish(document, content)
    }

    /// Begins to roll back, by the document's block.
    pub fn begin(&self, document: &str, content: &str) -> Result<()> {
        self.paste(document, &["umount", "start_restore"])?;
        self.expect(content)
    }

    /// Waits for the end of the restore, by the document's block.
    pub fn finish(&self, document: &str, content: &str) -> Result<()> {
        self.paste(document, &["while "])?;
        self.expect_status("tracking")?;
        self.expect(content)
    }

    /// Takes everything away. After a failure as much as goes.
    pub fn close(self, done: Result<()>) -> Result<()> {
        self.close_with(done, || ())
    }

    /// The same; `release` is done between the volume and its devices.
    pub fn close_with(self, done: Result<()>, release: impl FnOnce()) -> Result<()> {
        let _ = sh::run("umount", &["--quiet", &format!("/mnt/{}/srv", self.me)]);
        if done.is_err() {
            // Whatever was left suspended waits for nobody else.
            for name in self.devices.iter().chain([&self.volume()]) {
                drop(dm::run(&["resume", name]));
            }
        }
        let volume = dm::run(&["remove", "--retry", &self.volume()])?;
        release();
        let mut words = vec!["remove", "--retry"];
        words.extend(self.devices.iter().map(String::as_str));
        let devices = dm::run(&words)?;
        done?;
        ensure!(volume.ok && devices.ok, "{}{}", volume.err, devices.err);
        Ok(())
    }
}
