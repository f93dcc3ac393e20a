//! Writes the module that wasmi gets.
//!
//! Types, imports, functions, tables and exports get entries appended. The memory, start and custom
//! sections are dropped, active segments become passive, and function bodies with sites are
//! rewritten. Everything else is copied. The indices of the guest's functions, tables, memories,
//! segments and types do not change, so what is copied stays valid.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use wasm_encoder::{
    ConstExpr, DataCountSection, Encode, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, ImportSection, RefType, Section, SectionId, TableSection, TypeSection,
    ValType,
};
use wasmparser::{BinaryReader, ExternalKind};

use super::{
    HOST_TABLE, HostOp, INITIALIZER, IndexType, MEMORY_MODULE, MemoryType, ModuleError, START, Slots,
    body::{Body, SiteOp},
    bulk::{self, Bulk, GuardTypes, PIECE_BYTES},
    counts::{Counts, within},
    image::Imaged,
    instruction::Instruction,
    memory_name,
    recorded::{self, FUNCTIONS_AT_ONCE, RESTORER, Recorded},
    recording::Recording,
    repair,
    scan::Scan,
    segments::{self, Segments},
    table_name,
};
use crate::{config::Limits, units::WasmPageSize};

/// The module that wasmi gets.
pub(super) struct Spliced {
    pub(super) wasm: Vec<u8>,
    pub(super) slots: Slots,
    /// Bytes of code that the guest's module does not have.
    pub(super) added_bytes: usize,
    /// Bytes of the largest function body.
    pub(super) function_bytes: usize,
    /// The counts of the scan, with the code that was added.
    pub(super) counts: Counts,
    /// What a snapshot records, if instances of the module can be recorded.
    pub(super) recorded: Option<Recorded>,
    /// Exports that the guest's module does not have, beyond the few of every module.
    pub(super) added_entries: u32,
    /// The most operands that an added function moves, beyond the few of every module.
    pub(super) added_work: u64,
}

/// Returns the spliced module.
///
/// Sections are written in the order that the binary format requires (Wasm core specification,
/// "Modules" of the binary format).
///
/// # Errors
///
/// - [`ModuleError::Limit`] if the function that applies the segments would be larger than a
///   function of the module may be.
/// - [`ModuleError::OutOfHeap`] if the heap has no room for the module.
pub(super) fn splice(scan: &Scan<'_>, imaged: &Imaged<'_>, limits: &Limits) -> Result<Spliced, ModuleError> {
    let plan = Plan::new(scan, imaged, limits)?;
    let appliers = plan.segments.initializer.iter().chain(plan.restorer());
    let initializer_bytes = appliers.map(Function::byte_len).max().unwrap_or_default() as u64;
    let limit = limits.function_bytes as u64;
    within("function_bytes", limit, initializer_bytes, "bytes of code that applies its segments")?;
    let mut out = Output { scan, wasm: Vec::new(), added_bytes: 0, function_bytes: 0 };
    out.reserve(plan.capacity())?;
    out.wasm.extend_from_slice(&wasm_encoder::Module::HEADER);
    out.extended(&plan.types());
    out.extended(&plan.memory_imports());
    out.extended(&plan.functions());
    out.extended(&plan.host_table());
    let flags = plan.flags();
    if flags.is_empty() {
        out.copied(SectionId::Global);
    } else {
        out.extended(&flags);
    }
    match scan.kept_exports {
        None => out.extended(&plan.reserved_exports(ExportSection::new())),
        Some(_) => plan.reserved_exports(kept_exports(scan)).append_to(&mut out.wasm),
    }
    let (elements, undeclared) =
        (scan.contents(SectionId::Element), Vec::from_iter(scan.undeclared_functions()));
    if elements.is_some() || !undeclared.is_empty() {
        out.written(SectionId::Element, |wasm| segments::write_elements(elements, &undeclared, wasm));
    }
    if plan.segments.data > 0 {
        DataCountSection { count: plan.segments.data }.append_to(&mut out.wasm);
    }
    out.code(&plan)?;
    if let Some(data) = scan.contents(SectionId::Data).filter(|_| plan.segments.data > 0) {
        out.written(SectionId::Data, |wasm| segments::write_data(data, imaged, wasm));
    }
    let slots = plan.calls.iter().map(|(op, call)| (*op, call.slot)).collect();
    let counts = Counts {
        code_bytes: plan.code_bytes as u64,
        function_bytes: scan.counts.function_bytes.max(initializer_bytes),
        ..scan.counts
    };
    let Output { wasm, added_bytes, function_bytes, .. } = out;
    let mut added_entries = 0;
    let mut added_work = 0;
    if let Some(Recording { recorded, .. }) = &plan.recording {
        added_entries = index(recorded.globals.len() + plan.named.len() + plan.exported_tables().len());
        added_work = recorded.functions.len().min(FUNCTIONS_AT_ONCE) as u64;
    }
    let recorded = plan.recording.map(|recording| recording.recorded);
    Ok(Spliced { wasm, slots, added_bytes, function_bytes, counts, recorded, added_entries, added_work })
}

