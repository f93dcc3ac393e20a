//! Runs a [`Job`] under a stock runtime on this machine: Node.js, which comes with npm.
//!
//! A small driver in JavaScript for each kind of program gets the job as one argument of JSON.
//! Files that the kernel has in memory are unpacked into a directory.

use crate::programs::Programs;
use crate::registry::{self, QUICKJS};
use anyhow::{Context, Result, bail};
use duct::cmd;
use palimpsest_host::job::Job;
use palimpsest_host::protocol::{Driver, Entry};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Output;

/// Turns off the garbage collector's marking on a second thread, which crashes in Node.js 20 when a
/// memory of a program grows.
const NO_CONCURRENT_MARKING: &str = "--no-concurrent-marking";

/// Runs the job under Node.js, with its files below `directory`, which must exist.
///
/// # Errors
/// Node.js cannot be started, the files cannot be written, or the job is the call of a function.
pub fn run(programs: &Programs<'_>, directory: &Path, job: &Job) -> Result<Output> {
    let Entry::Program { driver, name } = &job.run.entry else {
        bail!("the job is the call of a function, not a program")
    };
    let (module, root, scratch) =
        (directory.join("module.wasm"), directory.join("root"), directory.join("scratch"));
    for fresh in [&root, &scratch] {
        // It may be absent. If it cannot be removed, writing to it fails below.
        drop(fs::remove_dir_all(fresh));
        fs::create_dir_all(fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    }
    fs::write(&module, &job.module).with_context(|| format!("cannot write {}", module.display()))?;
    let packed = job.root.as_deref().unwrap_or_default();
    tar::Archive::new(packed).unpack(&root).context("cannot unpack the program's files")?;
    let library = match driver {
        Driver::QuickJs => programs.package(QUICKJS)?.map(|package| package.directory().to_path_buf()),
        Driver::Command | Driver::LodePng | Driver::WebP => None,
    };
    let task = json!({
        "driver": driver, "module": module, "name": name, "args": job.run.arguments, "library": library,
        "env": job.run.environment, "root": root, "scratch": scratch,
    });
    let script = programs.workspace.root().join("guests/recipes/node").join(script(*driver));
    cmd!(registry::NODE, "--no-warnings", NO_CONCURRENT_MARKING, script, task.to_string())
        .env("TZ", "UTC")
        .stdin_bytes(job.input.clone().unwrap_or_default())
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .run()
        .with_context(|| format!("cannot start {}, which comes with npm", registry::NODE))
}

/// Calls the export of a job that is the call of a function, with 32-bit integers or floats as its
/// arguments. Prints its result. Without a name, the module is only instantiated.
///
/// # Errors
/// Node.js cannot be started, the module cannot be written, or the job is a program.
pub fn call(programs: &Programs<'_>, directory: &Path, job: &Job) -> Result<Output> {
    let Entry::Call { invoke } = &job.run.entry else {
        bail!("the job is a program, not the call of a function")
    };
    let module = directory.join("module.wasm");
    fs::write(&module, &job.module).with_context(|| format!("cannot write {}", module.display()))?;
    let task = json!({ "module": module, "invoke": invoke, "args": job.run.arguments });
    let script = programs.workspace.root().join("guests/recipes/node/call.mjs");
    cmd!(registry::NODE, "--no-warnings", NO_CONCURRENT_MARKING, script, task.to_string())
        .stdin_null()
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .run()
        .with_context(|| format!("cannot start {}, which comes with npm", registry::NODE))
}

/// The file of the driver in JavaScript.
const fn script(driver: Driver) -> &'static str {
    match driver {
        Driver::Command => "wasi.mjs",
        Driver::QuickJs => "quickjs.mjs",
        Driver::LodePng | Driver::WebP => "picture.mjs",
    }
}
