//! `cargo xtask soak`: random programs in the kernel of the emulator tests, for minutes or hours.
//!
//! The kernel prints its figures every minute. At the first difference it prints the seed and the
//! round, with which this command reproduces it. With several CPUs it runs guests that are cleared
//! on one and resumed on another instead, while freed frames are overwritten.

use crate::cli::SoakOptions;
use anyhow::Result;
use palimpsest_host::boot::{DEFAULT_MEMORY_MIB, Session};
use palimpsest_host::kernel::Image;
use palimpsest_host::protocol::{Soak, Task};
use palimpsest_host::qemu::{Accelerator, Clock, Ending, Machine, Setting};
use palimpsest_host::setup::{self, EMULATOR, Need};
use palimpsest_host::workspace::Workspace;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// The time limit of a machine that runs a number of rounds.
const ROUNDS_TIME_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The time that a machine may take to boot, and to end its last round.
const GRACE: Duration = Duration::from_secs(120);

/// Boots the kernel, and passes on what it prints.
///
/// # Errors
/// Something is missing and may not be installed, the kernel does not build, or QEMU cannot be
/// started.
pub(crate) fn run(workspace: &Workspace, options: &SoakOptions) -> Result<ExitCode> {
    let target = options.target;
    setup::require(workspace, &[Need::Core(target.triple()), EMULATOR], options.setup.missing_policy())?;
    let session = Session::new(workspace, target, Image::TESTS)?;
    let seconds = options.minutes.saturating_mul(60);
    let soak = Soak { seed: options.seed.unwrap_or_else(seed_of_now), seconds, rounds: options.rounds };
    let time_limit = match options.rounds {
        Some(_) => ROUNDS_TIME_LIMIT,
        None => Duration::from_secs(seconds).saturating_add(GRACE),
    };
    let machine = Machine {
        memory_mib: DEFAULT_MEMORY_MIB,
        cpus: options.cpus,
        accelerator: Accelerator::Tcg,
        clock: Clock::Host,
        time_limit,
        setting: Setting::Trying,
    };
    println!("seed {}", soak.seed);
    let ending = session.boot(machine, Task::Soak(soak), &[], |line| println!("{line}"))?;
    println!("{ending}");
    Ok(if ending == Ending::Success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A seed that differs from run to run.
fn seed_of_now() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_secs()
}
