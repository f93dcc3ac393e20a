//! Where the repository and its build outputs are, and how cargo is called in it.
//!
//! Every cargo command starts here, so that none inherits flags that are meant for another one. For
//! example, `cargo xtask` itself runs under cargo, and the caller's `RUSTFLAGS` must not reach the
//! kernel. `cargo metadata` reports the directories, so `CARGO_TARGET_DIR` works, from any
//! directory of the repository.

use anyhow::{Context, Result};
use duct::{Expression, cmd};
use serde_json::Value;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Variables that change what cargo compiles. They are removed from every command; the kernel's
/// builds set their own.
const BUILD_VARIABLES: [&str; 6] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];

/// An environment variable of a command: its name and its value.
pub type Variable = (&'static str, &'static str);

/// Variables that remove link-time optimization from the release profile.
///
/// With it, wasmi is optimized again for each image, which takes most of the time of a build.
/// Without it, the images of a target share its compiled code. The single codegen unit of the
/// profile is enough for wasmi's tail calls.
pub const WITHOUT_LTO: &[Variable] = &[("CARGO_PROFILE_RELEASE_LTO", "off")];

/// The repository on this machine.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the directories through `cargo metadata`.
    ///
    /// # Errors
    /// Cargo does not run here, or does not print its documented JSON.
    pub fn locate() -> Result<Self> {
        let metadata = cmd!(cargo(), "metadata", "--no-deps", "--format-version", "1")
            .read()
            .context("`cargo metadata` failed: run `cargo xtask` inside the repository")?;
        let metadata: Value = serde_json::from_str(&metadata).context("`cargo metadata` printed no JSON")?;
        let directory = |name: &str| {
            metadata[name]
                .as_str()
                .map(PathBuf::from)
                .with_context(|| format!("`cargo metadata` names no {name}"))
        };
        Ok(Self { root: directory("workspace_root")?, target: directory("target_directory")? })
    }

    /// The directory of the root `Cargo.toml`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below cargo's output directory.
    #[must_use]
    pub fn output(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// Returns a cargo command at the root, with these build variables and none of the caller's.
    pub fn cargo<I>(&self, arguments: I, variables: &[Variable]) -> Expression
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        // In duct, the variable that is set first wins.
        let command =
            variables.iter().fold(cmd(cargo(), arguments), |command, (name, value)| command.env(name, value));
        BUILD_VARIABLES.iter().fold(command, |command, name| command.env_remove(name)).dir(&self.root)
    }
}

/// The cargo that runs this program, so that one toolchain builds everything.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
