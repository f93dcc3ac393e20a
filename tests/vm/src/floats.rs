//! Compares floating point at run time with the compiler's evaluation of the same expressions.
//!
//! Expected values are constants, which rustc evaluates with its own implementation of IEEE 754. At
//! run time the machine evaluates the same expression: on the hosted target with the instructions
//! that the compiler selects, on the bare target with the functions of `palimpsest_sse2_floats`.
//! Operands are the limits of both widths and of the integers, and random bits. The bits of a NaN
//! may differ, because Rust does not define them.

#![expect(clippy::cast_lossless, reason = "`From` is not for constants")]
#![expect(clippy::cast_possible_truncation, reason = "that is what is tested")]

use core::hint::black_box;

use kernel_demo::Machine;

use crate::harness::{Checks, VmTest};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("doubles-are-those-of-ieee-754", 10, doubles),
    VmTest::new("singles-are-those-of-ieee-754", 10, singles),
    VmTest::new("integers-become-the-nearest-float", 8, integers),
    VmTest::new("a-converted-nan-is-quiet", 2, nans),
];

/// Returns the first of `$values` for which `$found` differs from `$expected`, which the compiler
/// evaluates. Both are `u64`.
macro_rules! first_difference {
    ($values:ident, |$value:pat_param| $result:expr) => {
        first_difference!($values, |$value| $result, $result)
    };
    ($values:ident, |$value:pat_param| $expected:expr, $found:expr) => {{
        const EXPECTED: [u64; $values.len()] = {
            let mut results = [0; $values.len()];
            let mut index = 0;
            while index < results.len() {
                let $value = $values[index];
                results[index] = $expected;
                index += 1;
            }
            results
        };
        $values.into_iter().zip(EXPECTED).find_map(|(value, expected)| {
            let $value = black_box(value);
            ($found != expected).then_some(value)
        })
    }};
}

/// All pairs of `$values`.
macro_rules! pairs {
    ($values:ident) => {{
        const COUNT: usize = $values.len();
        let mut pairs = [($values[0], $values[0]); COUNT * COUNT];
        let mut index = 0;
        while index < COUNT * COUNT {
            pairs[index] = ($values[index / COUNT], $values[index % COUNT]);
            index += 1;
        }
        pairs
    }};
}

/// Returns `$borders`, followed by random numbers. Every other random number has random bits
/// throughout, so most of these are far apart. The numbers between them have exponents near 0.
/// `$exponent` is the mask of the exponent field, and `$one` is its value in 1.0.
macro_rules! with_random {
    ($float:ty, $bits:ty, $borders:ident, $exponent:literal, $one:literal) => {{
        let mut values = [0.0; $borders.len() + 16];
        let mut index = 0;
        while index < values.len() {
            let random = random(index as u64) as $bits;
            values[index] = if index < $borders.len() {
                $borders[index]
            } else if index % 2 == 0 {
                <$float>::from_bits(random)
            } else {
                <$float>::from_bits(random & !$exponent | $one)
            };
            index += 1;
        }
        values
    }};
}

/// Returns pseudo-random bits: the finalizer of `splitmix64`.
const fn random(seed: u64) -> u64 {
    let bits = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

const DOUBLE_BORDERS: [f64; 38] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1.0 + f64::EPSILON,
    -0.5,
    2.5,
    f64::from_bits(1),
    -f64::from_bits(0x000f_ffff_ffff_ffff),
    f64::MIN_POSITIVE,
    f64::MAX,
    f64::MIN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    f64::from_bits(0xfff0_0000_0000_0001),
    // Around the ends of `f32`: its largest, half a place more, its smallest, and halfway between
    // two.
    f32::MAX as f64,
    340_282_356_779_733_661_637_539_395_458_142_568_447.0,
    f32::from_bits(1) as f64,
    f32::from_bits(1) as f64 / 2.0,
    1.0 + f32::EPSILON as f64 / 2.0,
    1.0 + f32::EPSILON as f64 * 1.5,
    // Around the ends of the integers, with fractions where there is room for them.
    2_147_483_647.5,
    2_147_483_648.0,
    -2_147_483_648.0,
    -2_147_483_648.5,
    -2_147_483_649.0,
    4_294_967_295.5,
    4_294_967_296.0,
    -0.999,
    9_223_372_036_854_774_784.0,
    9_223_372_036_854_775_808.0,
    -9_223_372_036_854_775_808.0,
    -9_223_372_036_854_777_856.0,
    18_446_744_073_709_549_568.0,
    18_446_744_073_709_551_616.0,
    -18_446_744_073_709_551_616.0,
    1e300,
];

const SINGLE_BORDERS: [f32; 28] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1.0 + f32::EPSILON,
    -0.5,
    2.5,
    f32::from_bits(1),
    -f32::from_bits(0x007f_ffff),
    f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::from_bits(0xff80_0001),
    2_147_483_520.0,
    2_147_483_648.0,
    -2_147_483_648.0,
    -2_147_483_904.0,
    4_294_967_040.0,
    4_294_967_296.0,
    9_223_371_487_098_961_920.0,
    9_223_372_036_854_775_808.0,
    -9_223_372_036_854_775_808.0,
    -9_223_373_136_366_403_584.0,
    18_446_742_974_197_923_840.0,
    18_446_744_073_709_551_616.0,
];

pub(crate) const DOUBLES: [f64; DOUBLE_BORDERS.len() + 16] =
    with_random!(f64, u64, DOUBLE_BORDERS, 0x7fc0_0000_0000_0000, 0x3fc0_0000_0000_0000);
pub(crate) const SINGLES: [f32; SINGLE_BORDERS.len() + 16] =
    with_random!(f32, u32, SINGLE_BORDERS, 0x7e00_0000, 0x3e00_0000);
