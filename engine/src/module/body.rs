//! Scans a function body: validates it and finds the [`Site`]s in it.
//!
//! A site is an instruction that becomes a call through the host table, a bulk instruction of a
//! metered guest, or a place at which the splice inserts instructions.
//!
//! A [`Visitor`] receives each operator from the decoder and passes it to the validator, so that no
//! operator is decoded twice. What it does in addition is chosen by the operator's kind when the
//! visitor is compiled, in the table of `before!`. For most operators it is one store.

use alloc::vec::Vec;
use core::ops::Range;
use wasm_encoder::ValType;
#[cfg(feature = "simd")]
use wasmparser::VisitSimdOperator;
use wasmparser::{
    BinaryReader, BinaryReaderError, BlockType, FuncToValidate, FuncValidator, FuncValidatorAllocations,
    FunctionBody, MemArg, ModuleArity, Operator, VisitOperator, WasmFeatures,
};

use super::{
    HostOp, ModuleError,
    bounds::Bounds,
    bulk::{Bulk, PIECE_BYTES},
    emitted::{self, emitted},
    recorded::Segment,
    repair::{self, Repair},
    resources::Resources,
    scan::invalid,
    surcharge::Surcharge,
    work::{self, Arities, Arity, BLOCK_PARTS},
};
use crate::config::Fuel;

/// An instruction that the splice may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SiteOp {
    Host(HostOp),
    Bulk(Bulk),
    /// `data.drop` or `elem.drop`, after which a flag is set.
    Drop(Segment),
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

/// The accumulators of wasmi's interpreter.
const REGISTERS: u64 = 3;

/// What the scans of all function bodies share.
pub(super) struct BodyScanner<'a, 'l> {
    pub(super) wasm: &'a [u8],
    pub(super) features: WasmFeatures,
    pub(super) fuel: Fuel,
    /// Whether instances of the module can be recorded.
    pub(super) is_recorded: bool,
    /// Whether a body that was scanned has an instruction that changes a table.
    pub(super) changes_tables: bool,
    /// Whether a body that was scanned has an instruction that names a data segment.
    pub(super) names_data: bool,
    /// Whether a body that was scanned has a `ref.func`.
    pub(super) names_functions: bool,
    pub(super) bounds: Bounds<'l>,
    pub(super) arities: Arities,
}

impl<'a> BodyScanner<'a, '_> {
    /// Validates one function body and finds the sites in it.
    pub(super) fn scan(
        &mut self,
        func: FuncToValidate<Resources>,
        body: &FunctionBody<'a>,
        allocations: FuncValidatorAllocations,
    ) -> Result<(Body<'a>, FuncValidatorAllocations), ModuleError> {
        let wasm = self.wasm;
        let named = |error: BinaryReaderError| invalid(wasm, &error);
        let bytes = wasm.get(body.range()).expect("the parser's ranges lie in the bytes that it parsed");
        let arity = self.arities.of_function(func.index);
        self.bounds.start_function(arity, body)?;
        let mut validator = func.into_validator(allocations);
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader).map_err(named)?;
        reader.set_features(self.features);
        let locals = validator.len_locals();
        let declarations = reader.current_position();
        let mut walk = Walk {
            is_metered: self.fuel == Fuel::Metered,
            is_recorded: self.is_recorded,
            results: arity.results.into(),
            work_left: self.bounds.work_left(),
            emitted: emitted::FUNCTION + u64::from(arity.results) * emitted::PASSED,
            ..Walk::new(&self.arities, self.features, bytes, declarations)
        };
        if walk.is_metered {
            let declared = locals.saturating_sub(arity.params);
            walk.charge(declarations, Surcharge::of_function(declared.into(), arity.results.into()));
        }
        if let Err(error) = walk.run(&mut validator, &mut reader) {
            // The validator has not seen the operators that exceed the limits.
            self.bounds.add_work(walk.work)?;
            return Err(named(error));
        }
        self.changes_tables |= walk.changes_tables;
        self.names_data |= walk.names_data;
        self.names_functions |= walk.names_functions;
        let Walk { work, nesting, sites, operands, emitted, .. } = walk;
        self.bounds.add_work(work)?;
        self.bounds.add_translated(emitted);
        validator.finish(reader.original_position()).map_err(named)?;
        self.bounds.check_nesting(nesting)?;
        self.bounds.check_operands(operands)?;
        Ok((Body { bytes, sites, locals, declarations }, validator.into_allocations()))
    }
}

