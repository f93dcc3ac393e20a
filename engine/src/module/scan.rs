//! Validates the guest's original bytes and records what the splice has to change.
//!
//! One pass goes over all sections and operators. Its result borrows the original bytes: raw
//! sections, raw function bodies, and the [`Site`]s in them. A site is an instruction that becomes
//! a call through the host table, a bulk instruction of a metered guest, or a place at which a
//! fault of wasmi's translation is avoided. Malformed bytes do not get past the scan, so the splice
//! never has to handle them.

use alloc::{string::ToString, vec::Vec};
use core::ops::Range;
use wasm_encoder::SectionId;
use wasmparser::{
    BinaryReader, FuncToValidate, FuncValidatorAllocations, FunctionBody, Operator, Parser, Payload,
    TableType, TypeRef, ValidPayload, Validator, ValidatorResources, WasmFeatures, types::Types,
};

use super::{
    HostOp, MemoryType, ModuleError, RESERVED_PREFIX, bounds,
    bounds::Bounds,
    bulk::{Bulk, PIECE_BYTES},
    loading::Loading,
    repair::{self, Repair},
    surcharge::Surcharge,
    work::{self, Arities},
};
use crate::config::{Config, Fuel};

/// The id and the contents of a section.
#[derive(Debug)]
pub(super) struct RawSection<'a> {
    pub(super) id: u8,
    pub(super) contents: &'a [u8],
}

/// An instruction that the splice may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SiteOp {
    Host(HostOp),
    Bulk(Bulk),
    /// No instruction: others are inserted here.
    Repair(Repair),
    /// No instruction: `nop`s are inserted here.
    Surcharge(Surcharge),
}

/// An instruction that may be replaced, and its range relative to the start of the function body.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) range: Range<usize>,
    pub(super) op: SiteOp,
}

/// A function body and the sites in it.
#[derive(Debug)]
pub(super) struct Body<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) sites: Vec<Site>,
    /// The number of parameters and declared locals.
    pub(super) locals: u32,
    /// The length of the declarations of locals, at the start of the body.
    pub(super) declarations: usize,
}

/// The parts of a valid module.
#[derive(Debug, Default)]
pub(super) struct Scan<'a> {
    pub(super) sections: Vec<RawSection<'a>>,
    pub(super) bodies: Vec<Body<'a>>,
    /// The number of entries in all sections.
    pub(super) entries: u32,
    /// The bytes of heap that the sections take while the module is loaded, at most.
    pub(super) loading_bytes: usize,
    /// The operands that all functions move, and the most that one does.
    pub(super) module_work: u64,
    pub(super) function_work: u64,
    /// The number of types.
    pub(super) types: u32,
    /// The number of functions, imported ones included.
    pub(super) functions: u32,
    pub(super) memories: Vec<MemoryType>,
    pub(super) imported_memories: usize,
    pub(super) imported_tables: usize,
    pub(super) tables: Vec<TableType>,
    /// The index of the start function.
    pub(super) start: Option<u32>,
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
    let (bytes, limit) = (wasm.len() as u64, config.limits.module_bytes as u64);
    bounds::within("module_bytes", limit, bytes, "bytes")?;
    let named = |error: wasmparser::BinaryReaderError| invalid(wasm, &error);
    let features = config.features.to_wasmparser();
    let bounds = Bounds::new(&config.limits);
    let mut bodies = BodyScanner { wasm, features, fuel: config.fuel, bounds, arities: Arities::default() };
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
                let (body, back) = bodies.scan(func, &body, allocations)?;
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
    scan.entries = bodies.bounds.entries;
    scan.loading_bytes = bodies.bounds.loading_bytes();
    scan.module_work = bodies.bounds.module_work;
    scan.function_work = bodies.bounds.largest_function_work();
    Ok(scan)
}

impl<'a> Scan<'a> {
    /// Returns the contents of the section with this id.
    pub(super) fn contents(&self, id: SectionId) -> Option<&'a [u8]> {
        let section = self.sections.iter().find(|section| section.id == u8::from(id));
        section.map(|section| section.contents)
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
    }
}

/// Returns whether an instruction can be a site, judging by the first byte of its opcode: that of
/// `memory.grow`, or the prefix of the others.
///
/// All other instructions are validated without decoding them into an [`Operator`] first. That
/// saves more than a quarter of the instructions that a load takes.
fn may_be_site(opcode: u8) -> bool {
    const MEMORY_GROW: u8 = 0x40;
    const PREFIX_FC: u8 = 0xfc;
    matches!(opcode, MEMORY_GROW | PREFIX_FC)
}

/// What the scans of all function bodies share.
struct BodyScanner<'a, 'l> {
    wasm: &'a [u8],
    features: WasmFeatures,
    fuel: Fuel,
    bounds: Bounds<'l>,
    arities: Arities,
}

