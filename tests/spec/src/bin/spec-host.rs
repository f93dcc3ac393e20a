//! Runs a command stream on the host, on the backing that has no page tables.
//!
//! `spec-host STREAM [metered | prepared]` prints every failure, a line for each file, and the
//! totals. It exits with 0 if no directive failed and every file released all of its memory, with 1
//! otherwise, and with 2 if the stream could not be run. With `metered` guests have fuel, and their
//! bulk instructions are divided. With `prepared` modules are prepared before they are loaded.
//! `cargo xtask test --spec` writes the stream.

use std::{env, error::Error, fs, process::ExitCode};

use palimpsest_engine::{Backing, Fixed, Fuel};
use palimpsest_spec::COMPLETE;
use palimpsest_spec::runner::{self, Event};

/// Bytes for the memories of one file. The host commits them when a test touches them.
const BACKING_BYTES: usize = 4 << 30;

fn main() -> ExitCode {
    match run() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = env::args_os().skip(1);
    let path = words.next().ok_or("no stream was given: run `cargo xtask test --spec`, which writes one")?;
    let (fuel, is_prepared) = match words.next() {
        None => (Fuel::Unmetered, false),
        Some(word) if word == "metered" => (Fuel::Metered, false),
        Some(word) if word == "prepared" => (Fuel::Unmetered, true),
        Some(word) => return Err(format!("{} is neither `metered` nor `prepared`", word.display()).into()),
    };
    let stream = fs::read(path)?;
    let fixed = Fixed::new(Box::leak(Box::<[u8]>::new_uninit_slice(BACKING_BYTES)));
    let backing = Backing::from(fixed.clone());
    let free_bytes = fixed.free_bytes();
    let mut leaks = 0;
    let on_event = &mut |event: Event<'_>| {
        println!("{event}");
        if let Event::FileDone { file, .. } = event
            && fixed.free_bytes() != free_bytes
        {
            println!("FAILED {file}: {} bytes were not released", free_bytes - fixed.free_bytes());
            leaks += 1;
        }
    };
    let totals = if is_prepared {
        runner::run_prepared(&stream, &backing, on_event)?
    } else {
        runner::run(&stream, &backing, fuel, on_event)?
    };
    println!("{COMPLETE}{}", totals.directives());
    println!("{totals}");
    Ok(if totals.failed == 0 && leaks == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
