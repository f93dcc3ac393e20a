//! What `cargo xtask bench` asks for: the content of `bench.json`.

use alloc::string::String;
use alloc::vec::Vec;

use kernel_demo::Machine;
use serde::Deserialize;

use crate::{BenchError, doing};

const PLAN_FILE: &str = "bench.json";

/// A group of figures that one boot measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Suite {
    /// From reset to the first Wasm instruction.
    Boot,
    /// Pages, instances, growth, and loops of Wasm.
    Costs,
    /// Instances alive at once, until the machine is full.
    Density,
    /// Loading the modules of the plan.
    Load,
    /// Calling the functions of the plan.
    Kernels,
}

/// The plan of a boot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) suite: Suite,
    /// Names of files to load.
    #[serde(default)]
    pub(crate) modules: Vec<String>,
    /// Functions to call.
    #[serde(default)]
    pub(crate) jobs: Vec<Job>,
}

/// A function of type `(i32) -> i32` to be called again and again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    /// What the figure is called.
    pub(crate) name: String,
    /// The module's file.
    pub(crate) file: String,
    pub(crate) function: String,
    pub(crate) argument: i32,
    pub(crate) instances: Instances,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Instances {
    /// One instance, whose pages are resident from a first call that is not counted.
    One,
    /// A new one for each call; making it is part of the time.
    New,
}

impl Plan {
    /// Reads it from the boot archive.
    ///
    /// # Errors
    ///
    /// There is none, or it is not what `cargo xtask bench` writes.
    pub(crate) fn read(machine: &Machine) -> Result<Self, BenchError> {
        let missing = "there is none in the boot archive: `cargo xtask bench` makes one";
        let json = doing(PLAN_FILE, machine.file(PLAN_FILE).ok_or(missing))?;
        doing(PLAN_FILE, serde_json::from_slice(json))
    }
}