impl<'a> BodyScanner<'a, '_> {
    /// Validates one function body and finds the sites in it.
    fn scan(
        &mut self,
        func: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'a>,
        allocations: FuncValidatorAllocations,
    ) -> Result<(Body<'a>, FuncValidatorAllocations), ModuleError> {
        let wasm = self.wasm;
        let named = |error: wasmparser::BinaryReaderError| invalid(wasm, &error);
        let range = body.range();
        let func_index = func.index;
        self.bounds.start_function(self.arities.of_function(func_index), body)?;
        let mut validator = func.into_validator(allocations);
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader).map_err(named)?;
        reader.set_features(self.features);
        let (locals, declarations) = (validator.len_locals(), reader.original_position() - range.start);
        let (mut sites, mut nesting, mut operands) = (Vec::new(), validator.control_stack_height(), 0);
        let mut previous = reader.original_position();
        sites.extend(self.surcharge_of_calls(func_index, locals, declarations));
        let (mut search, code) =
            (repair::Search::new(declarations), wasm.get(range.clone()).unwrap_or_default());
        // Counted here and compared with what is left, which is faster than `add_work` each time.
        let (left, mut moved) = (self.bounds.work_left(), 0);
        while !reader.eof() {
            let start = reader.original_position();
            let Some(&opcode) = wasm.get(start) else { break };
            if work::has_arity(opcode) {
                let operands = self.arities.operands(&wasm[start..], &validator);
                moved += operands;
                if moved > left {
                    self.bounds.add_work(moved)?;
                }
                if operands > 1 && self.fuel == Fuel::Metered {
                    let at = start - range.start;
                    let surcharge = Surcharge::of_operands(self.arities.moved(&wasm[start..], &validator));
                    sites.extend(surcharge.map(|it| Site { range: at..at, op: SiteOp::Surcharge(it) }));
                }
                if work::is_block(opcode) {
                    nesting = nesting.max(validator.control_stack_height() + 1);
                }
            }
            if let Some(repair) = search.next(opcode, code, start - range.start) {
                let at = start - range.start;
                sites.push(Site { range: at..at, op: SiteOp::Repair(repair) });
            }
            if may_be_site(opcode) {
                let operator = reader.read_operator().map_err(named)?;
                let op = self.site_op(&operator, previous);
                if matches!(op, Some(SiteOp::Bulk(_))) {
                    moved += work::of_guard(validator.operand_stack_height());
                }
                validator.op(start, &operator).map_err(named)?;
                if let Some(op) = op {
                    let end = reader.original_position();
                    sites.push(Site { range: start - range.start..end - range.start, op });
                }
            } else {
                reader.visit_operator(&mut validator.visitor(start)).flatten().map_err(named)?;
            }
            operands = operands.max(validator.operand_stack_height());
            previous = start;
        }
        validator.finish(reader.original_position()).map_err(named)?;
        self.bounds.add_work(moved)?;
        self.bounds.check_nesting(nesting)?;
        self.bounds.check_operands(operands)?;
        let bytes = wasm.get(range).expect("the parser's ranges lie in the bytes that it parsed");
        Ok((Body { bytes, sites, locals, declarations }, validator.into_allocations()))
    }

    /// Returns the site at the start of a function's code, at `offset`, if a call of it costs a
    /// metered guest more. `locals` includes the parameters.
    fn surcharge_of_calls(&self, function: u32, locals: u32, offset: usize) -> Option<Site> {
        if self.fuel == Fuel::Unmetered {
            return None;
        }
        let arity = self.arities.of_function(function);
        let declared = locals.saturating_sub(arity.params);
        let surcharge = Surcharge::of_function(declared.into(), arity.results.into())?;
        Some(Site { range: offset..offset, op: SiteOp::Surcharge(surcharge) })
    }

    /// Returns what `operator` is as a site. A bulk instruction is one if the guest has slices, and
    /// the instruction before it, at the offset `previous`, does not push a short length.
    fn site_op(&self, operator: &Operator<'_>, previous: usize) -> Option<SiteOp> {
        if let Some(op) = HostOp::of(operator) {
            return Some(SiteOp::Host(op));
        }
        match self.fuel {
            Fuel::Unmetered => None,
            Fuel::Metered => {
                Bulk::of(operator).filter(|_| !pushes_short_length(self.wasm, previous)).map(SiteOp::Bulk)
            }
        }
    }
}

/// Returns whether the instruction at `offset` pushes a constant length of one piece at most.
fn pushes_short_length(wasm: &[u8], offset: usize) -> bool {
    let bytes = wasm.get(offset..).unwrap_or(&[]);
    let length = match BinaryReader::new(bytes, 0).read_operator() {
        Ok(Operator::I32Const { value }) => u64::from(value.cast_unsigned()),
        Ok(Operator::I64Const { value }) => value.cast_unsigned(),
        Ok(_) | Err(_) => return false,
    };
    length <= PIECE_BYTES.into()
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

fn invalid(wasm: &[u8], error: &wasmparser::BinaryReaderError) -> ModuleError {
    let (message, offset) = (error.message().to_string(), error.offset());
    // The parser's error has no kind, but every reader that runs out of bytes has the same message.
    if message.starts_with("unexpected end") {
        return ModuleError::Truncated { offset, bytes: wasm.len(), message };
    }
    ModuleError::Invalid { offset, message }
}
