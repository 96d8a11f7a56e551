// SPDX-License-Identifier: GPL-2.0

//! Telling the host what happens.

use std::io::Write;

use dm_restore_demo::Event;

/// Send one event.
pub fn event(event: &Event) {
    // The host reads until the guest is gone; should it not, the exit code still tells.
    let _ = writeln!(std::io::stdout().lock(), "{}", event.to_line());
}

/// A new section of the story.
pub fn section(title: &str, why: &str) {
    event(&Event::Section {
        title: title.into(),
        why: why.into(),
    });
}

/// Something was done or seen.
pub fn fact(text: impl Into<String>) {
    event(&Event::Fact(text.into()));
}

/// A promise was checked and holds.
pub fn checked(text: impl Into<String>) {
    event(&Event::Checked(text.into()));
}

/// `bytes` for people.
pub fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// `part` of `whole` in percent, with one decimal.
pub fn percent(part: u64, whole: u64) -> String {
    let permille = part * 1000 / whole.max(1);
    format!("{}.{} %", permille / 10, permille % 10)
}