/// Validates a body of the spliced module `wasm`. This takes less code than another visitor.
///
/// # Errors
///
/// The body is invalid.
pub(super) fn validate(
    wasm: &[u8],
    func: FuncToValidate<Resources>,
    body: &FunctionBody<'_>,
    allocations: FuncValidatorAllocations,
) -> wasmparser::Result<FuncValidatorAllocations> {
    let arities = Arities::default();
    let features = func.features;
    let mut validator = func.into_validator(allocations);
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    reader.set_features(features);
    Walk::new(&arities, features, &wasm[body.range()], reader.current_position())
        .run(&mut validator, &mut reader)?;
    validator.finish(reader.original_position())?;
    Ok(validator.into_allocations())
}

/// What is found in a function body, up to the present operator.
struct Walk<'b> {
    arities: &'b Arities,
    features: WasmFeatures,
    /// The body. Offsets are relative to its start.
    bytes: &'b [u8],
    is_metered: bool,
    is_recorded: bool,
    /// Whether an operator changes a table.
    changes_tables: bool,
    /// Whether an operator names a data segment.
    names_data: bool,
    /// Whether an operator is a `ref.func`.
    names_functions: bool,
    /// The number of results of the function.
    results: u64,
    /// The operands that may still be moved.
    work_left: u64,
    /// The operands that are moved.
    work: u64,
    /// The bytes that wasmi translates the operators to, at most.
    emitted: u64,
    /// The number of operands on the stack.
    height: u32,
    /// The largest number of operands that were on the stack.
    operands: u32,
    /// The offset of the operator before.
    previous: usize,
    /// The largest depth of blocks inside each other.
    nesting: u32,
    search: repair::Search,
    sites: Vec<Site>,
}

impl<'b> Walk<'b> {
    /// A walk without limits, in an engine that is not metered. The code starts at `declarations`.
    fn new(arities: &'b Arities, features: WasmFeatures, bytes: &'b [u8], declarations: usize) -> Self {
        Self {
            arities,
            features,
            bytes,
            is_metered: false,
            is_recorded: false,
            changes_tables: false,
            names_data: false,
            names_functions: false,
            results: 0,
            work_left: u64::MAX,
            work: 0,
            emitted: 0,
            height: 0,
            operands: 0,
            previous: declarations,
            // The body itself.
            nesting: 1,
            search: repair::Search::new(declarations),
            sites: Vec::new(),
        }
    }

    /// Goes over the operators. The validator does not see those that exceed the limit of the work.
    ///
    /// # Errors
    ///
    /// An operator is malformed or invalid, or one was left out before.
    fn run<'a>(
        &mut self,
        validator: &mut FuncValidator<Resources>,
        reader: &mut BinaryReader<'a>,
    ) -> wasmparser::Result<()> {
        while !reader.eof() {
            let at = reader.current_position();
            let offset = reader.original_position();
            {
                let validator = validator.visitor(offset);
                reader.visit_operator(&mut Visitor { validator, walk: self, at }).flatten()?;
            }
            self.previous = at;
            self.height = validator.operand_stack_height();
            self.operands = self.operands.max(self.height);
        }
        Ok(())
    }

    /// Counts operands that are moved. Returns whether they are within the limits.
    fn moves(&mut self, operands: u64) -> bool {
        self.work = self.work.saturating_add(operands);
        self.work <= self.work_left
    }

    /// Counts the bytes of an instruction, and those of a copy if it does not take all operands.
    #[inline]
    fn emits(&mut self, bytes: u64, taken: u32) {
        self.emitted += bytes + if self.height > taken { emitted::REGISTER } else { 0 };
    }

    /// Records the surcharge of the operator at the offset `at`, which moves `operands`.
    fn charge_operands(&mut self, at: usize, operands: u64) {
        if operands > 1 && self.is_metered {
            self.charge(at, Surcharge::of_operands(operands));
        }
    }

    fn charge(&mut self, at: usize, surcharge: Option<Surcharge>) {
        self.sites.extend(surcharge.map(|it| Site { range: at..at, op: SiteOp::Surcharge(it) }));
    }

    fn repair(&mut self, at: usize, repair: Option<Repair>) {
        self.sites.extend(repair.map(|it| Site { range: at..at, op: SiteOp::Repair(it) }));
    }

    /// Records the operator at the offset `at`.
    fn replace(&mut self, at: usize, op: SiteOp) {
        let mut reader = BinaryReader::new_features(&self.bytes[at..], 0, self.features);
        reader.read_operator().expect("the operator has been decoded before");
        self.sites.push(Site { range: at..at + reader.current_position(), op });
    }

    /// Records a bulk instruction if the guest has slices, unless its length is a constant of one
    /// piece at most. Returns whether the operands of its guard are within the limits.
    fn bulk(&mut self, at: usize, bulk: Bulk) -> bool {
        if !self.is_metered || self.pushes_short_length() {
            return true;
        }
        self.replace(at, SiteOp::Bulk(bulk));
        let moved = work::of_guard(self.height);
        self.emitted += moved * emitted::PASSED;
        self.moves(moved)
    }

    /// Returns whether the operator before pushes a constant length of one piece at most.
    fn pushes_short_length(&self) -> bool {
        let length = match BinaryReader::new(&self.bytes[self.previous..], 0).read_operator() {
            Ok(Operator::I32Const { value }) => u64::from(value.cast_unsigned()),
            Ok(Operator::I64Const { value }) => value.cast_unsigned(),
            Ok(_) | Err(_) => return false,
        };
        length <= PIECE_BYTES.into()
    }
}

