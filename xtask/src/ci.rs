//! `cargo xtask ci`: everything that a change must pass.
//!
//! Each check is a command line, which is printed so that it can be repeated by hand. All checks
//! run even if one fails. Lints, documentation, builds, fuzzing and Miri come first, in lanes that
//! run at the same time. A lane has its output directories of cargo for itself, because cargo locks
//! them. Its checks are printed when they end. The emulator tests follow, and then lanes with the
//! tour and the comparison of instruction counts of each target, and with the specification's
//! tests. `.ci/run` calls this and then `cargo xtask test`.

use crate::cli::CiOptions;
use crate::miri;
use crate::test_runner::{self, Images};
use anyhow::{Context, Result};
use duct::{Expression, cmd};
use palimpsest_host::kernel::{self, Target};
use palimpsest_host::setup::{self, EVERYTHING, MissingPolicy};
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workers;
use palimpsest_host::workspace::{Variable, WITHOUT_LTO, Workspace};
use std::env;
use std::process::{ExitCode, ExitStatus, Output};
use std::sync::Mutex;
use std::time::Instant;

/// The platform that a check is built for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Platform {
    /// This machine
    Host,
    /// The targets of the boards, in the profile of the images that they boot
    Boards,
    /// A target of the kernel, with the kernel's flags
    Kernel(Target),
}

