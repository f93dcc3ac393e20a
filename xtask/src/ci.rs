//! `cargo xtask ci`: everything that a change must pass.
//!
//! Each check is a command line, which is printed before it runs so that it can be repeated by
//! hand. All checks run even if one fails. The emulator tests, the tour and the comparison of
//! instruction counts run for both targets. The kernels are built before them, for both targets at
//! the same time. The kernel's lints share the output directories of its builds. `.ci/run` calls
//! this and then `cargo xtask test`.

use crate::cli::CiOptions;
use crate::miri;
use crate::test_runner;
use anyhow::{Context, Result};
use duct::{Expression, cmd};
use palimpsest_host::kernel::{self, Target};
use palimpsest_host::setup::{self, EVERYTHING, MissingPolicy};
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workspace::Workspace;
use std::env;
use std::process::ExitCode;
use std::time::Instant;

/// The targets for which the tour runs and instructions are counted.
const TARGETS: [Target; 2] = [Target::Gnu, Target::None];

/// The platform that a check is built for.
#[derive(Clone, Copy, Debug)]
enum Platform {
    /// This machine
    Host,
    /// A target of the kernel, with the kernel's flags
    Kernel(Target),
}

/// A check: its name, what it is built for, and cargo's arguments, separated by spaces.
#[derive(Clone, Copy, Debug)]
struct Check(&'static str, Platform, &'static str);

/// The engine as firmware without an MMU uses it, and without each part that it may leave out.
const ENGINE_ALONE: &str =
    "clippy --package=palimpsest-engine --no-default-features --features=memory64,simd,splice -- -D warnings";
const SPLICE_ALONE: &str =
    "clippy --package=palimpsest-engine --no-default-features --features=splice -- -D warnings";
const LAZY_VALIDATION: &str =
    "clippy --package=palimpsest-engine --no-default-features --features=lazy-validation -- -D warnings";

/// The crates of a guest's host without page tables: with 32-bit addresses, then with 64-bit
/// addresses. Each target is a command: a command for two would give both of them the dispatch of
/// wasmi that one needs.
const ON_THUMB: &str = "clippy --package=palimpsest-engine --package=palimpsest-heap --package=palimpsest-wasi \
                        --package=palimpsest-firmware --no-default-features --target=thumbv7em-none-eabihf -- -D warnings";
const ON_RISCV32: &str = "clippy --package=palimpsest-engine --package=palimpsest-heap --package=palimpsest-wasi \
                          --package=palimpsest-firmware --no-default-features --target=riscv32imac-unknown-none-elf -- -D warnings";
const SPEC_ON_RISCV32: &str =
    "clippy --package=palimpsest-spec-firmware --target=riscv32imac-unknown-none-elf -- -D warnings";
const ON_RISCV64: &str = "clippy --package=palimpsest-engine --package=palimpsest-heap --package=palimpsest-wasi \
                          --no-default-features --target=riscv64gc-unknown-none-elf -- -D warnings";
const ON_AARCH64: &str = "clippy --package=palimpsest-engine --package=palimpsest-heap --package=palimpsest-wasi \
                          --no-default-features --target=aarch64-unknown-none -- -D warnings";

/// The crates that are published, as archives of what their users need.
const PACKAGES: &str = "package --no-verify --allow-dirty --package=palimpsest-paging --package=palimpsest-engine \
                        --package=palimpsest-heap --package=palimpsest-wasi --package=palimpsest-sse2-floats";

/// Everything that ends up in the kernel.
const KERNEL: &str = "clippy --package=palimpsest-kernel-demo --package=palimpsest-bench-kernel \
                      --package=palimpsest-vm-tests --package=palimpsest-spec-kernel --package=palimpsest-engine --package=palimpsest-paging \
                      --package=palimpsest-heap --package=palimpsest-wasi --package=palimpsest-sse2-floats \
                      -- -D warnings";

/// The command stream of the specification's tests, as the host writes it.
const STREAM_ALONE: &str = "clippy --package=palimpsest-spec --no-default-features -- -D warnings";

/// The examples of kernels that embed the two crates.
const EXAMPLES: &str = "clippy --package=palimpsest-embed-minimal --package=palimpsest-limine --package=palimpsest-multiboot2 \
                        --package=palimpsest-threads --package=palimpsest-example-support -- -D warnings";

/// The fuzz targets, without libFuzzer, which needs a C++ compiler.
const FUZZ: &str =
    "clippy --manifest-path=fuzz/Cargo.toml --no-default-features --all-targets -- -D warnings";
/// In the profile of the bounded run, so that the dependencies are built once.
const FUZZ_TESTS: &str = "test --manifest-path=fuzz/Cargo.toml --no-default-features --release";

/// The documentation of what only builds for a kernel's target.
const KERNEL_DOCS: &str = "doc --no-deps --package=palimpsest-kernel-demo --package=palimpsest-bench-kernel \
                           --package=palimpsest-vm-tests --package=palimpsest-spec-kernel --package=palimpsest-sse2-floats \
                           --package=palimpsest-embed-minimal --package=palimpsest-limine --package=palimpsest-multiboot2 \
                           --package=palimpsest-threads --package=palimpsest-example-support";

/// The guests' library, as guests use it, and what is built for the same target.
const GUEST_LIBRARY: &str = "clippy --package=palimpsest-guest --package=palimpsest-guest-coremark-kernel --lib \
                             --examples --target=wasm32-unknown-unknown -- -D warnings";

