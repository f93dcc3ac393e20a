//! The command line of `cargo xtask`.

use crate::run::Name;
use clap::{ArgGroup, Args, FromArgMatches, Parser, Subcommand};
use palimpsest_host::boot::DEFAULT_MEMORY_MIB;
use palimpsest_host::kernel::Target;
use palimpsest_host::protocol::{Limit, UnknownLimit};
use palimpsest_host::qemu::{Accelerator, Clock};
use palimpsest_host::setup::SetupOptions;
use std::ffi::OsString;
use std::path::PathBuf;

/// Sets up, runs and tests Palimpsest.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print results and errors only, nothing about work that goes on
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install what the other commands need: compilation targets, rustfmt, clippy, QEMU
    Setup,
    /// Boot the kernel in QEMU: with a Wasm file run it, without one take the tour
    Run(RunOptions),
    /// Initialize QuickJS in QEMU and write a snapshot of it to a file, from which
    /// `cargo xtask run --program quickjs --from FILE` continues in another machine
    Snapshot(SnapshotOptions),
    /// Run the tests on this machine and, in QEMU, one boot per test
    Test(TestOptions),
    /// Measure what things cost, against Linux in the same emulator and against the checked-in
    /// baseline
    #[command(disable_help_flag = true)]
    Bench {
        /// The options of the benchmark: `cargo xtask bench --help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        words: Vec<OsString>,
    },
    /// Prepare a Wasm file for engines that load it unchecked, for example from flash
    #[command(disable_help_flag = true)]
    Prepare {
        /// The options: `cargo xtask prepare --help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        words: Vec<OsString>,
    },
    /// Make CD images of the demonstration and of an example, which boot with a BIOS and with UEFI
    Iso(IsoOptions),
    /// Run random programs in QEMU, and compare frames, addresses and heap with what they must be
    Soak(SoakOptions),
    /// Everything that a change must pass: formatting, lints, documentation, all tests for both
    /// targets, the tour
    Ci(CiOptions),
    /// Run Wasm files of npm and PyPI here and under Node.js, and print what each does
    RealFiles(RealFilesOptions),
    /// Run the fuzz targets with pseudorandom inputs from a seed
    Fuzz(FuzzOptions),
    /// Run a selection of the tests under Miri, which needs a nightly toolchain with that component
    Miri,
    /// Take each flush, wait and hook out of the paging crate, and each call of a hook out of the
    /// engine, and check that the tests of several CPUs fail
    Mutants {
        /// Only those whose name contains this: `engine/` for all of a suite, for example
        #[arg(default_value = "", value_name = "NAME")]
        filter: String,
    },
    /// Check the licences, sources and versions of the dependencies against `deny.toml`
    Deny,
    /// Check the English of comments, documents, messages and names
    Prose(ProseOptions),
}

