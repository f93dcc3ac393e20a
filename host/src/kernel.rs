//! Compiles and links the kernels, for each of their two targets.
//!
//! The flags are in `docs/kernel-flags.toml`, from which embedders copy. They are not in
//! `.cargo/config.toml`, because they must not reach host builds. With an explicit `--target` they
//! do not reach build scripts either, which are linked for the host.
//!
//! The toolchain's own `rust-lld` links, so any host works without a C compiler. Each target has
//! its own output directory. Otherwise builds for one target would evict the cached results of the
//! other and of the host.

use crate::progress;
use crate::workspace::{Variable, WITHOUT_LTO, Workspace};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use duct::Expression;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// The flags of each target, as a configuration file of cargo, below the root of the repository.
const FLAGS: &str = "docs/kernel-flags.toml";

/// A compilation target of the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Target {
    /// `x86_64-unknown-linux-gnu`, freestanding: hardware floats
    Gnu,
    /// `x86_64-unknown-none`: soft floats, what most hobby kernels use
    None,
}

impl Target {
    /// The target's name in rustc.
    #[must_use]
    pub const fn triple(self) -> &'static str {
        match self {
            Self::Gnu => "x86_64-unknown-linux-gnu",
            Self::None => "x86_64-unknown-none",
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
    /// Features of the package, apart from the default ones, separated by commas
    pub features: &'static str,
}

impl Image {
    /// The kernel that runs a guest or takes the tour.
    pub const KERNEL: Self = Self::new("palimpsest-kernel-demo", "kernel");

    /// The kernel of the emulator tests, which are the specification's too.
    pub const TESTS: Self = Self::new("palimpsest-vm-tests", "vm-tests");

    /// The benchmark's kernel, for one CPU.
    pub const BENCH: Self = Self::new("palimpsest-bench-kernel", "bench");

    /// The benchmark's kernel for several CPUs.
    pub const BENCH_MANY_CPUS: Self = Self { features: "many-cpus", ..Self::BENCH };

    /// A binary of a package, in the release profile as it is.
    #[must_use]
    pub const fn new(package: &'static str, binary: &'static str) -> Self {
        Self { package, binary, profile: &[], features: "" }
    }

    /// The same in the profile [`WITHOUT_LTO`].
    #[must_use]
    pub const fn without_lto(self) -> Self {
        Self { profile: WITHOUT_LTO, ..self }
    }
}

/// Compiles one image and returns the path of its ELF file.
///
/// # Errors
/// Cargo fails. It has then printed why on standard error.
pub fn build(workspace: &Workspace, target: Target, image: Image) -> Result<PathBuf> {
    let mut command =
        vec!["build", "--package", image.package, "--bin", image.binary, "--features", image.features];
    command.extend(progress::is_quiet().then_some("--quiet"));
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

/// Returns a cargo command with the kernel's flags and output directory. They are inserted after
/// the first word, the subcommand.
pub fn cargo(workspace: &Workspace, target: Target, command: &[&str], variables: &[Variable]) -> Expression {
    let (subcommand, rest) = command.split_at(1);
    let mut arguments: Vec<OsString> = subcommand.iter().map(Into::into).collect();
    arguments.extend(["--release", "--target", target.triple(), "--target-dir"].map(Into::into));
    arguments.push(workspace.output(target.output()).into());
    arguments.push("--config".into());
    arguments.push(workspace.root().join(FLAGS).into());
    arguments.extend(rest.iter().map(Into::into));
    workspace.cargo(arguments, variables)
}
