//! Divides bulk instructions into pieces, so that none of them outlasts a slice of fuel.
//!
//! wasmi executes `memory.fill`, `memory.copy` and `memory.init` in one step of any length. In a
//! metered engine the splice puts a comparison before each of them. Up to [`PIECE_BYTES`] the
//! instruction itself is executed. Above, its operands go to a function that is appended to the
//! module: a loop in Wasm that executes the same instruction for one piece after another. wasmi can
//! suspend the guest between two pieces, as anywhere else.
//!
//! After each piece the function calls the host, which stops a lost store
//! ([`HostOp::AfterPiece`](super::HostOp::AfterPiece)).
//!
//! The function checks the whole range first. A range that is out of bounds goes to the instruction
//! undivided, which then traps as the specification requires and writes nothing.

use alloc::vec::Vec;
use wasm_encoder::{BlockType, Function, SectionId, ValType};
use wasmparser::{BinaryReader, DataKind, DataSectionReader};

use super::{MemoryType, instruction::Instruction, scan::Scan};

/// The most bytes that one instruction of a metered guest fills or copies: one Wasm page.
pub(super) const PIECE_BYTES: u32 = 1 << 16;

/// The parameters of the appended functions, which are the operands of the instructions.
const TO: u32 = 0;
const FROM_OR_VALUE: u32 = 1;
const LEN: u32 = 2;

/// A bulk instruction that can exceed [`PIECE_BYTES`], with its memories and its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bulk {
    /// `memory.fill`.
    Fill { memory: u32 },
    /// `memory.copy`.
    Copy { to: u32, from: u32 },
    /// `memory.init`.
    Init { memory: u32, segment: u32 },
}

impl Bulk {
    /// Returns the types of the operands: the address to write to, the value or the address to read
    /// from, and the length.
    pub(super) fn operands(self, memories: &[MemoryType]) -> [ValType; 3] {
        let index = |memory: u32| memories[memory as usize].index().to_encoder();
        match self {
            Self::Fill { memory } => [index(memory), ValType::I32, index(memory)],
            Self::Copy { to, from } if index(to) == index(from) => [index(to); 3],
            Self::Copy { to, from } => [index(to), index(from), ValType::I32],
            Self::Init { memory, .. } => [index(memory), ValType::I32, ValType::I32],
        }
    }

    /// Returns the instruction itself.
    fn instruction(self) -> Instruction {
        match self {
            Self::Fill { memory } => Instruction::MemoryFill(memory),
            Self::Copy { to, from } => Instruction::MemoryCopy { src_mem: from, dst_mem: to },
            Self::Init { memory, segment } => Instruction::MemoryInit { mem: memory, data_index: segment },
        }
    }
}

/// Returns the length of each data segment that an `init` can read: 0 for an active one, which is
/// dropped before the guest runs.
pub(super) fn segment_lengths(scan: &Scan<'_>) -> Vec<u32> {
    let Some(contents) = scan.contents(SectionId::Data) else { return Vec::new() };
    let reader = DataSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED);
    let length = |data: wasmparser::Result<wasmparser::Data<'_>>| {
        let data = data.expect(VALIDATED);
        match data.kind {
            DataKind::Passive => u32::try_from(data.data.len()).expect("the format has lengths of 32 bits"),
            DataKind::Active { .. } => 0,
        }
    };
    reader.into_iter().map(length).collect()
}

/// The type indices of a guard's blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuardTypes {
    /// The three operands, and no result. It is also the type of the appended function.
    pub(super) consuming: u32,
    /// The three operands as parameters and as results.
    pub(super) passing: u32,
}

