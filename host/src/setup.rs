//! Finds out which tools and targets are missing, and installs them.
//!
//! Each command calls [`require`] with what it needs. Every installation is printed before it runs,
//! uses sudo only if the user is not root, and is skipped for what is already installed. With
//! `--no-setup` a missing thing is an error that names the command to install it.

use crate::kernel::Target;
use crate::packages::{PackageManager, Tool, Words, answers};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use duct::cmd;
use std::env;
use std::fmt;
use std::path::Path;

/// The emulator.
pub const EMULATOR: Need = Need::Tool(Tool::Qemu);

/// What the boots from CD images need, besides the emulator.
pub const DISCS: [Need; 2] = [Need::Tool(Tool::Grub), Need::Tool(Tool::Ovmf)];

/// Everything that `setup` installs and `ci` needs.
pub const EVERYTHING: [Need; 16] = [
    Need::Core(Target::None.triple()),
    Need::Core(Target::Gnu.triple()),
    Need::Core(WASM_TARGET),
    Need::Core(WASI_TARGET),
    Need::Core(THUMB_TARGET),
    Need::Core(RISCV32_TARGET),
    Need::Core(RISCV64_TARGET),
    Need::Core(AARCH64_TARGET),
    RUSTFMT,
    CLIPPY,
    EMULATOR,
    Need::Tool(Tool::QemuArm),
    Need::Tool(Tool::QemuRiscv32),
    Need::Tool(Tool::WasiClang),
    Need::Tool(Tool::Grub),
    Need::Tool(Tool::Ovmf),
];

/// The compilation target of the Rust guests that are libraries of functions.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// The compilation target of the Rust guests that are programs.
pub const WASI_TARGET: &str = "wasm32-wasip1";

/// A Cortex-M target with hardware floats.
pub(crate) const THUMB_TARGET: &str = "thumbv7em-none-eabihf";

/// A RISC-V microcontroller with atomic instructions.
pub(crate) const RISCV32_TARGET: &str = "riscv32imac-unknown-none-elf";

/// A RISC-V application processor, for which `ci` lints the engine.
const RISCV64_TARGET: &str = "riscv64gc-unknown-none-elf";

/// An ARM application processor, likewise.
const AARCH64_TARGET: &str = "aarch64-unknown-none";

/// The formatter.
const RUSTFMT: Need = Need::Component { name: "rustfmt", executable: "cargo-fmt" };

/// The linter.
const CLIPPY: Need = Need::Component { name: "clippy", executable: "cargo-clippy" };

/// What to do when something is missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MissingPolicy {
    /// Install it
    Install,
    /// Fail, naming the command that installs it
    Refuse,
}

/// An option of every command.
#[derive(Args, Clone, Copy, Debug)]
pub struct SetupOptions {
    /// Do not install what is missing; name the command that does
    #[arg(long)]
    no_setup: bool,
}

impl SetupOptions {
    /// What to do when something is not installed.
    #[must_use]
    pub const fn missing_policy(self) -> MissingPolicy {
        if self.no_setup { MissingPolicy::Refuse } else { MissingPolicy::Install }
    }
}

/// One thing that a command may find missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// The prebuilt `core` of a compilation target
    Core(&'static str),
    /// A component of the toolchain, recognised by a program that it brings
    Component {
        /// Its name in rustup
        name: &'static str,
        /// The program to look for
        executable: &'static str,
    },
    /// A program of the operating system
    Tool(Tool),
}

impl fmt::Display for Need {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(triple) => write!(formatter, "the compilation target {triple}"),
            Self::Component { name, .. } => formatter.write_str(name),
            Self::Tool(tool) => write!(formatter, "{tool}"),
        }
    }
}

impl Need {
    fn is_met(self, workspace: &Workspace) -> bool {
        match self {
            Self::Core(triple) => cmd!("rustc", "--print", "target-libdir", "--target", triple)
                .dir(workspace.root())
                .read()
                .is_ok_and(|directory| Path::new(&directory).is_dir()),
            Self::Component { executable, .. } => answers(&[executable, "--version"]),
            Self::Tool(tool) => tool.is_installed(),
        }
    }

    fn install_commands(self) -> Result<Vec<Words>> {
        match self {
            Self::Core(triple) => Ok(vec![Words::new(&["rustup", "target", "add", triple])]),
            Self::Component { name, .. } => Ok(vec![Words::new(&["rustup", "component", "add", name])]),
            Self::Tool(tool) => {
                let commands = PackageManager::detect().map(|manager| manager.install(tool));
                commands.filter(|commands| !commands.is_empty()).with_context(|| {
                    format!(
                        "{self} is not installed, and no package manager here (apt-get, dnf, pacman, brew) \
                         has it: install it by hand and see that it is in PATH. Debian has it in {}",
                        PackageManager::Apt.packages(tool).join(", ")
                    )
                })
            }
        }
    }
}

/// Whether a missing tool or network is an error and not a reason to skip something: the variable
/// `CI` is `true`.
#[must_use]
pub fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// Installs everything that any command needs, and prints what is installed already. If something
/// cannot be installed, goes on with the rest, because most commands need only a part.
///
/// # Errors
/// Something cannot be installed. Why has been printed.
pub fn install_everything(workspace: &Workspace) -> Result<()> {
    let mut missing = Vec::new();
    for need in EVERYTHING {
        if need.is_met(workspace) {
            println!("{need}: already installed");
        } else if let Err(error) = install(need, workspace) {
            eprintln!("{error:#}");
            missing.push(need.to_string());
        }
    }
    ensure!(
        missing.is_empty(),
        "not installed: {}; the commands that need none of them work",
        missing.join(", ")
    );
    Ok(())
}

/// Ensures that all `needs` are met, by installing what is missing if the policy allows it.
///
/// # Errors
/// - Something is missing, and the policy forbids to install it or no package manager is known.
/// - An installation fails, or succeeds without bringing what is needed.
pub fn require(workspace: &Workspace, needs: &[Need], policy: MissingPolicy) -> Result<()> {
    for need in needs.iter().filter(|need| !need.is_met(workspace)) {
        match policy {
            MissingPolicy::Install => install(*need, workspace)?,
            MissingPolicy::Refuse => {
                let commands: Vec<_> = need.install_commands()?.iter().map(ToString::to_string).collect();
                bail!(
                    "{need} is not installed: install it with `{}`, or with `cargo xtask setup`",
                    commands.join(" && ")
                );
            }
        }
    }
    Ok(())
}

fn install(need: Need, workspace: &Workspace) -> Result<()> {
    println!("{need}: missing");
    for command in need.install_commands()? {
        println!("$ {command}");
        let (program, arguments) = command.0.split_first().expect("every command names its program first");
        cmd(program, arguments)
            .dir(workspace.root())
            .run()
            .with_context(|| format!("`{command}` failed: {need} is needed, install it by hand"))?;
    }
    ensure!(need.is_met(workspace), "{need} is still missing after its installation: is it in PATH?");
    Ok(())
}
