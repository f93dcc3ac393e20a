//! The flash, stack and heap that firmware takes, and what they may be.
//!
//! Two examples are built for a Cortex-M4 at opt-level z with fat LTO, with several sets of the
//! engine's features, and are booted. The flash is that of `examples/firmware-minimal`, nearly all
//! of which is the engine's. The stack and the heap are those of `examples/firmware`, which runs
//! larger guests and prints what they take. All figures depend on the code, on the compiler, and a
//! little on the lengths of the paths of the sources.

use anyhow::{Context, Result, ensure};
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use palimpsest_host::board::Board;
use palimpsest_host::qemu::Ending;
use palimpsest_host::workspace::Workspace;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A size may be this much worse, as a part of itself.
const TOLERANCE: f64 = 0.02;

/// The time limit of a boot.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// A set of features with which the examples are built.
struct Configuration {
    /// What it is called in the file.
    name: &'static str,
    /// Features of `examples/firmware-minimal`: those of the engine, and `messages`.
    minimal: &'static str,
    /// Features of the engine in `examples/firmware`, if that is measured too. Its own guard is in
    /// none.
    example: Option<&'static str>,
}

const CONFIGURATIONS: [Configuration; 4] = [
    Configuration {
        name: "all features",
        minimal: "memory64,messages,simd,splice",
        example: Some("memory64,simd,splice"),
    },
    Configuration { name: "splice and messages", minimal: "messages,splice", example: None },
    Configuration { name: "messages alone", minimal: "messages", example: None },
    Configuration { name: "no features", minimal: "", example: Some("") },
];

/// What the builds with one set of features take, in bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    /// Code, constants and initial values of statics
    flash: u64,
    /// The native stack at its peak, if it is measured
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stack: Option<u64>,
    /// The heap at its peak, if it is measured
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heap: Option<u64>,
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
    /// Builds and boots the examples with each set of features.
    ///
    /// # Errors
    /// A build fails, QEMU cannot be started, or an example does not end with success.
    pub(crate) fn measure(workspace: &Workspace) -> Result<Self> {
        let size = |configuration: &Configuration| {
            let (image, _) = run(workspace, "firmware-minimal", configuration.minimal)?;
            let mut size = Size { flash: flash(&image)?, ..Size::default() };
            if let Some(features) = configuration.example {
                let (_, output) = run(workspace, "firmware", features)?;
                size.stack = Some(figure(&output, "stack")?);
                size.heap = Some(figure(&output, "heap")?);
            }
            Ok((configuration.name.to_owned(), size))
        };
        CONFIGURATIONS.iter().map(size).collect::<Result<_>>().map(Self)
    }

    /// Returns a line for each figure that is worse than here, or that is missing on one side.
    pub(crate) fn worse(&self, now: &Self) -> Vec<String> {
        let names = self.0.keys().chain(now.0.keys().filter(|name| !self.0.contains_key(*name)));
        names.flat_map(|name| compare(name, self.0.get(name), now.0.get(name))).collect()
    }
}

/// Builds and boots an example. Returns its ELF file and what it has printed.
fn run(workspace: &Workspace, example: &str, features: &str) -> Result<(Vec<u8>, String)> {
    let package = format!("palimpsest-{example}");
    let words = ["--no-default-features", "--features", features];
    let profile = [("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z"), ("CARGO_PROFILE_RELEASE_LTO", "fat")];
    let board = Board::CortexM4;
    let image = board.build(workspace, &package, example, &words, &profile)?;
    let mut output = String::new();
    let ending = board.boot(&image, &[], TIME_LIMIT, |line| output.extend([line, "\n"]))?;
    ensure!(ending == Ending::Success, "{example} with the features `{features}` {ending}:\n{output}");
    Ok((read(&image)?, output))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Returns the bytes that are loaded from an ELF file.
fn flash(image: &[u8]) -> Result<u64> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(image).context("the example is not an ELF file")?;
    let segments = file.segments().context("the example has no segments")?;
    Ok(segments.iter().filter(|segment| segment.p_type == PT_LOAD).map(|segment| segment.p_filesz).sum())
}

