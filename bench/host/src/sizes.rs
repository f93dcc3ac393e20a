//! The flash, stack and heap that firmware takes, and what they may be.
//!
//! The example of firmware is built for a Cortex-M4 at opt-level z with fat LTO, once with each set
//! of the engine's features. It is booted, and prints what it takes. These figures depend on the
//! code, on the compiler, and a little on the lengths of the paths of the sources.

use anyhow::{Context, Result, ensure};
use palimpsest_host::board::Board;
use palimpsest_host::qemu::Ending;
use palimpsest_host::workspace::Workspace;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A size may be this much worse, as a part of itself.
const TOLERANCE: f64 = 0.02;

/// The time limit of a boot.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// The sets of the engine's features: what they are called in the file, and cargo's arguments. The
/// example's own guard is in none.
const CONFIGURATIONS: [(&str, &[&str]); 3] = [
    ("all features", &["--no-default-features", "--features=memory64,simd,splice"]),
    ("splice alone", &["--no-default-features", "--features=splice"]),
    ("no features", &["--no-default-features"]),
];

/// What one build of the example takes, in bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    /// Code, constants and initial values of statics
    flash: u64,
    /// The native stack at its peak
    stack: u64,
    /// The heap at its peak
    heap: u64,
}

/// The sizes of all builds, by the names of their configurations.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Sizes(BTreeMap<String, Size>);

/// The most flash that one configuration should take.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlashGoal {
    /// Bytes
    at_most: u64,
    /// Why it takes more
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Goals for flash, by the names of their configurations.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct FlashGoals(BTreeMap<String, FlashGoal>);

impl FlashGoals {
    /// Returns a line for each goal that `sizes` miss. Those with a reason are known.
    pub(crate) fn missed(&self, sizes: &Sizes) -> Vec<String> {
        self.of(sizes).filter(|(_, goal, size)| size.flash > goal.at_most).map(line).collect()
    }

    /// Returns a line for each goal that `sizes` miss without a reason, and for each reason of a
    /// goal that they meet.
    pub(crate) fn surprising(&self, sizes: &Sizes) -> Vec<String> {
        let is_surprising =
            |goal: &FlashGoal, size: &Size| (size.flash > goal.at_most) != goal.reason.is_some();
        self.of(sizes).filter(|(_, goal, size)| is_surprising(goal, size)).map(line).collect()
    }

    fn of<'a>(&'a self, sizes: &'a Sizes) -> impl Iterator<Item = (&'a String, &'a FlashGoal, &'a Size)> {
        self.0.iter().filter_map(|(name, goal)| Some((name, goal, sizes.0.get(name)?)))
    }
}

fn line((name, goal, size): (&String, &FlashGoal, &Size)) -> String {
    let reason = goal.reason.iter().map(|reason| format!(" ({reason})")).collect::<String>();
    format!("{name}: {} bytes of flash, and the goal is {}{reason}", size.flash, goal.at_most)
}

impl Sizes {
    /// Builds and boots the example with each set of features.
    ///
    /// # Errors
    /// A build fails, QEMU cannot be started, or the example does not end with success.
    pub(crate) fn measure(workspace: &Workspace) -> Result<Self> {
        let mut sizes = BTreeMap::new();
        for (name, words) in CONFIGURATIONS {
            let profile = [("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z"), ("CARGO_PROFILE_RELEASE_LTO", "fat")];
            let board = Board::CortexM4;
            let image = board.build(workspace, "palimpsest-firmware", "firmware", words, &profile)?;
            let mut output = String::new();
            let ending = board.boot(&image, &[], TIME_LIMIT, |line| output.extend([line, "\n"]))?;
            ensure!(ending == Ending::Success, "the example with {name} {ending}:\n{output}");
            sizes.insert(name.to_owned(), Size::parse(&output)?);
        }
        Ok(Self(sizes))
    }

