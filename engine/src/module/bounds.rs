//! Holds a module to the limits before the validator or wasmi allocates anything for it.
//!
//! Counts are read from section headers, which a hostile module can set to any value, so a refusal
//! costs nothing.

use wasmparser::{ConstExpr, DataKind, ElementItems, ElementKind, FunctionBody, Operator, Payload, TypeRef};

use super::{
    ModuleError,
    counts::{self, Counts, MOST_LOCALS, MOST_OF_A_KIND, MOST_OPERANDS, within},
    work::Arity,
};
use crate::config::Limits;

/// The most bytes of translated code for each byte of a function body, besides those for operands.
/// `engine/tests/first_calls.rs` measures both. [`emitted`](super::emitted) is the smaller bound
/// for most functions.
const TRANSLATED_BYTES_PER_BYTE: u64 = 12;
/// The most bytes of translated code for each operand that a function moves.
const TRANSLATED_BYTES_PER_OPERAND: u64 = 32;

/// The running counts of a module.
#[derive(Debug)]
pub(super) struct Bounds<'a> {
    limits: &'a Limits,
    /// Entries of all sections so far.
    pub(super) entries: u32,
    header_bytes: usize,
    element_items: u64,
    memories: u64,
    tables: u64,
    pub(super) module_work: u64,
    /// The part of `module_work` that is the present function's.
    function_work: u64,
    /// The largest `function_work` of the functions before.
    most_work: u64,
    /// Bytes of the code section.
    code_bytes: usize,
    /// Bytes of the present function body.
    body_bytes: usize,
    /// Bytes of the largest function body so far.
    largest_body: usize,
    /// The most bytes of translated code of the functions so far.
    pub(super) translated_bytes: u64,
    /// The highest counts so far of single sections, functions and constant expressions.
    highest: Counts,
}

