//! Cases of modules that were prepared.

use super::{Case, Error, Exited, Guest, Returned, binary, case};

/// All of them.
pub(super) const CASES: &[Case] = &[
    case(
        "prepared-module-is-called",
        Guest::Prepared("numbers.wat", &[]),
        &["--invoke", "add-i32", "2", "-3"],
        Returned { console: &["i32 -1"], report: r#"{"results":[{"type":"i32","value":-1}]}"# },
    ),
    case(
        "prepared-program-sees-its-arguments-and-its-exit-code-is-passed-on",
        Guest::Prepared("command.wat", &["--metered"]),
        &["--", "one", "two words"],
        Exited {
            status: 3,
            output: b"command.palimpsest\0one\0two words\0",
            errors: b"!",
            report: r#"{"outcome":"exited","exit_code":3,"results":[]}"#,
        },
    ),
    case(
        "program-prepared-without-fuel-is-refused-with-the-option",
        Guest::Prepared("command.wat", &[]),
        &[],
        Error("prepare it for `Fuel::Metered` (`--metered`)"),
    ),
    case(
        "module-prepared-with-fuel-is-not-called",
        Guest::Prepared("numbers.wat", &["--metered"]),
        &["--invoke", "add-i32", "2", "-3"],
        Error("the module was prepared for metered engines, and this one is not"),
    ),
    case(
        "prepared-module-that-ends-early-is-refused",
        binary(b"\0plm\x01\0\0\0"),
        &[],
        Error("the prepared module is truncated: 8 of 48 bytes are there; load the whole file"),
    ),
];
