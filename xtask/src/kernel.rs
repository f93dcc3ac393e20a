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
pub(crate) enum Target {
    /// `x86_64-unknown-linux-gnu`, freestanding: hardware floats
    Gnu,
    /// `x86_64-unknown-none`: soft floats, what most hobby kernels use
    None,
}

impl Target {
    /// The name that rustc knows the target by.
    pub(crate) const fn triple(self) -> &'static str {
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

/// A bootable program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Image {
    /// Runs a guest, or takes the tour
    Kernel,
    /// The benchmark
    Bench,
    /// The emulator tests
    VmTests,
    /// The WebAssembly specification's tests
    Spec,
    /// The example `examples/embed-minimal`, a kernel of its own
    EmbedMinimal,
    /// The test of a build that loses the interpreter's tail calls
    LostTailCalls,
}

impl Image {
    const fn package(self) -> &'static str {
        match self {
            Self::Kernel | Self::Bench | Self::VmTests | Self::Spec | Self::LostTailCalls => {
                "palimpsest-kernel-demo"
            }
            Self::EmbedMinimal => "palimpsest-embed-minimal",
        }
    }

    /// The name of its file.
    pub(crate) const fn binary(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Bench => "bench",
            Self::VmTests => "vm-tests",
            Self::Spec => "spec",
            Self::EmbedMinimal => "embed-minimal",
            Self::LostTailCalls => "lost-tail-calls",
        }
    }

    /// What is changed in the release profile.
    const fn profile(self) -> &'static [Variable] {
        match self {
            Self::Kernel | Self::Bench | Self::VmTests | Self::Spec | Self::EmbedMinimal => &[],
            // wasmi's handlers then call their decoders instead of inlining them, with references to their own
            // locals, which rule a tail call out.
            Self::LostTailCalls => {
                &[("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")]
            }
        }
    }
}

/// Compiles one image and says where its ELF file is.
///
/// # Errors
/// Cargo fails; it has then said why on standard error.
pub(crate) fn build(workspace: &Workspace, target: Target, image: Image) -> Result<PathBuf> {
    let command = ["build", "--package", image.package(), "--bin", image.binary()];
    let build = cargo(workspace, target, &command, image.profile());
    let output = build.unchecked().run().context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "the kernel does not build for {}: see cargo's messages",
        target.triple()
    );
    let directory = workspace.output(target.output()).join(target.triple()).join("release");
    Ok(directory.join(image.binary()))
}

/// A cargo command with the kernel's flags and output directory, which are put behind its first word, the
/// subcommand. `variables` come beside those that are set here.
pub(crate) fn cargo(
    workspace: &Workspace,
    target: Target,
    command: &[&str],
    variables: &[Variable],
) -> Expression {
    let (subcommand, rest) = command.split_at(1);
    let directory = workspace.output(target.output());
    let mut arguments: Vec<OsString> = subcommand.iter().map(Into::into).collect();
    arguments.extend(["--release", "--target", target.triple(), "--target-dir"].map(Into::into));
    arguments.push(directory.into_os_string());
    arguments.extend(rest.iter().map(Into::into));
    workspace.cargo(arguments, &[variables, &[("RUSTFLAGS", target.rustflags())]].concat())
}
