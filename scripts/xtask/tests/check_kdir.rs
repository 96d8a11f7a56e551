// SPDX-License-Identifier: GPL-2.0

//! `scripts/check-kdir`: what a build tree must have, and what is said of one that does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler of the trees.
const RUSTC: &str = "rustc 1.85.1 (4eb161250 2025-03-15) (built from a source tarball)";

/// Metadata of the crates that are always there; `zerocopy` is named by kbuild.
const CRATES: [&str; 9] = [
    "core",
    "compiler_builtins",
    "ffi",
    "build_error",
    "bindings",
    "uapi",
    "kernel",
    "pin_init",
    "zerocopy",
];
const MACROS: [&str; 3] = ["macros", "pin_init_internal", "zerocopy_derive"];

/// The trees of a test, and programs for it.
struct Trees(tempfile::TempDir);

impl Trees {
    /// Headers with what kbuild needs of them, apart from the build tree that leads to them, as in
    /// the headers packages of distributions and as with `O=`.
    fn new() -> Self {
        let trees = Self(tempfile::tempdir().expect("a directory"));
        for header in ["device-mapper", "dm-io", "dm-kcopyd"] {
            trees.put(&format!("common/include/linux/{header}.h"), "");
        }
        let externs = "--extern pin_init --extern kernel \\\n --extern zerocopy --extern zerocopy_derive \\\n";
        trees.put("common/scripts/Makefile.build", externs);
        let common = trees.path("common");
        let makefile = format!(
            "KBUILD_OUTPUT=/somewhere\ninclude {}/Makefile\n",
            common.display()
        );
        trees.put(
            "common/Makefile",
            "include $(srctree)/scripts/Kbuild.include\n",
        );
        trees.put("build/Makefile", &makefile);
        trees.put(
            "build/include/config/auto.conf",
            "CONFIG_RUST=y\nCONFIG_X86=y\nCONFIG_BLK_DEV_DM=m\nCONFIG_XXHASH=y\n",
        );
        for name in CRATES {
            trees.put(
                &format!("build/rust/lib{name}.rmeta"),
                &format!("rust\0\0\0\x09\0\0A{RUSTC}\x03\0\x0a{name}"),
            );
        }
        for name in MACROS {
            trees.put(&format!("build/rust/lib{name}.so"), "");
        }
        trees.put("build/scripts/target.json", "{}");
        trees.program("rustc", &format!("echo '{RUSTC}'"));
        trees.program("bindgen", "");
        trees
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        let folder = path.parent().expect("a folder");
        fs::create_dir_all(folder).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn program(&self, name: &str, script: &str) {
        self.put(name, &format!("#!/bin/sh\n{script}\n"));
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path(name), mode).expect("a program");
    }

    fn without(self, name: &str) -> Self {
        let path = self.path(name);
        if path.is_dir() {
            fs::remove_dir_all(path).expect("it was there");
        } else {
            fs::remove_file(path).expect("it was there");
        }
        self
    }

    fn with(self, name: &str, text: &str) -> Self {
        self.put(name, text);
        self
    }

    /// What is said of the tree `name`: nothing if it will do.
    fn said_of(&self, name: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../check-kdir");
        let mut check = Command::new(script);
        check.arg(self.path(name));
        check.env("RUSTC", self.path("rustc"));
        check.env("BINDGEN", self.path("bindgen"));
        let ran = check.output().expect("it runs");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.success(), said.is_empty(), "{said}");
        said
    }

    /// The build tree is refused, and each of the words is said.
    fn is_refused(&self, words: &[&str]) {
        let said = self.said_of("build");
        for word in words {
            assert!(said.contains(word), "no '{word}' in: {said}");
        }
    }
}

#[test]
fn a_headers_package_with_rust_metadata_will_do() {
    assert_eq!(Trees::new().said_of("build"), "");
}

#[test]
fn a_source_tree_will_do() {
    let trees = Trees::new();
    let headers = trees.path("common/include");
    let to = trees.path("build/include");
    fs::rename(headers.join("linux"), to.join("linux")).expect("moved");
    let trees = trees
        .with("build/Makefile", "include $(srctree)/arch/x86/Makefile\n")
        .without("common");
    assert_eq!(trees.said_of("build"), "");
}

#[test]
fn metadata_that_is_missing_is_named() {
    let without = |file: &str| Trees::new().without(&format!("build/rust/{file}"));
    without("libkernel.rmeta").is_refused(&["Rust metadata", "of: kernel.", "copy"]);
    without("libzerocopy.rmeta").is_refused(&["of: zerocopy."]);
    without("libmacros.so").is_refused(&["of: macros."]);
    let stock = Trees::new().without("build/rust");
    stock.is_refused(&["build_error compiler_builtins core", "modules_prepare"]);
}

#[test]
fn headers_that_are_missing_are_named() {
    let away = Trees::new().without("common");
    away.is_refused(&["leads to", "does not exist", "-common"]);
    let some = Trees::new().without("common/include/linux/dm-kcopyd.h");
    some.is_refused(&["lack include/linux/dm-kcopyd.h"]);
}

#[test]
fn x86_needs_its_target() {
    let trees = Trees::new().without("build/scripts/target.json");
    trees.is_refused(&["scripts/target.json"]);
    let arm = "CONFIG_RUST=y\nCONFIG_ARM64=y\nCONFIG_BLK_DEV_DM=m\nCONFIG_XXHASH=y\n";
    let trees = trees.with("build/include/config/auto.conf", arm);
    assert_eq!(trees.said_of("build"), "");
}

#[test]
fn the_compiler_is_the_one_of_the_metadata() {
    let other = RUSTC.replace("1.85.1", "1.86.0");
    let trees = Trees::new();
    trees.program("rustc", &format!("echo '{other}'"));
    trees.is_refused(&[RUSTC, &other]);
    trees.without("rustc").is_refused(&["There is no", RUSTC]);
    let broken = Trees::new().with("build/rust/libcore.rmeta", "no metadata");
    broken.is_refused(&["libcore.rmeta", "is no Rust metadata"]);
}

#[test]
fn what_the_configuration_lacks_is_named() {
    let with = |text: &str| Trees::new().with("build/include/config/auto.conf", text);
    with("CONFIG_BLK_DEV_DM=m\n").is_refused(&["CONFIG_RUST"]);
    with("CONFIG_RUST=y\n").is_refused(&["CONFIG_BLK_DEV_DM"]);
    with("CONFIG_RUST=y\nCONFIG_BLK_DEV_DM=m\n").is_refused(&["CONFIG_XXHASH"]);
    let unprepared = Trees::new().without("build/include/config");
    unprepared.is_refused(&["not configured"]);
    Trees::new().without("bindgen").is_refused(&["bindgen"]);
}