/// Reads one of the lines that `examples/firmware` prints after its guests.
fn figure(output: &str, what: &str) -> Result<u64> {
    let prefix = format!("bytes of {what}: ");
    let figure = output.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok());
    figure.with_context(|| format!("the example prints no `{prefix}`:\n{output}"))
}

impl Size {
    fn figures(self) -> [(&'static str, Option<u64>); 3] {
        [("flash", Some(self.flash)), ("stack", self.stack), ("heap", self.heap)]
    }
}

/// Compares the sizes of one configuration.
fn compare(name: &str, before: Option<&Size>, now: Option<&Size>) -> Vec<String> {
    let (Some(before), Some(now)) = (before, now) else {
        let what = if now.is_none() { "was not measured" } else { "is not in the baseline" };
        return vec![format!("{name}: {what}")];
    };
    let pairs = before.figures().into_iter().zip(now.figures());
    let line = |((what, before), (_, now))| match (before, now) {
        (Some(before), Some(now)) if now as f64 <= before as f64 * (1.0 + TOLERANCE) => None,
        (Some(before), Some(now)) => Some(format!("{name}: {now} bytes of {what} instead of {before}")),
        (None, None) => None,
        (Some(_), None) => Some(format!("{name}: {what} was not measured")),
        (None, Some(_)) => Some(format!("{name}: {what} is not in the baseline")),
    };
    pairs.filter_map(line).collect()
}

impl fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| Features | Flash | Stack | Heap |\n| --- | --- | --- | --- |")?;
        self.0.iter().try_for_each(|(name, size)| {
            let figures = size
                .figures()
                .map(|(_, figure)| figure.map_or_else(String::new, |figure| figure.to_string()));
            writeln!(formatter, "| {name} | {} |", figures.join(" | "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(flash: u64) -> Sizes {
        Sizes([("all".to_owned(), Size { flash, stack: Some(10), heap: None })].into())
    }

    #[test]
    fn the_figures_of_the_example_are_read() -> Result<()> {
        let output = "fib(15): 610\nbytes of flash: 5\nbytes of stack: 6\nbytes of heap: 7\n";
        assert_eq!((figure(output, "stack")?, figure(output, "heap")?), (6, 7));
        assert!(figure("bytes of flash: 5\n", "stack").is_err());
        Ok(())
    }

    #[test]
    fn what_an_elf_file_loads_is_counted() -> Result<()> {
        /// A header of 32-bit ELF for Arm, with two program headers after it.
        const HEADER: [u8; 52] = {
            let mut header = [0; 52];
            let (mut i, start) = (0, *b"\x7fELF\x01\x01\x01");
            while i < start.len() {
                header[i] = start[i];
                i += 1;
            }
            // Executable, for Arm, version 1.
            (header[16], header[18], header[20]) = (2, 40, 1);
            // Where the program headers are, and the sizes of the header and of each of them.
            (header[28], header[40], header[42], header[44]) = (52, 52, 32, 2);
            header
        };
        let program_header = |kind: u32, bytes: u32| [kind, 0, 0, 0, bytes, 1000, 0, 0].map(u32::to_le_bytes);
        let headers = [program_header(PT_LOAD, 300), program_header(4, 7)];
        let image = [&HEADER[..], headers.as_flattened().as_flattened()].concat();
        assert_eq!(flash(&image)?, 300);
        assert!(flash(b"text").is_err());
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
    fn what_is_missing_on_one_side_is_reported() {
        let no_stack = Sizes([("all".to_owned(), Size { flash: 1, ..Size::default() })].into());
        assert_eq!(sizes(1).worse(&no_stack), ["all: stack was not measured"]);
        assert_eq!(no_stack.worse(&sizes(1)), ["all: stack is not in the baseline"]);
        assert_eq!(sizes(1).worse(&Sizes::default()), ["all: was not measured"]);
        assert_eq!(Sizes::default().worse(&sizes(1)), ["all: is not in the baseline"]);
    }
}