    /// Returns a line for each figure that is worse than here, or that is missing on one side.
    pub(crate) fn worse(&self, now: &Self) -> Vec<String> {
        let names = self.0.keys().chain(now.0.keys().filter(|name| !self.0.contains_key(*name)));
        names.flat_map(|name| compare(name, self.0.get(name), now.0.get(name))).collect()
    }
}

impl Size {
    /// Reads the lines that the example prints last.
    fn parse(output: &str) -> Result<Self> {
        let figure = |what: &str| {
            let prefix = format!("bytes of {what}: ");
            let figure = output.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok());
            figure.with_context(|| format!("the example prints no `{prefix}`:\n{output}"))
        };
        Ok(Self { flash: figure("flash")?, stack: figure("stack")?, heap: figure("heap")? })
    }

    fn figures(self) -> [(&'static str, u64); 3] {
        [("flash", self.flash), ("stack", self.stack), ("heap", self.heap)]
    }
}

/// Compares the sizes of one configuration.
fn compare(name: &str, before: Option<&Size>, now: Option<&Size>) -> Vec<String> {
    let (Some(before), Some(now)) = (before, now) else {
        let what = if now.is_none() { "was not measured" } else { "is not in the baseline" };
        return vec![format!("{name}: {what}")];
    };
    let pairs = before.figures().into_iter().zip(now.figures());
    let worse = pairs.filter(|((_, before), (_, now))| *now as f64 > *before as f64 * (1.0 + TOLERANCE));
    worse
        .map(|((what, before), (_, now))| format!("{name}: {now} bytes of {what} instead of {before}"))
        .collect()
}

impl fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| Features | Flash | Stack | Heap |\n| --- | --- | --- | --- |")?;
        self.0.iter().try_for_each(|(name, Size { flash, stack, heap })| {
            writeln!(formatter, "| {name} | {flash} | {stack} | {heap} |")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(flash: u64) -> Sizes {
        Sizes([("all".to_owned(), Size { flash, stack: 10, heap: 20 })].into())
    }

    #[test]
    fn the_figures_of_the_example_are_read() -> Result<()> {
        let output = "fib(15): 610\nbytes of flash: 5\nbytes of stack: 6\nbytes of heap: 7\n";
        assert_eq!(Size::parse(output)?, Size { flash: 5, stack: 6, heap: 7 });
        assert!(Size::parse("bytes of flash: 5\n").is_err());
        Ok(())
    }

    #[test]
    fn more_than_the_tolerance_is_worse() {
        assert_eq!(sizes(1000).worse(&sizes(1020)), Vec::<String>::new());
        assert_eq!(sizes(1000).worse(&sizes(1021)), ["all: 1021 bytes of flash instead of 1000"]);
    }

    #[test]
    fn a_goal_is_missed_with_a_reason_or_met_without_one() {
        let goals = |at_most, reason: Option<&str>| {
            let goal = FlashGoal { at_most, reason: reason.map(str::to_owned) };
            FlashGoals([("all".to_owned(), goal)].into())
        };
        let line = "all: 11 bytes of flash, and the goal is 10 (because)";
        assert_eq!(goals(10, Some("because")).missed(&sizes(11)), [line]);
        assert!(goals(10, Some("because")).missed(&sizes(10)).is_empty());
        assert!(goals(10, Some("because")).surprising(&sizes(11)).is_empty());
        assert!(goals(10, None).surprising(&sizes(10)).is_empty());
        assert_eq!(goals(10, Some("because")).surprising(&sizes(10)).len(), 1);
        assert_eq!(goals(10, None).surprising(&sizes(11)).len(), 1);
    }

    #[test]
    fn a_configuration_that_is_missing_on_one_side_is_reported() {
        assert_eq!(sizes(1).worse(&Sizes::default()), ["all: was not measured"]);
        assert_eq!(Sizes::default().worse(&sizes(1)), ["all: is not in the baseline"]);
    }
}
