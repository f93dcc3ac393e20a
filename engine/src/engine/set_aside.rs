//! What an engine sets aside of the kernel heap, so that its guests never exhaust it.
//!
//! wasmi translates a function at its first call, where an allocation that fails ends the kernel. A
//! guest can call all of its functions between two boundaries. So the reserve must have room for
//! all code of the engine before the guest runs. The bound is computed from sizes that the scan and
//! the splice count anyway:
//!
//! | what is allocated between two boundaries | bytes at most |
//! | --- | --- |
//! | the translated code | what the scan counts for each operator, and 16 for each byte that the splice adds |
//! | the translator's buffers | 72 for each byte of the largest function, 64 for each operand that it moves |
//! | an instance, before its start function runs | 400 for each entry, 8 for each element of its tables |
//! | a stack that grows and is moved | 2 [`stack_bytes`](crate::Limits::stack_bytes), 64 for each of [`call_depth`](crate::Limits::call_depth) |
//!
//! `engine/tests/first_calls.rs` measures the first two for each kind of instruction. Tables that
//! grow are not in the list, because wasmi handles a failure there.

use spin::Mutex;

use crate::{
    budget::{Claim, Ledger},
    config::Limits,
};

/// The sizes of a module that bound what its instances and its code take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ModuleSize {
    /// Bytes of the translated code of all functions, at most.
    pub(crate) translated_bytes: u64,
    /// Bytes of the largest function body, as wasmi gets it.
    pub(crate) function_bytes: usize,
    /// The most operands that one function moves, as [`Limits::function_work`] counts them.
    pub(crate) function_work: u64,
    /// Entries in all sections.
    pub(crate) entries: usize,
    /// Elements with which the tables start.
    pub(crate) table_elements: u64,
}

impl ModuleSize {
    /// The number of fields.
    pub(crate) const FIELDS: usize = 5;

    /// Returns the fields, in the order in which a prepared module has them.
    #[cfg(feature = "splice")]
    pub(crate) fn to_fields(self) -> [u64; Self::FIELDS] {
        let Self { translated_bytes, function_bytes, function_work, entries, table_elements } = self;
        [translated_bytes, function_bytes as u64, function_work, entries as u64, table_elements]
    }

    /// Returns the sizes with these fields. A field that is too large for a `usize` becomes the
    /// largest one, so that the claim fails.
    pub(crate) fn from_fields(fields: [u64; Self::FIELDS]) -> Self {
        let [translated_bytes, function_bytes, function_work, entries, table_elements] = fields;
        let saturated = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            translated_bytes,
            function_bytes: saturated(function_bytes),
            function_work,
            entries: saturated(entries),
            table_elements,
        }
    }

    /// Returns the sizes of two modules together. Only one of them is instantiated at a time.
    fn with(self, other: Self) -> Self {
        Self {
            translated_bytes: self.translated_bytes.saturating_add(other.translated_bytes),
            function_bytes: self.function_bytes.max(other.function_bytes),
            function_work: self.function_work.max(other.function_work),
            entries: self.entries.max(other.entries),
            table_elements: self.table_elements.max(other.table_elements),
        }
    }

    /// Returns the most bytes that a guest allocates between two boundaries.
    fn bytes_between_boundaries(&self, limits: &Limits) -> usize {
        let saturated = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let terms = [
            (1, saturated(self.translated_bytes)),
            (72, self.function_bytes),
            (64, saturated(self.function_work)),
            (400, self.entries),
            (8, saturated(self.table_elements)),
            (2, limits.stack_bytes),
            (64, limits.call_depth),
        ];
        terms.iter().fold(0, |sum: usize, (factor, count)| sum.saturating_add(count.saturating_mul(*factor)))
    }
}

/// The claim of an engine on the reserve. It ends with the engine, and so does the code.
#[derive(Debug, Default)]
pub(super) struct SetAside {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    loaded: ModuleSize,
    claim: Option<Claim>,
}

impl SetAside {
    /// Claims what one more module needs. Returns whether the heap has room for it. If not, the
    /// claim is as it was before.
    pub(super) fn add(&self, ledger: &'static dyn Ledger, limits: &Limits, module: ModuleSize) -> bool {
        let mut state = self.state.lock();
        let loaded = state.loaded.with(module);
        let Some(claim) = Claim::new(ledger, loaded.bytes_between_boundaries(limits)) else { return false };
        state.loaded = loaded;
        // It is smaller. What it was for is in the new one.
        drop(state.claim.replace(claim));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_adds_up_and_the_largest_function_counts_once() {
        let size = ModuleSize { translated_bytes: 1_000, function_bytes: 100, ..ModuleSize::default() };
        let limits = Limits { stack_bytes: 0, call_depth: 0, ..Limits::default() };
        assert_eq!(size.bytes_between_boundaries(&limits), 1_000 + 72 * 100);
        assert_eq!(size.with(size).bytes_between_boundaries(&limits), 2_000 + 72 * 100);
        let all = ModuleSize { translated_bytes: u64::MAX, ..size };
        assert_eq!(all.with(all).bytes_between_boundaries(&limits), usize::MAX);
    }
}