/// The guests that are written in Rust.
const GUESTS: &str = "clippy --package=palimpsest-guest-churn --package=palimpsest-guest-coremark \
                      --target=wasm32-wasip1 -- -D warnings";

const CHECKS: [Check; 23] = [
    Check("fmt", Platform::Host, "fmt --all --check"),
    Check("fmt/fuzz", Platform::Host, "fmt --manifest-path=fuzz/Cargo.toml --check"),
    Check("clippy/host", Platform::Host, "clippy --all-targets -- -D warnings"),
    Check("clippy/host/engine-alone", Platform::Host, ENGINE_ALONE),
    Check("clippy/host/splice-alone", Platform::Host, SPLICE_ALONE),
    Check("clippy/host/lazy-validation", Platform::Host, LAZY_VALIDATION),
    Check("clippy/host/stream-alone", Platform::Host, STREAM_ALONE),
    Check("clippy/gnu", Platform::Kernel(Target::Gnu), KERNEL),
    Check("clippy/none", Platform::Kernel(Target::None), KERNEL),
    Check("clippy/none/engine-alone", Platform::Kernel(Target::None), ENGINE_ALONE),
    Check("clippy/none/examples", Platform::Kernel(Target::None), EXAMPLES),
    Check("clippy/thumbv7em", Platform::Host, ON_THUMB),
    Check("clippy/riscv32imac", Platform::Host, ON_RISCV32),
    Check("clippy/riscv32imac/spec", Platform::Host, SPEC_ON_RISCV32),
    Check("clippy/riscv64gc", Platform::Host, ON_RISCV64),
    Check("clippy/aarch64", Platform::Host, ON_AARCH64),
    Check("clippy/wasm/guest-library", Platform::Host, GUEST_LIBRARY),
    Check("clippy/wasm/guests", Platform::Host, GUESTS),
    Check("clippy/fuzz", Platform::Host, FUZZ),
    Check("test/fuzz", Platform::Host, FUZZ_TESTS),
    Check("package", Platform::Host, PACKAGES),
    Check("docs/host", Platform::Host, "doc --no-deps"),
    Check("docs/none", Platform::Kernel(Target::None), KERNEL_DOCS),
];

impl Check {
    /// Prints the command, runs it and counts the result.
    fn run(self, workspace: &Workspace, tally: &mut Tally) -> Result<()> {
        let Self(name, platform, command) = self;
        let words: Vec<_> = command.split_ascii_whitespace().collect();
        let variables = [("RUSTDOCFLAGS", "-D warnings")];
        let expression = match platform {
            Platform::Host => {
                println!("$ cargo {command}");
                workspace.cargo(words, &variables)
            }
            Platform::Kernel(target) => {
                println!("$ cargo {command} # with the kernel's flags for {}", target.triple());
                kernel::cargo(workspace, target, &words, &variables)
            }
        };
        run_step(&format!("ci/{name}"), &expression, tally)
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
    let mut tally = Tally::default();
    println!("$ cargo xtask prose");
    run_step("ci/prose", &xtask(workspace, &["prose"], None)?, &mut tally)?;
    println!("$ cargo xtask deny");
    run_step("ci/deny", &xtask(workspace, &["deny"], None)?, &mut tally)?;
    for check in CHECKS {
        check.run(workspace, &mut tally)?;
    }
    println!("# builds everything that the tests and the benchmark boot");
    test_runner::build_images(workspace, &mut tally);
    println!("$ cargo xtask fuzz");
    run_step("ci/fuzz", &xtask(workspace, &["fuzz"], None)?, &mut tally)?;
    if miri::is_installed(workspace) {
        println!("$ cargo xtask miri");
        run_step("ci/miri", &xtask(workspace, &["miri"], None)?, &mut tally)?;
    }
    if !options.without_test {
        println!("$ cargo xtask test");
        tally += test_runner::run_all(workspace, Target::Gnu, 1, policy)?;
    }
    println!("$ cargo xtask test --vm --target none");
    tally += test_runner::run_vm(workspace, Target::None, "", 1, policy)?;
    println!("$ cargo xtask test --spec --target none");
    tally += test_runner::run_spec(workspace, Target::None, policy)?;
    for target in TARGETS {
        println!("$ cargo xtask run --target {target}");
        let words = ["run", &format!("--target={target}")];
        run_step(&format!("ci/tour/{target}"), &command(workspace, &words, policy)?, &mut tally)?;
    }
    println!("$ cargo xtask bench --size --check");
    run_step("ci/bench/size", &command(workspace, &["bench", "--size", "--check"], policy)?, &mut tally)?;
    for target in TARGETS {
        println!("$ cargo xtask bench --check --target {target}");
        let words = ["bench", "--check", &format!("--target={target}")];
        run_step(&format!("ci/bench/{target}"), &command(workspace, &words, policy)?, &mut tally)?;
    }
    println!("{tally}");
    Ok(tally.exit_code())
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

fn run_step(name: &str, step: &Expression, tally: &mut Tally) -> Result<()> {
    let start = Instant::now();
    let status = step.unchecked().run().with_context(|| format!("cannot start {name}"))?.status;
    let name = Timed(name, start.elapsed());
    if status.success() {
        tally.pass(&name);
    } else {
        tally.fail(&name, &status, "");
    }
    Ok(())
}
