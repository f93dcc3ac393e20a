//! Validates the guest's original bytes and records what the splice has to change.
//!
//! One pass goes over all sections and, in [`body`](super::body), over all operators. Its result
//! borrows the original bytes: raw sections, raw function bodies, and the sites in them. Malformed
//! bytes do not get past the scan, so the splice never has to handle them.

use alloc::{string::ToString, vec::Vec};
use wasm_encoder::SectionId;
use wasmparser::{
    BinaryReader, Export, ExportSectionReader, ExternalKind, FuncValidatorAllocations, Parser, Payload,
    TableType, TypeRef, ValidPayload, Validator, types::Types,
};

use super::{
    MemoryType, ModuleError, RESERVED_PREFIX,
    body::{Body, BodyScanner},
    bounds::Bounds,
    counts::{Counts, within},
    emitted,
    loading::Loading,
    prepared::hash,
    resources::Resources,
    work::Arities,
};
use crate::{config::Config, engine::ModuleSize};

/// The id and the contents of a section.
#[derive(Debug)]
pub(super) struct RawSection<'a> {
    pub(super) id: u8,
    pub(super) contents: &'a [u8],
}

/// The parts of a valid module.
#[derive(Debug, Default)]
pub(super) struct Scan<'a> {
    pub(super) sections: Vec<RawSection<'a>>,
    pub(super) bodies: Vec<Body<'a>>,
    /// The number of entries in all sections.
    pub(super) entries: u32,
    /// The counts that the limits bound.
    pub(super) counts: Counts,
    /// The bytes of heap that the sections take while the module is loaded, at most.
    pub(super) loading_bytes: usize,
    /// The bytes of translated code of all functions, at most, without what the splice adds.
    pub(super) translated_bytes: u64,
    /// The most operands that one function moves.
    pub(super) function_work: u64,
    /// The number of types.
    pub(super) types: u32,
    /// The number of functions, imported ones included.
    pub(super) functions: u32,
    pub(super) memories: Vec<MemoryType>,
    pub(super) imported_memories: usize,
    pub(super) imported_tables: usize,
    pub(super) tables: Vec<TableType>,
    /// The number of globals, imported ones included.
    pub(super) globals: u32,
    /// Whether an instruction changes a table.
    pub(super) changes_tables: bool,
    /// Whether an instruction names a data segment.
    pub(super) names_data: bool,
    /// Whether an instruction makes a reference to a function.
    pub(super) names_functions: bool,
    /// A hash of the module's bytes, if its instances can be recorded.
    pub(super) hash: Option<u64>,
    /// The index of the start function.
    pub(super) start: Option<u32>,
    /// The names of the exports that stay, unless all do.
    pub(super) kept_exports: Option<&'static [&'static str]>,
}

/// Validates `wasm` and takes it apart.
///
/// # Errors
///
/// See [`Module::new`](super::Module::new).
pub(super) fn scan<'a>(
    wasm: &'a [u8],
    config: &Config,
    loading: &mut Loading,
) -> Result<Scan<'a>, ModuleError> {
    check_magic(wasm)?;
    let bytes = wasm.len() as u64;
    let limit = config.limits.module_bytes as u64;
    within("module_bytes", limit, bytes, "bytes")?;
    let named = |error: wasmparser::BinaryReaderError| invalid(wasm, &error);
    let features = config.features.to_wasmparser();
    let bounds = Bounds::new(&config.limits);
    let is_recorded = config.has_snapshots();
    let mut bodies = BodyScanner {
        wasm,
        features,
        fuel: config.fuel,
        is_recorded,
        changes_tables: false,
        names_data: false,
        names_functions: false,
        bounds,
        arities: Arities::default(),
    };
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut scan = Scan::default();
    let mut allocations = FuncValidatorAllocations::default();
    for payload in parser.parse_all(wasm) {
        let payload = payload.map_err(named)?;
        bodies.bounds.check(&payload)?;
        loading.cover(bodies.bounds.loading_bytes())?;
        match validator.payload(&payload).map_err(named)? {
            ValidPayload::Func(func, body) => {
                let (body, back) = bodies.scan(Resources::of(func, None), &body, allocations)?;
                allocations = back;
                scan.bodies.try_reserve(1).map_err(|_| ModuleError::OutOfHeap)?;
                scan.bodies.push(body);
            }
            ValidPayload::End(types) => scan.record_types(&types),
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
        if matches!(payload, Payload::CodeSectionStart { .. }) {
            bodies.arities = validator.types(0).map_or_else(Arities::default, Arities::of);
        }
        scan.record(wasm, payload)?;
    }
    scan.counts = Counts { module_bytes: bytes, ..bodies.bounds.counts() };
    scan.entries = bodies.bounds.entries;
    scan.changes_tables = bodies.changes_tables;
    scan.names_data = bodies.names_data;
    scan.names_functions = bodies.names_functions;
    scan.kept_exports = config.exports;
    scan.hash = is_recorded.then(|| hash_of(wasm, config.exports.unwrap_or_default()));
    scan.loading_bytes = bodies.bounds.loading_bytes();
    scan.translated_bytes = bodies.bounds.translated_bytes;
    scan.function_work = bodies.bounds.largest_function_work();
    Ok(scan)
}

/// Returns a hash of a module of which these exports are kept.
fn hash_of(wasm: &[u8], kept_exports: &[&str]) -> u64 {
    let hash = hash::hashed(hash::START, wasm);
    kept_exports.iter().fold(hash, |hash, name| hash::hashed(hash, name.as_bytes()))
}

