//! `cargo xtask miri`: runs a selection of the tests under Miri, which finds undefined behaviour.
//!
//! Miri is a component of the nightly toolchain. It executes a test some thousand times slower, so
//! the selection is what reaches the unsafe code of the crates and takes a few minutes in all. The
//! paging tests run on simulated physical memory, and the engine's tests over the fixed backing.

use anyhow::{Context, Result, ensure};
use duct::{Expression, cmd};
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workers;
use palimpsest_host::workspace::Workspace;
use std::process::{ExitCode, Output};
use std::time::Instant;

/// Some tests of a package: the arguments of `cargo miri test`, separated by spaces. A test is
/// chosen by a part of its name.
const SELECTION: [&str; 7] = [
    "--package=palimpsest-heap --lib -- block:: idle:: partial:: runs:: slab::",
    "--package=palimpsest-paging --lib -- frame:: pool:: supply:: table:: tlb::",
    "--package=palimpsest-paging --test=regions -- touch::a_new touch::the_first touch::touched",
    "--package=palimpsest-paging --test=regions -- cached_pool::cpus_that_share",
    "--package=palimpsest-paging --test=regions -- threads::threads_do_not threads::each_cpu",
    "--package=palimpsest-engine --lib -- backing:: units::",
    "--package=palimpsest-engine --test=host -- memories:: lent::without_a_guest",
];

/// The tests leak what stands for physical memory, because a kernel never frees it. The paging code
/// makes pointers of addresses, because a frame has no other name.
const FLAGS: &str = "-Zmiri-ignore-leaks -Zmiri-permissive-provenance";

/// How to install it.
const REMEDY: &str = "install it: rustup toolchain install nightly --component miri";

/// Returns whether the nightly toolchain has Miri.
pub(crate) fn is_installed(workspace: &Workspace) -> bool {
    let version = miri(workspace, "--version").stdout_null().stderr_null().unchecked().run();
    version.is_ok_and(|output| output.status.success())
}

/// Runs the selection and prints the count.
///
/// # Errors
/// Miri is missing, or rustup cannot be started.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    ensure!(is_installed(workspace), "the nightly toolchain has no Miri; {REMEDY}");
    let mut tally = Tally::default();
    // Miri runs a program on one CPU.
    let workers = vec![(); workers::count()];
    let test = |(): &(), words: &&str| {
        let start = Instant::now();
        let command = miri(workspace, &format!("test {words}")).env("MIRIFLAGS", FLAGS);
        let ran = command.stderr_to_stdout().stdout_capture().unchecked().run();
        (ran, start.elapsed())
    };
    workers::share(&workers, &SELECTION, test, |words, (ran, elapsed)| {
        let Output { status, stdout, .. } = ran.context("cannot start rustup")?;
        println!("$ MIRIFLAGS='{FLAGS}' cargo +nightly miri test {words}");
        print!("{}", String::from_utf8_lossy(&stdout));
        let name = format!("miri/{words}");
        let name = Timed(&name, elapsed);
        if status.success() {
            tally.pass(&name);
        } else {
            tally.fail(&name, &status, "");
        }
        anyhow::Ok(())
    })?;
    println!("{tally}");
    Ok(tally.exit_code())
}

/// The command `cargo miri` of the nightly toolchain.
fn miri(workspace: &Workspace, words: &str) -> Expression {
    let command = ["run", "nightly", "cargo", "miri"].into_iter().chain(words.split_ascii_whitespace());
    // These name the toolchain that runs this program.
    let variables = ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"];
    let expression = cmd("rustup", command).dir(workspace.root());
    variables.into_iter().fold(expression, |expression, name| expression.env_remove(name))
}
