// SPDX-License-Identifier: GPL-2.0

//! The figures at the end, and the checks that need all of them.

use anyhow::{ensure, Result};
use dm_restore_demo::{Figures, EXTENT_BYTES, VOLUME_BYTES};

use super::screen::Screen;

/// What the whole demo measured.
pub struct Summary {
    /// One for each restore.
    pub restores: Vec<Figures>,
    /// SHA-256 of the clone's image before the damage.
    pub before: String,
    /// And after the last restore.
    pub after: String,
    /// Extents in which the two images differ at the end.
    pub differing: u64,
    /// Extents that the target says may differ.
    pub marked: u64,
}

impl Summary {
    /// Check what only the host can.
    ///
    /// # Errors
    ///
    /// A promise does not hold.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.restores.len() == 2,
            "{} restores instead of 2",
            self.restores.len()
        );
        ensure!(
            self.before == self.after,
            "the clone's image has changed: SHA-256 {} before, {} after",
            self.before,
            self.after
        );
        ensure!(
            self.differing <= self.marked,
            "source and clone differ in {} extents, but the maps say {}",
            self.differing,
            self.marked
        );
        Ok(())
    }

    /// Print the table.
    pub fn print(&self, screen: &Screen) {
        screen.line("");
        screen.line(&screen.paint("1", "What was measured"));
        screen.line("");
        screen.line(&row("", &["1st restore".into(), "2nd restore".into()]));
        for (name, figure) in rows() {
            let cells: Vec<_> = self.restores.iter().map(figure).collect();
            screen.line(&row(name, &cells));
        }
        screen.line("");
        screen.line("   SHA-256 of the clone's disk image, taken outside the virtual machine");
        screen.line(&format!("   before  {}", self.before));
        screen.line(&format!("   after   {}", self.after));
        screen.line("");
        screen.line(&format!(
            "   At the end the images of source and clone differ in {} extents; the target",
            self.differing
        ));
        screen.line(&format!(
            "   has marked {}. A mark too many costs a copy; one too few would be lost data.",
            self.marked
        ));
    }
}

type Row = (&'static str, fn(&Figures) -> String);

fn rows() -> [Row; 12] {
    [
        ("first correct query after", |f| seconds(f.first_query_ms)),
        ("everything verified after", |f| seconds(f.verified_ms)),
        ("   of the delta still unrestored then", |f| {
            percent(f.unrestored_when_verified, f.delta)
        }),
        ("whole copy done after", |f| seconds(f.whole_ms)),
        ("extents of the volume", |f| f.extents.to_string()),
        ("extents that differed from the clone", |f| {
            f.delta.to_string()
        }),
        ("extents copied", |f| f.copied.to_string()),
        ("extents overwritten whole, no copy", |f| {
            f.overwritten.to_string()
        }),
        ("read from the clone to copy", |f| {
            of_volume(f.clone_copy_bytes)
        }),
        ("read from the clone for the host", |f| {
            of_volume(f.clone_host_bytes)
        }),
        ("written by the host meanwhile", |f| mib(f.host_write_bytes)),
        ("transactions committed meanwhile", |f| {
            f.commits.to_string()
        }),
    ]
}

fn row(name: &str, cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:>18}")).collect();
    format!("   {name:<38}{}", cells.concat())
}

fn seconds(ms: u64) -> String {
    format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
}

fn percent(part: u64, whole: u64) -> String {
    let permille = part * 1000 / whole.max(1);
    format!("{}.{} %", permille / 10, permille % 10)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn of_volume(bytes: u64) -> String {
    format!(
        "{} ({})",
        mib(bytes),
        percent(bytes / EXTENT_BYTES, VOLUME_BYTES / EXTENT_BYTES)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            restores: vec![Figures::default(), Figures::default()],
            before: "a".into(),
            after: "a".into(),
            differing: 3,
            marked: 3,
        }
    }

    #[test]
    fn each_promise_is_checked() {
        assert!(summary().check().is_ok());
        let changed = Summary {
            after: "b".into(),
            ..summary()
        };
        assert!(changed.check().is_err());
        let unmarked = Summary {
            differing: 4,
            ..summary()
        };
        assert!(unmarked.check().is_err());
        let mut one = summary();
        one.restores.pop();
        assert!(one.check().is_err());
    }

    #[test]
    fn figures_for_people() {
        assert_eq!(seconds(12_345), "12.34 s");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(of_volume(512 << 20), "512 MiB (25.0 %)");
    }
}
