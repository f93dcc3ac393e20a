//! The messages of the specification's tests for the engine's errors.
//!
//! A test has a message, and an implementation passes if its own message begins with it
//! ("Assertions" in the interpreter's manual). The engine has codes instead of messages. So this
//! module maps each code to the reference interpreter's message, and to the messages of our own
//! tests for clears. The messages of malformed and invalid modules are not compared, because
//! implementations find errors in different orders.

use palimpsest_engine::{ClearError, Error, InstantiateError, TrapCode};

/// Whether `error` is what the tests call `expected`.
pub(super) fn is_called(error: &Error, expected: &str) -> bool {
    let clear = error.downcast_ref().map(clear_names);
    let names = clear.or_else(|| error.as_trap_code().map(names)).unwrap_or_default();
    names.iter().any(|name| agrees(name, expected))
}

/// Whether `error` is the failure to link that the tests call `expected`.
pub(super) fn is_unlinkable(error: &InstantiateError, expected: &str) -> bool {
    link_failure(error).is_some_and(|name| agrees(name, expected))
}

fn link_failure(error: &InstantiateError) -> Option<&'static str> {
    if matches!(error, InstantiateError::UnknownImports(_)) {
        return Some("unknown import");
    }
    if matches!(error, InstantiateError::ImportType { .. }) {
        return Some("incompatible import type");
    }
    // Before bulk memory operations a module could not be linked if a segment did not fit; now it
    // traps.
    let InstantiateError::Segment(error) = error else { return None };
    match error.as_trap_code()? {
        TrapCode::MemoryOutOfBounds => Some("data segment does not fit"),
        TrapCode::TableOutOfBounds => Some("elements segment does not fit"),
        TrapCode::UnreachableCodeReached
        | TrapCode::IndirectCallToNull
        | TrapCode::IntegerDivisionByZero
        | TrapCode::IntegerOverflow
        | TrapCode::BadConversionToInteger
        | TrapCode::StackOverflow
        | TrapCode::BadSignature
        | TrapCode::OutOfFuel
        | TrapCode::GrowthOperationLimited
        | TrapCode::OutOfSystemMemory => None,
    }
}

/// The words of our own tests for a clear with bad arguments.
fn clear_names(error: &ClearError) -> &'static [&'static str] {
    match error {
        ClearError::OutOfBounds { .. } => &["out of bounds memory access"],
        ClearError::Unaligned { .. } => &["unaligned discard"],
        _ => &[],
    }
}

/// The reference interpreter's names of a trap; one code of the engine may stand for several of its
/// traps.
fn names(code: TrapCode) -> &'static [&'static str] {
    match code {
        TrapCode::UnreachableCodeReached => &["unreachable executed"],
        TrapCode::MemoryOutOfBounds => &["out of bounds memory access"],
        TrapCode::TableOutOfBounds => &["out of bounds table access", "undefined element"],
        TrapCode::IndirectCallToNull => &["uninitialized element"],
        TrapCode::IntegerDivisionByZero => &["integer divide by zero"],
        TrapCode::IntegerOverflow => &["integer overflow"],
        TrapCode::BadConversionToInteger => &["invalid conversion to integer"],
        TrapCode::StackOverflow => &["call stack exhausted"],
        TrapCode::BadSignature => &["indirect call type mismatch"],
        // The specification defines no such traps.
        TrapCode::OutOfFuel | TrapCode::GrowthOperationLimited | TrapCode::OutOfSystemMemory => &[],
    }
}

/// Whether `name` begins with `expected`. If a test expects the index of an element after the name,
/// the name suffices, because the engine does not report the element.
fn agrees(name: &str, expected: &str) -> bool {
    let is_index = |rest: &str| rest.strip_prefix(' ').is_some_and(|index| index.parse::<u64>().is_ok());
    name.starts_with(expected) || expected.strip_prefix(name).is_some_and(is_index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_agrees_with_its_beginnings_only() {
        assert!(agrees("indirect call type mismatch", "indirect call"));
        assert!(agrees("undefined element", "undefined element"));
        assert!(!agrees("integer overflow", "integer divide by zero"));
        assert!(!agrees("out of bounds memory access", "out of bounds table access"));
    }

    #[test]
    fn the_index_of_an_element_is_not_asked_for() {
        assert!(agrees("uninitialized element", "uninitialized element 7"));
        assert!(!agrees("uninitialized element", "uninitialized elements"));
        assert!(!agrees("uninitialized element", "uninitialized element x"));
    }
}
