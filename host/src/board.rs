//! Microcontrollers, as QEMU emulates them: how firmware is built for them, and how it is booted.
//!
//! The firmware prints through semihosting, which QEMU writes to its standard error, and ends the
//! machine with an exit status of its choice.

use crate::packages::Tool;
use crate::qemu::{self, Ending};
use crate::setup::{Need, RISCV32_TARGET, THUMB_TARGET};
use crate::workspace::{Variable, Workspace};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A machine without an MMU.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Board {
    /// `mps2-an386`: a Cortex-M4 with hardware floats of 32 bits
    CortexM4,
    /// `virt`: a 32-bit RISC-V with everything that QEMU emulates
    Riscv32,
}

impl Board {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::CortexM4, Self::Riscv32];

    /// What a build and a boot need.
    #[must_use]
    pub const fn needs(self) -> [Need; 2] {
        [Need::Core(self.triple()), Need::Tool(self.emulator())]
    }

    /// The target's name in rustc.
    #[must_use]
    pub const fn triple(self) -> &'static str {
        match self {
            Self::CortexM4 => THUMB_TARGET,
            Self::Riscv32 => RISCV32_TARGET,
        }
    }

    const fn emulator(self) -> Tool {
        match self {
            Self::CortexM4 => Tool::QemuArm,
            Self::Riscv32 => Tool::QemuRiscv32,
        }
    }

    const fn machine(self) -> &'static [&'static str] {
        match self {
            Self::CortexM4 => &["-machine", "mps2-an386"],
            Self::Riscv32 => &["-machine", "virt", "-bios", "none"],
        }
    }

    /// Compiles a binary of a package and returns the path of its ELF file. `words` are further
    /// arguments of cargo, and `profile` has variables that change the release profile.
    ///
    /// # Errors
    /// Cargo fails. It has then printed why on standard error.
    pub fn build(
        self,
        workspace: &Workspace,
        package: &str,
        binary: &str,
        words: &[&str],
        profile: &[Variable],
    ) -> Result<PathBuf> {
        let fixed = ["build", "--release", "--target", self.triple(), "--package", package, "--bin", binary];
        let arguments = fixed.iter().chain(words);
        let build = workspace.cargo(arguments, profile).unchecked().run().context("cannot start cargo")?;
        ensure!(
            build.status.success(),
            "{package} does not build for {}: see cargo's messages",
            self.triple()
        );
        Ok(workspace.output(self.triple()).join("release").join(binary))
    }

    /// Boots an image and waits for its end. Passes each line that it prints to `on_line`. `words`
    /// are further arguments of QEMU.
    ///
    /// # Errors
    /// QEMU cannot be started, or its output cannot be read.
    pub fn boot(
        self,
        image: &Path,
        words: &[OsString],
        time_limit: Duration,
        on_line: impl FnMut(&str),
    ) -> Result<Ending> {
        let fixed = ["-nodefaults", "-display", "none", "-semihosting", "-kernel"];
        let mut arguments: Vec<OsString> = self.machine().iter().chain(&fixed).map(Into::into).collect();
        arguments.push(image.into());
        arguments.extend_from_slice(words);
        qemu::follow(self.emulator(), arguments, time_limit, on_line)
    }
}

impl fmt::Display for Board {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::CortexM4 => "cortex-m4",
            Self::Riscv32 => "riscv32",
        })
    }
}
