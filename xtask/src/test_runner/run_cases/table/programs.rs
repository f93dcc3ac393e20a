//! Cases of guests that are programs: their arguments, output and exit codes.

use super::{Case, CommandError, Exited, Guest, NUMBERS, REACTOR, Trap, case, text};

const COMMAND: Guest = Guest::Source("command.wat");

/// A program whose start function ends it.
const EXIT_IN_START: Guest = text(
    r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (func $end (call $exit (i32.const 5)))
        (start $end)
        (func (export "_start") unreachable))"#,
);

/// All of them.
pub(super) const CASES: &[Case] = &[
    case(
        "program-sees-its-arguments-and-its-exit-code-is-passed-on",
        COMMAND,
        &["--", "one", "two words"],
        Exited {
            status: 3,
            output: b"command.wat\0one\0two words\0",
            errors: b"!",
            report: r#"{"outcome":"exited","exit_code":3,"results":[]}"#,
        },
    ),
    case(
        "program-sees-variables-input-and-files",
        COMMAND,
        &[
            "--env",
            "A=b=c",
            "--env",
            "D=",
            "--stdin",
            "guests/run/world/input.txt",
            "--dir",
            "guests/run/world",
        ],
        Exited {
            status: 1,
            output: b"command.wat\0A=b=c\0D=\0from standard inputfrom a file",
            errors: b"!",
            report: r#"{"memories":[{"size_wasm_pages":2,"resident_frames":1}]}"#,
        },
    ),
    case(
        "program-that-ends-itself-with-0-has-returned",
        text(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (func (export "_start") (call $exit (i32.const 0)) unreachable))"#,
        ),
        &[],
        Exited { status: 0, output: b"", errors: b"", report: r#"{"outcome":"returned","exit_code":0}"# },
    ),
    case(
        "exit-code-above-125-becomes-125",
        text(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (func (export "_start") (call $exit (i32.const -1))))"#,
        ),
        &[],
        Exited { status: 125, output: b"", errors: b"", report: r#"{"exit_code":4294967295}"# },
    ),
    case(
        "exit-code-of-an-invoked-function-is-passed-on",
        REACTOR,
        &["--invoke", "leave", "7"],
        Exited { status: 7, output: b"", errors: b"", report: r#"{"outcome":"exited","exit_code":7}"# },
    ),
    case(
        "exit-code-of-a-start-function-is-passed-on",
        EXIT_IN_START,
        &[],
        Exited { status: 5, output: b"", errors: b"", report: r#"{"outcome":"exited","exit_code":5}"# },
    ),
    case(
        "exit-code-of-a-start-function-before-an-invoked-one-is-passed-on",
        EXIT_IN_START,
        &["--invoke", "_start"],
        Exited { status: 5, output: b"", errors: b"", report: r#"{"outcome":"exited","exit_code":5}"# },
    ),
    case(
        "trap-of-a-program-is-named",
        text(
            r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
                (func (export "_start") unreachable))"#,
        ),
        &[],
        Trap("wasm `unreachable` instruction executed, in the call of `_start`"),
    ),
    case(
        "function-of-a-module-that-imports-wasi-can-be-called",
        COMMAND,
        &["--invoke", "_start"],
        Exited { status: 1, output: b"\0", errors: b"!", report: r#"{"exit_code":1}"# },
    ),
    case(
        "words-for-a-module-that-is-no-program-are-refused",
        NUMBERS,
        &["--", "1"],
        CommandError(
            "numbers.wat is not a program, because it does not import WASI and export `_start`: name the function",
        ),
    ),
    case(
        "directory-that-does-not-exist-is-refused",
        COMMAND,
        &["--dir", "no/such"],
        CommandError("no/such is not a directory: name one with --dir"),
    ),
];
