// SPDX-License-Identifier: GPL-2.0

//! Functions that the module gives to C have the types that C calls them by.
//!
//! A kernel with `CONFIG_CFI` compares a hash of the type at each call through a pointer, and traps
//! where it differs. The stock kernel has no CFI, so nothing there would show. So here rustc computes
//! the hashes of the module's functions, and clang those of `tests/cfi/callbacks.c`, both with the
//! flags of such a kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{bail, Context, Result};

use super::sources::{Source, Sources};
use crate::tree::Tree;
use crate::{module, paths, run};

/// As in the kernel's Makefile.
const RUSTC: &str =
    "-Zsanitizer=kcfi -Zsanitizer-cfi-normalize-integers -Zmerge-functions=disabled";

/// What the names of functions begin with that C has and the module calls.
const CALLED: &str = "called__";

/// Every callback is declared in C, and has the same type.
pub fn check(tree: &Tree, sources: &Sources) -> Result<()> {
    let out = paths::build().join(format!("cfi-{}", tree.kernel.release));
    fs::create_dir_all(&out)?;
    let log = paths::build().join("cfi.log");
    let _ = fs::remove_file(&log);
    let mut rust = module::kbuild(tree, &out);
    rust.arg("src/dm_restore_main.ll");
    run::logged(rust.env("KRUSTFLAGS", RUSTC), &log, &mut |_| ())?;
    let mut c = module::kbuild(tree, &out);
    c.args(["CLANG=clang-19", "tests/cfi/callbacks.ll"]);
    run::logged(&mut c, &log, &mut |_| ())?;
    let read = |name: &str| {
        let path = out.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let faults = compare(
        &callbacks(sources),
        &read("src/dm_restore_main.ll")?,
        &read("tests/cfi/callbacks.ll")?,
    );
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

/// The functions with the calling convention of C in `src/dm`, as `<file>__<function>`.
fn callbacks(sources: &Sources) -> BTreeSet<String> {
    let files = sources.all(Source::rust);
    let files = files.filter(|file| file.path.starts_with("src/dm"));
    let names = files.flat_map(|file| {
        let module = file.path.file_stem().unwrap_or_default().to_string_lossy();
        let functions = functions(&file.text);
        functions.map(move |function| format!("{module}__{function}"))
    });
    names.collect()
}

fn functions(text: &str) -> impl Iterator<Item = &str> {
    let after = text.split("extern \"C\" fn ").skip(1);
    let names = after.filter_map(|rest| {
        rest.split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .next()
    });
    names.filter(|name| !name.is_empty())
}

/// What is wrong with the module's `callbacks`.
fn compare(callbacks: &BTreeSet<String>, rust: &str, c: &str) -> Vec<String> {
    let (module, wanted) = (Types::of(rust), Types::of(c));
    let mut faults = Vec::new();
    for name in callbacks {
        if !wanted.functions.contains_key(name.as_str()) {
            faults.push(format!("{name} is missing in tests/cfi/callbacks.c"));
        }
    }
    for (name, wanted) in &wanted.functions {
        if name.starts_with(CALLED) {
            if !module.called.contains(wanted) {
                faults.push(format!("no call in the module is of the type of {name}"));
            }
            continue;
        }
        let found: Vec<_> = module
            .functions
            .iter()
            .filter(|(symbol, _)| is(symbol, name))
            .collect();
        match found[..] {
            [] => faults.push(format!("{name} is not in the module")),
            _ if found.iter().any(|(_, found)| found != &wanted) => {
                faults.push(format!("the type of {name} is not the one of C"));
            }
            _ => {}
        }
    }
    faults
}

/// Whether a mangled symbol is of `<file>__<function>` in `src/dm`, a method or not.
fn is(symbol: &str, name: &str) -> bool {
    let Some((module, function)) = name.split_once("__") else {
        return false;
    };
    let module = format!("2dm{}{module}", module.len());
    let function = format!("{}{function}", function.len());
    // Closures in it have another beginning.
    symbol.starts_with("_RNv")
        && symbol.split_once(&*module).is_some_and(|(_, rest)| {
            let mut places = rest.match_indices(&*function);
            places.any(|(at, _)| !rest[..at].ends_with(|c: char| c.is_ascii_digit()))
        })
}

/// The hashes in LLVM's text.
#[derive(Default)]
struct Types<'a> {
    /// Of functions.
    functions: BTreeMap<&'a str, &'a str>,
    /// Of calls through pointers.
    called: BTreeSet<&'a str>,
}

impl<'a> Types<'a> {
    fn of(text: &'a str) -> Self {
        let hashes: BTreeMap<_, _> = text.lines().filter_map(hash).collect();
        let mut types = Self::default();
        for line in text.lines() {
            let calls = line.split("\"kcfi\"(i32 ").skip(1);
            types
                .called
                .extend(calls.filter_map(|rest| rest.split(')').next()));
            if !(line.starts_with("define ") || line.starts_with("declare ")) {
                continue;
            }
            let node = word_behind(line, "!kcfi_type !").and_then(|node| hashes.get(node));
            if let (Some(name), Some(hash)) = (word_behind(line, "@"), node) {
                types.functions.insert(name, hash);
            }
        }
        types
    }
}

/// A node of metadata that is a number: `!7 = !{i32 -12}`.
fn hash(line: &str) -> Option<(&str, &str)> {
    let (node, value) = line.strip_prefix('!')?.split_once(" = !{i32 ")?;
    Some((node, value.strip_suffix('}')?))
}

fn word_behind<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(mark)?;
    rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: &str = "\
declare !kcfi_type !6 void @queue__start(ptr noundef) #0
declare !kcfi_type !7 i32 @called__visit(ptr noundef) #0
!6 = !{i32 -12}
!7 = !{i32 34}
";

    /// The module, with these hashes for its function and its call.
    fn module(function: i32, call: i32) -> String {
        format!(
            "define internal void @_RNvMs_NtNtCs1_15dm_restore_main2dm5queueINtB4_3JobNtB8_4CoreE5startB8_(ptr %x) #1 !dbg !1 !kcfi_type !9 {{
  %r = call i32 %p(ptr %x) [ \"kcfi\"(i32 {call}) ], !dbg !2
define internal void @_RNCNvMs_NtNtCs1_15dm_restore_main2dm5queueINtB4_3JobE5start0(ptr %x) #1 !kcfi_type !8 {{
!8 = !{{i32 1}}
!9 = !{{i32 {function}}}
"
        )
    }

    fn start() -> BTreeSet<String> {
        functions("    unsafe extern \"C\" fn start(work: *mut work_struct) {\n fn_: Option<unsafe extern \"C\" fn(u8)>")
            .map(|name| format!("queue__{name}"))
            .collect()
    }

    #[test]
    fn the_same_types_are_no_fault() {
        assert_eq!(compare(&start(), &module(-12, 34), C), Vec::<String>::new());
    }

    #[test]
    fn another_type_is_told() {
        let faults = compare(&start(), &module(12, 34), C);
        assert_eq!(faults, ["the type of queue__start is not the one of C"]);
        let faults = compare(&start(), &module(-12, 35), C);
        assert_eq!(
            faults,
            ["no call in the module is of the type of called__visit"]
        );
    }

    #[test]
    fn what_is_missing_on_either_side_is_told() {
        let more = BTreeSet::from(["queue__due".to_owned()]);
        let faults = compare(&more, &module(-12, 34), C);
        assert_eq!(faults, ["queue__due is missing in tests/cfi/callbacks.c"]);
        let faults = compare(&start(), "", C);
        assert_eq!(faults[1], "queue__start is not in the module");
    }
}
