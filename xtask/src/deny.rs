//! `cargo xtask deny`: checks the licences, sources and versions of all dependencies.
//!
//! The policy is in `deny.toml`, in the format of cargo-deny. That program is not used, because it
//! takes minutes to build and does not work without the network. What is not checked here are its
//! advisories.

use anyhow::{Context, Result, ensure};
use palimpsest_host::workspace::Workspace;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::ExitCode;

/// The workspaces, each of which has a lock file.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "fuzz/Cargo.toml", "bench/wasmtime/Cargo.toml"];

/// The policy, in a file at the root of the repository.
const POLICY: &str = "deny.toml";

/// The part of the policy that is checked.
#[derive(Debug, Deserialize)]
struct Policy {
    licenses: Licenses,
    sources: Sources,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

#[derive(Debug, Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    name: String,
}

/// The part of the output of `cargo metadata` that is read.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for a member of the workspace.
    source: Option<String>,
}

/// Checks all workspaces and prints what is not accepted.
///
/// # Errors
/// The policy cannot be read, or cargo fails, for example because a lock file is not up to date.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let text = fs::read_to_string(workspace.root().join(POLICY)).context("cannot read deny.toml")?;
    let policy: Policy = toml::from_str(&text).context("deny.toml is not a policy")?;
    let mut packages = 0;
    let mut findings = 0;
    for manifest in MANIFESTS {
        let metadata = metadata(workspace, manifest)?;
        packages += metadata.packages.len();
        for finding in policy.findings(&metadata.packages) {
            println!("{manifest}: {finding}");
            findings += 1;
        }
    }
    println!("{packages} packages, {findings} findings");
    Ok(if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn metadata(workspace: &Workspace, manifest: &str) -> Result<Metadata> {
    let words = ["metadata", "--format-version=1", "--locked", "--manifest-path", manifest];
    let output = workspace.cargo(words, &[]).stdout_capture().unchecked().run();
    let output = output.context("cannot start cargo")?;
    ensure!(output.status.success(), "`cargo metadata` failed for {manifest}");
    serde_json::from_slice(&output.stdout).context("`cargo metadata` printed something unknown")
}

impl Policy {
    /// Returns a line for each thing that is not accepted.
    fn findings(&self, packages: &[Package]) -> Vec<String> {
        let mut findings = Vec::new();
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for package in packages {
            let Package { name, version, license, source } = package;
            versions.entry(name).or_default().insert(version);
            let Some(source) = source else { continue };
            if !self.sources.allow_registry.iter().any(|url| source == &format!("registry+{url}")) {
                findings.push(format!("{name} {version} comes from {source}"));
            }
            match license {
                Some(license) if self.accepts(license) => {}
                Some(license) => findings.push(format!("{name} {version} has the licence {license}")),
                None => findings.push(format!("{name} {version} names no licence")),
            }
        }
        for (name, versions) in versions {
            if versions.len() > 1 && !self.bans.skip.iter().any(|skip| skip.name == name) {
                findings.push(format!("{name} has {} versions: {versions:?}", versions.len()));
            }
        }
        findings
    }

    /// Returns whether a licence expression can be satisfied with the accepted licences.
    fn accepts(&self, expression: &str) -> bool {
        // A slash is the old form of `OR`. Parentheses are words here.
        let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
        Expression { words: &words, allowed: &self.licenses.allow }.evaluate().unwrap_or(false)
    }
}

/// A licence expression of SPDX, which is consumed from the start. `None` means that it has another
/// form.
struct Expression<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl<'a> Expression<'a> {
    fn evaluate(mut self) -> Option<bool> {
        let result = self.alternatives()?;
        self.words.is_empty().then_some(result)
    }

    fn alternatives(&mut self) -> Option<bool> {
        let mut result = self.conjunction()?;
        while self.consume("OR") {
            result |= self.conjunction()?;
        }
        Some(result)
    }

    fn conjunction(&mut self) -> Option<bool> {
        let mut result = self.operand()?;
        while self.consume("AND") {
            result &= self.operand()?;
        }
        Some(result)
    }

    fn operand(&mut self) -> Option<bool> {
        if self.consume("(") {
            let result = self.alternatives()?;
            return self.consume(")").then_some(result);
        }
        let license = self.next()?;
        if self.consume("WITH") {
            let exception = self.next()?;
            return Some(self.allowed.contains(&format!("{license} WITH {exception}")));
        }
        Some(self.allowed.contains(license))
    }

    fn consume(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.next();
        }
        found
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let text = r#"
            licenses.allow = ["MIT", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]
            sources.allow-registry = ["https://example.org/index"]
            bans.skip = [{ crate = "twice" }]
        "#;
        toml::from_str(text).expect("the policy is valid")
    }

    fn package(name: &str, version: &str, license: &str, source: &str) -> Package {
        let [name, version] = [name, version].map(str::to_owned);
        Package { name, version, license: Some(license.to_owned()), source: Some(source.to_owned()) }
    }

    #[test]
    fn a_licence_is_accepted_if_its_expression_can_be_satisfied() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("(GPL-3.0 OR MIT) AND Unicode-3.0", true),
            ("MIT AND (GPL-3.0 OR Zlib)", false),
            ("Apache-2.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT OR", false),
            ("(MIT", false),
            ("", false),
        ] {
            assert_eq!(policy().accepts(expression), expected, "{expression}");
        }
    }

    #[test]
    fn each_finding_names_the_package() {
        const HERE: &str = "registry+https://example.org/index";
        let packages = [
            package("good", "1.0.0", "MIT", HERE),
            package("viral", "1.0.0", "GPL-3.0", HERE),
            package("foreign", "1.0.0", "MIT", "git+https://example.org/foreign"),
            package("twice", "1.0.0", "MIT", HERE),
            package("twice", "2.0.0", "MIT", HERE),
            package("again", "1.0.0", "MIT", HERE),
            package("again", "2.0.0", "MIT", HERE),
        ];
        assert_eq!(
            policy().findings(&packages),
            [
                "viral 1.0.0 has the licence GPL-3.0",
                "foreign 1.0.0 comes from git+https://example.org/foreign",
                "again has 2 versions: {\"1.0.0\", \"2.0.0\"}",
            ]
        );
    }
}