pub(crate) static DOUBLE_PAIRS: [(f64, f64); DOUBLES.len() * DOUBLES.len()] = pairs!(DOUBLES);
pub(crate) static SINGLE_PAIRS: [(f32, f32); SINGLES.len() * SINGLES.len()] = pairs!(SINGLES);

/// The limits of the integers, integers that neither width can represent, and ties between two
/// representable ones.
const INTEGERS: [u64; 20] = [
    0,
    1,
    u64::MAX,
    1 << 63,
    (1 << 63) + 1024,
    (1 << 63) + 1025,
    (1 << 63) - 1,
    u64::MAX - 1023,
    u64::MAX - 1024,
    (1 << 53) + 1,
    (1 << 53) + 3,
    (1 << 24) + 1,
    (1 << 24) + 3,
    (1 << 31) - 1,
    1 << 31,
    (1 << 31) + 129,
    u32::MAX as u64 - 127,
    u32::MAX as u64,
    random(1),
    random(2),
];

/// The bits of a number. Every NaN has the same bits here.
const fn double_bits(value: f64) -> u64 {
    if value.is_nan() { u64::MAX } else { value.to_bits() }
}

/// The bits of a number. Every NaN has the same bits here.
const fn single_bits(value: f32) -> u64 {
    if value.is_nan() { u64::MAX } else { value.to_bits() as u64 }
}

/// The results of all comparisons of two numbers, one bit for each.
macro_rules! comparisons {
    ($left:ident, $right:ident) => {
        ($left < $right) as u64
            | (($left <= $right) as u64) << 1
            | (($left > $right) as u64) << 2
            | (($left >= $right) as u64) << 3
            | (($left == $right) as u64) << 4
            | (($left != $right) as u64) << 5
            | (($left.is_nan() || $right.is_nan()) as u64) << 6
    };
}

fn doubles(checks: &mut Checks, _: &Machine) {
    checks.equal("a + b", first_difference!(DOUBLE_PAIRS, |(a, b)| double_bits(a + b)), None);
    checks.equal("a - b", first_difference!(DOUBLE_PAIRS, |(a, b)| double_bits(a - b)), None);
    checks.equal("a * b", first_difference!(DOUBLE_PAIRS, |(a, b)| double_bits(a * b)), None);
    checks.equal("a / b", first_difference!(DOUBLE_PAIRS, |(a, b)| double_bits(a / b)), None);
    checks.equal("comparisons", first_difference!(DOUBLE_PAIRS, |(a, b)| comparisons!(a, b)), None);
    checks.equal("a as i32", first_difference!(DOUBLES, |a| a as i32 as u64), None);
    checks.equal("a as u32", first_difference!(DOUBLES, |a| a as u32 as u64), None);
    checks.equal("a as i64", first_difference!(DOUBLES, |a| a as i64 as u64), None);
    checks.equal("a as u64", first_difference!(DOUBLES, |a| a as u64), None);
    checks.equal("a as f32", first_difference!(DOUBLES, |a| single_bits(a as f32)), None);
}

fn singles(checks: &mut Checks, _: &Machine) {
    checks.equal("a + b", first_difference!(SINGLE_PAIRS, |(a, b)| single_bits(a + b)), None);
    checks.equal("a - b", first_difference!(SINGLE_PAIRS, |(a, b)| single_bits(a - b)), None);
    checks.equal("a * b", first_difference!(SINGLE_PAIRS, |(a, b)| single_bits(a * b)), None);
    checks.equal("a / b", first_difference!(SINGLE_PAIRS, |(a, b)| single_bits(a / b)), None);
    checks.equal("comparisons", first_difference!(SINGLE_PAIRS, |(a, b)| comparisons!(a, b)), None);
    checks.equal("a as i32", first_difference!(SINGLES, |a| a as i32 as u64), None);
    checks.equal("a as u32", first_difference!(SINGLES, |a| a as u32 as u64), None);
    checks.equal("a as i64", first_difference!(SINGLES, |a| a as i64 as u64), None);
    checks.equal("a as u64", first_difference!(SINGLES, |a| a as u64), None);
    checks.equal("a as f64", first_difference!(SINGLES, |a| double_bits(a as f64)), None);
}

fn integers(checks: &mut Checks, _: &Machine) {
    checks.equal("i32 as f64", first_difference!(INTEGERS, |a| double_bits(a as i32 as f64)), None);
    checks.equal("u32 as f64", first_difference!(INTEGERS, |a| double_bits(a as u32 as f64)), None);
    checks.equal("i64 as f64", first_difference!(INTEGERS, |a| double_bits(a as i64 as f64)), None);
    checks.equal("u64 as f64", first_difference!(INTEGERS, |a| double_bits(a as f64)), None);
    checks.equal("i32 as f32", first_difference!(INTEGERS, |a| single_bits(a as i32 as f32)), None);
    checks.equal("u32 as f32", first_difference!(INTEGERS, |a| single_bits(a as u32 as f32)), None);
    checks.equal("i64 as f32", first_difference!(INTEGERS, |a| single_bits(a as i64 as f32)), None);
    checks.equal("u64 as f32", first_difference!(INTEGERS, |a| single_bits(a as f32)), None);
}

/// The Wasm specification requires these results. `compiler_builtins` has others, so this also
/// tests that the functions of `palimpsest_sse2_floats` are linked.
fn nans(checks: &mut Checks, _: &Machine) {
    let widened = f64::from(black_box(f32::from_bits(0x7f80_0001)));
    checks.equal("widened", widened.to_bits(), 0x7ff8_0000_2000_0000);
    let narrowed = black_box(f64::from_bits(0xfff0_0000_2000_0000)) as f32;
    checks.equal("narrowed", narrowed.to_bits(), 0xffc0_0001);
}
