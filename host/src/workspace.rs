//! Where the repository and its build outputs are, and how cargo is called in it.
//!
//! Every cargo command of xtask starts here, so that none inherits flags meant for another: `cargo xtask`
//! itself runs under cargo, and the caller's own `RUSTFLAGS` would otherwise reach the kernel. Both
//! directories are cargo's answer, which honours `CARGO_TARGET_DIR` and works from any directory inside the
//! repository.

use anyhow::{Context, Result};
use duct::{Expression, cmd};
use serde_json::Value;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Variables that change what cargo compiles; the kernel sets its own, everything else is built without.
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

/// The repository on this machine.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Asks cargo for the directories.
    ///
    /// # Errors
    /// Cargo does not run here, or answers something else than its documented JSON.
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

    /// A cargo command at the root, with these build variables and none of the caller's.
    pub fn cargo<I>(&self, arguments: I, variables: &[Variable]) -> Expression
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        // In duct what is applied first prevails.
        let command =
            variables.iter().fold(cmd(cargo(), arguments), |command, (name, value)| command.env(name, value));
        BUILD_VARIABLES.iter().fold(command, |command, name| command.env_remove(name)).dir(&self.root)
    }
}

/// The cargo that runs us, so that one toolchain builds everything.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
