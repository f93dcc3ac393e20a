//! Compares the memory functions that compiled code calls with loops over single bytes.
//!
//! On the hosted target the functions are the kernel's, on the bare target those of
//! `compiler_builtins`. The sizes and offsets cover the points where the implementations switch
//! between bytes and words.

use core::array;
use core::cmp::Ordering;
use core::ffi::{c_char, c_int, c_void};
use core::hint::black_box;

use kernel_demo::Machine;

use crate::harness::{Checks, VmTest};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("memset-sets-what-a-loop-sets", 1, memset_like_a_loop),
    VmTest::new("memcpy-copies-what-a-loop-copies", 1, memcpy_like_a_loop),
    VmTest::new("memmove-copies-overlapping-bytes", 1, memmove_like_a_loop),
    VmTest::new("memcmp-orders-like-a-loop", 2, memcmp_like_a_loop),
    VmTest::new("strlen-counts-like-a-loop", 1, strlen_like_a_loop),
];

unsafe extern "C" {
    fn memset(to: *mut c_void, value: c_int, count: usize) -> *mut c_void;
    fn memcpy(to: *mut c_void, from: *const c_void, count: usize) -> *mut c_void;
    fn memmove(to: *mut c_void, from: *const c_void, count: usize) -> *mut c_void;
    fn memcmp(left: *const c_void, right: *const c_void, count: usize) -> c_int;
    fn bcmp(left: *const c_void, right: *const c_void, count: usize) -> c_int;
    fn strlen(text: *const c_char) -> usize;
}

// The tests call through opaque pointers, because the compiler recognises these functions and would
// change the arguments or omit the call.
type Set = unsafe extern "C" fn(*mut c_void, c_int, usize) -> *mut c_void;
type Copy = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> *mut c_void;
type Compare = unsafe extern "C" fn(*const c_void, *const c_void, usize) -> c_int;
type Length = unsafe extern "C" fn(*const c_char) -> usize;

/// Sizes in bytes: all small ones, and some around a page.
fn sizes() -> impl Iterator<Item = usize> {
    (0..=40).chain([63, 64, 65, 127, 4087, 4096, 4099])
}

/// Offsets of an operand in its buffer, in bytes: two words and a byte, so that short copies
/// overlap in every way.
const OFFSETS: usize = 17;

/// The largest size at the largest offset, and a few bytes after it that must stay.
const BUFFER_BYTES: usize = 4099 + OFFSETS + 8;

type Buffer = [u8; BUFFER_BYTES];

/// One call: its size and the offsets of its operands, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    size: usize,
    to: usize,
    from: usize,
}

impl Case {
    /// The bytes of a buffer that the call could reach, and the few after them.
    fn reach(self) -> usize {
        self.size + OFFSETS + 8
    }
}

/// Returns the first case for which `differs` returns true.
fn first(mut differs: impl FnMut(Case) -> bool) -> Option<Case> {
    let offsets = || (0..OFFSETS).flat_map(|to| (0..OFFSETS).map(move |from| (to, from)));
    let mut cases = sizes().flat_map(|size| offsets().map(move |(to, from)| Case { size, to, from }));
    cases.find(|&case| differs(case))
}

/// Returns bytes in which a copy from a wrong offset is detected.
fn pattern() -> Buffer {
    array::from_fn(|index| (index * 7 + index / 251).to_le_bytes()[0])
}

/// Copies from one buffer to another one byte at a time; `black_box` keeps the compiler from making
/// it a call.
fn copy_by_bytes(to: &mut Buffer, from: &Buffer, case: Case) {
    for index in 0..case.size {
        to[case.to + index] = black_box(from[case.from + index]);
    }
}

/// The order of the first two bytes that differ, found byte by byte.
fn compare_by_bytes(left: &[u8], right: &[u8]) -> Ordering {
    let mut pairs = left.iter().zip(right);
    let different = pairs.find(|(left, right)| black_box(**left) != black_box(**right));
    different.map_or(Ordering::Equal, |(left, right)| left.cmp(right))
}

fn differ(left: &Buffer, right: &Buffer, case: Case) -> bool {
    compare_by_bytes(&left[..case.reach()], &right[..case.reach()]).is_ne()
}

