// SPDX-License-Identifier: GPL-2.0

//! The shell blocks of README and manual: what a reader pastes.

/// The README.
pub const README: &str = include_str!("../../README.md");
/// The manual.
pub const MANUAL: &str = include_str!("../../Documentation/dm-restore.rst");

/// The shell blocks of a document, in order, without indentation.
pub fn blocks(document: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = document.lines().peekable();
    while let Some(line) = lines.next() {
        let fenced = line.trim() == "```sh";
        if !fenced && line.trim() != ".. code-block:: sh" {
            continue;
        }
        let mut block = String::new();
        while let Some(line) = lines.next_if(|line| goes_on(line, fenced)) {
            block.push_str(if fenced {
                line
            } else {
                line.strip_prefix("   ").unwrap_or(line)
            });
            block.push('\n');
        }
        blocks.push(block.trim().to_string());
    }
    blocks
}

/// Whether a line still belongs to the block: in Markdown up to the fence, in reStructuredText as long as
/// it is indented.
fn goes_on(line: &str, fenced: bool) -> bool {
    if fenced {
        line.trim() != "```"
    } else {
        line.is_empty() || line.starts_with("   ")
    }
}

/// The one block of a document that contains all of `words`.
///
/// # Panics
///
/// There is none, or more than one.
pub fn block(document: &str, words: &[&str]) -> String {
    let fits = |block: &String| words.iter().all(|word| block.contains(word));
    let mut found = blocks(document).into_iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(block), None) => block,
        (None, _) => panic!("no block with {words:?}"),
        (Some(_), Some(_)) => panic!("more than one block with {words:?}"),
    }
}

/// The lines of a document that begin with one of `words`, without indentation.
pub fn lines<'a>(document: &'a str, words: &[&str]) -> Vec<&'a str> {
    let begins = |line: &&str| {
        let first = line.split_whitespace().next();
        words.iter().any(|word| first == Some(word))
    };
    document.lines().map(str::trim).filter(begins).collect()
}