impl<'a> Scan<'a> {
    /// Returns the contents of the section with this id.
    pub(super) fn contents(&self, id: SectionId) -> Option<&'a [u8]> {
        let section = self.sections.iter().find(|section| section.id == u8::from(id));
        section.map(|section| section.contents)
    }

    /// Returns the exports that stay.
    pub(super) fn exports(&self) -> impl Iterator<Item = Export<'a>> + use<'a> {
        let kept = self.kept_exports;
        self.all_exports().filter(move |export| is_kept(kept, export))
    }

    /// Returns the functions whose exports are lost, and of which the code may make references: a
    /// function that a `ref.func` names must occur outside of the code (Wasm core specification,
    /// "References" of the validation of modules).
    pub(super) fn undeclared_functions(&self) -> impl Iterator<Item = u32> + use<'a> {
        let kept = self.kept_exports.filter(|_| self.names_functions);
        let lost = self.all_exports().filter(move |export| kept.is_some() && !is_kept(kept, export));
        lost.filter(|export| export.kind == ExternalKind::Func).map(|export| export.index)
    }

    fn all_exports(&self) -> impl Iterator<Item = Export<'a>> + use<'a> {
        let section = self.contents(SectionId::Export);
        let exports = section
            .map(|contents| ExportSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED));
        exports.into_iter().flatten().map(|export| export.expect(VALIDATED))
    }

    /// Returns the sizes of the module. `added_bytes` are those of code that the splice has added,
    /// and `function_bytes` are those of the largest body afterwards.
    pub(super) fn size(&self, added_bytes: usize, function_bytes: usize) -> ModuleSize {
        let added = (added_bytes as u64).saturating_mul(emitted::PER_ADDED_BYTE);
        ModuleSize {
            translated_bytes: self.translated_bytes.saturating_add(added),
            function_bytes,
            function_work: self.function_work,
            entries: self.entries as usize,
            table_elements: self.tables.iter().fold(0, |sum: u64, table| sum.saturating_add(table.initial)),
        }
    }

    /// Returns the index and the initial number of elements of each table that the module defines.
    pub(super) fn table_sizes(&self) -> impl ExactSizeIterator<Item = (usize, u64)> {
        let sizes = self.tables.iter().map(|table| table.initial).enumerate();
        sizes.skip(self.imported_tables)
    }

    /// Returns the number of tables, imported ones included.
    pub(super) fn table_count(&self) -> u32 {
        u32::try_from(self.tables.len()).expect("the validator bounds the number of tables")
    }

    fn record(&mut self, wasm: &'a [u8], payload: Payload<'a>) -> Result<(), ModuleError> {
        let named = |error: wasmparser::BinaryReaderError| invalid(wasm, &error);
        if let Payload::ImportSection(imports) = &payload {
            for import in imports.clone() {
                let import = import.map_err(named)?;
                refuse_reserved(import.module)?;
                self.imported_memories += usize::from(matches!(import.ty, TypeRef::Memory(_)));
                self.imported_tables += usize::from(matches!(import.ty, TypeRef::Table(_)));
            }
        }
        if let Payload::ExportSection(exports) = &payload {
            for export in exports.clone() {
                refuse_reserved(export.map_err(named)?.name)?;
            }
        }
        if let Payload::StartSection { func, .. } = payload {
            self.start = Some(func);
        }
        let raw = payload.as_section().and_then(|(id, range)| Some((id, wasm.get(range)?)));
        if let Some((id, contents)) = raw {
            self.sections.push(RawSection { id, contents });
        }
        Ok(())
    }

    fn record_types(&mut self, types: &Types) {
        let types = types.as_ref();
        self.types = types.core_type_count_in_module();
        self.functions = types.function_count();
        self.memories = (0..types.memory_count()).map(|index| (&types.memory_at(index)).into()).collect();
        self.tables = (0..types.table_count()).map(|index| types.table_at(index)).collect();
        self.globals = types.global_count();
    }
}

const VALIDATED: &str = "the section has been validated";

/// Returns whether `export` stays if `kept` are the names of those that do.
fn is_kept(kept: Option<&[&str]>, export: &Export<'_>) -> bool {
    kept.is_none_or(|names| names.contains(&export.name))
}

fn check_magic(wasm: &[u8]) -> Result<(), ModuleError> {
    const MAGIC: &[u8] = b"\0asm";
    if wasm.is_empty() {
        return Err(ModuleError::Empty);
    }
    let head = wasm.get(..MAGIC.len()).unwrap_or(wasm);
    if !MAGIC.starts_with(head) {
        return Err(ModuleError::NotWasm { found: head.into() });
    }
    Ok(())
}

fn refuse_reserved(name: &str) -> Result<(), ModuleError> {
    if name.starts_with(RESERVED_PREFIX) {
        return Err(ModuleError::ReservedName { name: name.to_string() });
    }
    Ok(())
}

pub(super) fn invalid(wasm: &[u8], error: &wasmparser::BinaryReaderError) -> ModuleError {
    let message = error.message().to_string();
    let offset = error.offset();
    // The parser's error has no kind, but every reader that runs out of bytes has the same message.
    if message.starts_with("unexpected end") {
        return ModuleError::Truncated { offset, bytes: wasm.len(), message };
    }
    ModuleError::Invalid { offset, message }
}