/// Returns the guest's exports without those that it loses.
fn kept_exports(scan: &Scan<'_>) -> ExportSection {
    let mut exports = ExportSection::new();
    for export in scan.exports() {
        let kind = match export.kind {
            ExternalKind::Func => ExportKind::Func,
            ExternalKind::Table => ExportKind::Table,
            ExternalKind::Memory => ExportKind::Memory,
            ExternalKind::Global => ExportKind::Global,
            ExternalKind::Tag => ExportKind::Tag,
        };
        exports.export(export.name, kind, export.index);
    }
    exports
}

/// Returns the number of bytes that a site of `body` adds to it, as a rule.
fn site_bytes(body: &Body<'_>) -> usize {
    if has_guards(body) { GUARD_BYTES } else { 8 }
}

/// The most bytes that set the flag of a dropped segment.
const FLAG_BYTES: usize = 8;

/// The bytes of a guard, as a rule.
const GUARD_BYTES: usize = 24;

/// Returns whether the bulk instructions of `body` get guards, which make its code longer. If they
/// are dense, all of them are calls instead, which are slower but not longer.
fn has_guards(body: &Body<'_>) -> bool {
    const BYTES_PER_GUARD: usize = 128;
    const ALWAYS: usize = 4;
    body.sites.len() <= ALWAYS + body.bytes.len() / BYTES_PER_GUARD
}

/// The replacement of an instruction: `i32.const slot; call_indirect host-table signature`.
#[derive(Clone, Copy, Debug)]
struct HostCall {
    slot: u32,
    signature: u32,
}

/// The replacement of a bulk instruction: the index of the appended function, and the types of the
/// blocks around the instruction.
#[derive(Clone, Copy, Debug)]
struct Divided {
    function: u32,
    types: GuardTypes,
}

/// The parameters and results of a function or a block.
type Signature = (Vec<ValType>, Vec<ValType>);

/// The additions to the guest's module.
struct Plan<'a> {
    scan: &'a Scan<'a>,
    signatures: Vec<Signature>,
    calls: BTreeMap<HostOp, HostCall>,
    divided: BTreeMap<Bulk, Divided>,
    /// The functions of `divided`, by their index after the module's own, with their types.
    functions: Vec<(u32, Function)>,
    segments: Segments,
    /// What is added so that instances can be recorded.
    recording: Option<Recording>,
    /// The reserved names of some of `functions`, with their positions there.
    named: Vec<(String, usize)>,
    /// The length of each segment that an `init` can read.
    segment_lengths: Vec<u32>,
    /// Bytes of the function bodies and, at most, of what is added to them.
    code_bytes: usize,
}