/// Passes an operator to the validator, after `before!`.
struct Visitor<'w, 'b, V> {
    validator: V,
    walk: &'w mut Walk<'b>,
    /// The offset of the operator.
    at: usize,
}

/// What the scan does for an operator before the validator sees it: `before!(Operator self
/// immediates...)`. Returns whether the work is within the limits. If not, the validator must not
/// see the operator, because it would take as much time.
#[rustfmt::skip] // It is a table.
macro_rules! before {
    // Operators for which wasmi emits no code.
    (Nop $($_:tt)*) => { true };
    (Drop $($_:tt)*) => { true };
    (LocalGet $($_:tt)*) => { true };
    (I32Const $($_:tt)*) => { true };
    (I64Const $($_:tt)*) => { true };
    (F32Const $($_:tt)*) => { true };
    (F64Const $($_:tt)*) => { true };
    (RefNull $($_:tt)*) => { true };
    // Operators that can move more than a constant number of operands.
    (Block $self:ident $ty:ident) => { $self.block($ty, 0) };
    (Loop $self:ident $ty:ident) => { $self.block($ty, emitted::FUEL) };
    (If $self:ident $ty:ident) => { $self.block($ty, emitted::COMPARING_BRANCH + emitted::FUEL) };
    (Br $self:ident $depth:ident) => { $self.branch(1, $depth, emitted::BRANCH) };
    (BrIf $self:ident $depth:ident) => { $self.branch(1, $depth, emitted::COMPARING_BRANCH) };
    // All targets have the arity of the default. If not, the validator fails at the first that
    // differs.
    (BrTable $self:ident $table:ident) => {
        $self.branch(u64::from($table.len()) + 1, $table.default(), emitted::TABLE)
    };
    (Return $self:ident) => { $self.returns() };
    (Call $self:ident $function:ident) => { $self.call($self.walk.arities.of_function($function), emitted::CALL) };
    (ReturnCall $self:ident $function:ident) => { $self.call($self.walk.arities.of_function($function), emitted::CALL) };
    (CallIndirect $self:ident $ty:ident $_:ident) => { $self.call($self.walk.arities.of_type($ty), emitted::CALL_INDIRECT) };
    (ReturnCallIndirect $self:ident $ty:ident $_:ident) => { $self.call($self.walk.arities.of_type($ty), emitted::CALL_INDIRECT) };
    // Operators that the splice replaces.
    (MemoryGrow $self:ident $memory:ident) => { $self.host(HostOp::MemoryGrow($memory)) };
    (MemoryDiscard $self:ident $memory:ident) => { $self.host(HostOp::MemoryDiscard($memory)) };
    (TableGrow $self:ident $table:ident) => { $self.changes_table() && $self.host(HostOp::TableGrow($table)) };
    // Operators that decide what a snapshot must record.
    (TableSet $self:ident $_:ident) => { $self.changes_table() };
    (TableFill $self:ident $_:ident) => { $self.changes_table() };
    (TableCopy $self:ident $_:ident $__:ident) => { $self.changes_table() };
    (TableInit $self:ident $_:ident $__:ident) => { $self.changes_table() };
    (RefFunc $self:ident $_:ident) => { $self.names_function() };
    (DataDrop $self:ident $segment:ident) => { $self.names_data() && $self.drops(Segment::Data($segment)) };
    (ElemDrop $self:ident $segment:ident) => { $self.drops(Segment::Elements($segment)) };
    (MemoryFill $self:ident $memory:ident) => { $self.bulk(Bulk::Fill { memory: $memory }) };
    (MemoryCopy $self:ident $to:ident $from:ident) => { $self.bulk(Bulk::Copy { to: $to, from: $from }) };
    (MemoryInit $self:ident $segment:ident $memory:ident) => { $self.names_data() && $self.bulk(Bulk::Init { memory: $memory, segment: $segment }) };
    // Operators that write a local.
    (LocalSet $self:ident $_:ident) => { $self.set() };
    (LocalTee $self:ident $_:ident) => { $self.set() };
    // Operators of the sequences that wasmi translates wrongly.
    (I32Eqz $self:ident) => { $self.comparison() };
    (I32Eq $self:ident) => { $self.comparison() };
    (I32Ne $self:ident) => { $self.comparison() };
    (RefIsNull $self:ident) => { $self.comparison() };
    (Select $self:ident) => { $self.select() };
    (TypedSelect $self:ident $_:ident) => { $self.select() };
    (I32Load $self:ident $_:ident) => { $self.changing() };
    (I32Load8S $self:ident $_:ident) => { $self.changing() };
    (I32Load8U $self:ident $_:ident) => { $self.changing() };
    (I32Load16S $self:ident $_:ident) => { $self.changing() };
    (I32Load16U $self:ident $_:ident) => { $self.changing() };
    (I64Load $self:ident $_:ident) => { $self.changing() };
    (I64Load8S $self:ident $_:ident) => { $self.changing() };
    (I64Load8U $self:ident $_:ident) => { $self.changing() };
    (I64Load16S $self:ident $_:ident) => { $self.changing() };
    (I64Load16U $self:ident $_:ident) => { $self.changing() };
    (I64Load32S $self:ident $_:ident) => { $self.changing() };
    (I64Load32U $self:ident $_:ident) => { $self.changing() };
    (I32Store $self:ident $place:ident) => { $self.store(ValType::I32, $place) };
    (I32Store8 $self:ident $place:ident) => { $self.store(ValType::I32, $place) };
    (I32Store16 $self:ident $place:ident) => { $self.store(ValType::I32, $place) };
    (I64Store $self:ident $place:ident) => { $self.store(ValType::I64, $place) };
    (I64Store8 $self:ident $place:ident) => { $self.store(ValType::I64, $place) };
    (I64Store16 $self:ident $place:ident) => { $self.store(ValType::I64, $place) };
    (I64Store32 $self:ident $place:ident) => { $self.store(ValType::I64, $place) };
    // All others.
    ($_:ident $self:ident $($rest:tt)*) => { $self.other() };
}

