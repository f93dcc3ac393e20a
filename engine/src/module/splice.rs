//! Writes the module that wasmi gets.
//!
//! Types, imports, functions, tables and exports get entries appended. The memory, start and custom
//! sections are dropped, active segments become passive, and function bodies with sites are
//! rewritten. Everything else is copied. The indices of the guest's functions, tables, memories,
//! segments and types do not change, so what is copied stays valid.

use alloc::{collections::BTreeMap, vec::Vec};
use wasm_encoder::{
    CodeSection, DataCountSection, Encode, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, Instruction, RefType, Section, SectionId, TableSection, TypeSection, ValType,
};
use wasmparser::BinaryReader;

use super::{
    HOST_TABLE, INITIALIZER, IndexType, MEMORY_MODULE, MemoryType, ModuleError, START, bounds,
    grown_table_name,
    image::Imaged,
    memory_name,
    scan::{Body, HostOp, Scan},
    segments::Segments,
};
use crate::{config::Limits, units::WasmPageSize};

/// The index in the host table of each operation.
pub(crate) type Slots = BTreeMap<HostOp, u32>;

/// Returns the spliced module and the slots of its host table.
///
/// Sections are written in the order that the binary format requires (Wasm core specification,
/// "Modules" of the binary format).
///
/// # Errors
///
/// [`ModuleError::Limit`] if the function that applies the segments would be larger than a function
/// of the module may be.
pub(super) fn splice(
    scan: &Scan<'_>,
    imaged: &Imaged<'_>,
    limits: &Limits,
) -> Result<(Vec<u8>, Slots), ModuleError> {
    let plan = Plan::new(scan, imaged);
    let initializer_bytes = plan.segments.initializer.as_ref().map_or(0, Function::byte_len) as u64;
    let limit = limits.function_bytes as u64;
    bounds::within("function_bytes", limit, initializer_bytes, "bytes of code that applies its segments")?;
    let mut out = Output { scan, wasm: Vec::with_capacity(capacity(scan)) };
    out.wasm.extend_from_slice(&wasm_encoder::Module::HEADER);
    out.extended(&plan.types());
    out.extended(&plan.memory_imports());
    out.extended(&plan.functions());
    out.extended(&plan.host_table());
    out.copied(SectionId::Global);
    out.extended(&plan.reserved_exports());
    out.section(&plan.segments.elements, plan.segments.elements.is_empty());
    out.section(&DataCountSection { count: plan.segments.data.len() }, plan.segments.data.is_empty());
    let code = plan.code();
    out.section(&code, code.is_empty());
    out.section(&plan.segments.data, plan.segments.data.is_empty());
    let slots = plan.calls.iter().map(|(op, call)| (*op, call.slot)).collect();
    Ok((out.wasm, slots))
}

/// Returns a capacity that is enough for the guest's sections and, in most modules, for the
/// additions. So the largest allocation of a load is made once.
fn capacity(scan: &Scan<'_>) -> usize {
    const ADDED: usize = 1024;
    let per_site = scan.bodies.iter().map(|body| body.sites.len()).sum::<usize>() * 8;
    scan.sections.iter().map(|section| section.contents.len()).sum::<usize>() + per_site + ADDED
}

/// The replacement of an instruction: `i32.const slot; call_indirect host-table signature`.
#[derive(Clone, Copy, Debug)]
struct HostCall {
    slot: u32,
    signature: u32,
}

/// The additions to the guest's module.
struct Plan<'a> {
    scan: &'a Scan<'a>,
    calls: BTreeMap<HostOp, HostCall>,
    segments: Segments,
}

impl<'a> Plan<'a> {
    fn new(scan: &'a Scan<'a>, imaged: &Imaged<'_>) -> Self {
        let mut calls = BTreeMap::new();
        for site in scan.bodies.iter().flat_map(|body| &body.sites) {
            let slot = u32::try_from(calls.len()).expect("there are at most as many as memories and tables");
            calls.entry(site.op).or_insert(HostCall { slot, signature: scan.types + slot });
        }
        Self { scan, calls, segments: Segments::of(scan, imaged) }
    }

    /// Returns the operations in the order of their slots.
    fn by_slot(&self) -> Vec<HostOp> {
        let mut ops: Vec<_> = self.calls.iter().map(|(op, call)| (call.slot, *op)).collect();
        ops.sort_unstable();
        ops.into_iter().map(|(_, op)| op).collect()
    }

    fn types(&self) -> TypeSection {
        let mut types = TypeSection::new();
        for op in self.by_slot() {
            let (params, results) = signature(op, self.scan);
            types.ty().function(params, results);
        }
        if self.segments.initializer.is_some() {
            types.ty().function([], []);
        }
        types
    }

    /// Returns the initializer, which follows the module's own functions. Its type is the last
    /// added one.
    fn functions(&self) -> FunctionSection {
        let mut functions = FunctionSection::new();
        if self.segments.initializer.is_some() {
            let host_calls = u32::try_from(self.calls.len()).expect("there are at most as many as slots");
            functions.function(self.scan.types + host_calls);
        }
        functions
    }

    /// Returns the defined memories as imports, which follow the module's own.
    fn memory_imports(&self) -> ImportSection {
        let mut imports = ImportSection::new();
        for (index, ty) in self.scan.memories.iter().enumerate().skip(self.scan.imported_memories) {
            imports.import(MEMORY_MODULE, &memory_name(index), EntityType::Memory(encoded_memory(ty)));
        }
        imports
    }

    fn host_table_index(&self) -> u32 {
        u32::try_from(self.scan.tables.len()).expect("the validator bounds the number of tables")
    }

