//! The tests that need no emulator: `cargo test` of the workspace's default members.
//!
//! This module parses the output of Rust's test harness. A test program that dies without naming a
//! failed test, and one that does not build, count as one failure each.

use anyhow::{Context, Result};
use palimpsest_host::tally::Tally;
use palimpsest_host::workspace::Workspace;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// The result of one test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Status {
    Passed,
    Failed,
    Ignored,
}

/// Runs them, a line each.
///
/// # Errors
/// Cargo cannot be started, or its output cannot be read.
pub(crate) fn run(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    // Builds first, so that the compiler's messages are seen as they come.
    let build = workspace.cargo(["test", "--no-run"], &[]).unchecked().run().context("cannot start cargo")?;
    if !build.status.success() {
        tally.fail(&"host/build", &"see cargo's messages", "");
        return Ok(tally);
    }
    let cargo = workspace
        .cargo(["test", "--no-fail-fast"], &[("CARGO_TERM_COLOR", "never")])
        .stderr_to_stdout()
        .unchecked()
        .reader()
        .context("cannot start cargo")?;
    let lines = BufReader::new(&cargo).lines();
    let explanation = count(lines, &mut tally).context("cannot read cargo's output")?;
    let status = cargo.try_wait()?.context("cargo closed its output and goes on")?.status;
    if !status.success() {
        if tally.is_success() {
            tally.fail(
                &"host/cargo-test",
                &format_args!("no test failed, but cargo ended with {status}"),
                "",
            );
        }
        print!("{explanation}");
    }
    Ok(tally)
}

/// Counts and prints every test. Returns the other output of the programs with failures.
fn count(lines: impl Iterator<Item = io::Result<String>>, tally: &mut Tally) -> io::Result<String> {
    let mut program = String::new();
    let mut explanation = Explanation::default();
    for line in lines {
        let line = line?;
        if let Some(name) = started_program(&line) {
            name.clone_into(&mut program);
            explanation.end_program();
        }
        match test_result(&line) {
            Some((name, Status::Passed)) => tally.pass(&format_args!("host/{program}/{name}")),
            Some((name, Status::Failed)) => {
                tally.fail(&format_args!("host/{program}/{name}"), &"why is printed at the end", "");
            }
            Some((name, Status::Ignored)) => println!("ignored host/{program}/{name}"),
            None => explanation.add(&line),
        }
    }
    explanation.end_program();
    Ok(explanation.failed_programs)
}

/// The output of test programs beside their results, kept for those that fail.
#[derive(Debug, Default)]
struct Explanation {
    failed_programs: String,
    program: String,
}

impl Explanation {
    fn add(&mut self, line: &str) {
        self.program.extend([line, "\n"]);
    }

    /// Cargo prints a line `error: ...` for each program that fails or crashes.
    fn end_program(&mut self) {
        if self.program.lines().any(|line| line.starts_with("error: ")) {
            self.failed_programs.push_str(&self.program);
        }
        self.program.clear();
    }
}

/// Parses the program that cargo starts: `Running unittests src/lib.rs
/// (target/debug/deps/name-0123456789abcdef)` or `Doc-tests name`.
fn started_program(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(name);
    }
    let (_, path) = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once('(')?;
    let (name, _hash) = Path::new(path).file_name()?.to_str()?.rsplit_once('-')?;
    Some(name)
}

/// `test <name> ... <status>`.
fn test_result(line: &str) -> Option<(&str, Status)> {
    let (name, status) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    match status {
        "ok" => Some((name, Status::Passed)),
        "FAILED" => Some((name, Status::Failed)),
        _ if status.starts_with("ignored") => Some((name, Status::Ignored)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_lines_are_read() {
        assert_eq!(test_result("test a::b ... ok"), Some(("a::b", Status::Passed)));
        assert_eq!(test_result("test a::b ... FAILED"), Some(("a::b", Status::Failed)));
        assert_eq!(test_result("test a ... ignored, slow"), Some(("a", Status::Ignored)));
        assert_eq!(
            test_result("test src/lib.rs - Frame (line 12) - compile fail ... ok"),
            Some(("src/lib.rs - Frame (line 12) - compile fail", Status::Passed))
        );
    }

    #[test]
    fn other_lines_are_no_results() {
        for line in ["", "test result: ok. 3 passed; 0 failed", "running 3 tests", "---- a::b stdout ----"] {
            assert_eq!(test_result(line), None, "{line}");
        }
    }

    #[test]
    fn cargo_names_the_program_of_the_lines_that_follow() {
        let unit =
            "     Running unittests src/lib.rs (/x/target/debug/deps/palimpsest_paging-0a1b2c3d4e5f6071)";
        assert_eq!(started_program(unit), Some("palimpsest_paging"));
        assert_eq!(started_program("   Doc-tests palimpsest_engine"), Some("palimpsest_engine"));
        assert_eq!(started_program("   Compiling palimpsest-engine v0.1.0 (/x/engine)"), None);
    }

    #[test]
    fn failures_are_counted_and_explained_by_what_their_program_printed() -> io::Result<()> {
        let lines = [
            "   Doc-tests good",
            "test a ... ok",
            "test result: ok",
            "   Doc-tests bad",
            "test b ... FAILED",
            "---- b stdout ----",
            "error: doctest failed",
        ];
        let mut tally = Tally::default();
        let explanation = count(lines.into_iter().map(|line| Ok(line.to_owned())), &mut tally)?;
        assert_eq!(tally.to_string(), "1 passed, 1 failed");
        assert_eq!(explanation, "   Doc-tests bad\n---- b stdout ----\nerror: doctest failed\n");
        Ok(())
    }
}
