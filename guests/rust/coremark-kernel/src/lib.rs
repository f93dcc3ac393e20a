//! CoreMark as one exported function, for interpreters that provide neither a clock nor WASI.
//!
//! The algorithms are those of the crate `coremark`, unchanged. Its driver is not used, because it
//! reads a clock. Seeds and sizes are those of CoreMark's performance run, and the result is the
//! checksum that its report calls `crcfinal`. The caller measures the time.

use coremark::list::{List, core_list_init};
use coremark::matrix::core_init_matrix;
use coremark::state::core_init_state;
use coremark::types::{ALL_ALGORITHMS_MASK, CoreResults, NUM_ALGORITHMS, TOTAL_DATA_SIZE};
use coremark::util::crcu16;

/// The third seed of the performance run. The other two are zero.
const SEED_3: i16 = 0x66;

/// The lookups of one iteration: by index, starting with 1, and by value, which a negative number
/// selects.
const LOOKUPS: [i16; 2] = [1, -1];

/// Runs `iterations` iterations and returns their checksum. Returns 0 if `iterations` is not
/// positive.
#[unsafe(no_mangle)]
pub extern "C" fn run(iterations: i32) -> i32 {
    let (mut list, mut results) = performance_run();
    for _ in 0..iterations {
        for lookup in LOOKUPS {
            let checksum = list.bench(&mut results, lookup);
            results.crc = crcu16(checksum, results.crc);
        }
    }
    results.crc.into()
}

/// Returns the list of the performance run, and the state of the other algorithms. Elements of the
/// list run them.
fn performance_run() -> (List, CoreResults) {
    let size = TOTAL_DATA_SIZE / NUM_ALGORITHMS;
    let mut results =
        CoreResults { seed3: SEED_3, size, execs: ALL_ALGORITHMS_MASK, ..CoreResults::default() };
    core_init_matrix(size, results.seed1.into(), &mut results.mat);
    results.state_mem = core_init_state(size, results.seed1);
    (core_list_init(size, results.seed1), results)
}

#[cfg(test)]
mod tests {
    use super::run;
    use coremark::Config;

    #[test]
    fn the_checksum_is_that_of_the_benchmarks_own_driver() {
        for iterations in [1, 2, 10] {
            let whole = coremark::run(&Config { iterations, ..Config::default() });
            let iterations = i32::try_from(iterations).expect("the number is at most 10");
            assert_eq!(run(iterations), whole.crcfinal.into(), "{iterations} iterations");
        }
    }

    #[test]
    fn the_checksum_of_no_iterations_is_zero() {
        assert_eq!([run(0), run(-1)], [0, 0]);
    }
}