/// Text with another name of the mapped device and another mount point than the documents have.
pub fn renamed(text: &str, volume: &str, mount_point: &str) -> String {
    let text = text.replace("/srv", mount_point);
    let is_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("vol") {
        let (before, found) = rest.split_at(at);
        let behind = found.strip_prefix("vol").unwrap_or_default();
        out.push_str(before);
        let alone = !out.ends_with(is_word) && !behind.starts_with(is_word);
        out.push_str(if alone { volume } else { "vol" });
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tables;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::process::Command;

    /// Programs that do nothing but note that they were called, and fail if they are the ones to fail.
    const PROGRAMS: [&str; 18] = [
        "blockdev",
        "cmp",
        "dd",
        "dmsetup",
        "findmnt",
        "lsblk",
        "lvextend",
        "modprobe",
        "mount",
        "qemu-nbd",
        "resize2fs",
        "stat",
        "systemctl",
        "timeout",
        "umount",
        "vgchange",
        "fstrim",
        "install",
    ];
    const PROGRAM: &str = r#"#!/bin/bash
echo "${0##*/} $*" >>"$DIR/log"
mapfile -t calls <"$DIR/log"
[ "${#calls[@]}" != "$FAILS" ] || exit 1
mode=$MODE
[ -n "$LOOP" ] && [ "${#calls[@]}" -lt 8 ] && mode=restoring
case "$*" in
"--getsz /dev/m") echo "$METADATA" ;;
"--getsz /dev/c") echo "$CLONE" ;;
--getsz*) echo 1024 ;;
*SOURCE*) echo "$MOUNTED" ;;
*MOUNTPOINTS*) echo "$USED" ;;
*%Hr:%Lr*) printf '8:%s\n' 1 2 3 ;;
table*) echo "0 1024 restore $TABLE 128" ;;
info*) echo 1 ;;
status*) echo "0 1024 restore $mode idle" ;;
esac
exit 0
"#;

    /// What the programs say of the devices.
    struct Devices {
        /// What is mounted.
        mounted: &'static str,
        /// What `lsblk` shows of clone and metadata device.
        used: &'static str,
        metadata_sectors: u64,
        clone_sectors: u64,
        /// Metadata device, source and clone in the volume's table.
        table: &'static str,
    }

    impl Default for Devices {
        fn default() -> Self {
            Self {
                mounted: "/dev/null",
                used: "c m",
                metadata_sectors: 4097,
                clone_sectors: 1024,
                table: "8:1 8:2 8:3",
            }
        }
    }

    struct Shell(PathBuf);

    impl Shell {
        fn new(name: &str) -> Self {
            let name = format!("dm-restore-documents-{}-{name}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir_all(&dir).unwrap();
            for program in PROGRAMS {
                let path = dir.join(program);
                fs::write(&path, PROGRAM).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            Self(dir)
        }

        /// Runs a block in which call number `fails` fails, if there are so many. Returns whether it
        /// has succeeded, and its calls.
        fn run(&self, block: &str, fails: usize) -> (bool, Vec<String>) {
            self.run_on(block, fails, &Devices::default())
        }

        /// The same with other devices.
        fn run_on(&self, block: &str, fails: usize, devices: &Devices) -> (bool, Vec<String>) {
            let log = self.0.join("log");
            fs::write(&log, "").unwrap();
            let path = format!("{}:/usr/bin:/bin", self.0.display());
            let names = "source=/dev/null metadata=/dev/m clone=/dev/c sectors=1024\n";
            let status = Command::new("bash")
                .args(["-c", &format!("{names}{block}")])
                .env("PATH", path)
                .env("DIR", &self.0)
                .env("FAILS", fails.to_string())
                .env("MODE", mode(block))
                .env("MOUNTED", devices.mounted)
                .env("USED", devices.used)
                .env("METADATA", devices.metadata_sectors.to_string())
                .env("CLONE", devices.clone_sectors.to_string())
                .env("TABLE", devices.table)
                .env("LOOP", if is_loop(block) { "yes" } else { "" })
                .status()
                .unwrap();
            let calls = fs::read_to_string(&log).unwrap();
            (
                status.success(),
                calls.lines().map(str::to_string).collect(),
            )
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn is_loop(block: &str) -> bool {
        block.starts_with("while ")
    }

    /// What the status says, so that a block that asks for it goes on.
    fn mode(block: &str) -> &'static str {
        if block.contains("grep ' restore restoring '") {
            "restoring"
        } else {
            "tracking"
        }
    }

    /// What is wrong with a block: it does not run, or goes on behind a step that has failed. Only a
    /// device that was suspended is resumed all the same.
    fn wrong(shell: &Shell, block: &str) -> Option<String> {
        let (ok, calls) = shell.run(block, 0);
        if !ok || calls.is_empty() {
            return Some(format!("does not run: {calls:#?}"));
        }
        for fails in 1..=calls.len() {
            let (ok, calls) = shell.run(block, fails);
            let behind = calls.get(fails..).unwrap_or_default();
            let resumes = behind == ["dmsetup resume vol"];
            if !(behind.is_empty() || resumes) {
                return Some(format!("goes on behind {}: {behind:#?}", calls[fails - 1]));
            }
            if ok && !is_loop(block) {
                return Some(format!("succeeds though {} has failed", calls[fails - 1]));
            }
        }
        None
    }

    #[test]
    fn every_block_stops_at_the_first_step_that_fails() {
        let shell = Shell::new("stops");
        for (document, least) in [(README, 7), (MANUAL, 12)] {
            let blocks = blocks(document);
            assert!(blocks.len() >= least, "only {} blocks", blocks.len());
            for block in blocks {
                let wrong = wrong(&shell, &block);
                assert_eq!(wrong, None, "in this block:\n{block}");
            }
        }
    }

    #[test]
    fn a_block_that_goes_on_is_found() {
        let shell = Shell::new("goes-on");
        for block in [
            "umount /srv\ndd if=$source of=$clone",
            "umount /srv; mount /srv",
            "umount /srv &&\ndmsetup suspend vol\ndmsetup message vol 0 start_restore",
            "dmsetup suspend vol || true",
        ] {
            assert!(wrong(&shell, block).is_some(), "{block}");
        }
    }

    /// Whether something overwrites the clone or the metadata device.
    fn overwrites(calls: &[String]) -> bool {
        calls.iter().any(|call| call.starts_with("dd "))
    }

    #[test]
    fn nothing_is_overwritten_where_the_sizes_do_not_fit() {
        let shell = Shell::new("sizes");
        let put_over = block(README, &["dmsetup create", "format identical"]);
        for (metadata_sectors, clone_sectors, fits) in
            [(4097, 1024, true), (4096, 1024, false), (4097, 1023, false)]
        {
            let devices = Devices {
                metadata_sectors,
                clone_sectors,
                ..Devices::default()
            };
            let (ok, calls) = shell.run_on(&put_over, 0, &devices);
            assert_eq!((ok, overwrites(&calls)), (fits, fits), "{calls:#?}");
        }
    }

    #[test]
    fn nothing_is_overwritten_that_is_used_or_was_not_meant() {
        let shell = Shell::new("used");
        for document in [README, MANUAL] {
            let put_over = block(document, &["dmsetup create", "format identical"]);
            for (mounted, used, fits) in [
                ("/dev/null", "c m", true),
                ("/dev/zero", "c m", false),
                ("", "c m", false),
                ("/dev/null", "c /mnt m", false),
                ("/dev/null", "c `-vol2 m", false),
            ] {
                let devices = Devices {
                    mounted,
                    used,
                    ..Devices::default()
                };
                let (ok, calls) = shell.run_on(&put_over, 0, &devices);
                assert_eq!((ok, overwrites(&calls)), (fits, fits), "{calls:#?}");
            }
        }
    }

    #[test]
    fn a_clone_is_renewed_only_if_the_names_are_those_of_the_volume() {
        let shell = Shell::new("names");
        for document in [README, MANUAL] {
            let renew = block(document, &["dd if=", "assume_identical"]);
            for (table, fits) in [
                ("8:1 8:2 8:3", true),
                ("8:1 8:3 8:2", false),
                ("8:1 8:2 8:33", false),
            ] {
                let devices = Devices {
                    table,
                    ..Devices::default()
                };
                let (ok, calls) = shell.run_on(&renew, 0, &devices);
                assert_eq!((ok, overwrites(&calls)), (fits, fits), "{calls:#?}");
            }
        }
    }

    /// Commands with a name that changes over a reboot, or that two devices bear.
    #[test]
    fn no_block_uses_a_name_that_may_be_another_disk() {
        for block in blocks(README).iter().chain(&blocks(MANUAL)) {
            for name in ["/dev/sd", "/dev/vd", "/dev/nvme", "UUID=", "LABEL="] {
                assert!(!block.contains(name), "{name} in:\n{block}");
            }
        }
    }

    #[test]
    fn the_clone_is_read_only_before_a_device_is_created_over_it() {
        let mut creates = 0;
        for block in blocks(README).iter().chain(&blocks(MANUAL)) {
            let Some((before, _)) = block.split_once("dmsetup create ") else {
                continue;
            };
            creates += 1;
            assert!(before.contains("blockdev --setro \"$clone\" &&"), "{block}");
        }
        assert!(creates >= 4, "only {creates}");
    }

    #[test]
    fn the_volume_gets_another_name_where_its_name_stands_alone() {
        let text = "dmsetup status vol | grep vol-1 volume /dev/mapper/vol$ /srv/vol\nvol";
        let other = "dmsetup status a-vol | grep vol-1 volume /dev/mapper/a-vol$ /mnt/a-vol\na-vol";
        assert_eq!(renamed(text, "a-vol", "/mnt"), other);
    }

    #[test]
    fn lines_are_found_by_their_first_word() {
        let text = "one = 1\n  two = 2\ntwofold\n";
        assert_eq!(lines(text, &["one", "two"]), ["one = 1", "two = 2"]);
    }

    #[test]
    fn blocks_are_found_in_both_kinds_of_documents() {
        let markdown = "a\n\n```sh\none &&\n  two\n```\n\n```text\nno\n```\n";
        assert_eq!(blocks(markdown), ["one &&\n  two"]);
        let text = "a\n\n.. code-block:: sh\n\n   one &&\n   two\n\nb::\n\n  no\n";
        assert_eq!(blocks(text), ["one &&\ntwo"]);
        assert_eq!(block(text, &["two"]), "one &&\ntwo");
    }
}
