//! `cargo xtask prepare`: prepares a guest, and writes the file that engines load.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use palimpsest_engine::{Fuel, Module};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Validates a guest and rewrites it for the interpreter, so that loading it needs neither.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask prepare")]
struct Options {
    /// The guest: a .wasm module, or a .wat text, which is assembled first
    guest: PathBuf,
    /// The file to write; by default the guest's name with the extension `palimpsest`
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prepare for engines with `Fuel::Metered`, in which guests run in slices
    #[arg(long)]
    metered: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The directory that relative paths start from, if `cargo xtask` has started this program.
const DIRECTORY: &str = "PALIMPSEST_DIRECTORY";

/// Prepares the guest that the options name.
///
/// # Errors
/// The guest cannot be read, is not a module, or is refused; the file cannot be written.
fn run(options: &Options) -> Result<()> {
    if let Some(directory) = env::var_os(DIRECTORY) {
        env::set_current_dir(directory).context("cannot go to the directory of the command")?;
    }
    let shown = options.guest.display();
    let bytes = fs::read(&options.guest).with_context(|| format!("cannot read {shown}"))?;
    ensure!(!Module::is_prepared(&bytes), "{shown} is prepared already: name the .wasm file");
    let wasm = wat::Parser::new().parse_bytes(Some(&options.guest), &bytes);
    let wasm = wasm.with_context(|| format!("{shown} is neither a module nor its text"))?;
    let fuel = if options.metered { Fuel::Metered } else { Fuel::Unmetered };
    let file = palimpsest_prepare::prepare(&wasm, fuel).with_context(|| format!("cannot prepare {shown}"))?;
    let path = options.output.clone().unwrap_or_else(|| options.guest.with_extension("palimpsest"));
    fs::write(&path, &file).with_context(|| format!("cannot write {}", path.display()))?;
    let mode = if options.metered { "metered" } else { "unmetered" };
    println!("{}: {} bytes of {}, for {mode} engines", path.display(), file.len(), wasm.len());
    Ok(())
}