impl<'a> Bounds<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            entries: 0,
            header_bytes: 0,
            element_items: 0,
            memories: 0,
            tables: 0,
            module_work: 0,
            function_work: 0,
            most_work: 0,
            code_bytes: 0,
            body_bytes: 0,
            largest_body: 0,
            translated_bytes: 0,
            highest: Counts::default(),
        }
    }

    /// Returns all counts of a module that was scanned. The caller adds the bytes of the module.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            header_bytes: self.header_bytes as u64,
            module_entries: self.entries.into(),
            element_items: self.element_items,
            code_bytes: self.code_bytes as u64,
            function_bytes: self.largest_body as u64,
            function_work: self.largest_function_work(),
            module_work: self.module_work,
            memories: self.memories,
            tables: self.tables,
            ..self.highest
        }
    }

    /// Checks the next payload.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Limit`] if the module exceeds a limit. A malformed element segment is left to
    /// the validator.
    pub(super) fn check(&mut self, payload: &Payload<'_>) -> Result<(), ModuleError> {
        if let Payload::CodeSectionEntry(body) = payload {
            let bytes = body.range().len();
            let limit = self.limits.function_bytes as u64;
            within("function_bytes", limit, bytes as u64, "bytes in one function")?;
            self.body_bytes = bytes;
            self.largest_body = self.largest_body.max(bytes);
            return Ok(());
        }
        let Some((entries, what)) = entries(payload) else { return Ok(()) };
        within("section_entries", self.limits.section_entries.into(), entries.into(), what)?;
        raise(&mut self.highest.section_entries, entries.into());
        if let Payload::CodeSectionStart { size, .. } = payload {
            let limit = self.limits.code_bytes as u64;
            self.code_bytes = *size as usize;
            return within("code_bytes", limit, (*size).into(), counts::CODE);
        }
        self.entries = self.entries.saturating_add(entries);
        let limit = self.limits.module_entries.into();
        within("module_entries", limit, self.entries.into(), counts::ENTRIES)?;
        if !matches!(payload, Payload::DataSection(_)) {
            self.header_bytes += payload.as_section().map_or(0, |(_, range)| range.len());
            let limit = self.limits.header_bytes as u64;
            within("header_bytes", limit, self.header_bytes as u64, counts::HEADER)?;
        }
        self.check_counts(payload)?;
        self.check_constants(payload)?;
        if let Payload::ElementSection(segments) = payload {
            for segment in segments.clone().into_iter().flatten() {
                self.element_items += u64::from(match segment.items {
                    ElementItems::Functions(items) => items.count(),
                    ElementItems::Expressions(_, items) => items.count(),
                });
                let limit = self.limits.element_items.into();
                within("element_items", limit, self.element_items, counts::ITEMS)?;
            }
        }
        Ok(())
    }

    /// Counts the memories and tables of a section that imports or defines some.
    fn check_counts(&mut self, payload: &Payload<'_>) -> Result<(), ModuleError> {
        if let Payload::ImportSection(imports) = payload {
            for import in imports.clone().into_iter().flatten() {
                self.memories += u64::from(matches!(import.ty, TypeRef::Memory(_)));
                self.tables += u64::from(matches!(import.ty, TypeRef::Table(_)));
            }
        }
        if let Payload::MemorySection(memories) = payload {
            self.memories += u64::from(memories.count());
        }
        if let Payload::TableSection(tables) = payload {
            self.tables += u64::from(tables.count());
        }
        let limit = |limit: usize| MOST_OF_A_KIND.min(limit as u64);
        within("memories", limit(self.limits.memories), self.memories, "memories")?;
        within("tables", limit(self.limits.tables), self.tables, "tables")
    }

    /// Checks the constant expressions of a section.
    fn check_constants(&mut self, payload: &Payload<'_>) -> Result<(), ModuleError> {
        if let Payload::GlobalSection(globals) = payload {
            let globals = globals.clone().into_iter().flatten();
            return self.check_each_constant(globals.map(|global| global.init_expr));
        }
        if let Payload::ElementSection(segments) = payload {
            let offsets = segments.clone().into_iter().flatten().filter_map(|segment| match segment.kind {
                ElementKind::Active { offset_expr, .. } => Some(offset_expr),
                ElementKind::Passive | ElementKind::Declared => None,
            });
            return self.check_each_constant(offsets);
        }
        if let Payload::DataSection(segments) = payload {
            let offsets = segments.clone().into_iter().flatten().filter_map(|segment| match segment.kind {
                DataKind::Active { offset_expr, .. } => Some(offset_expr),
                DataKind::Passive => None,
            });
            return self.check_each_constant(offsets);
        }
        Ok(())
    }

    fn check_each_constant<'b>(
        &mut self,
        mut expressions: impl Iterator<Item = ConstExpr<'b>>,
    ) -> Result<(), ModuleError> {
        expressions.try_for_each(|expression| {
            let limit = u64::from(self.limits.constant_operators);
            let operators = expression.get_operators_reader().into_iter();
            let operators = operators.take_while(|operator| !matches!(operator, Ok(Operator::End) | Err(_)));
            // Counts to one past the limit, so that a refusal takes constant time.
            let found = operators.zip(0..=limit).count() as u64;
            raise(&mut self.highest.constant_operators, found);
            within("constant_operators", limit, found, counts::CONSTANT)
        })
    }

    /// Starts the counts of a function of this arity, and checks the number of its locals.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Limit`] if there are too many. A malformed body is left to the validator.
    pub(super) fn start_function(
        &mut self,
        arity: Arity,
        body: &FunctionBody<'_>,
    ) -> Result<(), ModuleError> {
        let declared = body.get_locals_reader().into_iter().flatten().flatten();
        let locals = declared.fold(u64::from(arity.params), |sum, (count, _)| sum + u64::from(count));
        self.most_work = self.largest_function_work();
        self.function_work = 0;
        if locals > u32::MAX.into() {
            // The body is malformed (Wasm core specification, "Code Section"). The validator
            // refuses it when it reads the count.
            return Ok(());
        }
        let limit = self.limits.locals.min(MOST_LOCALS).into();
        within("locals", limit, locals, counts::LOCALS)?;
        raise(&mut self.highest.locals, locals);
        self.add_work(locals + u64::from(arity.results))
    }

    /// Returns the largest work of a function so far.
    pub(super) fn largest_function_work(&self) -> u64 {
        self.most_work.max(self.function_work)
    }

    /// Returns the bytes of heap that are allocated, at most, for the sections so far and while the
    /// largest function so far is scanned.
    ///
    /// The translation of the code so far is included, so that code that is too large for the heap
    /// is refused before all of it is scanned.
    pub(super) fn loading_bytes(&self) -> usize {
        let items = usize::try_from(self.element_items).unwrap_or(usize::MAX);
        let operands = self.limits.operands.min(MOST_OPERANDS);
        let nesting = self.limits.nesting;
        // The validator's stacks of operands and blocks. Each takes code to fill.
        let stacks = sum(&[(16, operands as usize), (96, nesting as usize)]);
        let sections = [
            (600, self.entries as usize),
            (40, items),
            (8, self.header_bytes),
            (1, usize::try_from(self.translated_bytes).unwrap_or(usize::MAX)),
        ];
        let function = [(1, stacks.min(self.largest_body.saturating_mul(64))), (24, self.largest_body)];
        sum(&sections).saturating_add(sum(&function))
    }

    /// Adds the bytes of code that wasmi translates the present function to: `emitted` at most. The
    /// caller has added all of the function's work.
    pub(super) fn add_translated(&mut self, emitted: u64) {
        let measured = TRANSLATED_BYTES_PER_BYTE * (self.body_bytes as u64 + 1)
            + TRANSLATED_BYTES_PER_OPERAND * self.function_work;
        self.translated_bytes = self.translated_bytes.saturating_add(emitted.min(measured));
    }

    /// Returns how many operands can be added to the work of the present function.
    pub(super) fn work_left(&self) -> u64 {
        let function = u64::from(self.limits.function_work).saturating_sub(self.function_work);
        function.min(self.limits.module_work.saturating_sub(self.module_work))
    }

    /// Adds `operands` to the work of the present function.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Limit`] if the function or the module would take too much work.
    pub(super) fn add_work(&mut self, operands: u64) -> Result<(), ModuleError> {
        self.function_work = self.function_work.saturating_add(operands);
        self.module_work = self.module_work.saturating_add(operands);
        within("function_work", self.limits.function_work.into(), self.function_work, counts::FUNCTION_WORK)?;
        within("module_work", self.limits.module_work, self.module_work, counts::MODULE_WORK)
    }

    /// Checks how many operands are on the stack of a function.
    pub(super) fn check_operands(&mut self, height: u32) -> Result<(), ModuleError> {
        raise(&mut self.highest.operands, height.into());
        let limit = self.limits.operands.min(MOST_OPERANDS);
        within("operands", limit.into(), height.into(), counts::OPERANDS)
    }

    /// Checks how deep the blocks of a function body nest.
    pub(super) fn check_nesting(&mut self, depth: u32) -> Result<(), ModuleError> {
        raise(&mut self.highest.nesting, depth.into());
        within("nesting", self.limits.nesting.into(), depth.into(), "blocks inside each other")
    }
}