/// Options of `run`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("guest").args(["file", "program"]))]
pub(crate) struct RunOptions {
    /// The guest: a .wasm module, a .wat text, which is assembled first, or a file that
    /// `cargo xtask prepare` has written (with `--metered` if it is a program)
    pub(crate) file: Option<PathBuf>,
    /// The exported function to call and its arguments; words after `--` are arguments too
    #[arg(
        long,
        requires = "file",
        num_args = 1..,
        value_names = ["NAME", "ARGS"],
        allow_negative_numbers = true
    )]
    pub(crate) invoke: Vec<String>,
    /// Instead of a file: a program of another project, which is fetched or built first
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "file")]
    pub(crate) program: Option<Name>,
    /// Further arguments of the invoked function, or the arguments of the program
    #[arg(last = true, requires = "guest", value_name = "ARGS")]
    pub(crate) more_arguments: Vec<String>,
    /// An environment variable of the program; may be given several times
    #[arg(long, requires = "guest", value_name = "NAME=VALUE", value_parser = environment_variable)]
    pub(crate) env: Vec<(String, String)>,
    /// A directory of this machine that the program sees as `/`, read-only
    #[arg(long, requires = "guest", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// A file that the program reads from its standard input
    #[arg(long, requires = "guest", value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
    /// A limit of the guest, by its name in the engine's `Limits`; may be given several times
    #[arg(long, requires = "guest", value_name = "NAME=VALUE", value_parser = limit)]
    pub(crate) limit: Vec<(Limit, u64)>,
    /// Initialize the program once, and let this many forks of it do its work, all of them alive at
    /// once. The script of `--program quickjs` finds its number in the variable `fork`. The
    /// function of `--invoke` gets the number as its argument, and `_initialize` of its file must
    /// call `palimpsest.snapshot_ready`
    #[arg(
        long,
        requires = "guest",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) forks: Option<u32>,
    /// Do not initialize the program, but continue from a snapshot that `cargo xtask snapshot` has
    /// written. The program and its directory must be the same
    #[arg(long, requires = "program", value_name = "FILE", conflicts_with_all = ["file", "forks"])]
    pub(crate) from: Option<PathBuf>,
    /// Memory of the virtual machine in MiB
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = DEFAULT_MEMORY_MIB,
        value_parser = clap::value_parser!(u32).range(32..)
    )]
    pub(crate) memory: u32,
    /// The number of CPUs of the virtual machine. The tour runs guests on all of them. Of another
    /// guest each call, or each slice, is on one that is chosen at random
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// What executes the virtual machine's code
    #[arg(long, value_enum, default_value_t = Accelerator::Tcg)]
    pub(crate) accel: Accelerator,
    /// The compilation target of the kernel: gnu has hardware floats, none has soft floats
    #[arg(long, value_enum, default_value_t = Target::Gnu)]
    pub(crate) target: Target,
    /// Write the kernel's report to this file
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,
    /// Let the virtual machine's clock count instructions: the cost figures become reproducible
    #[arg(long)]
    pub(crate) icount: bool,
    /// Whether missing things are installed
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
    /// Time limit in seconds, after which the virtual machine is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) timeout: u64,
}

impl RunOptions {
    /// Parses the words after `cargo xtask run`.
    ///
    /// # Errors
    /// The words are not a command line of `run`.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("cargo xtask run").no_binary_name(true));
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    /// What the virtual machine's clock counts.
    pub(crate) const fn clock(&self) -> Clock {
        if self.icount { Clock::Instructions } else { Clock::Host }
    }
}

/// Options of `snapshot`.
#[derive(Args, Debug)]
pub(crate) struct SnapshotOptions {
    /// The file that is written
    pub(crate) file: PathBuf,
    /// A directory of this machine that the program sees as `/`, read-only
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The compilation target of the kernel
    #[arg(long, value_enum, default_value_t = Target::Gnu)]
    pub(crate) target: Target,
    /// Whether missing things are installed
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// Reads `NAME=VALUE`.
fn environment_variable(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("write a name, `=` and a value".to_owned()),
    }
}

/// Reads `NAME=VALUE` with the name of a limit and a number, in which `_` may separate digits.
fn limit(word: &str) -> Result<(Limit, u64), String> {
    let (name, value) = word.split_once('=').ok_or("write the name of a limit, `=` and a number")?;
    let limit: Limit = name.parse().map_err(|error: UnknownLimit| error.to_string())?;
    let number = value.replace('_', "").parse();
    number
        .map(|number| (limit, number))
        .map_err(|_| format!("{value:?} is not a whole number up to 2^64 - 1"))
}

