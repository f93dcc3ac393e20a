//! The counts of a module that [`Limits`] bounds, and their comparison with the limits.
//!
//! The names in the errors are those of the fields of [`Limits`].

use super::ModuleError;
use crate::config::Limits;

/// The most parameters and locals of a function that [`Limits::locals`] can allow.
///
/// A frame of the interpreter has at most 65,535 slots of 8 bytes. A local takes up to 3 of them,
/// and an operand up to 2. With the next constant, a function at both limits fits.
pub(super) const MOST_LOCALS: u32 = 10_000;
/// The most operands on a function's stack that [`Limits::operands`] can allow.
pub(super) const MOST_OPERANDS: u32 = 1 << 14;
/// The most memories, and the most tables, that the validator accepts in a module.
pub(super) const MOST_OF_A_KIND: u64 = 100;

/// The counts of a module, or the highest count of one of its sections, functions or constant
/// expressions. Each is compared with the field of [`Limits`] that has the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) module_bytes: u64,
    pub(super) header_bytes: u64,
    pub(super) section_entries: u64,
    pub(super) module_entries: u64,
    pub(super) element_items: u64,
    pub(super) code_bytes: u64,
    pub(super) function_bytes: u64,
    pub(super) nesting: u64,
    pub(super) locals: u64,
    pub(super) operands: u64,
    pub(super) constant_operators: u64,
    pub(super) function_work: u64,
    pub(super) module_work: u64,
    pub(super) memories: u64,
    pub(super) tables: u64,
}

impl Counts {
    /// Returns all fields, in the order in which a prepared module has them.
    pub(super) fn fields(&mut self) -> [&mut u64; 15] {
        let Self {
            module_bytes,
            header_bytes,
            section_entries,
            module_entries,
            element_items,
            code_bytes,
            function_bytes,
            nesting,
            locals,
            operands,
            constant_operators,
            function_work,
            module_work,
            memories,
            tables,
        } = self;
        [
            module_bytes,
            header_bytes,
            section_entries,
            module_entries,
            element_items,
            code_bytes,
            function_bytes,
            nesting,
            locals,
            operands,
            constant_operators,
            function_work,
            module_work,
            memories,
            tables,
        ]
    }

    /// Checks all counts, which a prepared module has from an earlier scan.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Limit`] if one of them exceeds its limit.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), ModuleError> {
        let of_a_kind = |limit: usize| MOST_OF_A_KIND.min(limit as u64);
        let checks = [
            ("module_bytes", limits.module_bytes as u64, self.module_bytes, "bytes"),
            ("header_bytes", limits.header_bytes as u64, self.header_bytes, HEADER),
            (
                "section_entries",
                limits.section_entries.into(),
                self.section_entries,
                "entries in one section",
            ),
            ("module_entries", limits.module_entries.into(), self.module_entries, ENTRIES),
            ("element_items", limits.element_items.into(), self.element_items, ITEMS),
            ("code_bytes", limits.code_bytes as u64, self.code_bytes, CODE),
            ("function_bytes", limits.function_bytes as u64, self.function_bytes, "bytes in one function"),
            ("nesting", limits.nesting.into(), self.nesting, "blocks inside each other"),
            ("locals", limits.locals.min(MOST_LOCALS).into(), self.locals, LOCALS),
            ("operands", limits.operands.min(MOST_OPERANDS).into(), self.operands, OPERANDS),
            ("constant_operators", limits.constant_operators.into(), self.constant_operators, CONSTANT),
            ("function_work", limits.function_work.into(), self.function_work, FUNCTION_WORK),
            ("module_work", limits.module_work, self.module_work, MODULE_WORK),
            ("memories", of_a_kind(limits.memories), self.memories, "memories"),
            ("tables", of_a_kind(limits.tables), self.tables, "tables"),
        ];
        checks.into_iter().try_for_each(|(name, limit, found, what)| within(name, limit, found, what))
    }
}

/// What is counted, in the words of the errors.
pub(super) const HEADER: &str = "bytes of sections before its code";
pub(super) const ENTRIES: &str = "entries in its sections";
pub(super) const ITEMS: &str = "references in element segments";
pub(super) const CODE: &str = "bytes of function bodies";
pub(super) const LOCALS: &str = "parameters and locals in one function";
pub(super) const OPERANDS: &str = "operands on the stack of one function";
pub(super) const CONSTANT: &str = "or more instructions in one constant expression";
pub(super) const FUNCTION_WORK: &str = "or more operands to move in one function";
pub(super) const MODULE_WORK: &str = "or more operands to move";

/// Compares a count with a limit.
///
/// # Errors
///
/// [`ModuleError::Limit`] if it exceeds the limit.
pub(super) fn within(
    limit: &'static str,
    value: u64,
    found: u64,
    what: &'static str,
) -> Result<(), ModuleError> {
    if found <= value { Ok(()) } else { Err(ModuleError::Limit { limit, value, found, what }) }
}
