//! Kernels that are one test each. Each is built for its test and booted once, without a boot
//! archive.
//!
//! Each ends like the other emulator tests, with a status and the number of its checks.

use super::judge::time_limit;
use super::vm::Boot;
use anyhow::Result;
use palimpsest_host::boot::{DEFAULT_MEMORY_MIB, Session};
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::protocol::Expected;
use palimpsest_host::qemu::{Accelerator, Clock, Machine, Setting};
use palimpsest_host::tally::Tally;
use palimpsest_host::workspace::Workspace;

/// A kernel that is one test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Solo {
    /// The test's name
    pub(super) name: &'static str,
    /// The targets with whose tests it runs
    pub(super) with: &'static [Target],
    image: Image,
    /// The target that it is built for, independent of the other tests
    target: Target,
    memory_mib: u32,
    /// The checks in its sources
    checks: u32,
}

/// A build in which LLVM cannot turn the calls of wasmi's handlers into tail calls: they call their
/// decoders instead of inlining them, and pass references to their own locals.
const LOST_TAIL_CALLS: Image = Image {
    profile: &[("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")],
    ..Image::new("palimpsest-vm-tests", "lost-tail-calls")
};

/// All of them.
pub(super) const ALL: [Solo; 2] = [
    // A kernel that shares no code with ours, on the same two crates.
    Solo {
        name: "example/embed-minimal",
        with: &[Target::Gnu, Target::None],
        image: Image::new("palimpsest-embed-minimal", "embed-minimal"),
        target: Target::None,
        // A machine as QEMU makes it by default: what the example says that it needs.
        memory_mib: 128,
        checks: 11,
    },
    // A profile that an embedder may have, and that must not become a stack overflow.
    Solo {
        name: "gnu/lost-tail-calls-are-refused-by-name",
        with: &[Target::Gnu],
        image: LOST_TAIL_CALLS,
        target: Target::Gnu,
        memory_mib: DEFAULT_MEMORY_MIB,
        checks: 3,
    },
];

impl Solo {
    /// Builds and boots it. Returns what it printed if it passed.
    ///
    /// # Errors
    /// QEMU cannot be started or listened to. A kernel that does not build is a failed test.
    pub(super) fn run(self, workspace: &Workspace, tally: &mut Tally) -> Result<String> {
        let name = format!("vm/{}", self.name);
        let session = match Session::new(workspace, self.target, self.image) {
            Ok(session) => session,
            Err(error) => {
                tally.fail(&name, &format_args!("{error:#}"), "");
                return Ok(String::new());
            }
        };
        let expected = Expected::Checks(self.checks);
        let machine = Machine {
            memory_mib: self.memory_mib,
            accelerator: Accelerator::Tcg,
            clock: Clock::Host,
            time_limit: time_limit(&expected),
            setting: Setting::Trying,
        };
        let boot = Boot::record(|on_line| session.boot_without_archive(machine, on_line))?;
        Ok(boot.conclude(&name, &expected, tally))
    }
}
