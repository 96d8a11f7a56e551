// SPDX-License-Identifier: GPL-2.0

//! What the demo looks like on the terminal.

use std::io::IsTerminal;

use dm_restore_demo::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Text is wrapped here.
const WIDTH: usize = 80;
const INDENT: &str = "   ";

/// The terminal.
pub struct Screen {
    color: bool,
    live: bool,
    sections: u32,
    bar: Option<Bar>,
}

/// The progress of the restore that runs.
struct Bar {
    bar: ProgressBar,
    /// The last tenth that was printed, where there is no terminal to draw on.
    tenth: u64,
}

impl Screen {
    /// The screen of this process.
    #[must_use]
    pub fn new() -> Self {
        let live = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Self {
            color: live && std::env::var_os("NO_COLOR").is_none(),
            live,
            sections: 0,
            bar: None,
        }
    }

    /// A line, above the progress bar if there is one.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(Bar { bar, .. }) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    /// A section begins.
    pub fn section(&mut self, title: &str, why: &str) {
        self.end_progress();
        self.sections += 1;
        self.line("");
        self.line(&self.paint("1", &format!("{}. {title}", self.sections)));
        for line in wrap(why, WIDTH - INDENT.len()) {
            self.line(&format!("{INDENT}{line}"));
        }
        self.line("");
    }

    /// Something was done or seen.
    pub fn fact(&self, text: &str) {
        self.item(" ", text);
    }

    /// A check that holds.
    pub fn checked(&self, text: &str) {
        self.item(&self.paint("32", "✓"), text);
    }

    /// A command of the guest.
    pub fn command(&self, text: &str) {
        let lines = wrap(text, WIDTH - INDENT.len() - 4);
        for (index, line) in lines.iter().enumerate() {
            let start = if index == 0 { "$ " } else { "    " };
            let end = if index + 1 == lines.len() { "" } else { " \\" };
            self.line(&self.paint("2", &format!("{INDENT}{start}{line}{end}")));
        }
    }

    fn item(&self, mark: &str, text: &str) {
        let lines = wrap(text, WIDTH - INDENT.len() - 2);
        for (index, line) in lines.iter().enumerate() {
            let mark = if index == 0 { mark } else { " " };
            self.line(&format!("{INDENT}{mark} {line}"));
        }
    }

    /// The restore has come this far.
    pub fn progress(&mut self, progress: Progress) {
        let Progress {
            delta,
            unrestored,
            commits,
        } = progress;
        let restored = delta.saturating_sub(unrestored);
        let bar = self.bar.get_or_insert_with(|| Bar::new(delta));
        bar.bar.set_message(format!("{commits} transactions"));
        bar.bar.set_position(restored);
        let tenth = restored * 10 / delta.max(1);
        let told = std::mem::replace(&mut bar.tenth, tenth);
        if !self.live && tenth > told {
            self.fact(&format!(
                "{restored} of {delta} extents restored, {commits} transactions committed"
            ));
        }
        if unrestored == 0 {
            self.end_progress();
        }
    }

    /// There is no restore any more.
    pub fn end_progress(&mut self) {
        if let Some(Bar { bar, .. }) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// `text` in bold (1), dim (2) or green (32), if the terminal can.
    pub fn paint(&self, style: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

impl Bar {
    fn new(delta: u64) -> Self {
        let template = "   [{bar:36}] {pos}/{len} extents restored, {msg}";
        let bar = ProgressBar::new(delta);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, tenth: 0 }
    }
}

/// Break text into lines of at most `width` characters, at blanks.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn text_is_wrapped_at_blanks() {
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrap("longer than that", 4), ["longer", "than", "that"]);
        assert!(wrap("", 4).is_empty());
    }
}
