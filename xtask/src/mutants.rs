//! `cargo xtask mutants`: takes each flush, wait and hook out of the paging crate, and each of its
//! calls out of the engine, one at a time, and checks that a test fails.
//!
//! The model of several CPUs (`paging/tests/regions/cpus_model.rs`) would pass just as well if it
//! could not notice a missing flush. So every line that keeps CPUs from using stale entries is
//! changed here, in a copy of the repository, and the model must fail with the change. The model
//! runs one CPU at a time, and checks no more than that nothing stale is used. So for races the
//! tests of `tests/interleavings` must fail, and for the rest those of
//! `paging/tests/regions/cpus.rs`. What the engine does is noticed by its own tests, which record
//! what a store reports. A test checks that each line of the list is in its file.

mod list;

use anyhow::{Context, Result, ensure};
use duct::cmd;
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workspace::Workspace;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// A change that makes the crate wrong.
struct Mutant {
    /// What is missing.
    name: &'static str,
    /// The file, below the sources of the suite.
    file: &'static str,
    /// A part of the file, which is in it once.
    original: &'static str,
    /// What stands there instead.
    replacement: &'static str,
}

/// Tests, and the changes with each of which one of them must fail.
struct Suite {
    name: &'static str,
    /// The folder with the sources that are changed, from the repository's root.
    sources: &'static str,
    /// What cargo tests.
    target: &'static [&'static str],
    /// Parts of the tests' names.
    filters: &'static [&'static str],
    mutants: &'static [Mutant],
}

const PAGING: &str = "paging/src";
const REGIONS: &[&str] = &["--package=palimpsest-paging", "--test=regions"];

const SUITES: [Suite; 4] = [
    Suite {
        name: "model",
        sources: PAGING,
        target: REGIONS,
        filters: &["cpus_model::"],
        mutants: &list::MODEL,
    },
    Suite { name: "cases", sources: PAGING, target: REGIONS, filters: &["cpus::"], mutants: &list::CASES },
    Suite {
        name: "interleavings",
        sources: PAGING,
        target: &["--package=palimpsest-interleavings", "--lib"],
        filters: &[],
        mutants: &list::RACES,
    },
    Suite {
        name: "engine",
        sources: "engine/src",
        target: &["--package=palimpsest-engine", "--lib"],
        filters: &["attendance::", "paged::"],
        mutants: &list::ENGINE,
    },
];

/// Steps of the model, enough for each mutant.
const STEPS: &str = "200000";

/// Runs the tests with each of the changes whose name, after that of its suite, contains `filter`.
///
/// # Errors
/// The repository cannot be copied, or a line of the list is not in its file.
pub(crate) fn run(workspace: &Workspace, filter: &str) -> Result<ExitCode> {
    let copy = workspace.output("mutants").join("source");
    copy_sources(workspace, &copy)?;
    // The dependencies are those of the repository, and need not be built once more.
    let build = workspace.output("");
    let mut tally = Tally::default();
    for suite in SUITES {
        let is_caught = |mutant: Option<&Mutant>| suite.fails(mutant, &copy, &build);
        let named = suite.mutants.iter().map(|mutant| (format!("{}/{}", suite.name, mutant.name), mutant));
        let mut mutants = named.filter(|(name, _)| name.contains(filter)).peekable();
        if mutants.peek().is_some() {
            ensure!(!is_caught(None)?, "tests of the suite `{}` fail without a mutant", suite.name);
        }
        for (name, mutant) in mutants {
            let start = Instant::now();
            let file = copy.join(suite.sources).join(mutant.file);
            let original = fs::read_to_string(&file)?;
            fs::write(&file, mutant.applied_to(&original)?)?;
            let is_caught = is_caught(Some(mutant));
            fs::write(&file, original)?;
            let name = Timed(&name, start.elapsed());
            if is_caught? {
                tally.pass(&name);
            } else {
                tally.fail(&name, &"no test fails", "");
            }
        }
    }
    println!("{tally}");
    Ok(tally.exit_code())
}

impl Suite {
    /// Whether a test fails in the copy of the repository, to which the change has been made.
    fn fails(&self, mutant: Option<&Mutant>, copy: &Path, build: &Path) -> Result<bool> {
        let test = |words: &[&str]| {
            cmd("cargo", ["test", "--quiet"].iter().chain(self.target).chain(words))
                .dir(copy)
                .env("CARGO_TARGET_DIR", build)
                // A mutant changes one function.
                .env("CARGO_INCREMENTAL", "1")
                .env("MODEL_STEPS", STEPS)
                .stderr_to_stdout()
                .stdout_capture()
                .unchecked()
                .run()
                .context("cannot start cargo")
        };
        let built = test(&["--no-run"])?;
        let name = mutant.map_or("the sources", |mutant| mutant.name);
        ensure!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stdout));
        let run: Vec<_> = ["--"].iter().chain(self.filters).copied().collect();
        Ok(!test(&run)?.status.success())
    }
}

impl Mutant {
    fn applied_to(&self, source: &str) -> Result<String> {
        let count = source.matches(self.original).count();
        ensure!(count == 1, "{}: `{}` is in {} {count} times", self.name, self.original, self.file);
        Ok(source.replacen(self.original, self.replacement, 1))
    }
}

/// Copies the files that git tracks.
fn copy_sources(workspace: &Workspace, copy: &Path) -> Result<()> {
    let files =
        cmd!("git", "ls-files").dir(workspace.root()).read().context("git does not list the files")?;
    for file in files.lines().map(Path::new) {
        let from = workspace.root().join(file);
        let to = copy.join(file);
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)?;
        }
        // A file that has not changed keeps its time, so that cargo does not compile it again.
        if fs::read(&to).ok() != fs::read(&from).ok() {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_changes_a_line_that_exists() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (suite, mutant) in
            SUITES.iter().flat_map(|suite| suite.mutants.iter().map(move |mutant| (suite, mutant)))
        {
            let file = root.join(suite.sources).join(mutant.file);
            let source = fs::read_to_string(file).expect("the file exists");
            let mutated = mutant.applied_to(&source).expect("the line exists once");
            assert_ne!(mutated, source, "{}", mutant.name);
        }
    }
}