impl<'a> Plan<'a> {
    /// # Errors
    ///
    /// [`ModuleError::Limit`] if the module and the code that divides its bulk instructions are
    /// together larger than the code of a module may be.
    fn new(scan: &'a Scan<'a>, imaged: &Imaged<'_>, limits: &Limits) -> Result<Self, ModuleError> {
        let mut plan = Self {
            scan,
            signatures: Vec::new(),
            calls: BTreeMap::new(),
            divided: BTreeMap::new(),
            functions: Vec::new(),
            segments: Segments::of(scan, imaged),
            recording: Recording::of(scan),
            named: Vec::new(),
            segment_lengths: bulk::segment_lengths(scan),
            code_bytes: usize::try_from(scan.counts.code_bytes).unwrap_or(usize::MAX),
        };
        for body in &scan.bodies {
            for site in &body.sites {
                match site.op {
                    SiteOp::Host(op) => plan.add_call(op),
                    SiteOp::Bulk(bulk) => {
                        plan.code_bytes += plan.add_divided(bulk);
                        plan.code_bytes += if has_guards(body) { GUARD_BYTES } else { 0 };
                    }
                    SiteOp::Drop(_) => plan.code_bytes += FLAG_BYTES,
                    SiteOp::Repair(_) => plan.code_bytes += repair::REPAIR_BYTES,
                    SiteOp::Surcharge(surcharge) => plan.code_bytes += surcharge.bytes(),
                }
                let limit = limits.code_bytes as u64;
                let found = plan.code_bytes as u64;
                let what = "bytes of function bodies and of what the engine adds to them";
                within("code_bytes", limit, found, what)?;
            }
        }
        plan.add_recording(imaged);
        Ok(plan)
    }

    /// Adds the functions by which instances are recorded and restored.
    fn add_recording(&mut self, imaged: &Imaged<'_>) {
        let recording = self.recording.take().filter(|_| cfg!(feature = "snapshots"));
        let Some(recording) = recording else { return };
        if let Some(restorer) = segments::restorer(self.scan, imaged, &recording) {
            self.add_named(RESTORER.into(), Vec::new(), restorer);
        }
        for (group, functions) in recording.recorded.groups().enumerate() {
            let mut all = Function::new([]);
            functions.iter().for_each(|function| Instruction::RefFunc(*function).append_to(&mut all));
            Instruction::End.append_to(&mut all);
            let results = functions.iter().map(|_| ValType::FUNCREF).collect();
            self.add_named(recorded::functions_name(group), results, all);
        }
        self.recording = Some(recording);
    }

    /// Adds a function without parameters, which is exported under a reserved name.
    fn add_named(&mut self, name: String, results: Vec<ValType>, function: Function) {
        let ty = self.add_type((Vec::new(), results));
        self.code_bytes += function.byte_len();
        self.named.push((name, self.functions.len()));
        self.functions.push((ty, function));
    }

    /// Returns the function that prepares the segments of a fork.
    fn restorer(&self) -> Option<&Function> {
        let (_, position) = self.named.iter().find(|(name, _)| name == RESTORER)?;
        self.functions.get(*position).map(|(_, function)| function)
    }

    /// Returns the flags of the segments that the guest's code drops.
    fn flags(&self) -> GlobalSection {
        let mut globals = GlobalSection::new();
        let flags = self.recording.iter().flat_map(|recording| recording.flags.values());
        for _ in flags {
            let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
            globals.global(ty, &ConstExpr::i32_const(0));
        }
        globals
    }

    fn add_call(&mut self, op: HostOp) {
        if self.calls.contains_key(&op) {
            return;
        }
        let slot = index(self.calls.len());
        let signature = self.add_type(signature(op, self.scan));
        self.calls.insert(op, HostCall { slot, signature });
    }

    /// Adds the function for a bulk instruction, unless there is one or the instruction is always
    /// short. Returns the bytes of what was added.
    fn add_divided(&mut self, bulk: Bulk) -> usize {
        let segment_bytes = self.segment_bytes(bulk);
        if self.divided.contains_key(&bulk) || segment_bytes.is_some_and(|len| len <= PIECE_BYTES) {
            return 0;
        }
        self.add_call(HostOp::AfterPiece);
        let operands = bulk.operands(&self.scan.memories).to_vec();
        let types = GuardTypes {
            consuming: self.add_type((operands.clone(), Vec::new())),
            passing: self.add_type((operands.clone(), operands)),
        };
        let memories = &self.scan.memories;
        let after_piece = self.host_call(HostOp::AfterPiece);
        let function = bulk::divided(bulk, memories, segment_bytes.unwrap_or_default(), &after_piece);
        let bytes = function.byte_len();
        let index = self.scan.functions + index(self.functions.len());
        self.divided.insert(bulk, Divided { function: index, types });
        self.functions.push((types.consuming, function));
        bytes
    }

