// SPDX-License-Identifier: GPL-2.0

//! The source files, and checks of their text.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Result};
use walkdir::{DirEntry, WalkDir};

use crate::paths;

/// Every source file of the clone, with its text.
pub struct Sources {
    files: Vec<Source>,
}

/// One source file.
pub struct Source {
    /// Relative to the clone's top.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl Source {
    fn extension(&self) -> &str {
        let extension = self.path.extension();
        extension
            .and_then(|extension| extension.to_str())
            .unwrap_or_default()
    }

    /// A Rust file.
    pub fn rust(&self) -> bool {
        self.extension() == "rs"
    }

    /// A shell script.
    pub fn shell(&self) -> bool {
        self.text.starts_with("#!/bin/bash") || self.text.starts_with("#!/bin/sh")
    }

    fn needs_licence(&self) -> bool {
        let makefile = self.path.ends_with("Kbuild") || self.path.ends_with("Makefile");
        let kinds = [
            "rs", "c", "h", "S", "py", "sh", "toml", "rst", "packages", "modules",
        ];
        let config = self.path.ends_with("rustfmt.toml") || self.path.starts_with(".cargo");
        !config && (makefile || self.text.starts_with("#!") || kinds.contains(&self.extension()))
    }
}

impl Sources {
    /// Find them.
    ///
    /// # Errors
    ///
    /// A directory cannot be read.
    pub fn find() -> Result<Self> {
        let top = paths::repo();
        let mut files = Vec::new();
        for entry in WalkDir::new(top)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(ours)
        {
            let entry = entry?;
            let text = fs::read(entry.path())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            if let (true, Some(text)) = (entry.file_type().is_file(), text) {
                let path = entry.path().strip_prefix(top)?.to_owned();
                files.push(Source { path, text });
            }
        }
        Ok(Self { files })
    }

    /// Those that `wanted` wants.
    pub fn all(&self, wanted: fn(&Source) -> bool) -> impl Iterator<Item = &Source> {
        self.files.iter().filter(move |file| wanted(file))
    }

    /// Every source file says its licence in its first lines.
    pub fn spdx(&self) -> Result<()> {
        let without = self.files.iter().filter(|file| {
            let mut first = file.text.lines().take(3);
            file.needs_licence()
                && !first.any(|line| line.contains("SPDX-License-Identifier: GPL-2.0"))
        });
        none(without.map(|file| file.path.display().to_string()))
    }

    /// `unsafe` is nowhere but in `src/dm/`.
    pub fn unsafe_code(&self) -> Result<()> {
        let outside = self
            .all(Source::rust)
            .filter(|file| !file.path.starts_with("src/dm"));
        let found = outside.flat_map(|file| {
            let lines = file.text.lines().zip(1..);
            let unsafe_lines = lines.filter(|(line, _)| has_unsafe(line));
            unsafe_lines.map(|(_, number)| at(&file.path, number))
        });
        none(found)
    }
}

/// Not what builds and version control keep in the clone.
fn ours(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let output = entry.depth() == 1 && [".git", "build", "target"].contains(&&*name);
    !output && !name.ends_with("_generated.rs")
}

fn at(path: &Path, line: usize) -> String {
    format!("{}:{line}", path.display())
}

fn none(found: impl Iterator<Item = String>) -> Result<()> {
    let found: Vec<_> = found.collect();
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    Ok(())
}

/// Whether a line has the keyword, outside of a comment and of a string.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let outside_strings = code.split('"').step_by(2);
    let word = |c: char| !(c.is_alphanumeric() || c == '_');
    outside_strings
        .flat_map(|code| code.split(word))
        .any(|word| word == "unsafe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_is_found() {
        assert!(has_unsafe("    let x = unsafe { y() };"));
        assert!(has_unsafe("unsafe impl Send for X {}"));
    }

    #[test]
    fn its_name_is_no_use_of_it() {
        assert!(!has_unsafe("// unsafe is only in src/dm"));
        assert!(!has_unsafe("#![forbid(unsafe_code)]"));
        assert!(!has_unsafe(&format!("word == {:?}", "unsafe")));
    }

    #[test]
    fn a_file_without_licence_is_found() {
        let sources = |text: &str| Sources {
            files: vec![Source {
                path: "src/a.rs".into(),
                text: text.into(),
            }],
        };
        assert!(sources("//! no licence\n").spdx().is_err());
        assert!(sources("// SPDX-License-Identifier: GPL-2.0\n")
            .spdx()
            .is_ok());
    }
}