impl<V: ModuleArity> Visitor<'_, '_, V> {
    /// A block that starts with `bytes` bytes of code.
    fn block(&mut self, ty: BlockType, bytes: u64) -> bool {
        let walk = &mut *self.walk;
        let at = self.at;
        walk.nesting = walk.nesting.max(self.validator.control_stack_height() + 1);
        let moved = walk.arities.moved_by_block(ty);
        // An `if` with results and without an `else` gets a branch and consumes fuel at its end.
        let end = if moved > 0 { emitted::BRANCH + emitted::FUEL } else { 0 };
        let height = u64::from(walk.height);
        let preserved = height * emitted::LOCAL + height.min(REGISTERS) * emitted::REGISTER;
        walk.emitted += bytes + end + preserved + BLOCK_PARTS * moved * emitted::PASSED;
        walk.charge_operands(at, moved);
        let repair = walk.search.block(ty);
        walk.repair(at, repair);
        walk.moves(walk.arities.of_block(ty, walk.height))
    }

    /// A branch of `bytes` bytes that has several targets and takes one of them. `depth` is the
    /// label of one.
    fn branch(&mut self, targets: u64, depth: u32, bytes: u64) -> bool {
        let label = self.validator.label_block(depth);
        let carried = label.map_or(0, |(ty, kind)| self.walk.arities.of_label(ty, kind));
        // If operands must be copied, the copies are skipped by another branch.
        let skip = if carried > 0 { emitted::BRANCH } else { 0 };
        self.walk.emitted += bytes + skip + carried * emitted::PASSED + targets * emitted::TARGET;
        self.walk.charge_operands(self.at, carried);
        self.walk.search.other();
        self.walk.moves(targets * carried)
    }

