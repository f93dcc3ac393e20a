//! The tests in the emulator: one boot per test, all booting the same image.
//!
//! Owns the order: ask the kernel for its list, then boot once per test and let [`judge`] decide. A test
//! leaves nothing behind for the next one, since each has a machine of its own. An image that does not build,
//! and a list that cannot be read, count as one failure each. Called by `test`, and by `ci` for each target.

use super::judge::judge;
use super::plan::{self, PlannedTest};
use crate::archive::Request;
use crate::boot::{DEFAULT_MEMORY_MIB, Session};
use crate::kernel::{Image, Target};
use crate::qemu::{Accelerator, Clock, Ending, Machine};
use crate::setup::{self, EMULATOR, MissingPolicy, Need};
use crate::tally::{Tally, Timed};
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// How long the kernel may take to boot and print its list.
const LIST_TIME_LIMIT: Duration = Duration::from_secs(60);

/// Runs the tests whose name contains `filter`, a line each.
///
/// # Errors
/// Something is missing and may not be installed, QEMU cannot be started, or no test has such a name.
pub(crate) fn run(
    workspace: &Workspace,
    target: Target,
    filter: &str,
    policy: MissingPolicy,
) -> Result<Tally> {
    setup::require(workspace, &[Need::Core(target.triple()), EMULATOR], policy)?;
    let mut tally = Tally::default();
    let session = match Session::new(workspace, target, Image::VmTests) {
        Ok(session) => session,
        Err(error) => {
            tally.fail(&format_args!("vm/{target}/build"), &format_args!("{error:#}"), "");
            return Ok(tally);
        }
    };
    let list = boot(&session, Request::List, LIST_TIME_LIMIT, Clock::Host)?;
    let tests = match plan::parse(&list.output) {
        Ok(tests) => tests,
        Err(error) => {
            tally.fail(
                &format_args!("vm/{target}/list"),
                &format_args!("{error}; {}", list.ending),
                &list.output,
            );
            return Ok(tally);
        }
    };
    let chosen: Vec<_> = tests.iter().filter(|test| test.name.contains(filter)).collect();
    ensure!(!chosen.is_empty(), "no emulator test has `{filter}` in its name");
    // Who asks for a test by name wants to see what it says; a failed one always shows it.
    let shown = !filter.is_empty();
    for test in chosen {
        let output = run_one(&session, target, test, &mut tally)?;
        for line in output.lines().filter(|_| shown) {
            println!("    {line}");
        }
    }
    Ok(tally)
}

/// Runs one test; returns what a passed one has printed.
fn run_one(session: &Session, target: Target, test: &PlannedTest, tally: &mut Tally) -> Result<String> {
    let boot = boot(session, Request::Test(&test.name), test.expected.time_limit(), test.clock)?;
    let name = format!("vm/{target}/{}", test.name);
    match judge(&test.expected, &boot.ending, &boot.output) {
        Ok(()) => {
            tally.pass(&Timed(&name, boot.elapsed));
            Ok(boot.output)
        }
        Err(failure) => {
            tally.fail(&Timed(&name, boot.elapsed), &failure, &boot.output);
            Ok(String::new())
        }
    }
}

/// What one boot left.
#[derive(Debug)]
struct Boot {
    ending: Ending,
    output: String,
    elapsed: Duration,
}

fn boot(session: &Session, request: Request<'_>, time_limit: Duration, clock: Clock) -> Result<Boot> {
    let machine =
        Machine { memory_mib: DEFAULT_MEMORY_MIB, accelerator: Accelerator::Tcg, clock, time_limit };
    let mut output = String::new();
    let start = Instant::now();
    let ending = session.boot(machine, request, &[], |line| output.extend([line, "\n"]))?;
    Ok(Boot { ending, output, elapsed: start.elapsed() })
}