    /// Returns the length of the segment that `bulk` reads, if it reads one.
    fn segment_bytes(&self, bulk: Bulk) -> Option<u32> {
        match bulk {
            Bulk::Fill { .. } | Bulk::Copy { .. } => None,
            Bulk::Init { segment, .. } => Some(self.segment_lengths[segment as usize]),
        }
    }

    /// Returns the index of a type, which is added if it is new.
    fn add_type(&mut self, signature: Signature) -> u32 {
        let existing = self.signatures.iter().position(|other| *other == signature);
        let position = existing.unwrap_or_else(|| {
            self.signatures.push(signature);
            self.signatures.len() - 1
        });
        self.scan.types + index(position)
    }

    /// Returns the added types. That of the initializer is the last one.
    fn types(&self) -> TypeSection {
        let mut types = TypeSection::new();
        for (params, results) in &self.signatures {
            types.ty().function(params.iter().copied(), results.iter().copied());
        }
        if self.segments.initializer.is_some() {
            types.ty().function([], []);
        }
        types
    }

    /// Returns the added functions, which follow the module's own. The initializer is the last one.
    fn functions(&self) -> FunctionSection {
        let mut functions = FunctionSection::new();
        for (ty, _) in &self.functions {
            functions.function(*ty);
        }
        if self.segments.initializer.is_some() {
            functions.function(self.scan.types + index(self.signatures.len()));
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

    /// Adds exports of what the engine must find in the instance: the initializer, the start
    /// function, each table that the guest grows, and the host table, which must be the last.
    fn reserved_exports(&self, mut exports: ExportSection) -> ExportSection {
        if self.segments.initializer.is_some() {
            let initializer = self.scan.functions + index(self.functions.len());
            exports.export(INITIALIZER, ExportKind::Func, initializer);
        }
        if let Some(start) = self.scan.start {
            exports.export(START, ExportKind::Func, start);
        }
        for (name, position) in &self.named {
            exports.export(name, ExportKind::Func, self.scan.functions + index(*position));
        }
        if let Some(recording) = &self.recording {
            for (global, _) in &recording.recorded.globals {
                exports.export(&recorded::global_name(*global), ExportKind::Global, *global);
            }
        }
        for table in self.exported_tables() {
            exports.export(&table_name(table), ExportKind::Table, table);
        }
        if !self.calls.is_empty() {
            exports.export(HOST_TABLE, ExportKind::Table, self.scan.table_count());
        }
        exports
    }

    /// Returns the indices of the tables that the engine grows or records.
    fn exported_tables(&self) -> BTreeSet<u32> {
        let grown = self.calls.keys().filter_map(|op| match op {
            HostOp::TableGrow(table) => Some(*table),
            HostOp::MemoryGrow(_) | HostOp::MemoryDiscard(_) | HostOp::AfterPiece => None,
        });
        let has_tables = self.recording.as_ref().is_some_and(|recording| recording.recorded.has_tables);
        let recorded = self.scan.table_sizes().filter(|_| has_tables).map(|(table, _)| index(table));
        grown.chain(recorded).collect()
    }

    /// Returns a capacity that is enough for the guest's sections and, in most modules, for the
    /// additions. So the largest allocation of a load is made once.
    fn capacity(&self) -> usize {
        const ADDED: usize = 1024;
        let bodies = &self.scan.bodies;
        let sites: usize = bodies.iter().map(|body| body.sites.len() * site_bytes(body)).sum();
        let functions: usize = self.added_functions().map(Function::byte_len).sum();
        let sections: usize = self.scan.sections.iter().map(|section| section.contents.len()).sum();
        sections + sites + functions + ADDED
    }

    /// Returns the functions that follow the module's own.
    fn added_functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().map(|(_, function)| function).chain(&self.segments.initializer)
    }

    fn rewritten(&self, body: &Body<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(body.bytes.len() + body.sites.len() * site_bytes(body));
        let scratch = Scratch::of(body, |bulk| self.divided.contains_key(&bulk));
        let mut copied = scratch.as_ref().map_or(0, |scratch| scratch.declare(body, &mut bytes));
        for site in &body.sites {
            bytes.extend_from_slice(&body.bytes[copied..site.range.start]);
            copied = site.range.end;
            let native = &body.bytes[site.range.clone()];
            match site.op {
                SiteOp::Host(op) => {
                    self.host_call(op).iter().for_each(|instruction| instruction.encode(&mut bytes));
                }
                SiteOp::Drop(segment) => {
                    bytes.extend_from_slice(native);
                    let flag = self.recording.as_ref().map(|recording| recording.flags[&segment]);
                    Instruction::I32Const(1).encode(&mut bytes);
                    Instruction::GlobalSet(flag.expect("only a recorded module has such sites"))
                        .encode(&mut bytes);
                }
                SiteOp::Repair(repair) => repair::write(repair, &mut bytes),
                SiteOp::Surcharge(surcharge) => surcharge.write(&mut bytes),
                SiteOp::Bulk(bulk) => match (self.divided.get(&bulk), &scratch) {
                    (None, _) => bytes.extend_from_slice(native),
                    (Some(divided), None) => Instruction::Call(divided.function).encode(&mut bytes),
                    (Some(divided), Some(scratch)) => {
                        let [.., len] = bulk.operands(&self.scan.memories);
                        let Divided { function, types } = *divided;
                        bulk::guard(&mut bytes, native, types, len, scratch.local(len), function);
                    }
                },
            }
        }
        bytes.extend_from_slice(&body.bytes[copied..]);
        bytes
    }

    /// Returns the instructions that call the host for `op`.
    fn host_call(&self, op: HostOp) -> [Instruction; 2] {
        let HostCall { slot, signature } = self.calls[&op];
        let table_index = self.scan.table_count();
        [
            Instruction::I32Const(slot.cast_signed()),
            Instruction::CallIndirect { type_index: signature, table_index },
        ]
    }
}

/// The two locals that guards add to a body: one for lengths of each type.
struct Scratch {
    first: u32,
}

impl Scratch {
    /// Returns the locals that follow those of `body`, if the body gets a guard.
    fn of(body: &Body<'_>, is_divided: impl Fn(Bulk) -> bool) -> Option<Self> {
        let needs_guard = body.sites.iter().any(|site| match site.op {
            SiteOp::Host(_) | SiteOp::Drop(_) | SiteOp::Repair(_) | SiteOp::Surcharge(_) => false,
            SiteOp::Bulk(bulk) => is_divided(bulk),
        });
        (needs_guard && has_guards(body)).then_some(Self { first: body.locals })
    }

