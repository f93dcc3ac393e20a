//! The request: what the kernel does in this boot.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Limit;

/// The content of [`files::REQUEST`](crate::files::REQUEST).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What the kernel does.
    pub task: Task,
    /// What the machine's clock counts. The kernel cannot find out by itself.
    pub clock: Clock,
}

impl Request {
    /// A request for `task` on a machine whose clock is the host's.
    #[must_use]
    pub const fn new(task: Task) -> Self {
        Self { task, clock: Clock::Host }
    }

    /// Whether the machine's clock counts instructions.
    #[must_use]
    pub fn counts_instructions(&self) -> bool {
        self.clock == Clock::Instructions
    }
}

/// What the time-stamp counter of the machine counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The host's time.
    Host,
    /// Executed instructions, one nanosecond each (QEMU's `-icount`). Counts are reproducible.
    Instructions,
}

/// What the kernel does. Each kernel image supports some of the tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// Give the tour.
    Tour,
    /// Run [`files::GUEST`](crate::files::GUEST) and report.
    Run(Run),
    /// List the emulator tests, as a [`TestList`](crate::TestList).
    ListTests,
    /// Run the emulator test with this name.
    Test(String),
    /// Run the WebAssembly specification's tests.
    Specification,
    /// Run random programs.
    Soak(Soak),
    /// Measure this suite, and send [`Measurements`](crate::Measurements).
    Measure(Suite),
}

/// How long random programs run, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Soak {
    /// The seed of the programs, and of everything that happens to them.
    pub seed: u64,
    /// The time after which no further round begins.
    pub seconds: u64,
    /// The number of rounds, which then count instead of the time. On one CPU, a seed and a number
    /// of rounds always have the same result.
    #[serde(deserialize_with = "Option::deserialize")]
    pub rounds: Option<u64>,
}

/// How the guest is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Which function is called, and by whom.
    pub entry: Entry,
    /// The arguments of the function or of the program, as the user typed them. The kernel parses
    /// them, because only the kernel has the function's type.
    pub arguments: Vec<String>,
    /// The guest's environment: names and values.
    pub environment: Vec<(String, String)>,
    /// Limits of the guest that replace the kernel's own.
    pub limits: Vec<(Limit, u64)>,
    /// What is done with a snapshot of the initialized program. Without one, the program does its
    /// work itself.
    #[serde(deserialize_with = "Option::deserialize")]
    pub snapshot: Option<SnapshotUse>,
}

impl Run {
    /// A call of `entry` without arguments and without environment, with the kernel's limits.
    #[must_use]
    pub const fn new(entry: Entry) -> Self {
        Self { entry, arguments: Vec::new(), environment: Vec::new(), limits: Vec::new(), snapshot: None }
    }
}

/// What is done with a snapshot of an initialized program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SnapshotUse {
    /// This many forks do the program's work, all of them alive at once.
    Forks(u32),
    /// It is written to standard output. The program does no work.
    Write,
    /// A fork of [`files::SNAPSHOT`](crate::files::SNAPSHOT) does the program's work. Nothing is
    /// initialized in this boot.
    Read,
}

/// Which function of the guest is called, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// One export is called once, without metering.
    Call {
        /// The export's name. Without one, the kernel calls `_start` if there is such an export.
        invoke: Option<String>,
    },
    /// The guest runs as a program: metered, in slices, with standard streams and an exit code.
    Program {
        /// How the kernel drives it.
        driver: Driver,
        /// The name by which the program is called: its argument 0.
        name: String,
    },
}

/// How the kernel drives a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A WASI command: the kernel calls `_start`.
    Command,
    /// QuickJS as a library: the kernel passes it a script to evaluate.
    QuickJs,
    /// LodePNG as a library: the kernel passes it a picture to decode.
    LodePng,
    /// libwebp as a library: the kernel passes it a picture to decode.
    WebP,
}

/// A group of figures that one boot measures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Suite {
    /// The time from reset to the first Wasm instruction.
    Boot,
    /// Pages, instances, growth, and loops of Wasm.
    Costs,
    /// Guests that discard memory on several CPUs.
    Cpus,
    /// Instances alive at once, until the machine is full.
    Density,
    /// Loading modules: their names in the boot archive.
    Load(Vec<String>),
    /// Calling functions.
    Kernels(Vec<Job>),
}

/// A function of type `(i32) -> i32` that is called repeatedly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The name of the figure.
    pub name: String,
    /// The module's name in the boot archive.
    pub file: String,
    /// The exported function.
    pub function: String,
    /// Its argument.
    pub argument: i32,
    /// Which instances are called.
    pub instances: Instances,
}

/// Which instances a [`Job`] calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    /// One instance. A first call, which is not measured, makes its pages resident.
    One,
    /// A new instance for each call. Instantiation is part of the time.
    New,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn every_task_is_read_back_as_it_was_written() -> Result<(), serde_json::Error> {
        let call = Run {
            arguments: vec!["-1".into(), "18446744073709551615".into()],
            ..Run::new(Entry::Call { invoke: Some("add".into()) })
        };
        let program = Run {
            environment: vec![("HOME".into(), "/".into())],
            limits: vec![(Limit::ModuleBytes, u64::MAX)],
            snapshot: Some(SnapshotUse::Forks(1000)),
            ..Run::new(Entry::Program { driver: Driver::QuickJs, name: "qjs".into() })
        };
        let job = Job {
            name: "fib".into(),
            file: "fib.wasm".into(),
            function: "run".into(),
            argument: -24,
            instances: Instances::New,
        };
        for task in [
            Task::Tour,
            Task::Run(call),
            Task::Run(program),
            Task::ListTests,
            Task::Test("page-zero".into()),
            Task::Specification,
            Task::Soak(Soak { seed: u64::MAX, seconds: 60, rounds: None }),
            Task::Measure(Suite::Costs),
            Task::Measure(Suite::Cpus),
            Task::Measure(Suite::Load(vec!["a.wasm".into()])),
            Task::Measure(Suite::Kernels(vec![job])),
        ] {
            let request = Request { task, clock: Clock::Instructions };
            let json = serde_json::to_string(&request)?;
            assert_eq!(serde_json::from_str::<Request>(&json)?, request, "{json}");
        }
        Ok(())
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        for json in [
            r#"{"task":"tour","clock":"host","icount":true}"#,
            r#"{"task":{"run":{"entry":{"call":{"invoke":null}},"arguments":[],"environment":[],"limits":[],"snapshot":null,"x":0}},"clock":"host"}"#,
        ] {
            let error = serde_json::from_str::<Request>(json).expect_err("there is one field too many");
            assert!(error.is_data(), "{error}");
        }
    }
}