    /// `local.set` or `local.tee`.
    fn set(&mut self) -> bool {
        let others = u64::from(self.walk.height.saturating_sub(1));
        self.walk.emitted += emitted::SET + others * emitted::LOCAL;
        self.other()
    }

    fn other(&mut self) -> bool {
        self.walk.search.other();
        true
    }

    fn changing(&mut self) -> bool {
        self.walk.search.changing(self.at);
        true
    }

    fn comparison(&mut self) -> bool {
        self.walk.search.comparison();
        true
    }

    fn returns(&mut self) -> bool {
        self.walk.search.other();
        self.walk.emitted += emitted::RETURN + self.walk.results * emitted::PASSED;
        self.walk.moves(self.walk.results)
    }

    /// A call of `bytes` bytes.
    fn call(&mut self, callee: Arity, bytes: u64) -> bool {
        self.walk.search.changing(self.at);
        let others = u64::from(self.walk.height.saturating_sub(callee.params)).min(REGISTERS);
        let passed = u64::from(callee.params) * emitted::PARAMETER;
        self.walk.emitted += bytes + passed + others * emitted::REGISTER;
        self.walk.moves(callee.sum())
    }

    fn host(&mut self, op: HostOp) -> bool {
        self.walk.search.other();
        self.walk.emitted += emitted::HOST_CALL;
        self.walk.replace(self.at, SiteOp::Host(op));
        true
    }

    fn bulk(&mut self, bulk: Bulk) -> bool {
        self.walk.search.other();
        self.walk.emitted += emitted::BULK;
        self.walk.bulk(self.at, bulk)
    }

    fn changes_table(&mut self) -> bool {
        self.walk.changes_tables = true;
        self.other()
    }

    fn names_data(&mut self) -> bool {
        self.walk.names_data = true;
        true
    }

    fn names_function(&mut self) -> bool {
        self.walk.names_functions = true;
        self.other()
    }

    fn drops(&mut self, segment: Segment) -> bool {
        if self.walk.is_recorded {
            self.walk.replace(self.at, SiteOp::Drop(segment));
        }
        self.other()
    }

    fn select(&mut self) -> bool {
        let repair = self.walk.search.select();
        self.walk.repair(self.at, repair);
        true
    }

    fn store(&mut self, ty: ValType, place: MemArg) -> bool {
        let repair = self.walk.search.store(ty, place, self.walk.bytes, self.at);
        self.walk.repair(self.at, repair);
        true
    }
}

/// Implements all methods of [`VisitOperator`].
macro_rules! visit_all {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $ty:ty),* })? => $visit:ident ($($arity:tt)*))*) => { $(
        // With the validator's code inlined here, the decoder would be too large to be inlined into
        // the loop that calls it, which costs a tenth of a load.
        #[inline(never)]
        fn $visit(&mut self $($(, $arg: $ty)*)?) -> Self::Output {
            let (bytes, taken) = emitted!($op ($($arity)*));
            self.walk.emits(bytes, taken);
            if before!($op self $($($arg)*)?) { self.validator.$visit($($($arg),*)?) } else { Ok(()) }
        }
    )* };
}

impl<'a, V> VisitOperator<'a> for Visitor<'_, '_, V>
where
    V: VisitOperator<'a, Output = wasmparser::Result<()>> + ModuleArity,
{
    type Output = wasmparser::Result<()>;

    #[cfg(feature = "simd")]
    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = Self::Output>> {
        let opcode = self.walk.bytes.get(self.at + 1).copied().unwrap_or_default();
        self.walk.emitted += emitted::of_vector_operator(opcode);
        self.walk.search.other();
        self.validator.simd_visitor()
    }

    wasmparser::for_each_visit_operator!(visit_all);
}