    /// Writes the body's declarations of locals with the two added, and returns the length of the
    /// original declarations.
    fn declare(&self, body: &Body<'_>, out: &mut Vec<u8>) -> usize {
        let (groups, declarations) = counted(BinaryReader::new(&body.bytes[..body.declarations], 0));
        (groups + 2).encode(out);
        out.extend_from_slice(declarations);
        for ty in [ValType::I32, ValType::I64] {
            1_u32.encode(out);
            ty.encode(out);
        }
        body.declarations
    }

    /// Returns the local for lengths of type `ty`.
    fn local(&self, ty: ValType) -> u32 {
        self.first + u32::from(ty == ValType::I64)
    }
}

/// Returns a number of added items, all of which are bounded by the number of instructions.
fn index(count: usize) -> u32 {
    u32::try_from(count).expect("the format counts a module's bytes in 32 bits")
}

/// The most bytes of an encoded length (LEB128 of 32 bits).
const MOST_OF_A_LENGTH: usize = 5;

/// The part of the spliced module that is written.
struct Output<'a> {
    scan: &'a Scan<'a>,
    wasm: Vec<u8>,
    added_bytes: usize,
    function_bytes: usize,
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

    /// Writes the bodies of the module's functions and of the added ones.
    ///
    /// # Errors
    ///
    /// [`ModuleError::OutOfHeap`].
    fn code(&mut self, plan: &Plan<'_>) -> Result<(), ModuleError> {
        let count = self.scan.bodies.len() + plan.added_functions().count();
        if count == 0 {
            return Ok(());
        }
        let size = self.start(SectionId::Code);
        count.encode(&mut self.wasm);
        for body in &self.scan.bodies {
            if body.sites.is_empty() {
                self.body(body.bytes)?;
            } else {
                let rewritten = plan.rewritten(body);
                self.added_bytes += rewritten.len().saturating_sub(body.bytes.len());
                self.body(&rewritten)?;
            }
        }
        for function in plan.added_functions() {
            self.reserve(function.byte_len() + MOST_OF_A_LENGTH)?;
            function.encode(&mut self.wasm);
            self.added_bytes += function.byte_len();
            self.function_bytes = self.function_bytes.max(function.byte_len());
        }
        self.finish(size);
        Ok(())
    }