/// Makes `highest` at least `count`.
fn raise(highest: &mut u64, count: u64) {
    *highest = count.max(*highest);
}

fn sum(terms: &[(usize, usize)]) -> usize {
    terms.iter().fold(0, |sum, (factor, count)| sum.saturating_add(count.saturating_mul(*factor)))
}

/// Returns the number of entries that a section's header announces, and the name of the entries.
fn entries(payload: &Payload<'_>) -> Option<(u32, &'static str)> {
    match payload {
        Payload::TypeSection(section) => Some((section.count(), "types")),
        Payload::ImportSection(section) => Some((section.count(), "imports")),
        Payload::FunctionSection(section) => Some((section.count(), "functions")),
        Payload::TableSection(section) => Some((section.count(), "tables")),
        Payload::MemorySection(section) => Some((section.count(), "memories")),
        Payload::GlobalSection(section) => Some((section.count(), "globals")),
        Payload::ExportSection(section) => Some((section.count(), "exports")),
        Payload::ElementSection(section) => Some((section.count(), "element segments")),
        Payload::DataSection(section) => Some((section.count(), "data segments")),
        Payload::CodeSectionStart { count, .. } => Some((*count, "function bodies")),
        Payload::Version { .. }
        | Payload::TagSection(_)
        | Payload::StartSection { .. }
        | Payload::DataCountSection { .. }
        | Payload::CodeSectionEntry(_)
        | Payload::CustomSection(_)
        | Payload::UnknownSection { .. }
        | Payload::End(_)
        | _ => None,
    }
}
