// SPDX-License-Identifier: GPL-2.0

//! What the guest tells the host, a line each.

use std::io::Write;

/// A line of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The status when the device had just been made: restored extents, unrestored extents.
    Booted(u64, u64),
    /// A sector of which it was not known what it holds holds this generation; 0: the clone's.
    Pin(u64, u64),
    /// All sectors hold what they may.
    Verified,
    /// A writer is about to send its operation of this number.
    Issue(u64, u64),
    /// A writer's operation of this number, with FUA, has ended.
    Fua(u64, u64),
    /// A flush has ended that a writer sent after so many of its operations had ended.
    Flushed(u64, u64),
    /// A flush has ended that was sent when so many extents were restored.
    Durable(u64),
    /// The copy is held; so many extents are restored.
    Held(u64),
    /// The device was taken away in good order; so many extents were restored before.
    Clean(u64),
    /// The whole story has come to its end.
    Finished,
}

impl Line {
    /// Prints it.
    pub fn say(self) {
        let (word, numbers) = self.parts();
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        // A host that does not listen any more has killed the machine.
        let _ = writeln!(std::io::stdout().lock(), ":{word} {}", numbers.join(" "));
    }

    fn parts(self) -> (&'static str, Vec<u64>) {
        match self {
            Self::Booted(a, b) => ("booted", vec![a, b]),
            Self::Pin(a, b) => ("pin", vec![a, b]),
            Self::Verified => ("verified", vec![]),
            Self::Issue(a, b) => ("issue", vec![a, b]),
            Self::Fua(a, b) => ("fua", vec![a, b]),
            Self::Flushed(a, b) => ("flushed", vec![a, b]),
            Self::Durable(a) => ("durable", vec![a]),
            Self::Held(a) => ("held", vec![a]),
            Self::Clean(a) => ("clean", vec![a]),
            Self::Finished => ("finished", vec![]),
        }
    }

    /// Reads a line; `None` if it is something else.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(':')?.split_whitespace();
        let word = words.next()?;
        let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        Some(match (word, numbers.as_slice()) {
            ("booted", &[a, b]) => Self::Booted(a, b),
            ("pin", &[a, b]) => Self::Pin(a, b),
            ("verified", &[]) => Self::Verified,
            ("issue", &[a, b]) => Self::Issue(a, b),
            ("fua", &[a, b]) => Self::Fua(a, b),
            ("flushed", &[a, b]) => Self::Flushed(a, b),
            ("durable", &[a]) => Self::Durable(a),
            ("held", &[a]) => Self::Held(a),
            ("clean", &[a]) => Self::Clean(a),
            ("finished", &[]) => Self::Finished,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn only_whole_lines_count() {
        assert_eq!(Line::parse(":issue 2 17"), Some(Line::Issue(2, 17)));
        assert_eq!(Line::parse(":verified "), Some(Line::Verified));
        for line in [
            "issue 2 17",
            ":issue 2",
            ":issue 2 x",
            ":issue 1 2 3",
            "",
            ":",
        ] {
            assert_eq!(Line::parse(line), None, "{line}");
        }
    }
}