/// A part of a lane. The first field of a command is its name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// What cargo builds for, and its arguments, separated by spaces
    Check(&'static str, Platform, &'static str),
    /// The words after `cargo xtask`
    Xtask(&'static str, &'static [&'static str]),
    /// The same for a command that may install what it needs
    Installing(&'static str, &'static [&'static str]),
    /// What the tests and the benchmark boot
    Build(Images),
}

/// The engine as firmware without an MMU uses it, and without each part that it may leave out. The
/// first is checked for one target, because the engine's code is the same for the others.
const ENGINE_ALONE: &str =
    "clippy --package=palimpsest-engine --no-default-features --features=memory64,simd,splice -- -D warnings";
const SPLICE_ALONE: &str =
    "clippy --package=palimpsest-engine --no-default-features --features=splice -- -D warnings";
const LAZY_VALIDATION: &str =
    "clippy --package=palimpsest-engine --no-default-features --features=lazy-validation -- -D warnings";

/// The crates of a guest's host without page tables: with 32-bit addresses, then with 64-bit
/// addresses. Each target is a command: a command for two would give both of them the dispatch of
/// wasmi that one needs. They are checked in the profile of the firmware, so that what its build
/// script links is compiled once: a profile with link-time optimization counts as another one.
const ON_THUMB: &str = "clippy --release --package=palimpsest-engine --package=palimpsest-heap --package=palimpsest-wasi \
                        --package=palimpsest-firmware --no-default-features --features=palimpsest-firmware/guard \
                        --target=thumbv7em-none-eabihf -- -D warnings";
/// Alone, because it has a panic handler, and the other example has that of `semihosting`.
const MINIMAL_ON_THUMB: &str = "clippy --release --package=palimpsest-firmware-minimal --no-default-features \
                                --target=thumbv7em-none-eabihf -- -D warnings";
const ON_RISCV32: &str = "clippy --release --package=palimpsest-engine --package=palimpsest-heap --package=palimpsest-wasi \
                          --package=palimpsest-firmware --no-default-features --target=riscv32imac-unknown-none-elf -- -D warnings";
const SPEC_ON_RISCV32: &str = "clippy --release --package=palimpsest-spec-firmware --target=riscv32imac-unknown-none-elf -- -D warnings";
const ON_RISCV64: &str = "clippy --release --package=palimpsest-engine --package=palimpsest-heap --package=palimpsest-wasi \
                          --no-default-features --target=riscv64gc-unknown-none-elf -- -D warnings";
const ON_AARCH64: &str = "clippy --release --package=palimpsest-engine --package=palimpsest-heap --package=palimpsest-wasi \
                          --no-default-features --target=aarch64-unknown-none -- -D warnings";

/// The crates that are published, as archives of what their users need.
const PACKAGES: &str = "package --no-verify --allow-dirty --package=palimpsest-paging --package=palimpsest-engine \
                        --package=palimpsest-heap --package=palimpsest-wasi --package=palimpsest-sse2-floats";

/// Everything that ends up in the kernel.
const KERNEL: &str = "clippy --package=palimpsest-kernel-demo --package=palimpsest-bench-kernel \
                      --package=palimpsest-vm-tests --package=palimpsest-engine --package=palimpsest-paging \
                      --package=palimpsest-heap --package=palimpsest-wasi --package=palimpsest-sse2-floats \
                      -- -D warnings";

/// The kernel for one CPU, in which instructions are counted.
const ONE_CPU: &str = "clippy --package=palimpsest-bench-kernel -- -D warnings";

/// The command stream of the specification's tests, as the host writes it.
const STREAM_ALONE: &str = "clippy --package=palimpsest-spec --no-default-features -- -D warnings";

/// The examples of kernels that embed the two crates.
const EXAMPLES: &str = "clippy --package=palimpsest-embed-minimal --package=palimpsest-limine --package=palimpsest-multiboot2 \
                        --package=palimpsest-threads --package=palimpsest-example-support -- -D warnings";

/// The fuzz targets, without libFuzzer, which needs a C++ compiler. They are checked and tested in
/// the profile of the bounded run, so that the dependencies are built once.
const FUZZ: &str =
    "clippy --release --manifest-path=fuzz/Cargo.toml --no-default-features --all-targets -- -D warnings";
const FUZZ_TESTS: &str = "test --manifest-path=fuzz/Cargo.toml --no-default-features --release";

/// The documentation of what only builds for a kernel's target.
const KERNEL_DOCS: &str = "doc --no-deps --package=palimpsest-kernel-demo --package=palimpsest-bench-kernel \
                           --package=palimpsest-vm-tests --package=palimpsest-sse2-floats \
                           --package=palimpsest-embed-minimal --package=palimpsest-limine --package=palimpsest-multiboot2 \
                           --package=palimpsest-threads --package=palimpsest-example-support";

/// The guests' library, as guests use it, and what is built for the same target.
const GUEST_LIBRARY: &str = "clippy --package=palimpsest-guest --package=palimpsest-guest-coremark-kernel --lib \
                             --examples --target=wasm32-unknown-unknown -- -D warnings";

/// The guests that are written in Rust.
const GUESTS: &str = "clippy --package=palimpsest-guest-churn --package=palimpsest-guest-coremark \
                      --target=wasm32-wasip1 -- -D warnings";

/// Steps that come one after the other, because they use the same output directories of cargo.
/// Lanes run at the same time.
const LANES: [&[Step]; 5] = [KERNELS_NONE, KERNELS_GNU, HOST, FUZZ_TARGETS, MIRI];

/// The soft-float target. It has the most images, so its lane comes first.
const KERNELS_NONE: &[Step] = &[
    Step::Check("clippy/none", Platform::Kernel(Target::None), KERNEL),
    Step::Check("clippy/none/engine-alone", Platform::Kernel(Target::None), ENGINE_ALONE),
    Step::Check("clippy/none/examples", Platform::Kernel(Target::None), EXAMPLES),
    Step::Check("docs/none", Platform::Kernel(Target::None), KERNEL_DOCS),
    Step::Build(Images::Kernels(Target::None)),
];

const KERNELS_GNU: &[Step] = &[
    Step::Check("clippy/gnu", Platform::Kernel(Target::Gnu), KERNEL),
    Step::Check("clippy/gnu/one-cpu", Platform::Kernel(Target::Gnu), ONE_CPU),
    Step::Build(Images::Kernels(Target::Gnu)),
];

/// This machine and the targets without an MMU, whose build scripts share its output.
const HOST: &[Step] = &[
    Step::Xtask("prose", &["prose"]),
    Step::Xtask("deny", &["deny"]),
    Step::Check("fmt", Platform::Host, "fmt --all --check"),
    Step::Check("clippy/host", Platform::Host, "clippy --all-targets -- -D warnings"),
    Step::Check("clippy/host/splice-alone", Platform::Host, SPLICE_ALONE),
    Step::Check("clippy/host/lazy-validation", Platform::Host, LAZY_VALIDATION),
    Step::Check("clippy/host/stream-alone", Platform::Host, STREAM_ALONE),
    Step::Check("clippy/thumbv7em", Platform::Boards, ON_THUMB),
    Step::Check("clippy/thumbv7em/minimal", Platform::Boards, MINIMAL_ON_THUMB),
    Step::Check("clippy/riscv32imac", Platform::Boards, ON_RISCV32),
    Step::Check("clippy/riscv32imac/spec", Platform::Boards, SPEC_ON_RISCV32),
    Step::Check("clippy/riscv64gc", Platform::Boards, ON_RISCV64),
    Step::Check("clippy/aarch64", Platform::Boards, ON_AARCH64),
    Step::Check("clippy/wasm/guest-library", Platform::Host, GUEST_LIBRARY),
    Step::Check("clippy/wasm/guests", Platform::Host, GUESTS),
    Step::Check("package", Platform::Host, PACKAGES),
    Step::Check("docs/host", Platform::Host, "doc --no-deps"),
    // `cargo xtask test` runs them. Their build leaves a CPU idle at times, which other lanes use.
    Step::Check("build/host-tests", Platform::Host, "test --no-run"),
    Step::Build(Images::Firmware),
    Step::Installing("bench/size", &["bench", "--size", "--check"]),
];

const FUZZ_TARGETS: &[Step] = &[
    Step::Check("fmt/fuzz", Platform::Host, "fmt --manifest-path=fuzz/Cargo.toml --check"),
    Step::Check("clippy/fuzz", Platform::Host, FUZZ),
    Step::Check("test/fuzz", Platform::Host, FUZZ_TESTS),
    Step::Xtask("fuzz", &["fuzz"]),
];

/// Left out on a machine without Miri.
const MIRI: &[Step] = &[Step::Xtask("miri", &["miri"])];

/// Lanes of single boots, which come after the tests. Both tours are in one lane, because they
/// fetch the same package.
const BOOTS: [&[Step]; 3] = [
    &[Step::Installing("bench/none", &["bench", "--check", "--target=none"])],
    &[
        Step::Installing("tour/gnu", &["run", "--target=gnu"]),
        Step::Installing("tour/none", &["run", "--target=none"]),
        Step::Installing("bench/gnu", &["bench", "--check", "--target=gnu"]),
    ],
    &[Step::Installing("spec/none", &["test", "--spec", "--target=none"])],
];

impl Step {
    /// Runs the step, and counts and prints it when it has ended.
    ///
    /// # Errors
    /// A tool cannot be started.
    fn run(self, workspace: &Workspace, policy: MissingPolicy, tally: &Mutex<Tally>) -> Result<()> {
        let variables: &[Variable] = &[("RUSTDOCFLAGS", "-D warnings")];
        let (name, line, command) = match self {
            Self::Build(images) => {
                images.build_and_count(workspace, tally);
                return Ok(());
            }
            Self::Xtask(name, words) => {
                (name, format!("cargo xtask {}", words.join(" ")), xtask(workspace, words, None)?)
            }
            Self::Installing(name, words) => {
                (name, format!("cargo xtask {}", words.join(" ")), command(workspace, words, policy)?)
            }
            Self::Check(name, Platform::Host, words) => {
                let command = workspace.cargo(words.split_ascii_whitespace(), variables);
                (name, format!("cargo {words}"), command)
            }
            Self::Check(name, Platform::Boards, words) => {
                let command = workspace.cargo(words.split_ascii_whitespace(), WITHOUT_LTO);
                (name, format!("cargo {words} # without link-time optimization"), command)
            }
            Self::Check(name, Platform::Kernel(target), words) => {
                let split: Vec<_> = words.split_ascii_whitespace().collect();
                let line = format!("cargo {words} # with the kernel's flags for {}", target.triple());
                (name, line, kernel::cargo(workspace, target, &split, variables))
            }
        };
        let start = Instant::now();
        let ran = command.stderr_to_stdout().stdout_capture().unchecked().run();
        let Output { status, stdout, .. } = ran.with_context(|| format!("cannot start {name}"))?;
        let mut tally = tally.lock().expect("no thread panics while it counts");
        println!("$ {line}");
        print!("{}", String::from_utf8_lossy(&stdout));
        count(&format!("ci/{name}"), status, start, &mut tally);
        Ok(())
    }
}

/// Runs everything and prints the count.
///
/// # Errors
/// Something is missing and may not be installed, or a tool cannot be started. A check that fails
/// is counted and is not an error.
pub(crate) fn run(workspace: &Workspace, options: &CiOptions) -> Result<ExitCode> {
    let policy = options.setup.missing_policy();
    setup::require(workspace, &EVERYTHING, policy)?;
    let has_miri = miri::is_installed(workspace);
    let lanes: Vec<_> = LANES.into_iter().filter(|lane| has_miri || *lane != MIRI).collect();
    let mut tally = run_lanes(workspace, &lanes, policy)?;
    if !options.without_test {
        println!("$ cargo xtask test");
        tally += test_runner::run_all(workspace, Target::Gnu, 1, policy)?;
    }
    println!("$ cargo xtask test --vm --target none");
    tally += test_runner::run_vm(workspace, Target::None, "", 1, policy)?;
    tally += run_lanes(workspace, &BOOTS, policy)?;
    println!("{tally}");
    Ok(tally.exit_code())
}

/// Runs the lanes, as many at a time as this machine has CPUs for.
///
/// # Errors
/// A tool cannot be started.
fn run_lanes(workspace: &Workspace, lanes: &[&[Step]], policy: MissingPolicy) -> Result<Tally> {
    let tally = Mutex::default();
    let run = |(): &(), lane: &&[Step]| lane.iter().try_for_each(|step| step.run(workspace, policy, &tally));
    workers::share(&vec![(); workers::count()], lanes, run, |_, ran| ran)?;
    Ok(tally.into_inner().expect("no thread panics while it counts"))
}

/// A command that may install what it needs, as a user types it.
fn command(workspace: &Workspace, words: &[&str], policy: MissingPolicy) -> Result<Expression> {
    let policy = match policy {
        MissingPolicy::Install => None,
        MissingPolicy::Refuse => Some("--no-setup"),
    };
    xtask(workspace, words, policy)
}

/// Runs this program again, so that a command's exit status is checked like any other.
fn xtask(workspace: &Workspace, words: &[&str], last: Option<&str>) -> Result<Expression> {
    let xtask = env::current_exe().context("cannot find the running xtask")?;
    Ok(cmd(xtask, words.iter().copied().chain(last)).dir(workspace.root()))
}

/// Counts a command that began at `start`.
fn count(name: &str, status: ExitStatus, start: Instant, tally: &mut Tally) {
    let name = Timed(name, start.elapsed());
    if status.success() {
        tally.pass(&name);
    } else {
        tally.fail(&name, &status, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn steps_have_different_names() {
        let mut names = HashSet::new();
        for step in LANES.into_iter().chain(BOOTS).flatten() {
            let name = match step {
                Step::Check(name, ..) | Step::Xtask(name, _) | Step::Installing(name, _) => {
                    (*name).to_owned()
                }
                Step::Build(images) => format!("build/{images}"),
            };
            assert!(names.insert(name), "{step:?}");
        }
    }

    #[test]
    fn an_output_directory_of_a_kernel_belongs_to_one_lane() {
        let uses = |lane: &[Step], target| {
            lane.iter().any(|step| match step {
                Step::Check(_, platform, _) => *platform == Platform::Kernel(target),
                Step::Build(images) => *images == Images::Kernels(target),
                Step::Xtask(..) | Step::Installing(..) => false,
            })
        };
        for target in [Target::Gnu, Target::None] {
            assert_eq!(LANES.into_iter().filter(|lane| uses(lane, target)).count(), 1, "{target}");
        }
    }
}
