// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::kernel::KernelArg;
use crate::{bench, demo, fuzz, lint, mutants, root, setup, shell, sim, soak, test};

/// Build, run and check dm-restore.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the module for a stock Debian kernel: build/dm-restore.ko
    Build {
        #[command(flatten)]
        kernel: KernelArg,
    },
    /// A shell in the virtual machine, with the module loaded and three disks
    Vm {
        #[command(flatten)]
        kernel: KernelArg,
        /// Run this in the guest's shell instead of an interactive one
        #[arg(short, long)]
        command: Option<String>,
        /// Size of source and clone, MiB
        #[arg(long, default_value_t = 2048)]
        size: u64,
        /// Do not load the module
        #[arg(long)]
        bare: bool,
        /// The debug kernel instead of the stock one
        #[arg(long)]
        debug: bool,
    },
    /// Damage a database and use it again long before its data is copied back
    Demo {
        #[command(flatten)]
        kernel: KernelArg,
    },
    /// Run every test, on the host and in the virtual machine
    Test {
        #[command(flatten)]
        kernel: KernelArg,
        /// Only the suites and tests whose name contains this
        filter: Option<String>,
        /// Only the tests on the host
        #[arg(long, conflicts_with = "vm")]
        host: bool,
        /// Only the tests in the virtual machine
        #[arg(long)]
        vm: bool,
        /// More arguments for the programs of the suites; there is no time limit then
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// Run the suites of the virtual machine in a kernel with KASAN, lockdep and their like
    TestDebug {
        #[command(flatten)]
        kernel: KernelArg,
        /// Only the suites and tests whose name contains this
        filter: Option<String>,
    },
    /// Measure ours and its peers side by side, in the virtual machine
    Bench {
        #[command(flatten)]
        kernel: KernelArg,
        #[command(flatten)]
        what: bench::What,
    },
    /// Measure how cost grows with volume, extents and processors, in the virtual machine
    BenchScaling {
        #[command(flatten)]
        kernel: KernelArg,
        #[command(flatten)]
        what: bench::scaling::What,
    },
    /// Breed hostile input for the engine
    Fuzz {
        #[command(flatten)]
        what: fuzz::What,
    },
    /// Power cuts on the real module, on from where the last run has stopped
    Soak {
        #[command(flatten)]
        kernel: KernelArg,
        /// What the soak is told; `--help` says what there is
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Deliberate faults in the engine, and what catches each
    Mutants {
        #[command(flatten)]
        what: mutants::What,
    },
    /// Simulated power cuts and failing devices: a million crash points (--help: how to run others)
    #[command(disable_help_flag = true)]
    Sim {
        /// Handed on to the simulation
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Formatting, clippy, documentation, licences, `unsafe` and panics
    Lint {
        #[command(flatten)]
        kernel: KernelArg,
    },
}

/// Parse the arguments and do what they say.
///
/// # Errors
///
/// Whatever stopped the command, with its cause.
pub fn run() -> Result<ExitCode> {
    let cli = Cli::parse();
    root::enter()?;
    match cli.command {
        Command::Build { kernel } => setup::build(&kernel).map(|_| ExitCode::SUCCESS),
        Command::Vm {
            kernel,
            command,
            size,
            bare,
            debug,
        } => {
            let machine = if debug {
                setup::debug_machine(&kernel)?
            } else {
                setup::machine(&kernel)?
            };
            shell::run(machine, command.as_deref(), size, bare)
        }
        Command::Demo { kernel } => demo::run(&kernel),
        Command::Test {
            kernel,
            filter,
            host,
            vm,
            words,
        } => {
            let what = test::What {
                filter: filter.unwrap_or_default(),
                host: !vm,
                vm: !host,
                debug: false,
                words,
            };
            test::run(&kernel, &what)
        }
        Command::TestDebug { kernel, filter } => {
            let what = test::What {
                filter: filter.unwrap_or_default(),
                host: false,
                vm: true,
                debug: true,
                words: Vec::new(),
            };
            test::run(&kernel, &what)
        }
        Command::Bench { kernel, what } => bench::run(&kernel, &what),
        Command::BenchScaling { kernel, what } => bench::scaling::run(&kernel, &what),
        Command::Fuzz { what } => fuzz::run(&what),
        Command::Soak { kernel, words } => soak::run(&kernel, &words),
        Command::Mutants { what } => mutants::run(&what),
        Command::Sim { args } => sim::run(&args),
        Command::Lint { kernel } => lint::run(&kernel),
    }
}