/// Writes the instruction `native` with a guard: lengths above [`PIECE_BYTES`] go to `function`.
/// `scratch` is a local of the length's type `len`.
///
/// The instruction comes first and the call last, because a branch that is taken to the call costs
/// short copies nothing.
///
/// The blocks have parameters and get no [`repair`](super::repair): the only local that is written
/// inside is the scratch local, which is never left on the operand stack.
pub(super) fn guard(
    out: &mut Vec<u8>,
    native: &[u8],
    types: GuardTypes,
    len: ValType,
    scratch: u32,
    function: u32,
) {
    Instruction::Block(BlockType::FunctionType(types.consuming)).encode(out);
    Instruction::Block(BlockType::FunctionType(types.passing)).encode(out);
    Instruction::LocalTee(scratch).encode(out);
    Instruction::LocalGet(scratch).encode(out);
    constant(len, PIECE_BYTES).encode(out);
    greater(len).encode(out);
    Instruction::BrIf(0).encode(out);
    out.extend_from_slice(native);
    Instruction::Br(1).encode(out);
    Instruction::End.encode(out);
    Instruction::Call(function).encode(out);
    Instruction::End.encode(out);
}

/// Returns the function that executes `bulk` in pieces. `segment_bytes` is the length of its
/// segment, if it has one, and `after_piece` calls the host.
pub(super) fn divided(
    bulk: Bulk,
    memories: &[MemoryType],
    segment_bytes: u32,
    after_piece: &[Instruction],
) -> Function {
    let operands = bulk.operands(memories);
    let mut writer = Writer { bulk, operands, after_piece, function: Function::new([]) };
    // The block ends before the instruction itself, which executes a short range, a range that is
    // out of bounds, or the rest after the last piece.
    writer.op(Instruction::Block(BlockType::Empty));
    writer.get(LEN).op(constant(operands[2], PIECE_BYTES)).op(greater(operands[2]));
    writer.op(Instruction::I32Eqz).op(Instruction::BrIf(0));
    match bulk {
        Bulk::Fill { memory } => {
            writer.leave_unless_inside(TO, memory, memories);
            writer.forward();
        }
        Bulk::Copy { to, from } => {
            writer.leave_unless_inside(TO, to, memories);
            writer.leave_unless_inside(FROM_OR_VALUE, from, memories);
            // Ranges may overlap. The pieces go upward if bytes move down, and downward otherwise.
            writer.get64(TO).get64(FROM_OR_VALUE).op(Instruction::I64GtU);
            writer.op(Instruction::If(BlockType::Empty));
            writer.backward();
            writer.op(Instruction::Else);
            writer.forward();
            writer.op(Instruction::End);
        }
        Bulk::Init { memory, .. } => {
            writer.leave_unless_inside(TO, memory, memories);
            writer.leave_unless_in_segment(segment_bytes);
            writer.forward();
        }
    }
    writer.op(Instruction::End);
    writer.get(TO).get(FROM_OR_VALUE).get(LEN).native();
    writer.op(Instruction::End);
    writer.function
}

/// Writes a divided function.
struct Writer<'a> {
    bulk: Bulk,
    /// The types of the parameters.
    operands: [ValType; 3],
    after_piece: &'a [Instruction],
    function: Function,
}

