//! Finds what a snapshot must record of a module's instances.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use wasm_encoder::SectionId;
use wasmparser::{
    BinaryReader, ConstExpr, ElementItems, ElementKind, ElementSectionReader, ExternalKind,
    GlobalSectionReader, ImportSectionReader, Operator, TypeRef,
};

use super::{
    body::SiteOp,
    recorded::{Recorded, Segment, SharedImport},
    scan::Scan,
};

const VALIDATED: &str = "the section has been validated";

/// What the splice adds so that instances can be recorded.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) recorded: Recorded,
    /// The segments that the guest's code drops, and the index of each one's flag.
    pub(super) flags: BTreeMap<Segment, u32>,
}

impl Recording {
    /// Returns what must be added to the module of `scan`, if its instances can be recorded.
    pub(super) fn of(scan: &Scan<'_>) -> Option<Self> {
        // A constant, so that the compiler leaves out the rest.
        if !cfg!(feature = "snapshots") {
            return None;
        }
        let hash = scan.hash?;
        let sites = scan.bodies.iter().flat_map(|body| &body.sites);
        let dropped: BTreeSet<_> = sites
            .filter_map(|site| match site.op {
                SiteOp::Drop(segment) => Some(segment),
                SiteOp::Host(_) | SiteOp::Bulk(_) | SiteOp::Repair(_) | SiteOp::Surcharge(_) => None,
            })
            .collect();
        let flags: BTreeMap<_, _> = dropped.into_iter().zip(scan.globals..).collect();
        let has_tables = scan.changes_tables || exports_table(scan);
        let mut globals = mutable_globals(scan);
        let has_references = has_tables || globals.iter().any(|(_, ty)| *ty == wasmi::ValType::FuncRef);
        globals.extend(flags.values().map(|index| (*index, wasmi::ValType::I32)));
        let functions = if has_references { referenced_functions(scan) } else { Vec::new() };
        let recorded = Recorded { hash, shared: shared_import(scan), globals, has_tables, functions };
        Some(Self { recorded, flags })
    }
}

/// Returns the first import of a memory, a table or a mutable global.
fn shared_import(scan: &Scan<'_>) -> Option<SharedImport> {
    let mut memories = 0;
    let mut tables = 0;
    let mut globals = 0;
    for import in ImportSectionReader::new(reader(scan.contents(SectionId::Import)?)).expect(VALIDATED) {
        match import.expect(VALIDATED).ty {
            TypeRef::Memory(_) => return Some(SharedImport::Memory(next(&mut memories))),
            TypeRef::Table(_) => return Some(SharedImport::Table(next(&mut tables))),
            TypeRef::Global(ty) => {
                let index = next(&mut globals);
                if ty.mutable {
                    return Some(SharedImport::Global(index));
                }
            }
            TypeRef::Func(_) | TypeRef::Tag(_) => {}
        }
    }
    None
}

fn next(count: &mut u32) -> u32 {
    *count += 1;
    *count - 1
}

/// Returns whether the embedder can change a table of the module.
fn exports_table(scan: &Scan<'_>) -> bool {
    scan.exports().any(|export| export.kind == ExternalKind::Table)
}

/// Returns the index and the type of each mutable global that the module defines.
fn mutable_globals(scan: &Scan<'_>) -> Vec<(u32, wasmi::ValType)> {
    let Some(contents) = scan.contents(SectionId::Global) else { return Vec::new() };
    let section = GlobalSectionReader::new(reader(contents)).expect(VALIDATED);
    let imported = scan.globals - section.count();
    let globals = (imported..).zip(section).map(|(index, global)| (index, global.expect(VALIDATED).ty));
    globals.filter(|(_, ty)| ty.mutable).map(|(index, ty)| (index, value_type(ty.content_type))).collect()
}

fn value_type(ty: wasmparser::ValType) -> wasmi::ValType {
    match ty {
        wasmparser::ValType::I32 => wasmi::ValType::I32,
        wasmparser::ValType::I64 => wasmi::ValType::I64,
        wasmparser::ValType::F32 => wasmi::ValType::F32,
        wasmparser::ValType::F64 => wasmi::ValType::F64,
        wasmparser::ValType::V128 => wasmi::ValType::V128,
        wasmparser::ValType::Ref(ty) if ty.is_extern_ref() => wasmi::ValType::ExternRef,
        wasmparser::ValType::Ref(_) => wasmi::ValType::FuncRef,
    }
}

/// Returns the functions that a reference can refer to, in ascending order.
///
/// A module can make references to the functions that occur outside of its function bodies: in
/// element segments, in constant expressions and in exports (Wasm core specification, "References"
/// of the validation of modules).
fn referenced_functions(scan: &Scan<'_>) -> Vec<u32> {
    let mut functions: BTreeSet<u32> = BTreeSet::new();
    let exported = scan.exports().filter(|export| export.kind == ExternalKind::Func);
    functions.extend(exported.map(|export| export.index).chain(scan.undeclared_functions()));
    if let Some(contents) = scan.contents(SectionId::Global) {
        for global in GlobalSectionReader::new(reader(contents)).expect(VALIDATED) {
            functions.extend(function_of(&global.expect(VALIDATED).init_expr));
        }
    }
    if let Some(contents) = scan.contents(SectionId::Element) {
        for element in ElementSectionReader::new(reader(contents)).expect(VALIDATED) {
            let element = element.expect(VALIDATED);
            match element.items {
                ElementItems::Functions(items) => {
                    functions.extend(items.into_iter().map(|item| item.expect(VALIDATED)));
                }
                ElementItems::Expressions(_, items) => {
                    let items = items.into_iter().map(|item| item.expect(VALIDATED));
                    functions.extend(items.filter_map(|item| function_of(&item)));
                }
            }
        }
    }
    functions.into_iter().collect()
}

/// Returns the function of a `ref.func`.
fn function_of(expression: &ConstExpr<'_>) -> Option<u32> {
    match expression.get_operators_reader().read() {
        Ok(Operator::RefFunc { function_index }) => Some(function_index),
        Ok(_) | Err(_) => None,
    }
}

/// Returns the indices of the active element segments.
pub(super) fn active_elements(scan: &Scan<'_>) -> Vec<u32> {
    let Some(contents) = scan.contents(SectionId::Element) else { return Vec::new() };
    let section = ElementSectionReader::new(reader(contents)).expect(VALIDATED);
    let elements = (0..).zip(section).filter(
        |(_, element)| matches!(element, Ok(element) if matches!(element.kind, ElementKind::Active { .. })),
    );
    elements.map(|(index, _)| index).collect()
}

fn reader(contents: &[u8]) -> BinaryReader<'_> {
    BinaryReader::new(contents, 0)
}