/// Options of `test`.
#[derive(Args, Debug)]
pub(crate) struct TestOptions {
    /// Run only the tests of this machine
    #[arg(long, conflicts_with = "vm")]
    pub(crate) host: bool,
    /// Run only the WebAssembly specification's tests, on this machine and in QEMU, with a figure
    /// per file
    #[arg(long, conflicts_with_all = ["host", "vm"])]
    pub(crate) spec: bool,
    /// Run only the tests in QEMU, those whose name contains NAME if it is given
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    pub(crate) vm: Option<Option<String>>,
    /// Run only the hostile guests in QEMU, those whose name contains NAME if it is given, and
    /// print how long each cause kept the kernel from running something else
    #[arg(long, value_name = "NAME", num_args = 0..=1, conflicts_with_all = ["host", "spec", "vm", "cpus"])]
    pub(crate) hostile: Option<Option<String>>,
    /// The number of CPUs of each machine in QEMU. A test that needs more gets the number that it
    /// needs. Tests that count instructions, hostile guests among them, run on one CPU and are left
    /// out on several
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// The compilation target of the kernel
    #[arg(long, value_enum, default_value_t = Target::Gnu)]
    pub(crate) target: Target,
    /// Whether missing things are installed
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// Options of `soak`.
#[derive(Args, Debug)]
pub(crate) struct SoakOptions {
    /// The time after which no further round begins
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) minutes: u64,
    /// The seed of the programs; by default the time of day
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Stop after this many rounds, without a limit of time
    #[arg(long, value_name = "R", conflicts_with = "minutes")]
    pub(crate) rounds: Option<u64>,
    /// The number of CPUs. With several, guests are cleared on one and resumed on another, while
    /// freed frames are overwritten
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// The compilation target of the kernel
    #[arg(long, value_enum, default_value_t = Target::Gnu)]
    pub(crate) target: Target,
    /// Whether missing things are installed
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// Options of `iso`.
#[derive(Args, Debug)]
pub(crate) struct IsoOptions {
    /// Instead: make an image of the example for Limine, with the loader's binaries of this folder:
    /// `limine-bios.sys`, `limine-bios-cd.bin` and `limine-uefi-cd.bin` of Limine 9 or later
    #[arg(long, value_name = "FOLDER")]
    pub(crate) limine: Option<PathBuf>,
    /// Whether missing things are installed
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// Options of `ci`.
#[derive(Args, Debug)]
pub(crate) struct CiOptions {
    /// Skip what `cargo xtask test` does, for a script that calls both
    #[arg(long)]
    pub(crate) without_test: bool,
    /// Whether missing things are installed
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// Options of `real-files`.
#[derive(Args, Debug)]
pub(crate) struct RealFilesOptions {
    /// Only the files with this in their package's name or their path
    pub(crate) name: Option<String>,
    /// Whether missing things are installed
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// Options of `fuzz`. Without a bound, each target runs as many inputs as in `ci`.
#[derive(Args, Debug)]
pub(crate) struct FuzzOptions {
    /// Run only this target
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// Run each target for this time
    #[arg(long, value_name = "N", conflicts_with = "runs")]
    pub(crate) minutes: Option<u32>,
    /// Run this many inputs of each target
    #[arg(long, value_name = "N")]
    pub(crate) runs: Option<u64>,
    /// The inputs are numbers from this seed
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Run the input in this file instead
    #[arg(long, value_name = "PATH", requires = "target", conflicts_with_all = ["minutes", "runs", "seed"])]
    pub(crate) input: Option<PathBuf>,
    /// Compare with wasmtime too, which takes minutes to build
    #[arg(long)]
    pub(crate) wasmtime: bool,
}

/// Options of `prose`.
#[derive(Args, Debug)]
pub(crate) struct ProseOptions {
    /// Files and folders to check, relative to the root; by default all that are finished
    pub(crate) paths: Vec<PathBuf>,
    /// Print for each folder how often the refused words occur in comments, instead of where
    #[arg(long)]
    pub(crate) count: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn run_options(words: &[&str]) -> Result<RunOptions, clap::Error> {
        match Cli::try_parse_from(["xtask", "run"].iter().chain(words))?.command {
            Command::Run(options) => Ok(options),
            Command::Setup
            | Command::Snapshot(_)
            | Command::Test(_)
            | Command::Bench { .. }
            | Command::Prepare { .. }
            | Command::Iso(_)
            | Command::Soak(_)
            | Command::Ci(_)
            | Command::RealFiles(_)
            | Command::Fuzz(_)
            | Command::Miri
            | Command::Mutants { .. }
            | Command::Deny
            | Command::Prose(_) => {
                unreachable!("the words begin with `run`")
            }
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn negative_arguments_need_no_separator() -> Result<(), clap::Error> {
        let options = run_options(&["a.wat", "--invoke", "add", "-1", "2.5", "--memory", "512"])?;
        assert_eq!(options.invoke, ["add", "-1", "2.5"]);
        assert_eq!(options.memory, 512);
        Ok(())
    }

    #[test]
    fn any_word_after_the_separator_is_an_argument() -> Result<(), clap::Error> {
        let options = run_options(&["a.wat", "--invoke", "add", "--", "-1", "-inf", "--memory"])?;
        assert_eq!(options.invoke, ["add"]);
        assert_eq!(options.more_arguments, ["-1", "-inf", "--memory"]);
        Ok(())
    }

    #[test]
    fn a_program_takes_words_variables_and_a_directory() -> Result<(), clap::Error> {
        let words = ["--program", "quickjs", "--env", "A=b=c", "--env", "D=", "--dir", "x", "--", "-e", "1"];
        let options = run_options(&words)?;
        assert_eq!(options.program, Some(Name::Quickjs));
        assert_eq!(options.more_arguments, ["-e", "1"]);
        assert_eq!(options.env, [("A".to_owned(), "b=c".to_owned()), ("D".to_owned(), String::new())]);
        Ok(())
    }

    #[test]
    fn forks_are_those_of_a_program() -> Result<(), clap::Error> {
        let options = run_options(&["--program", "quickjs", "--forks", "1000", "--", "-e", "print(fork)"])?;
        assert_eq!(options.forks, Some(1000));
        let words = ["--program", "quickjs", "--forks", "2", "--from", "x"];
        for words in [["--forks", "2"].as_slice(), &["a.wat", "--from", "x"], &words[..3], &words] {
            assert!(run_options(words).is_err(), "{words:?}");
        }
        Ok(())
    }

    #[test]
    fn an_unknown_program_is_refused_with_the_known_ones() {
        let error = run_options(&["--program", "doom"]).expect_err("the name is unknown").to_string();
        assert!(error.contains("quickjs") && error.contains("malloc-churn"), "{error}");
    }

    #[test]
    fn a_file_and_a_program_exclude_each_other() {
        let error = run_options(&["a.wat", "--program", "quickjs"]).expect_err("one guest at a time");
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn a_variable_has_a_name() {
        for word in ["=value", "name"] {
            let error = run_options(&["a.wat", "--env", word]).expect_err("the name or the value is missing");
            assert_eq!(error.kind(), ErrorKind::ValueValidation);
        }
    }

    #[test]
    fn limits_are_numbers_with_a_name() -> Result<(), clap::Error> {
        let options = run_options(&["a.wat", "--limit", "module_bytes=64_000_000", "--limit", "fuel=5"])?;
        assert_eq!(options.limit, [(Limit::ModuleBytes, 64_000_000), (Limit::Fuel, 5)]);
        for word in ["module_bytes", "module_bytes=", "module_bytes=-1", "module_bytes=1M"] {
            let error = run_options(&["a.wat", "--limit", word]).expect_err("the number is missing");
            assert_eq!(error.kind(), ErrorKind::ValueValidation);
        }
        Ok(())
    }

    #[test]
    fn an_unknown_limit_is_refused_with_the_known_ones() {
        let error =
            run_options(&["a.wat", "--limit", "bytes=1"]).expect_err("the name is unknown").to_string();
        assert!(error.contains("module_bytes") && error.contains("reentry_depth"), "{error}");
    }

    #[test]
    fn a_function_cannot_be_called_without_a_file() {
        let error = run_options(&["--invoke", "add"]).expect_err("the file is missing");
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn a_machine_too_small_for_the_kernel_is_refused() {
        let error = run_options(&["--memory", "8"]).expect_err("8 MiB are too small for the kernel");
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
    }

    #[test]
    fn an_input_of_a_fuzz_target_needs_the_target() {
        let words = ["xtask", "fuzz", "--input", "x"];
        let error = Cli::try_parse_from(words).expect_err("the target is missing");
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn the_name_of_an_emulator_test_may_be_left_out() -> Result<(), clap::Error> {
        for (words, expected) in
            [(["test", "--vm", "boots"].as_slice(), Some("boots")), (&["test", "--vm"], None)]
        {
            let Command::Test(options) = Cli::try_parse_from(["xtask"].iter().chain(words))?.command else {
                unreachable!("the words begin with `test`");
            };
            assert_eq!(options.vm, Some(expected.map(str::to_owned)));
        }
        Ok(())
    }
}
