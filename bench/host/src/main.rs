//! `cargo xtask bench`: what things cost, compared with Linux, with other runtimes and with earlier
//! revisions.
//!
//! Costs are judged by instruction counts, which repeat on every machine: [`counts`] takes them,
//! [`goals`] bounds them, and [`baseline`] compares them with the checked-in ones (`--check`, which
//! CI runs). Times are information. A [`measurement`] takes both in several rounds, and
//! [`document`] and [`plots`] write `docs/performance.md`.

mod baseline;
mod boots;
mod counts;
mod cpus;
mod document;
mod figure;
mod goals;
mod kernels;
mod measurement;
mod modules;
mod options;
mod peers;
mod plots;
mod sizes;
mod steps;

use anyhow::{Context, Result};
use baseline::Baseline;
use boots::Bench;
use clap::Parser;
use cpus::Scaling;
use document::Document;
use kernels::Kernels;
use modules::Module;
use options::BenchOptions;
use palimpsest_guest_recipes::programs::Programs;
use palimpsest_host::board::Board;
use palimpsest_host::setup::{self, EMULATOR, Need};
use palimpsest_host::workspace::Workspace;
use peers::Peers;
use sizes::Sizes;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The page of the documentation, from the repository's root.
const PAGE: &str = "docs/performance.md";

/// Its plots.
const PLOTS: &str = "docs/plots";

/// Modules of other projects are not available everywhere, so the baseline has no counts of them.
const NO_MODULES: &[Module] = &[];

fn main() -> ExitCode {
    let options = BenchOptions::parse();
    match Workspace::locate().and_then(|workspace| run(&workspace, &options)) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the options select. A failed comparison with the baseline makes the command fail.
///
/// # Errors
/// Something is missing and may not be installed; the kernel or a peer does not build, run or
/// answer; a file cannot be written.
fn run(workspace: &Workspace, options: &BenchOptions) -> Result<ExitCode> {
    if options.size {
        return sizes(workspace, options);
    }
    let mut needs: Vec<Need> = options.targets().iter().map(|target| Need::Core(target.triple())).collect();
    needs.push(EMULATOR);
    setup::require(workspace, &needs, options.setup.missing_policy())?;
    if options.smp {
        let scaling = Scaling::measure(workspace, options)?;
        print!("{scaling}");
        if options.docs {
            scaling.write_docs(workspace)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let baseline = Baseline::read(workspace.root())?;
    if options.check {
        let comparison =
            baseline.compare(&count(workspace, options, baseline.clone(), NO_MODULES)?.figures)?;
        print!("{comparison}");
        return Ok(if comparison.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if options.update_baseline {
        return update_baseline(workspace, options, baseline).map(|()| ExitCode::SUCCESS);
    }
    let mut document = if options.icount {
        let modules = modules::real(workspace, options.setup.missing_policy())?;
        let mut document = count(workspace, options, baseline, &modules)?;
        document.add(counts::density(&Bench::new(workspace, options.main_target())?)?);
        document
    } else {
        measurement::run(workspace, options, baseline)?
    };
    if options.docs {
        let programs = Programs { workspace, policy: options.setup.missing_policy() };
        let (steps, times) = steps::record(workspace, &programs)?;
        document.add(times.into());
        plots::write(&workspace.root().join(PLOTS), &document, steps.as_ref())?;
        write(&workspace.root().join(PAGE), &document.page())?;
    }
    print!("{}", document.markdown());
    if let Some(path) = &options.json {
        write(path, &format!("{:#}\n", document.json()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the sizes of firmware, and compares them with the baseline or makes them the baseline.
///
/// # Errors
/// As [`run`].
fn sizes(workspace: &Workspace, options: &BenchOptions) -> Result<ExitCode> {
    setup::require(workspace, &Board::CortexM4.needs(), options.setup.missing_policy())?;
    let mut baseline = Baseline::read(workspace.root())?;
    let sizes = Sizes::measure(workspace)?;
    print!("{sizes}");
    if options.update_baseline {
        baseline.sizes = sizes;
        baseline.write(workspace.root())?;
        return Ok(ExitCode::SUCCESS);
    }
    baseline.flash_goals.missed(&sizes).iter().for_each(|line| println!("goal not met: {line}"));
    if !options.check {
        return Ok(ExitCode::SUCCESS);
    }
    let worse = baseline.sizes.worse(&sizes);
    worse.iter().for_each(|line| println!("WORSE: {line}"));
    let surprising = baseline.flash_goals.surprising(&sizes);
    surprising.iter().for_each(|line| println!("add a reason, or remove it: {line}"));
    let is_good = worse.is_empty() && surprising.is_empty();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the counts of the options' targets the baseline, and Linux's its reference if there are
/// peers.
fn update_baseline(workspace: &Workspace, options: &BenchOptions, mut baseline: Baseline) -> Result<()> {
    let document = count(workspace, options, baseline.clone(), NO_MODULES)?;
    baseline.linux = document.reference().clone();
    baseline.update(&document.figures);
    baseline.write(workspace.root())?;
    let targets: Vec<_> = options.targets().iter().map(ToString::to_string).collect();
    println!("{} contains the counts of this kernel for {}", baseline::FILE, targets.join(" and "));
    Ok(())
}

/// Counts instructions on each target, and Linux's if there are peers.
fn count(
    workspace: &Workspace,
    options: &BenchOptions,
    baseline: Baseline,
    modules: &[Module],
) -> Result<Document> {
    let mut document = Document::new(baseline)?;
    let kernels = Kernels::committed();
    if let Some(directory) = &options.peers {
        let peers = Peers::find(directory)?;
        kernels.check(&peers)?;
        let (figures, reference) = counts::linux(&peers)?;
        document.add(figures.into());
        document.set_reference(reference);
    }
    for target in options.targets() {
        document.add(counts::ours(&Bench::new(workspace, target)?, &kernels, modules)?.into());
    }
    Ok(document)
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