impl Writer<'_> {
    fn op(&mut self, instruction: Instruction) -> &mut Self {
        instruction.append_to(&mut self.function);
        self
    }

    /// Writes the instruction itself.
    fn native(&mut self) -> &mut Self {
        let instruction = self.bulk.instruction();
        self.op(instruction)
    }

    fn get(&mut self, parameter: u32) -> &mut Self {
        self.op(Instruction::LocalGet(parameter))
    }

    /// Pushes a parameter as an `i64`.
    fn get64(&mut self, parameter: u32) -> &mut Self {
        self.get(parameter);
        self.extended(self.operands[parameter as usize])
    }

    /// Extends the value on the stack, of type `ty`, to an `i64`.
    fn extended(&mut self, ty: ValType) -> &mut Self {
        if ty == ValType::I32 {
            self.op(Instruction::I64ExtendI32U);
        }
        self
    }

    /// Leaves the block unless the `LEN` bytes at the address `parameter` are inside the memory.
    fn leave_unless_inside(&mut self, parameter: u32, memory: u32, memories: &[MemoryType]) {
        let ty = memories[memory as usize];
        self.get64(LEN).size(memory, ty).op(Instruction::I64GtU).op(Instruction::BrIf(0));
        self.get64(parameter).size(memory, ty).get64(LEN).op(Instruction::I64Sub);
        self.op(Instruction::I64GtU).op(Instruction::BrIf(0));
    }

    /// Pushes the size of a memory in bytes.
    fn size(&mut self, memory: u32, ty: MemoryType) -> &mut Self {
        self.op(Instruction::MemorySize(memory)).extended(ty.index().to_encoder());
        self.op(Instruction::I64Const(ty.page_size().log2().into())).op(Instruction::I64Shl)
    }

    /// Leaves the block unless the range is inside the segment, which has `bytes` bytes or is
    /// dropped. An `init` of no bytes, at the end of the range, traps if it is dropped.
    fn leave_unless_in_segment(&mut self, bytes: u32) {
        let bytes = constant(ValType::I32, bytes);
        self.get(LEN).op(bytes).op(Instruction::I32GtU).op(Instruction::BrIf(0));
        self.get(FROM_OR_VALUE).op(bytes).get(LEN).op(Instruction::I32Sub);
        self.op(Instruction::I32GtU).op(Instruction::BrIf(0));
        self.get(TO).get(FROM_OR_VALUE).get(LEN).op(Instruction::I32Add);
        self.op(Instruction::I32Const(0)).native();
    }

    /// Executes pieces from the start of the range, until at most one piece is left.
    fn forward(&mut self) {
        let len = self.operands[2];
        self.op(Instruction::Loop(BlockType::Empty));
        self.get(TO).get(FROM_OR_VALUE).op(constant(len, PIECE_BYTES)).native();
        self.advance(TO);
        match self.bulk {
            Bulk::Fill { .. } => {}
            Bulk::Copy { .. } | Bulk::Init { .. } => self.advance(FROM_OR_VALUE),
        }
        self.shorten();
        self.next_piece();
    }

    /// Executes pieces from the end of the range, until at most one piece is left.
    fn backward(&mut self) {
        let len = self.operands[2];
        self.op(Instruction::Loop(BlockType::Empty));
        self.shorten();
        for parameter in [TO, FROM_OR_VALUE] {
            let ty = self.operands[parameter as usize];
            self.get(parameter).get(LEN);
            if ty != len {
                self.op(Instruction::I64ExtendI32U);
            }
            self.op(add(ty));
        }
        self.op(constant(len, PIECE_BYTES)).native();
        self.next_piece();
    }

    /// Adds the length of a piece to a parameter.
    fn advance(&mut self, parameter: u32) {
        let ty = self.operands[parameter as usize];
        self.get(parameter).op(constant(ty, PIECE_BYTES)).op(add(ty)).op(Instruction::LocalSet(parameter));
    }

    /// Subtracts the length of a piece from `LEN`.
    fn shorten(&mut self) {
        let len = self.operands[2];
        let subtract = if len == ValType::I64 { Instruction::I64Sub } else { Instruction::I32Sub };
        self.get(LEN).op(constant(len, PIECE_BYTES)).op(subtract).op(Instruction::LocalSet(LEN));
    }

    /// Calls the host, and ends the loop with a branch back if more than one piece is left.
    fn next_piece(&mut self) {
        for instruction in self.after_piece {
            instruction.append_to(&mut self.function);
        }
        let len = self.operands[2];
        self.get(LEN).op(constant(len, PIECE_BYTES)).op(greater(len));
        self.op(Instruction::BrIf(0)).op(Instruction::End);
    }
}

fn constant(ty: ValType, value: u32) -> Instruction {
    if ty == ValType::I64 {
        Instruction::I64Const(value.into())
    } else {
        Instruction::I32Const(value.cast_signed())
    }
}

fn add(ty: ValType) -> Instruction {
    if ty == ValType::I64 { Instruction::I64Add } else { Instruction::I32Add }
}

fn greater(ty: ValType) -> Instruction {
    if ty == ValType::I64 { Instruction::I64GtU } else { Instruction::I32GtU }
}

const VALIDATED: &str = "the section has been validated";
