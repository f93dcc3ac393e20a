//! The tests in the emulator, with one boot for each.
//!
//! The test kernel sends the list of its tests. Then it is booted once for each of them, so a test
//! cannot influence another one, and [`judge`] decides. As many boots run at a time as this machine
//! has CPUs for. An image that does not build and a list that cannot be read count as one failure
//! each.
//!
//! On several CPUs, tests that need one are left out, and a line names each. [`takes`] says which.

use super::judge::{Failure, judge, judge_last_line, time_limit};
use super::plan;
use anyhow::Result;
use palimpsest_host::boot::{DEFAULT_MEMORY_MIB, Session};
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::progress::Progress;
use palimpsest_host::protocol::{Expected, ListedTest, Task};
use palimpsest_host::qemu::{Accelerator, Clock, Ending, Machine, Setting};
use palimpsest_host::setup::{self, EMULATOR, MissingPolicy, Need};
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workers;
use palimpsest_host::workspace::Workspace;
use std::time::{Duration, Instant};

/// The time limit for booting and sending the list.
const LIST_TIME_LIMIT: Duration = Duration::from_secs(60);

/// How many times longer a boot may take on `cpus` CPUs than on the `needed` ones.
///
/// A call on another CPU has to wait until this machine runs that CPU.
pub(super) const fn patience(cpus: u32, needed: u32) -> u32 {
    if cpus > needed { 5 } else { 1 }
}

/// Runs the tests whose names are `chosen`, a line each. Each machine has `cpus` CPUs, or more
/// if its test needs more. Tests that cannot run on so many are left out. If a test passes,
/// `on_line` gets its name with each line of its output.
///
/// # Errors
/// Something is missing and may not be installed, or QEMU cannot be started.
pub(super) fn run(
    workspace: &Workspace,
    target: Target,
    chosen: &dyn Fn(&str) -> bool,
    cpus: u32,
    policy: MissingPolicy,
    mut on_line: impl FnMut(&str, &str),
) -> Result<Tally> {
    let needs = [Need::Core(Target::Gnu.triple()), Need::Core(Target::None.triple()), EMULATOR];
    setup::require(workspace, &needs, policy)?;
    let mut tally = Tally::default();
    let name = format!("vm/{target}/build");
    let session = super::session(workspace, target, Image::TESTS, &name, &mut tally);
    let Some(session) = session else { return Ok(tally) };
    let Some(tests) = list(&session, target, &mut tally)? else { return Ok(tally) };
    let (chosen_tests, uncounted): (Vec<_>, Vec<_>) =
        tests.iter().filter(|test| chosen(&test.name)).partition(|test| takes(test, cpus));
    for test in uncounted {
        println!("left out vm/{target}/{}: it counts the instructions of one CPU", test.name);
    }
    let sessions = session.into_several(workers::count().div_ceil(cpus as usize))?;
    let progress = |done| Progress::new(&format!("vm/{target}: {done} of {} tests", chosen_tests.len()));
    let (mut done, mut waiting) = (0, progress(0));
    let conclude = |test: &&ListedTest, boot: Result<Boot>| {
        waiting.finish();
        let output = boot?.conclude(&format!("vm/{target}/{}", test.name), &test.expected, &mut tally);
        output.lines().for_each(|line| on_line(&test.name, line));
        done += 1;
        waiting = progress(done);
        anyhow::Ok(())
    };
    workers::share(&sessions, &chosen_tests, |session, test| run_one(session, test, cpus), conclude)?;
    drop(waiting);
    Ok(tally)
}

/// Requests the kernel's tests. Returns `None` if its answer is not usable, which counts as a
/// failure.
fn list(session: &Session, target: Target, tally: &mut Tally) -> Result<Option<Vec<ListedTest>>> {
    let list = boot(session, Task::ListTests, LIST_TIME_LIMIT, Clock::Host, 1)?;
    let tests = session.answer().map_err(anyhow::Error::from).and_then(|list| Ok(plan::check(list)?));
    let reject = |error| {
        let reason = format!("{error:#}; {}", list.ending);
        tally.fail(&format_args!("vm/{target}/list"), &reason, &list.output);
    };
    Ok(tests.map_err(reject).ok())
}

/// Whether a test can run on `cpus` CPUs.
///
/// The emulator counts instructions of several CPUs in one thread, in turns and for minutes, and
/// the test would count what all of them do.
fn takes(test: &ListedTest, cpus: u32) -> bool {
    match test.clock {
        Clock::Host => true,
        Clock::Instructions => cpus <= test.cpus,
    }
}

/// Boots the kernel for one test, on `cpus` CPUs or on the number that the test needs.
fn run_one(session: &Session, test: &ListedTest, cpus: u32) -> Result<Boot> {
    let cpus = cpus.max(test.cpus);
    let time_limit = time_limit(&test.expected) * patience(cpus, test.cpus);
    boot(session, Task::Test(test.name.clone()), time_limit, test.clock, cpus)
}

fn boot(session: &Session, task: Task, time_limit: Duration, clock: Clock, cpus: u32) -> Result<Boot> {
    let machine = Machine {
        memory_mib: DEFAULT_MEMORY_MIB,
        cpus,
        accelerator: Accelerator::Tcg,
        clock,
        time_limit,
        setting: Setting::Trying,
    };
    Boot::record(|on_line| session.boot(machine, task, &[], on_line))
}

/// The result of one boot.
#[derive(Debug)]
pub(super) struct Boot {
    ending: Ending,
    output: String,
    elapsed: Duration,
}

impl Boot {
    /// Runs `boot`, which passes on the text line by line, and keeps its result.
    ///
    /// # Errors
    /// Those of `boot`.
    pub(super) fn record(boot: impl FnOnce(&mut dyn FnMut(&str)) -> Result<Ending>) -> Result<Self> {
        let mut output = String::new();
        let start = Instant::now();
        let ending = boot(&mut |line| output.extend([line, "\n"]))?;
        Ok(Self { ending, output, elapsed: start.elapsed() })
    }

    /// Judges and counts it as the test `name`. Returns its output if it passed.
    pub(super) fn conclude(self, name: &str, expected: &Expected, tally: &mut Tally) -> String {
        let verdict = judge(expected, &self.ending, &self.output);
        self.count(name, verdict, tally)
    }

    /// Like [`conclude`](Self::conclude), for a kernel whose last line begins with `line`.
    pub(super) fn conclude_with_line(self, name: &str, line: &'static str, tally: &mut Tally) -> String {
        let verdict = judge_last_line(line, &self.ending, &self.output);
        self.count(name, verdict, tally)
    }

    fn count(self, name: &str, verdict: Result<(), Failure>, tally: &mut Tally) -> String {
        match verdict {
            Ok(()) => {
                tally.pass(&Timed(name, self.elapsed));
                self.output
            }
            Err(failure) => {
                tally.fail(&Timed(name, self.elapsed), &failure, &self.output);
                String::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_count_instructions_are_left_out_on_more_cpus_than_they_need() {
        let test =
            |clock, cpus| ListedTest { name: String::new(), expected: Expected::Checks(1), clock, cpus };
        for cpus in [1, 4] {
            assert!(takes(&test(Clock::Host, 1), cpus));
            assert_eq!(takes(&test(Clock::Instructions, 1), cpus), cpus == 1);
            assert!(takes(&test(Clock::Instructions, 4), cpus));
        }
    }
}
