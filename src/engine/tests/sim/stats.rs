// SPDX-License-Identifier: GPL-2.0

//! What was done, in one life or in many.

use std::fmt;

/// Names the counters once: field, and what it counts.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts what was done in one life or in many.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Adds those of another life.
            pub fn add(&mut self, other: &Stats) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Lives.
    lives,
    /// Steps.
    steps,
    /// Crash points: recovered and compared, each once.
    crash_points,
    /// Crashes that were looked at before: the same disks, and the same that they may hold.
    repeated,
    /// Of the crash points: something was written that no flush has covered.
    unflushed,
    /// Of these: in the source's cache.
    unflushed_source,
    /// Of these: in the metadata device's.
    unflushed_metadata,
    /// Of the crash points: in a checkpoint.
    in_checkpoint,
    /// Of the crash points: the journal goes around the end of its ring.
    wrapped,
    /// Of the crash points: a restore begins.
    beginning,
    /// Of the crash points: a restore is about to finish.
    finishing,
    /// Of the crash points: the maps are being declared identical.
    assuming,
    /// Of the crash points: while a crash before it was being recovered from.
    recovering,
    /// Of the crash points: while the device is suspended.
    suspended,
    /// Of the crash points: in a restore.
    restoring,
    /// Of the crash points: at least eight requests of the host in flight.
    busy,
    /// Of the crash points: some device fails requests.
    faulty,
    /// Crashes after which the life went on.
    crashes,
    /// Reads of the host.
    reads,
    /// Writes.
    writes,
    /// Of these: with FUA.
    fua_writes,
    /// Of these: must not be cut.
    atomic_writes,
    /// Write zeroes.
    write_zeroes,
    /// Discards.
    discards,
    /// Flushes.
    flushes,
    /// Requests of all kinds that failed.
    failed_requests,
    /// Restores begun.
    restores,
    /// Restores finished.
    finished,
    /// Extents that were marked ahead of a sequential writer.
    marked_ahead,
    /// Journal blocks.
    commits,
    /// Checkpoints while in use.
    checkpoints,
    /// Copies, or pieces of them.
    copies,
    /// Suspends.
    suspends,
    /// Reloads of the table.
    reloads,
    /// Hibernations.
    hibernations,
    /// Of these: the volume was taken up by the kernel that loads the image.
    taken_up,
    /// Reads and writes of source and clone that failed.
    failed_io,
    /// Failed writes that landed later.
    landed_late,
    /// Source flushes, or FUA writes, that failed.
    failed_flushes,
    /// Journal blocks whose success could not be confirmed at once.
    doubted,
    /// Writes and flushes of metadata that failed.
    failed_metadata,
    /// Of these: tried again.
    metadata_retries,
    /// Times that everything was compared while in use.
    live_checks,
}

impl Stats {
    /// Crash points in a mode change.
    pub fn in_mode_change(&self) -> u64 {
        self.beginning + self.finishing + self.assuming
    }

    /// Requests of the host.
    pub fn requests(&self) -> u64 {
        self.reads + self.writes + self.write_zeroes + self.discards + self.flushes
    }

    fn lives(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "lives: {}, steps: {}, suspends: {}, reloads: {}, hibernations: {}, crashes gone on from: {}",
            self.lives, self.steps, self.suspends, self.reloads, self.hibernations, self.crashes
        )?;
        writeln!(
            f,
            "host requests: {} ({} failed): {} reads, {} writes ({} FUA, {} atomic), {} write zeroes, {} discards, {} flushes",
            self.requests(), self.failed_requests, self.reads, self.writes, self.fua_writes,
            self.atomic_writes, self.write_zeroes, self.discards, self.flushes
        )?;
        writeln!(
            f,
            "restores: {} begun, {} finished; copies: {}; journal blocks: {}; checkpoints in use: {}; extents marked ahead: {}",
            self.restores, self.finished, self.copies, self.commits, self.checkpoints, self.marked_ahead
        )?;
        writeln!(
            f,
            "failed by the devices: {} reads and writes ({} landed later), {} source flushes and FUA writes, {} metadata writes and flushes",
            self.failed_io, self.landed_late, self.failed_flushes, self.failed_metadata
        )
    }

    fn crash_points(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "crash points looked at twice, not counted: {}",
            self.repeated
        )?;
        writeln!(f, "of the crash points:")?;
        let lines = [
            (self.unflushed, "with unflushed writes"),
            (self.unflushed_source, "  on the source"),
            (self.unflushed_metadata, "  on the metadata device"),
            (self.in_checkpoint, "with a checkpoint under way"),
            (self.wrapped, "with a wrapped journal"),
            (self.in_mode_change(), "with a mode change under way"),
            (self.beginning, "  a restore begins"),
            (self.finishing, "  a restore finishes"),
            (self.assuming, "  the maps are declared identical"),
            (self.restoring, "in a restore"),
            (self.suspended, "while suspended"),
            (self.recovering, "in the recovery from a crash"),
            (
                self.busy,
                "with at least 8 requests of the host not yet answered",
            ),
            (self.faulty, "with devices that fail requests"),
        ];
        for (i, (count, what)) in lines.iter().enumerate() {
            let end = if i + 1 < lines.len() { "\n" } else { "" };
            write!(f, "{count:>9} {what}{end}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lives(f)?;
        self.crash_points(f)
    }
}
