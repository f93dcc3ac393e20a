//! An ordinary Rust program whose use of memory rises and falls: the counterpart of
//! `guests/c/churn.c`.
//!
//! It uses the standard library and does not depend on Palimpsest: the linker chooses the
//! allocator. It prints one line per step, so that its memory can be plotted against its steps. The
//! argument is the size of the large vector in MiB, 64 by default.

use std::collections::HashMap;
use std::process::ExitCode;

/// In bytes
const MIB: usize = 1 << 20;
const ROUNDS: u8 = 4;
const NAMES: usize = 20_000;
/// One byte in this many is checked.
const STRIDE: usize = 4096;

fn main() -> ExitCode {
    let mib = match std::env::args().nth(1).map(|word| word.parse()) {
        None => 64,
        Some(Ok(mib @ 1..=1024)) => mib,
        Some(_) => {
            eprintln!("rust-churn: the large vector has 1 to 1024 MiB");
            return ExitCode::FAILURE;
        }
    };
    let table = vec![1_u8; 8 * MIB];
    println!("start: a table of {} MiB", table.len() / MIB);
    for round in 1..=ROUNDS {
        run_round(round, mib);
    }
    assert!(table.iter().step_by(STRIDE).all(|&byte| byte == 1));
    println!("end: the table is as it was");
    ExitCode::SUCCESS
}

fn run_round(round: u8, mib: usize) {
    let large = vec![round; mib * MIB];
    println!("round {round}: a vector of {} MiB", large.len() / MIB);

    let mut names: HashMap<usize, String> =
        (0..NAMES).map(|number| (number, format!("name {number} of round {round}").repeat(8))).collect();
    println!("round {round}: and a map of {} strings", names.len());

    assert!(large.iter().step_by(STRIDE).all(|&byte| byte == round));
    drop(large);
    println!("round {round}: the vector is dropped");

    names.retain(|number, _| number % 2 == 0);
    println!("round {round}: every second string is dropped");

    assert!(names.iter().all(|(number, name)| name.starts_with(&format!("name {number} of round {round}"))));
    drop(names);
    println!("round {round}: all are dropped");
}
