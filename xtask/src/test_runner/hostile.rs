//! The tests of hostile guests, and how long they keep the kernel from its other work.
//!
//! They are emulator tests whose names begin with [`PREFIX`]. Their kernel prints how long loading,
//! instantiation, the longest turn and the drop took, and [`run`] keeps the longest time for each
//! cause. They count the instructions of one CPU.

use super::vm;
use anyhow::{Result, ensure};
use palimpsest_host::kernel::Target;
use palimpsest_host::protocol::console::Longest;
use palimpsest_host::setup::MissingPolicy;
use palimpsest_host::tally::Tally;
use palimpsest_host::workspace::Workspace;
use std::collections::BTreeMap;

/// The start of the names of these tests.
const PREFIX: &str = "hostile-";

/// The longest time of each cause, and the test in which it occurred.
#[derive(Debug, Default)]
struct Records(BTreeMap<String, (u64, String)>);

impl Records {
    /// Takes the line of a test into account.
    fn add(&mut self, test: &str, line: &str) {
        let Some(Longest { cause, instructions }) = Longest::parse(line) else { return };
        let record = self.0.entry(cause).or_default();
        if instructions >= record.0 {
            *record = (instructions, test.strip_prefix(PREFIX).unwrap_or(test).to_owned());
        }
    }

    /// Returns a table with a line for each cause.
    fn table(&self) -> String {
        let rows = self
            .0
            .iter()
            .map(|(cause, (instructions, test))| format!("| {cause} | {instructions} | `{test}` |\n"));
        ["| cause | instructions | attack |\n", "| --- | ---: | --- |\n"]
            .into_iter()
            .map(str::to_owned)
            .chain(rows)
            .collect()
    }
}

/// Runs the attacks whose name contains `name`, and prints the table.
///
/// # Errors
/// Something is missing and may not be installed, QEMU cannot be started, or no attack has `name`
/// in its name.
pub(super) fn run(workspace: &Workspace, target: Target, name: &str, policy: MissingPolicy) -> Result<Tally> {
    let mut records = Records::default();
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let chosen = |test: &str| test.strip_prefix(PREFIX).is_some_and(|attack| attack.contains(name));
    let tally = vm::run(workspace, target, &chosen, 1, policy, |test, line| records.add(test, line))?;
    ensure!(tally != Tally::default(), "no attack has `{name}` in its name");
    print!("{}", records.table());
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_of_each_cause_is_kept() {
        let mut records = Records::default();
        for (test, line) in [
            ("hostile-a", "LONGEST 5 clear"),
            ("hostile-b", "LONGEST 7 clear"),
            ("hostile-c", "LONGEST 6 clear"),
            ("hostile-c", "LONGEST 1 load"),
            ("hostile-c", "TESTS_COMPLETE 1"),
        ] {
            records.add(test, line);
        }
        assert!(
            records.table().ends_with("| clear | 7 | `b` |\n| load | 1 | `c` |\n"),
            "{}",
            records.table()
        );
    }
}
