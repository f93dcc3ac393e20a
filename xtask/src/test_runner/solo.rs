//! Kernels that are one test each. Each is built for its test and booted once, by QEMU itself or
//! from a CD image.
//!
//! Each ends like the other emulator tests, with a status and the number of its checks. The
//! demonstration takes its tour, whose last line is the sign of success.

use super::vm::Boot;
use crate::iso::MULTIBOOT2;
use anyhow::Result;
use palimpsest_host::boot::DEFAULT_MEMORY_MIB;
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::protocol::console::TOUR_PASSED;
use palimpsest_host::protocol::{Expected, Task};
use palimpsest_host::qemu::{Accelerator, Clock, Firmware, Machine, Setting};
use palimpsest_host::setup::{self, DISCS, MissingPolicy, Need};
use palimpsest_host::tally::Tally;
use palimpsest_host::workspace::Workspace;
use std::time::Duration;

/// A kernel that is one test.
#[derive(Clone, Copy, Debug)]
struct Solo {
    /// The test's name
    name: &'static str,
    image: Image,
    /// The target that it is built for
    target: Target,
    memory_mib: u32,
    loader: Loader,
    proof: Proof,
}

/// What loads the kernel.
#[derive(Clone, Copy, Debug)]
enum Loader {
    /// QEMU, without a boot archive
    Qemu,
    /// GRUB, from a CD image
    Grub(Firmware),
}

/// What shows that the test passed, besides the exit status.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// The number of checks in its sources
    Checks(u32),
    /// The last line of the tour, which a boot archive requests
    Tour,
}

/// How long a boot may take. Firmware takes seconds of it.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// A build in which LLVM cannot turn the calls of wasmi's handlers into tail calls: they call their
/// decoders instead of inlining them, and pass references to their own locals.
const LOST_TAIL_CALLS: Image = Image {
    profile: &[("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")],
    ..Image::new("palimpsest-vm-tests", "refused-build")
};

/// A build without optimizations, like cargo's profile `dev`: what `cargo build` makes.
const UNOPTIMIZED: Image = Image {
    profile: &[
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
        ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true"),
        // The build scripts stay as they are for the other images.
        ("CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_DEBUG_ASSERTIONS", "false"),
        ("CARGO_PROFILE_RELEASE_LTO", "off"),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ],
    ..Image::new("palimpsest-vm-tests", "refused-build")
};

/// All of them.
const ALL: [Solo; 8] = [
    // A kernel that shares no code with ours, on the same two crates.
    Solo {
        name: "example/embed-minimal",
        image: Image::new("palimpsest-embed-minimal", "embed-minimal").without_lto(),
        target: Target::None,
        // A machine as QEMU makes it by default: what the example says that it needs.
        memory_mib: 128,
        loader: Loader::Qemu,
        proof: Proof::Checks(11),
    },
    // Threads that a timer switches wherever they are, on two level-4 tables.
    Solo {
        name: "example/threads",
        image: Image::new("palimpsest-threads", "threads").without_lto(),
        target: Target::None,
        memory_mib: 128,
        loader: Loader::Qemu,
        proof: Proof::Checks(9),
    },
    // A profile that an embedder may have, and that must not become a stack overflow.
    Solo {
        name: "gnu/lost-tail-calls-are-refused-by-name",
        image: LOST_TAIL_CALLS,
        target: Target::Gnu,
        memory_mib: DEFAULT_MEMORY_MIB,
        loader: Loader::Qemu,
        proof: Proof::Checks(3),
    },
    // The profile of those who have not set one.
    Solo {
        name: "gnu/a-build-without-optimizations-is-refused-by-name",
        image: UNOPTIMIZED,
        target: Target::Gnu,
        memory_mib: DEFAULT_MEMORY_MIB,
        loader: Loader::Qemu,
        proof: Proof::Checks(3),
    },
    demonstration("gnu/the-tour-passes-from-a-disc-with-a-bios", Firmware::SeaBios),
    demonstration("gnu/the-tour-passes-from-a-disc-with-uefi", Firmware::Ovmf),
    multiboot2("example/multiboot2-with-a-bios", Firmware::SeaBios),
    multiboot2("example/multiboot2-with-uefi", Firmware::Ovmf),
];

/// Returns the images that are built for a target.
pub(super) fn images(target: Target) -> impl Iterator<Item = Image> {
    ALL.into_iter().filter(move |solo| solo.target == target).map(|solo| solo.image)
}

/// The demonstration kernel on a CD image, with the tour's request as GRUB's module.
const fn demonstration(name: &'static str, firmware: Firmware) -> Solo {
    Solo {
        name,
        image: Image::KERNEL,
        target: Target::Gnu,
        memory_mib: DEFAULT_MEMORY_MIB,
        loader: Loader::Grub(firmware),
        proof: Proof::Tour,
    }
}

/// The example that GRUB loads.
const fn multiboot2(name: &'static str, firmware: Firmware) -> Solo {
    Solo {
        name,
        image: MULTIBOOT2,
        target: Target::None,
        memory_mib: DEFAULT_MEMORY_MIB,
        loader: Loader::Grub(firmware),
        proof: Proof::Checks(2),
    }
}

/// Runs the kernels whose names contain `filter`, a line each. If one passes, `on_line` gets each
/// line of its output.
///
/// # Errors
/// Something is missing and may not be installed, or QEMU cannot be started or listened to.
pub(super) fn run(
    workspace: &Workspace,
    filter: &str,
    policy: MissingPolicy,
    mut on_line: impl FnMut(&str),
) -> Result<Tally> {
    let mut tally = Tally::default();
    for kernel in ALL.into_iter().filter(|kernel| kernel.name.contains(filter)) {
        setup::require(workspace, kernel.needs(), policy)?;
        let output = kernel.run(workspace, &mut tally)?;
        output.lines().for_each(&mut on_line);
    }
    Ok(tally)
}

impl Solo {
    /// What it needs besides the compilation target and the emulator.
    const fn needs(self) -> &'static [Need] {
        match self.loader {
            Loader::Qemu => &[],
            Loader::Grub(_) => &DISCS,
        }
    }

    /// Builds and boots it. Returns what it printed if it passed.
    ///
    /// # Errors
    /// QEMU cannot be started or listened to. A kernel that does not build is a failed test.
    fn run(self, workspace: &Workspace, tally: &mut Tally) -> Result<String> {
        let name = format!("vm/{}", self.name);
        let session = super::session(workspace, self.target, self.image, &name, tally);
        let Some(session) = session else { return Ok(String::new()) };
        let machine = Machine {
            memory_mib: self.memory_mib,
            cpus: 1,
            accelerator: Accelerator::Tcg,
            clock: Clock::Host,
            time_limit: TIME_LIMIT,
            setting: Setting::Trying,
        };
        let task = match self.proof {
            Proof::Checks(_) => None,
            Proof::Tour => Some(Task::Tour),
        };
        let boot = Boot::record(|on_line| match self.loader {
            Loader::Qemu => session.boot_without_archive(machine, on_line),
            Loader::Grub(firmware) => session.boot_disc(machine, firmware, task, on_line),
        })?;
        Ok(match self.proof {
            Proof::Checks(checks) => boot.conclude(&name, &Expected::Checks(checks), tally),
            Proof::Tour => boot.conclude_with_line(&name, TOUR_PASSED, tally),
        })
    }
}