    fn body(&mut self, bytes: &[u8]) -> Result<(), ModuleError> {
        self.reserve(bytes.len() + MOST_OF_A_LENGTH)?;
        bytes.encode(&mut self.wasm);
        self.function_bytes = self.function_bytes.max(bytes.len());
        Ok(())
    }

    /// Writes a section whose contents are what `contents` writes.
    fn written(&mut self, id: SectionId, contents: impl FnOnce(&mut Vec<u8>)) {
        let size = self.start(id);
        contents(&mut self.wasm);
        self.finish(size);
    }

    /// Starts a section, and returns where its size is.
    fn start(&mut self, id: SectionId) -> usize {
        self.wasm.push(id.into());
        self.wasm.extend([0; MOST_OF_A_LENGTH]);
        self.wasm.len() - MOST_OF_A_LENGTH
    }

    /// Finishes the section whose size is at `size`. The number is padded to five bytes, because it
    /// is known only afterwards.
    fn finish(&mut self, size: usize) {
        let bytes = self.wasm.len() - size - MOST_OF_A_LENGTH;
        let field = self.wasm[size..].iter_mut().take(MOST_OF_A_LENGTH);
        for (place, byte) in field.enumerate() {
            let continues = if place + 1 < MOST_OF_A_LENGTH { 0x80 } else { 0 };
            *byte = ((bytes >> (7 * place)) & 0x7f).to_le_bytes()[0] | continues;
        }
    }

    /// Makes room for `bytes` more.
    ///
    /// # Errors
    ///
    /// [`ModuleError::OutOfHeap`].
    fn reserve(&mut self, bytes: usize) -> Result<(), ModuleError> {
        self.wasm.try_reserve(bytes).map_err(|_| ModuleError::OutOfHeap)
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

/// Returns the signature of the host function for `op`.
fn signature(op: HostOp, scan: &Scan<'_>) -> Signature {
    match op {
        HostOp::MemoryGrow(memory) => {
            let index = scan.memories[memory as usize].index().to_encoder();
            (Vec::from([index]), Vec::from([index]))
        }
        HostOp::MemoryDiscard(memory) => {
            let index = scan.memories[memory as usize].index().to_encoder();
            (Vec::from([index, index]), Vec::new())
        }
        HostOp::TableGrow(table) => {
            let ty = scan.tables[table as usize];
            let index = if ty.table64 { ValType::I64 } else { ValType::I32 };
            let element = if ty.element_type.is_extern_ref() { RefType::EXTERNREF } else { RefType::FUNCREF };
            (Vec::from([ValType::Ref(element), index]), Vec::from([index]))
        }
        HostOp::AfterPiece => (Vec::new(), Vec::new()),
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
