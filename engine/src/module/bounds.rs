//! Holds a module to the limits before the validator or wasmi allocates anything for it.
//!
//! Counts are read from section headers, which a hostile module can set to any value, so a refusal
//! costs nothing. The names in the errors are those of the fields of [`Limits`].

use wasmparser::{ElementItems, Payload};

use super::ModuleError;
use crate::config::Limits;

/// The running counts of a module.
#[derive(Debug)]
pub(super) struct Bounds<'a> {
    limits: &'a Limits,
    header_bytes: usize,
    element_items: u64,
}

impl<'a> Bounds<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self { limits, header_bytes: 0, element_items: 0 }
    }

    /// Checks the next payload.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Limit`] if the module exceeds a limit. A malformed element segment is left to
    /// the validator.
    pub(super) fn check(&mut self, payload: &Payload<'_>) -> Result<(), ModuleError> {
        if let Payload::CodeSectionEntry(body) = payload {
            let bytes = body.range().len() as u64;
            return within(
                "function_bytes",
                self.limits.function_bytes as u64,
                bytes,
                "bytes in one function",
            );
        }
        let Some((entries, what)) = entries(payload) else { return Ok(()) };
        within("section_entries", self.limits.section_entries.into(), entries.into(), what)?;
        if !matches!(payload, Payload::CodeSectionStart { .. } | Payload::DataSection(_)) {
            self.header_bytes += payload.as_section().map_or(0, |(_, range)| range.len());
            let limit = self.limits.header_bytes as u64;
            within("header_bytes", limit, self.header_bytes as u64, "bytes of sections before its code")?;
        }
        if let Payload::ElementSection(segments) = payload {
            for segment in segments.clone().into_iter().flatten() {
                self.element_items += u64::from(match segment.items {
                    ElementItems::Functions(items) => items.count(),
                    ElementItems::Expressions(_, items) => items.count(),
                });
                let limit = self.limits.element_items.into();
                within("element_items", limit, self.element_items, "references in element segments")?;
            }
        }
        Ok(())
    }

    /// Checks how deep the blocks of a function body nest.
    pub(super) fn check_nesting(&self, depth: u32) -> Result<(), ModuleError> {
        within("nesting", self.limits.nesting.into(), depth.into(), "blocks inside each other")
    }
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

/// Compares a count with a limit.
pub(super) fn within(
    limit: &'static str,
    value: u64,
    found: u64,
    what: &'static str,
) -> Result<(), ModuleError> {
    if found <= value { Ok(()) } else { Err(ModuleError::Limit { limit, value, found, what }) }
}
