// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask vm`: a shell in the virtual machine.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::cache::Lock;
use crate::setup::Setup;
use crate::vm::{self, create_disk, Config, Disk, Vm};
use crate::{module, paths};

/// Start the machine with source, clone and metadata, and a shell (or `command`) in it.
///
/// # Errors
///
/// Something could not be built, or the machine does not start.
pub fn run(machine: Setup, command: Option<&str>, mib: u64, bare: bool) -> Result<ExitCode> {
    let Setup { tree, guest } = machine;
    let mut config = Config::new("shell", guest);
    let _lock = Lock::take(&paths::build().join("vm/shell.lock"))?;
    let mut script = String::new();
    if !bare && module::exists() {
        let module = module::build(&tree)?;
        config.payload.push((module::FILE.into(), module.stripped));
        script += "modprobe dm-mod && insmod /payload/dm-restore.ko\n";
    }
    config.disks = disks(mib)?;
    config.timeout = Duration::from_secs(24 * 3600);
    match command {
        Some(command) => {
            config.command = script + command;
            let outcome = Vm::start(config)?.run(|line| println!("{line}"))?;
            outcome.check()?;
        }
        None => interactive(config, script)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Source, clone and metadata, kept between runs.
fn disks(mib: u64) -> Result<Vec<Disk>> {
    let dir = paths::build().join("vm/disks");
    let sizes = [("source", mib), ("clone", mib), ("metadata", 64)];
    sizes
        .into_iter()
        .map(|(name, mib)| {
            let path: PathBuf = dir.join(format!("{name}.img"));
            let bytes = mib << 20;
            if std::fs::metadata(&path).map(|data| data.len()).ok() != Some(bytes) {
                create_disk(&path, bytes)?;
            }
            Ok(Disk::new(name, path))
        })
        .collect()
}

fn interactive(mut config: Config, mut script: String) -> Result<()> {
    let (rows, columns) = match rustix::termios::tcgetwinsize(std::io::stdin()) {
        Ok(size) if size.ws_row > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    };
    script += &format!("stty rows {rows} cols {columns} sane\n");
    script += "cat <<'EOF'\n";
    script += "Disks: /dev/disk/by-id/virtio-{source,clone,metadata}. Leave with exit.\n";
    script += "The kernel's messages: dmesg, or build/vm/shell/console.log outside.\nEOF\n";
    script += "export PS1='guest \\w # '\nexec bash --norc -i\n";
    config.command = script;
    config.terminal = true;
    vm::interactive(&config, Stdio::inherit)
}
