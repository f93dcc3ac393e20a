//! `cargo xtask bench`: what things cost, against Linux and the other runtimes, and against our own past.
//!
//! Owns what is done for which option. A full measurement is in [`measurement`]; figures, with where they
//! come from, in [`figure`]; the goals that they are held against in [`goals`]. `--check` counts instructions
//! only and compares them with the checked-in [`baseline`]: CI can do that on a busy machine.

mod baseline;
mod boots;
mod document;
mod figure;
mod goals;
mod measurement;
mod modules;
mod options;
mod peers;
mod plots;
mod timelines;

use anyhow::{Context, Result};
use boots::Bench;
use document::Document;
use figure::Figures;
use modules::Module;
use palimpsest_host::protocol::Suite;
use palimpsest_host::qemu::{Clock, Cpu};
use palimpsest_host::setup::{self, EMULATOR, Need};
use palimpsest_host::workspace::Workspace;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use options::BenchOptions;

/// Where the table and the plots of the documentation are, from the repository's root.
const DOCS: &str = "docs";

/// Modules of other people cannot be had everywhere: the baseline has no counts of them.
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

/// Does what the options ask for. A count that is worse than the baseline makes the command fail.
///
/// # Errors Something is missing and may not be installed; the kernel or a peer does not build, run or
/// answer; a file cannot be written.
fn run(workspace: &Workspace, options: &BenchOptions) -> Result<ExitCode> {
    let mut needs: Vec<Need> = options.targets().iter().map(|target| Need::Core(target.triple())).collect();
    needs.push(EMULATOR);
    setup::require(workspace, &needs, options.setup.missing_policy())?;
    if options.check {
        return check(workspace, options);
    }
    if options.update_baseline {
        return update_baseline(workspace, options).map(|()| ExitCode::SUCCESS);
    }
    let mut document = if options.icount {
        let modules = modules::real(workspace, options.setup.missing_policy())?;
        Document::new(count(workspace, options, &modules)?)?
    } else {
        measurement::run(workspace, options)?
    };
    if options.docs {
        let (timelines, figures) = timelines::record(workspace)?;
        document.add(figures.into());
        plots::write(&workspace.root().join(DOCS).join("plots"), &document, &timelines)?;
    }
    print!("{}", document.markdown());
    if let Some(path) = &options.json {
        write(path, &format!("{:#}\n", document.json()))?;
    }
    if options.docs {
        write(&workspace.root().join(DOCS).join("bench.md"), &document.markdown())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares instruction counts with the baseline.
fn check(workspace: &Workspace, options: &BenchOptions) -> Result<ExitCode> {
    let path = workspace.root().join(baseline::FILE);
    let file = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let comparison = baseline::compare(&file, &count(workspace, options, NO_MODULES)?)?;
    print!("{comparison}");
    Ok(if comparison.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes instruction counts the baseline of their targets, and leaves that of others.
fn update_baseline(workspace: &Workspace, options: &BenchOptions) -> Result<()> {
    let path = workspace.root().join(baseline::FILE);
    let before = if path.exists() {
        Some(fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?)
    } else {
        None
    };
    let file = baseline::of(before.as_deref(), &count(workspace, options, NO_MODULES)?)?;
    write(&path, &file)?;
    let targets: Vec<_> = options.targets().iter().map(ToString::to_string).collect();
    println!("{} holds the counts of this kernel for {}", baseline::FILE, targets.join(" and "));
    Ok(())
}

/// Counts instructions on each target, and those of loading `modules`.
fn count(workspace: &Workspace, options: &BenchOptions, modules: &[Module]) -> Result<Figures> {
    let mut figures = Figures::default();
    for target in options.targets() {
        let bench = Bench::new(workspace, target)?;
        figures.extend(bench.measure(Suite::Costs, Cpu::Max, Clock::Instructions)?.figures);
        figures.extend(bench.load(modules, Cpu::Max, Clock::Instructions)?.figures);
    }
    Ok(figures)
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
