//! The speed of the machine: ways to zero memory that use no code of the crates.
//!
//! Two runs whose figures differ by more than a tenth here cannot be compared.

use alloc::vec;
use core::arch::asm;
use core::hint::black_box;

use crate::figures::{Figures, timed};

const BUFFER_BYTES: usize = 64 << 10;
const BUFFER_PAGES: u64 = 16;
/// How often the buffer is zeroed in one reading, so that the cost of reading the clock is
/// negligible.
const ROUNDS: u64 = 20;

/// Zeroes a buffer in one way.
type Zero = fn(&mut [u64]);

const METHODS: [(&str, Zero); 4] = [
    ("zero_rep_stosb", rep_stosb),
    ("zero_rep_stosq", rep_stosq),
    ("zero_u64_loop", u64_loop),
    ("zero_memset", memset),
];

/// Measures each way on memory that is resident.
pub(crate) fn measure(figures: &mut Figures) {
    let mut buffer = vec![1_u64; BUFFER_BYTES / size_of::<u64>()];
    for (name, zero) in METHODS {
        let mut readings = vec![0; figures.runs()];
        for reading in &mut readings {
            (*reading, ()) = timed(|| (0..ROUNDS).for_each(|_| zero(black_box(&mut buffer))));
        }
        figures.cost_per_page(name, &mut readings, BUFFER_PAGES * ROUNDS);
    }
}

fn rep_stosb(buffer: &mut [u64]) {
    let (start, bytes) = (buffer.as_mut_ptr(), size_of_val(buffer));
    // SAFETY: the instruction writes `bytes` bytes from `start` on, which are the slice's, and any
    // byte is part of a `u64`.
    unsafe {
        asm!("rep stosb", inout("rdi") start => _, inout("rcx") bytes => _, in("al") 0_u8, options(nostack));
    }
}

fn rep_stosq(buffer: &mut [u64]) {
    let (start, words) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: the instruction writes `words` words from `start` on, which are the slice's.
    unsafe {
        asm!("rep stosq", inout("rdi") start => _, inout("rcx") words => _, in("rax") 0_u64, options(nostack));
    }
}

/// It is assembly, because the compiler would emit a call of `memset` or stores of 16 bytes.
fn u64_loop(buffer: &mut [u64]) {
    let (start, rounds) = (buffer.as_mut_ptr(), buffer.len() / 4);
    // SAFETY: the loop writes four words in each of its rounds, `rounds * 4` in all from `start`
    // on, which are the slice's; the buffers here have 8,192.
    unsafe {
        asm!(
            "2:",
            "mov qword ptr [{at}], 0",
            "mov qword ptr [{at} + 8], 0",
            "mov qword ptr [{at} + 16], 0",
            "mov qword ptr [{at} + 24], 0",
            "add {at}, 32",
            "dec {rounds}",
            "jnz 2b",
            at = inout(reg) start => _,
            rounds = inout(reg) rounds => _,
            options(nostack),
        );
    }
}

fn memset(buffer: &mut [u64]) {
    buffer.fill(0);
    black_box(buffer);
}
