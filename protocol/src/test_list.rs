//! The list of the emulator tests, which the test kernel sends for
//! [`Task::ListTests`](crate::Task::ListTests).

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Clock;

/// All tests of a kernel image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestList {
    /// The tests, in the order in which they are run.
    pub tests: Vec<ListedTest>,
}

/// A test, and what makes it pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedTest {
    /// The name for [`Task::Test`](crate::Task::Test).
    pub name: String,
    /// How the boot must end.
    pub expected: Expected,
    /// What the machine's clock must count.
    pub clock: Clock,
    /// How many CPUs the machine must have.
    pub cpus: u32,
}

/// How the boot of a test must end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// With success, after exactly this many checks.
    Checks(u32),
    /// With the death of the kernel, which must print this text before.
    Death(String),
    /// With a failure that the runner must notice and name. Such a test tests the runner.
    Flaw(Flaw),
}

/// A way in which a kernel can fail without saying so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// The processor is reset.
    TripleFault,
    /// The kernel makes no progress.
    Hang,
    /// The kernel panics.
    Panic,
}

impl Flaw {
    /// All flaws. A list must contain a test for each.
    pub const ALL: [Self; 3] = [Self::TripleFault, Self::Hang, Self::Panic];
}
