//! CoreMark as a WASI command: `coremark [ITERATIONS]`, 200 by default.
//!
//! The benchmark is the crate `coremark`, unchanged. The exit status is that of its self-check: the
//! checksums of its three algorithms must equal the known ones for the standard seeds. A run of
//! less than ten seconds is not a valid result by CoreMark's rules. The report states this, but the
//! command does not fail.

use std::process::ExitCode;

use coremark::types::{LIST_KNOWN_CRC, MATRIX_KNOWN_CRC, STATE_KNOWN_CRC};
use coremark::{Config, Results, run};

const DEFAULT_ITERATIONS: u32 = 200;

fn main() -> ExitCode {
    let iterations = match std::env::args().nth(1).map(|word| word.parse()) {
        None => DEFAULT_ITERATIONS,
        Some(Ok(iterations)) if iterations > 0 => iterations,
        Some(_) => {
            eprintln!("coremark: the number of iterations is a positive number");
            return ExitCode::FAILURE;
        }
    };
    let results = run(&Config { iterations, ..Config::default() });
    print!("{results}");
    if is_correct(&results) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_correct(results: &Results) -> bool {
    let Ok(run) = usize::try_from(results.known_id) else { return false };
    let found = [results.crclist, results.crcmatrix, results.crcstate];
    found == [LIST_KNOWN_CRC[run], MATRIX_KNOWN_CRC[run], STATE_KNOWN_CRC[run]]
}
