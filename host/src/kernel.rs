//! How the kernel is compiled and linked, for each of its two targets.
//!
//! Owns the flags. They are set here and not in `.cargo/config.toml`, because they must not reach host
//! builds. The kernel is linked by the toolchain's own `rust-lld`, which rustc finds by its bare name: no C
//! compiler is needed, and any host will do. Each target has an output directory of its own, so that neither
//! evicts what the other, or a host build, has cached. `run`, `test` and the lints of `ci` build through this
//! module.

use crate::workspace::{Variable, Workspace};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use duct::Expression;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// A compilation target of the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Target {
    /// `x86_64-unknown-linux-gnu`, freestanding: hardware floats
    Gnu,
    /// `x86_64-unknown-none`: soft floats, what most hobby kernels use
    None,
}

impl Target {
    /// The name that rustc knows the target by.
    #[must_use]
    pub const fn triple(self) -> &'static str {
        match self {
            Self::Gnu => "x86_64-unknown-linux-gnu",
            Self::None => "x86_64-unknown-none",
        }
    }

    /// An absolute address per symbol, and a linker that comes with rustc: `none` has it anyway, `gnu` would
    /// take the host's C compiler, or a copy of what that one links with. With an explicit `--target` these
    /// flags do not reach build scripts, which are linked for the host.
    ///
    /// On `none` wasmi's interpreter is one loop around one `match` of some 1,500 arms. LLVM lets them share a
    /// single indirect jump, since copying it has been limited to blocks with few predecessors; with a copy at
    /// the end of each arm the loop executes 35 to 45 % fewer instructions. The copy is made behind the
    /// allocation of registers: in front of it, compiling wasmi takes five times as long.
    const fn rustflags(self) -> &'static str {
        match self {
            Self::Gnu => {
                "-C relocation-model=static -C linker=rust-lld -C linker-flavor=ld.lld \
                 -C link-self-contained=no"
            }
            Self::None => {
                "-C relocation-model=static -C llvm-args=-disable-early-taildup -C llvm-args=-tail-dup-size=12 \
                 -C llvm-args=-tail-dup-pred-size=100000 -C llvm-args=-tail-dup-succ-size=100000"
            }
        }
    }

    const fn output(self) -> &'static str {
        match self {
            Self::Gnu => "kernel-gnu",
            Self::None => "kernel-none",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Gnu => "gnu",
            Self::None => "none",
        })
    }
}

/// A bootable program of this repository.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// The package that it belongs to
    pub package: &'static str,
    /// The name of its binary
    pub binary: &'static str,
    /// Variables that change the release profile for it
    pub profile: &'static [Variable],
}

impl Image {
    /// The kernel that runs a guest or takes the tour.
    pub const KERNEL: Self = Self::new("palimpsest-kernel-demo", "kernel");

    /// A binary of a package, in the release profile as it is.
    #[must_use]
    pub const fn new(package: &'static str, binary: &'static str) -> Self {
        Self { package, binary, profile: &[] }
    }
}

/// Compiles one image and says where its ELF file is.
///
/// # Errors
/// Cargo fails; it has then said why on standard error.
pub fn build(workspace: &Workspace, target: Target, image: Image) -> Result<PathBuf> {
    let command = ["build", "--package", image.package, "--bin", image.binary];
    let build = cargo(workspace, target, &command, image.profile);
    let output = build.unchecked().run().context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "the kernel does not build for {}: see cargo's messages",
        target.triple()
    );
    let directory = workspace.output(target.output()).join(target.triple()).join("release");
    Ok(directory.join(image.binary))
}

/// A cargo command with the kernel's flags and output directory, which are put behind its first word, the
/// subcommand. `variables` come beside those that are set here.
pub fn cargo(workspace: &Workspace, target: Target, command: &[&str], variables: &[Variable]) -> Expression {
    let (subcommand, rest) = command.split_at(1);
    let directory = workspace.output(target.output());
    let mut arguments: Vec<OsString> = subcommand.iter().map(Into::into).collect();
    arguments.extend(["--release", "--target", target.triple(), "--target-dir"].map(Into::into));
    arguments.push(directory.into_os_string());
    arguments.extend(rest.iter().map(Into::into));
    workspace.cargo(arguments, &[variables, &[("RUSTFLAGS", target.rustflags())]].concat())
}
