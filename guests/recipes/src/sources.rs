//! C sources of other projects, from crates on crates.io.
//!
//! `guests/c/sources` is a manifest with the exact versions, and its lock file has the SHA-256
//! sums. Cargo only fetches these packages and checks the sums; it never builds them.

use anyhow::{Context, Result};
use palimpsest_host::workspace::Workspace;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The directories of the packages.
#[derive(Debug)]
pub(crate) struct Sources {
    /// mimalloc 2: `include` and `src`
    pub(crate) mimalloc: PathBuf,
    /// SQLite's amalgamation: `sqlite3.c` and `sqlite3.h`
    pub(crate) sqlite: PathBuf,
    /// zstd's `lib`
    pub(crate) zstd: PathBuf,
}

impl Sources {
    /// Finds the packages, and fetches those that are missing.
    ///
    /// # Errors
    /// A package cannot be fetched, or has another checksum.
    pub(crate) fn fetch(workspace: &Workspace) -> Result<Self> {
        let manifest = workspace.root().join("guests/c/sources/Cargo.toml");
        let words = ["metadata", "--locked", "--quiet", "--format-version=1", "--manifest-path"];
        let arguments = words.iter().map(Into::into).chain([manifest.into_os_string()]);
        let answer = workspace
            .cargo(arguments, &[])
            .read()
            .context("the C sources cannot be fetched from crates.io: a network is needed once")?;
        let metadata: Value = serde_json::from_str(&answer).context("`cargo metadata` printed no JSON")?;
        Ok(Self {
            mimalloc: package(&metadata, "libmimalloc-sys")?.join("c_src/mimalloc/v2"),
            sqlite: package(&metadata, "libsqlite3-sys")?.join("sqlite3"),
            zstd: package(&metadata, "zstd-sys")?.join("zstd/lib"),
        })
    }
}

/// The directory of the package with this name.
fn package<'a>(metadata: &'a Value, name: &str) -> Result<&'a Path> {
    let packages = metadata["packages"].as_array().context("`cargo metadata` names no packages")?;
    packages
        .iter()
        .find(|package| package["name"] == name)
        .and_then(|package| Path::new(package["manifest_path"].as_str()?).parent())
        .with_context(|| format!("`cargo metadata` does not list the package {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_package_is_where_its_manifest_is() -> Result<()> {
        let metadata = json!({"packages": [
            {"name": "cc", "manifest_path": "/registry/cc-1.2/Cargo.toml"},
            {"name": "zstd-sys", "manifest_path": "/registry/zstd-sys-2.0/Cargo.toml"},
        ]});
        assert_eq!(package(&metadata, "zstd-sys")?, Path::new("/registry/zstd-sys-2.0"));
        Ok(())
    }

    #[test]
    fn a_missing_package_is_named() {
        let error = package(&json!({"packages": []}), "zstd-sys").expect_err("the list is empty");
        assert_eq!(error.to_string(), "`cargo metadata` does not list the package zstd-sys");
    }
}