    fn host_table(&self) -> TableSection {
        let slots = self.calls.len() as u64;
        let mut tables = TableSection::new();
        if slots > 0 {
            tables.table(wasm_encoder::TableType {
                element_type: RefType::FUNCREF,
                table64: false,
                minimum: slots,
                maximum: Some(slots),
                shared: false,
            });
        }
        tables
    }

    /// Returns exports of what the engine must find in the instance: the host table, the
    /// initializer, the start function, and each table that the guest grows.
    fn reserved_exports(&self) -> ExportSection {
        let mut exports = ExportSection::new();
        if !self.calls.is_empty() {
            exports.export(HOST_TABLE, ExportKind::Table, self.host_table_index());
        }
        if self.segments.initializer.is_some() {
            exports.export(INITIALIZER, ExportKind::Func, self.scan.functions);
        }
        if let Some(start) = self.scan.start {
            exports.export(START, ExportKind::Func, start);
        }
        for op in self.calls.keys() {
            if let HostOp::TableGrow(table) = op {
                exports.export(&grown_table_name(*table), ExportKind::Table, *table);
            }
        }
        exports
    }

    fn code(&self) -> CodeSection {
        let mut code = CodeSection::new();
        for body in &self.scan.bodies {
            if body.sites.is_empty() {
                code.raw(body.bytes)
            } else {
                code.raw(&self.rewritten(body))
            };
        }
        if let Some(initializer) = &self.segments.initializer {
            code.function(initializer);
        }
        code
    }

    fn rewritten(&self, body: &Body<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(body.bytes.len() + body.sites.len() * 8);
        let mut copied = 0;
        for site in &body.sites {
            bytes.extend_from_slice(&body.bytes[copied..site.range.start]);
            let call = self.calls[&site.op];
            let slot = i32::try_from(call.slot).expect("there are at most as many as memories and tables");
            Instruction::I32Const(slot).encode(&mut bytes);
            let table_index = self.host_table_index();
            Instruction::CallIndirect { type_index: call.signature, table_index }.encode(&mut bytes);
            copied = site.range.end;
        }
        bytes.extend_from_slice(&body.bytes[copied..]);
        bytes
    }
}

/// The part of the spliced module that is written.
struct Output<'a> {
    scan: &'a Scan<'a>,
    wasm: Vec<u8>,
}

impl Output<'_> {
    fn copied(&mut self, id: SectionId) {
        if let Some(data) = self.scan.contents(id) {
            wasm_encoder::RawSection { id: id.into(), data }.append_to(&mut self.wasm);
        }
    }

    /// Writes the original section of the same id with the entries of `added` appended.
    fn extended(&mut self, added: &impl Section) {
        let original = self.scan.sections.iter().find(|section| section.id == added.id());
        let (count, data) = concatenated(original.map(|section| section.contents), added);
        if count > 0 || original.is_some() {
            wasm_encoder::RawSection { id: added.id(), data: &data }.append_to(&mut self.wasm);
        }
    }

    /// Writes a section that replaces the original one.
    fn section(&mut self, section: &impl Section, is_empty: bool) {
        if !is_empty {
            section.append_to(&mut self.wasm);
        }
    }
}

/// Returns the number of entries in `original` and `added` together, and the contents of a section
/// with all of them.
fn concatenated(original: Option<&[u8]>, added: &impl Section) -> (u32, Vec<u8>) {
    let mut encoded = Vec::new();
    added.encode(&mut encoded);
    let mut added = BinaryReader::new(&encoded, 0);
    added.read_var_u32().expect("an encoded section starts with its size");
    let (added_count, added_entries) = counted(added);
    let (count, entries) = original.map_or((0, &[][..]), |contents| counted(BinaryReader::new(contents, 0)));
    let mut contents = Vec::with_capacity(entries.len() + encoded.len());
    (count + added_count).encode(&mut contents);
    contents.extend_from_slice(entries);
    contents.extend_from_slice(added_entries);
    (count + added_count, contents)
}

/// Splits a vector of the binary format into its length and its entries' bytes.
fn counted(mut vector: BinaryReader<'_>) -> (u32, &[u8]) {
    let count = vector.read_var_u32().expect("a validated section starts with its count");
    let rest = vector.bytes_remaining();
    (count, vector.read_bytes(rest).expect("these are the bytes that remain"))
}

/// Returns the parameters and results of the host function that replaces `op`.
fn signature(op: HostOp, scan: &Scan<'_>) -> (Vec<ValType>, Vec<ValType>) {
    match op {
        HostOp::MemoryGrow(memory) => {
            let index = index_type(scan.memories[memory as usize].index());
            (Vec::from([index]), Vec::from([index]))
        }
        HostOp::MemoryDiscard(memory) => {
            let index = index_type(scan.memories[memory as usize].index());
            (Vec::from([index, index]), Vec::new())
        }
        HostOp::TableGrow(table) => {
            let ty = scan.tables[table as usize];
            let index = if ty.table64 { ValType::I64 } else { ValType::I32 };
            let element = if ty.element_type.is_extern_ref() { RefType::EXTERNREF } else { RefType::FUNCREF };
            (Vec::from([ValType::Ref(element), index]), Vec::from([index]))
        }
    }
}

fn index_type(index: IndexType) -> ValType {
    match index {
        IndexType::I32 => ValType::I32,
        IndexType::I64 => ValType::I64,
    }
}

fn encoded_memory(ty: &MemoryType) -> wasm_encoder::MemoryType {
    let standard = ty.page_size() == WasmPageSize::STANDARD;
    wasm_encoder::MemoryType {
        minimum: ty.minimum(),
        maximum: ty.maximum(),
        memory64: ty.index() == IndexType::I64,
        shared: false,
        page_size_log2: (!standard).then(|| ty.page_size().log2().into()),
    }
}