fn memset_like_a_loop(checks: &mut Checks, _: &Machine) {
    let set = black_box::<Set>(memset);
    let pattern = pattern();
    let difference = first(|case| {
        let (mut expected, mut actual) = (pattern, pattern);
        // The value's upper bytes do not matter.
        let byte = pattern[case.from];
        for place in &mut expected[case.to..case.to + case.size] {
            *place = black_box(byte);
        }
        let to = actual[case.to..].as_mut_ptr().cast::<c_void>();
        // SAFETY: `case.size` bytes from there on are inside of the buffer.
        let returned = unsafe { set(to, c_int::from_le_bytes([byte, 1, 2, 0xff]), case.size) };
        returned != to || differ(&actual, &expected, case)
    });
    checks.equal("first difference", difference, None);
}

fn memcpy_like_a_loop(checks: &mut Checks, _: &Machine) {
    let copy = black_box::<Copy>(memcpy);
    let source = pattern();
    let difference = first(|case| {
        let (mut expected, mut actual) = ([0xee; BUFFER_BYTES], [0xee; BUFFER_BYTES]);
        copy_by_bytes(&mut expected, &source, case);
        let to = actual[case.to..].as_mut_ptr().cast::<c_void>();
        let from = source[case.from..].as_ptr().cast();
        // SAFETY: `case.size` bytes from both on are inside of their buffers, which are two.
        let returned = unsafe { copy(to, from, case.size) };
        returned != to || differ(&actual, &expected, case)
    });
    checks.equal("first difference", difference, None);
}

fn memmove_like_a_loop(checks: &mut Checks, _: &Machine) {
    let copy = black_box::<Copy>(memmove);
    let source = pattern();
    let difference = first(|case| {
        let (mut expected, mut actual) = (source, source);
        copy_by_bytes(&mut expected, &source, case);
        let start = actual.as_mut_ptr();
        let (to, from) = (start.wrapping_add(case.to).cast(), start.wrapping_add(case.from).cast());
        // SAFETY: `case.size` bytes from both on are inside of the one buffer.
        let returned = unsafe { copy(to, from, case.size) };
        returned != to || differ(&actual, &expected, case)
    });
    checks.equal("first difference", difference, None);
}

fn memcmp_like_a_loop(checks: &mut Checks, _: &Machine) {
    let (left, mut right) = (pattern(), pattern());
    // Two neighbours differ, in opposite directions, anywhere up to the size; or, every 17th time,
    // none does.
    let difference = first(|case| {
        let place = case.from * case.size / OFFSETS;
        let amount = case.to.to_le_bytes()[0] * 15;
        right[place] = right[place].wrapping_add(amount);
        right[place + 1] = right[place + 1].wrapping_sub(amount);
        let found = compare(&left, &right, case.size);
        let expected = compare_by_bytes(&left[..case.size], &right[..case.size]);
        [right[place], right[place + 1]] = [left[place], left[place + 1]];
        found != (expected, expected.is_eq())
    });
    checks.equal("first difference", difference, None);
    let later = compare(b"a\0b\xff", b"a\0b\x01", 4);
    checks.equal("bytes are unsigned, and a zero does not end them", later, (Ordering::Greater, false));
}

/// The result of `memcmp`, and whether `bcmp` reports equality.
fn compare(left: &[u8], right: &[u8], size: usize) -> (Ordering, bool) {
    let (left, right) = (left[..size].as_ptr().cast(), right[..size].as_ptr().cast());
    // SAFETY: both slices have `size` bytes: they were cut to it.
    let order = unsafe { black_box::<Compare>(memcmp)(left, right, size) };
    // SAFETY: as before.
    let different = unsafe { black_box::<Compare>(bcmp)(left, right, size) };
    (order.cmp(&0), different == 0)
}

fn strlen_like_a_loop(checks: &mut Checks, _: &Machine) {
    let difference = first(|case| {
        let mut text = [b'x'; BUFFER_BYTES];
        text[case.from + case.size] = 0;
        // SAFETY: there is a zero byte before the end of the buffer.
        let length = unsafe { black_box::<Length>(strlen)(text[case.from..].as_ptr().cast()) };
        length != case.size
    });
    checks.equal("first difference", difference, None);
}
