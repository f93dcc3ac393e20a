//! Results of `palimpsest_sse2_floats` that compiled Rust code does not use.
//!
//! Compiled Rust code checks the range of a number before it uses the result of a conversion, and
//! it tests only the sign of a comparison. Code in other languages may use the whole result, which
//! must be that of `compiler_builtins`.

#![expect(clippy::cast_lossless, reason = "`From` is not for constants")]
#![expect(clippy::cast_possible_truncation, reason = "that is what is tested")]

use core::hint::black_box;

use kernel_demo::Machine;

use crate::floats::{DOUBLE_PAIRS, DOUBLES, SINGLE_PAIRS, SINGLES};
use crate::harness::{Checks, VmTest};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("conversion-calls-end-at-the-nearest-integer", 8, conversions),
    VmTest::new("comparison-calls-have-the-sign-that-a-nan-needs", 14, comparisons),
];

// Floats are bits in integer registers on this target.
unsafe extern "C" {
    safe fn __fixdfsi(value: u64) -> i32;
    safe fn __fixunsdfsi(value: u64) -> u32;
    safe fn __fixdfdi(value: u64) -> i64;
    safe fn __fixunsdfdi(value: u64) -> u64;
    safe fn __fixsfsi(value: u32) -> i32;
    safe fn __fixunssfsi(value: u32) -> u32;
    safe fn __fixsfdi(value: u32) -> i64;
    safe fn __fixunssfdi(value: u32) -> u64;
    safe fn __eqdf2(left: u64, right: u64) -> i64;
    safe fn __nedf2(left: u64, right: u64) -> i64;
    safe fn __ltdf2(left: u64, right: u64) -> i64;
    safe fn __ledf2(left: u64, right: u64) -> i64;
    safe fn __gtdf2(left: u64, right: u64) -> i64;
    safe fn __gedf2(left: u64, right: u64) -> i64;
    safe fn __unorddf2(left: u64, right: u64) -> i64;
    safe fn __eqsf2(left: u32, right: u32) -> i64;
    safe fn __nesf2(left: u32, right: u32) -> i64;
    safe fn __ltsf2(left: u32, right: u32) -> i64;
    safe fn __lesf2(left: u32, right: u32) -> i64;
    safe fn __gtsf2(left: u32, right: u32) -> i64;
    safe fn __gesf2(left: u32, right: u32) -> i64;
    safe fn __unordsf2(left: u32, right: u32) -> i64;
}

fn conversions(checks: &mut Checks, _: &Machine) {
    checks.equal(
        "__fixdfsi",
        first_difference!(DOUBLES, |a| a as i32 as u64, __fixdfsi(a.to_bits()) as u64),
        None,
    );
    checks.equal(
        "__fixunsdfsi",
        first_difference!(DOUBLES, |a| a as u32 as u64, __fixunsdfsi(a.to_bits()) as u64),
        None,
    );
    checks.equal(
        "__fixdfdi",
        first_difference!(DOUBLES, |a| a as i64 as u64, __fixdfdi(a.to_bits()) as u64),
        None,
    );
    checks.equal("__fixunsdfdi", first_difference!(DOUBLES, |a| a as u64, __fixunsdfdi(a.to_bits())), None);
    checks.equal(
        "__fixsfsi",
        first_difference!(SINGLES, |a| a as i32 as u64, __fixsfsi(a.to_bits()) as u64),
        None,
    );
    checks.equal(
        "__fixunssfsi",
        first_difference!(SINGLES, |a| a as u32 as u64, __fixunssfsi(a.to_bits()) as u64),
        None,
    );
    checks.equal(
        "__fixsfdi",
        first_difference!(SINGLES, |a| a as i64 as u64, __fixsfdi(a.to_bits()) as u64),
        None,
    );
    checks.equal("__fixunssfdi", first_difference!(SINGLES, |a| a as u64, __fixunssfdi(a.to_bits())), None);
}

/// The sign of `$left - $right`, or `$otherwise` if an operand is a NaN.
macro_rules! order {
    ($left:ident, $right:ident, $otherwise:literal) => {
        (if $left < $right {
            -1_i64
        } else if $left > $right {
            1
        } else if $left == $right {
            0
        } else {
            $otherwise
        }) as u64
    };
}

/// Whether an operand is a NaN.
macro_rules! unordered {
    ($left:ident, $right:ident) => {
        ($left.is_nan() || $right.is_nan()) as u64
    };
}

fn comparisons(checks: &mut Checks, _: &Machine) {
    let eq =
        first_difference!(DOUBLE_PAIRS, |(a, b)| order!(a, b, 1), __eqdf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__eqdf2", eq, None);
    let ne =
        first_difference!(DOUBLE_PAIRS, |(a, b)| order!(a, b, 1), __nedf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__nedf2", ne, None);
    let lt =
        first_difference!(DOUBLE_PAIRS, |(a, b)| order!(a, b, 1), __ltdf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__ltdf2", lt, None);
    let le =
        first_difference!(DOUBLE_PAIRS, |(a, b)| order!(a, b, 1), __ledf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__ledf2", le, None);
    let gt =
        first_difference!(DOUBLE_PAIRS, |(a, b)| order!(a, b, -1), __gtdf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__gtdf2", gt, None);
    let ge =
        first_difference!(DOUBLE_PAIRS, |(a, b)| order!(a, b, -1), __gedf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__gedf2", ge, None);
    let unord = first_difference!(
        DOUBLE_PAIRS,
        |(a, b)| unordered!(a, b),
        __unorddf2(a.to_bits(), b.to_bits()) as u64
    );
    checks.equal("__unorddf2", unord, None);
    let eq =
        first_difference!(SINGLE_PAIRS, |(a, b)| order!(a, b, 1), __eqsf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__eqsf2", eq, None);
    let ne =
        first_difference!(SINGLE_PAIRS, |(a, b)| order!(a, b, 1), __nesf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__nesf2", ne, None);
    let lt =
        first_difference!(SINGLE_PAIRS, |(a, b)| order!(a, b, 1), __ltsf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__ltsf2", lt, None);
    let le =
        first_difference!(SINGLE_PAIRS, |(a, b)| order!(a, b, 1), __lesf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__lesf2", le, None);
    let gt =
        first_difference!(SINGLE_PAIRS, |(a, b)| order!(a, b, -1), __gtsf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__gtsf2", gt, None);
    let ge =
        first_difference!(SINGLE_PAIRS, |(a, b)| order!(a, b, -1), __gesf2(a.to_bits(), b.to_bits()) as u64);
    checks.equal("__gesf2", ge, None);
    let unord = first_difference!(
        SINGLE_PAIRS,
        |(a, b)| unordered!(a, b),
        __unordsf2(a.to_bits(), b.to_bits()) as u64
    );
    checks.equal("__unordsf2", unord, None);
}
