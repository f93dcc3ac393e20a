//! Boots the kernel for its tour.

use super::status::tour_status;
use super::{machine, require, write_json};
use crate::cli::RunOptions;
use anyhow::Result;
use palimpsest_guest_recipes::registry::{self, LODEPNG};
use palimpsest_host::boot::Session;
use palimpsest_host::kernel::Image;
use palimpsest_host::protocol::{Report, Task, files};
use palimpsest_host::workspace::Workspace;
use std::process::ExitCode;

/// Runs the tour, with LodePNG if it is available.
///
/// # Errors
/// - Something is missing and may not be installed.
/// - The machine ends with neither success nor a failed tour.
/// - The report is missing, damaged, or cannot be written.
pub(super) fn run(workspace: &Workspace, options: &RunOptions) -> Result<ExitCode> {
    require(workspace, options)?;
    let lodepng = registry::find(workspace, LODEPNG, options.setup.missing_policy())?;
    let lodepng = lodepng.map(|package| package.read(registry::LODEPNG_WASM)).transpose()?;
    let modules: Vec<_> = lodepng.iter().map(|bytes| (files::LODEPNG, bytes.as_slice())).collect();
    let session = Session::new(workspace, options.target, Image::KERNEL)?;
    let mut verdict = String::new();
    let ending = session.boot(machine(options), Task::Tour, &modules, |line| {
        println!("{line}");
        if !line.is_empty() {
            line.clone_into(&mut verdict);
        }
    })?;
    let status = tour_status(&ending, &verdict)?;
    if options.json.is_some() {
        write_json(options, &session.answer::<Report>()?)?;
    }
    Ok(status)
}
