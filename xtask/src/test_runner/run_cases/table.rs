//! The cases: command lines of `cargo xtask run`, valid and invalid, and their results.
//!
//! Larger guests are texts in `guests/run`; tiny and broken ones are written here. Programs are in
//! [`programs`], and prepared modules in [`prepared`].

mod prepared;
mod programs;

use super::judge::Expected::{self, CommandError, Error, Exited, Returned, Trap};

/// A command line and its expected result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// The behaviour that it tests
    pub(super) name: &'static str,
    /// The file
    pub(super) guest: Guest,
    /// The words after the file
    pub(super) words: &'static [&'static str],
    /// The expected result
    pub(super) expected: Expected,
}

/// The file of a case.
#[derive(Clone, Copy, Debug)]
pub(super) enum Guest {
    /// A text in `guests/run`
    Source(&'static str),
    /// The same, prepared by `cargo xtask prepare` with these options
    Prepared(&'static str, &'static [&'static str]),
    /// Written for the case
    Inline {
        /// The file's name: its extension matters
        name: &'static str,
        /// All of it
        contents: &'static [u8],
    },
}

const fn case(name: &'static str, guest: Guest, words: &'static [&'static str], expected: Expected) -> Case {
    Case { name, guest, words, expected }
}

const fn text(contents: &'static str) -> Guest {
    Guest::Inline { name: "guest.wat", contents: contents.as_bytes() }
}

const fn binary(contents: &'static [u8]) -> Guest {
    Guest::Inline { name: "guest.wasm", contents }
}

const NUMBERS: Guest = Guest::Source("numbers.wat");
const TRAPS: Guest = Guest::Source("traps.wat");
const START_TRAPS: Guest = Guest::Source("start-traps.wat");
const REACTOR: Guest = Guest::Source("reactor.wat");
const TOUCHES: Guest = Guest::Source("touches.wat");

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Case> {
    CALLS.iter().chain(programs::CASES).chain(prepared::CASES)
}

/// Guests of which a function is called.
const CALLS: &[Case] = &[
    case(
        "i32-arguments-give-an-i32",
        NUMBERS,
        &["--invoke", "add-i32", "2", "-3"],
        Returned { console: &["i32 -1"], report: r#"{"results":[{"type":"i32","value":-1}]}"# },
    ),
    case(
        "i32-arguments-may-be-unsigned-or-hexadecimal",
        NUMBERS,
        &["--invoke", "add-i32", "4294967295", "0xffffffff"],
        Returned { console: &["i32 -2"], report: r#"{"results":[{"type":"i32","value":-2}]}"# },
    ),
    case(
        "i64-keeps-every-digit",
        NUMBERS,
        &["--invoke", "add-i64", "9007199254740993", "9214364837600034814"],
        Returned {
            console: &["i64 9223372036854775807"],
            report: r#"{"results":[{"type":"i64","value":9223372036854775807}]}"#,
        },
    ),
    case(
        "f32-is-rounded-once-and-has-its-bits",
        NUMBERS,
        &["--invoke", "add-f32", "16777216", "1.5"],
        Returned {
            console: &["f32 16777218.0 (bits 0x4b800001)"],
            report: r#"{"results":[{"type":"f32","value":16777218.0,"bits":1266679809}]}"#,
        },
    ),
    case(
        "f64-is-exact-to-the-last-bit",
        NUMBERS,
        &["--invoke", "add-f64", "0.1", "0.2"],
        Returned {
            console: &["f64 0.30000000000000004 (bits 0x3fd3333333333334)"],
            report: r#"{"results":[{"type":"f64","value":0.30000000000000004,"bits":4599075939470750516}]}"#,
        },
    ),
    case(
        "nan-keeps-sign-and-payload",
        NUMBERS,
        &["--invoke", "nans"],
        Returned {
            console: &["f32 NaN (bits 0xffa00001)", "f64 NaN (bits 0x7ff4000000000001)"],
            report: r#"{"results":[{"type":"f32","value":null,"bits":4288675841},
                {"type":"f64","value":null,"bits":9219994337134247937}]}"#,
        },
    ),
    case(
        "arguments-after-two-dashes-are-taken-as-they-are",
        NUMBERS,
        &["--invoke", "swap", "--", "-7", "-inf"],
        Returned {
            console: &["f64 -inf (bits 0xfff0000000000000)", "i32 -7"],
            report: r#"{"results":[{"type":"f64","value":null,"bits":18442240474082181120},
                {"type":"i32","value":-7}]}"#,
        },
    ),
    case(
        "without-a-name-the-functions-are-listed",
        TRAPS,
        &[],
        Returned {
            console: &[
                "instantiated; call one of `divide i32`, `load i32`, `recurse`, `spin`, `unreachable` with \
             --invoke",
            ],
            report: r#"{"results":[]}"#,
        },
    ),
    case(
        "start-export-is-called-and-its-frames-are-reported",
        TOUCHES,
        &[],
        Returned {
            console: &[],
            report: r#"{"results":[],"memories":[{"size_wasm_pages":2,"resident_frames":1,
                "peak_resident_frames":4,"frames_released":3}]}"#,
        },
    ),
    case(
        "icount-counts-instructions",
        NUMBERS,
        &["--icount", "--invoke", "add-i32", "2", "3"],
        Returned { console: &["i32 5"], report: r#"{"results":[{"type":"i32","value":5}]}"# },
    ),
    case(
        "trap-is-named-with-its-call",
        TRAPS,
        &["--invoke", "unreachable"],
        Trap("wasm `unreachable` instruction executed, in the call of `unreachable`"),
    ),
    case(
        "division-by-zero-is-a-trap",
        TRAPS,
        &["--invoke", "divide", "0"],
        Trap("integer divide by zero, in the call of `divide`"),
    ),
    case(
        "load-beyond-the-end-is-a-trap",
        TRAPS,
        &["--invoke", "load", "65533"],
        Trap("out of bounds memory access, in the call of `load`"),
    ),
    case(
        "endless-recursion-is-a-trap",
        TRAPS,
        &["--invoke", "recurse"],
        Trap("call stack exhausted, in the call of `recurse`"),
    ),
    case(
        "start-function-that-traps-is-named",
        START_TRAPS,
        &[],
        Trap("the start function ended in a trap: integer divide by zero"),
    ),
    case(
        "endless-guest-is-ended-at-the-time-limit",
        TRAPS,
        &["--timeout", "3", "--invoke", "spin"],
        CommandError("timed out after 3 s: set another limit with --timeout"),
    ),
    case(
        "unknown-export-is-refused-with-the-known-ones",
        NUMBERS,
        &["--invoke", "sub"],
        Error("the module exports no function `sub`; call one of `add-f32 f32 f32`, "),
    ),
    case(
        "too-few-arguments-are-refused-with-the-signature",
        NUMBERS,
        &["--invoke", "add-i64", "1"],
        Error("`add-i64` takes 2 arguments (i64 i64), and 1 were given; write one word for each"),
    ),
    case(
        "too-many-arguments-are-refused-with-the-signature",
        NUMBERS,
        &["--invoke", "nans", "1"],
        Error("`nans` takes 0 arguments (none), and 1 were given; write one word for each"),
    ),
    case(
        "argument-of-another-type-is-refused-with-its-position",
        NUMBERS,
        &["--invoke", "add-i32", "1", "2.5"],
        Error(
            "argument 2 of `add-i32` is \"2.5\", but its type is i32; write an integer from -2147483648 to",
        ),
    ),
    case(
        "argument-out-of-range-is-refused",
        NUMBERS,
        &["--invoke", "add-i32", "4294967296", "0"],
        Error("argument 1 of `add-i32` is \"4294967296\", but its type is i32; write an integer from"),
    ),
    case(
        "reactor-is-initialized-before-a-function-is-called",
        REACTOR,
        &["--invoke", "get"],
        Returned { console: &["i32 42"], report: r#"{"results":[{"type":"i32","value":42}]}"# },
    ),
    case(
        "reactor-without-a-name-has-its-functions-listed",
        REACTOR,
        &[],
        Returned {
            console: &["instantiated; call one of `_initialize`, `get`, `leave i32` with --invoke"],
            report: r#"{"results":[]}"#,
        },
    ),
    case(
        "names-in-a-list-of-functions-are-escaped",
        text(r#"(module (func (export "\1b[31m\0a")))"#),
        &[],
        Returned {
            console: &[r"instantiated; call one of `\u{1b}[31m\n` with --invoke"],
            report: r#"{"results":[]}"#,
        },
    ),
    case(
        "limit-is-replaced-by-an-option",
        NUMBERS,
        &["--limit", "module_bytes=8"],
        Error("; the limit `module_bytes` is 8"),
    ),
    case(
        "limit-that-the-engine-cannot-have-is-refused",
        NUMBERS,
        &["--limit", "nesting=4294967296"],
        Error("4294967296 is too large for the limit `nesting`"),
    ),
    case(
        "unknown-imports-are-refused-by-name",
        text(
            r#"(module (import "env" "print" (func)) (import "wasi_snapshot_preview1" "fd_write" (func)) (import "env" "a\09b" (func)))"#,
        ),
        &[],
        Error(r"2 unknown imports: `env` `print`, `env` `a\tb`; define them in the linker"),
    ),
    case(
        "unknown-import-is-refused-by-name",
        text(r#"(module (import "env" "print" (func (param i32))))"#),
        &[],
        Error("unknown import `env` `print`"),
    ),
    case(
        "memory-above-the-limit-is-refused",
        text("(module (memory i64 0x20000000 0x20000000))"),
        &[],
        Error("memory 0: the initial size is 35184372088832 bytes; the limit `memory_bytes` is"),
    ),
    case(
        "truncated-module-is-refused-with-the-place",
        binary(b"\0asm\x01\0\0\0\x01\x07\x01"),
        &[],
        Error(
            "the module is truncated: unexpected end-of-file at offset 0xa of 11 bytes; load the whole file",
        ),
    ),
    case(
        "module-that-does-not-validate-is-refused-with-the-place",
        // A function without a result whose body leaves an `i32.const 0` on the stack.
        binary(b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x06\x01\x04\0\x41\0\x0b"),
        &[],
        Error("invalid module: type mismatch"),
    ),
    case(
        "text-that-is-no-wasm-is-refused",
        binary(b"int main(void) { return 0; }\n"),
        &[],
        CommandError("guest.wasm is not WebAssembly: a module begins with the bytes 00 61 73 6d"),
    ),
    case(
        "empty-file-is-refused",
        binary(b""),
        &[],
        CommandError("guest.wasm is empty: name a .wasm or .wat file with a module in it"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::HashSet;

    #[test]
    fn no_two_cases_share_a_name() {
        let names: HashSet<_> = all().map(|case| case.name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn expected_reports_are_json_objects() {
        for case in all() {
            if let Returned { report, .. } | Exited { report, .. } = case.expected {
                let report = serde_json::from_str::<Value>(report);
                assert!(report.is_ok_and(|report| report.is_object()), "{}", case.name);
            }
        }
    }
}
