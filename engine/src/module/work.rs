//! Counts the operands that the instructions of a function move.
//!
//! The validator and the interpreter's translation handle most instructions in constant time. A
//! branch, a block or a call takes time for each of its operands instead, and translation may emit
//! a copy for each. A type can have 1,000 parameters and 1,000 results, so 500 KB of such
//! instructions can take minutes, or gigabytes of heap. Therefore the scan counts the operands of
//! each instruction before it passes the instruction to the validator.
//!
//! Counting takes constant time for an instruction: the arities of all types are computed once.

use alloc::vec::Vec;
use wasmparser::{
    BinaryReader, BlockType, CompositeInnerType, FrameKind, FuncValidator, ValidatorResources,
    types::{CoreTypeId, TypesRef},
};

/// The number of parameters and results of a function type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arity {
    pub(super) params: u32,
    pub(super) results: u32,
}

impl Arity {
    fn sum(self) -> u64 {
        u64::from(self.params) + u64::from(self.results)
    }
}

/// The arities of a module's types and functions.
#[derive(Debug, Default)]
pub(super) struct Arities {
    types: Vec<Arity>,
    functions: Vec<Arity>,
}

impl Arities {
    /// The arities of what is defined in `types`.
    pub(super) fn of(types: TypesRef<'_>) -> Self {
        let arity = |id: CoreTypeId| match &types[id].composite_type.inner {
            // The validator bounds both by 1,000.
            CompositeInnerType::Func(ty) => Arity {
                params: u32::try_from(ty.params().len()).unwrap_or(u32::MAX),
                results: u32::try_from(ty.results().len()).unwrap_or(u32::MAX),
            },
            CompositeInnerType::Array(_) | CompositeInnerType::Struct(_) | CompositeInnerType::Cont(_) => {
                Arity::default()
            }
        };
        let type_indices = 0..types.core_type_count_in_module();
        let functions = 0..types.function_count();
        Self {
            types: type_indices.map(|index| arity(types.core_type_at_in_module(index))).collect(),
            functions: functions.map(|index| arity(types.core_function_at(index))).collect(),
        }
    }

    fn of_type(&self, index: u32) -> Arity {
        self.types.get(index as usize).copied().unwrap_or_default()
    }

    /// Returns the arity of the function with this index, or zeros if there is none.
    pub(super) fn of_function(&self, index: u32) -> Arity {
        self.functions.get(index as usize).copied().unwrap_or_default()
    }

    /// Returns the number of operands that the first instruction of `code` moves, if that is more
    /// than a constant.
    ///
    /// It returns 0 for malformed instructions and for indices that are out of bounds, because the
    /// validator refuses both in constant time. Only the bytes that are needed are decoded, because
    /// a fourth of all instructions come here.
    pub(super) fn operands(&self, code: &[u8], validator: &FuncValidator<ValidatorResources>) -> u64 {
        let Some((&opcode, immediates)) = code.split_first() else { return 0 };
        match opcode {
            BLOCK | LOOP | IF => match immediates.first() {
                Some(&EMPTY_BLOCK) | None => 0,
                Some(_) => self.of_block(immediates, validator.operand_stack_height()),
            },
            BR | BR_IF => self.of_label(index(immediates), validator),
            BR_TABLE => self.of_table(immediates, validator).unwrap_or(0),
            RETURN => u64::from(self.of_function(validator.index()).results),
            CALL | RETURN_CALL => self.of_function(index(immediates)).sum(),
            CALL_INDIRECT | RETURN_CALL_INDIRECT => self.of_type(index(immediates)).sum(),
            _ => 0,
        }
    }

    /// Returns the number of operands that the first instruction of `code` moves at run time, if it
    /// is a branch or a block. Calls and returns are charged to the function that is called.
    pub(super) fn moved(&self, code: &[u8], validator: &FuncValidator<ValidatorResources>) -> u64 {
        let Some((&opcode, immediates)) = code.split_first() else { return 0 };
        match opcode {
            BLOCK | LOOP | IF => match BinaryReader::new(immediates, 0).read_var_s33().map(u32::try_from) {
                Ok(Ok(index)) => self.of_type(index).sum(),
                Ok(Err(_)) | Err(_) => 0,
            },
            BR | BR_IF => self.of_label(index(immediates), validator),
            // Only one of the targets is taken.
            BR_TABLE => self.of_first_target(immediates, validator).unwrap_or(0),
            _ => 0,
        }
    }

    fn of_first_target(
        &self,
        immediates: &[u8],
        validator: &FuncValidator<ValidatorResources>,
    ) -> wasmparser::Result<u64> {
        let mut reader = BinaryReader::new(immediates, 0);
        reader.read_var_u32()?;
        Ok(self.of_label(reader.read_var_u32()?, validator))
    }

    /// Returns the number of operands of a `br_table`, for all its targets together.
    fn of_table(
        &self,
        immediates: &[u8],
        validator: &FuncValidator<ValidatorResources>,
    ) -> wasmparser::Result<u64> {
        let mut reader = BinaryReader::new(immediates, 0);
        // All targets have the arity of the first one. If not, the validator fails at the first
        // that differs.
        let targets = u64::from(reader.read_var_u32()?) + 1;
        Ok(targets * self.of_label(reader.read_var_u32()?, validator))
    }

    /// Returns the number of operands that a block moves at its start, its `else` and its end.
    ///
    /// `ty` starts with the encoded block type: an index of a type, or a negative number for a
    /// block without parameters that has at most one result. At the start of a block with
    /// parameters, translation also searches the whole operand stack, of `height` operands, for
    /// locals.
    fn of_block(&self, ty: &[u8], height: u32) -> u64 {
        let ty = BinaryReader::new(ty, 0).read_var_s33().unwrap_or(-1);
        let Ok(index) = u32::try_from(ty) else { return BLOCK_PARTS };
        let arity = self.of_type(index);
        let searched = if arity.params > 0 { u64::from(height) } else { 0 };
        BLOCK_PARTS * arity.sum() + searched
    }

    /// Returns the number of operands that a branch to the label at `depth` carries.
    fn of_label(&self, depth: u32, validator: &FuncValidator<ValidatorResources>) -> u64 {
        let frame = usize::try_from(depth).ok().and_then(|depth| validator.get_control_frame(depth));
        let Some(frame) = frame else { return 0 };
        let is_loop = frame.kind == FrameKind::Loop;
        match frame.block_type {
            BlockType::Empty => 0,
            BlockType::Type(_) => u64::from(!is_loop),
            BlockType::FuncType(index) => {
                let Arity { params, results } = self.of_type(index);
                u64::from(if is_loop { params } else { results })
            }
        }
    }
}

/// Decodes the index at the start of `immediates`, or returns one that does not exist.
fn index(immediates: &[u8]) -> u32 {
    match immediates.first() {
        Some(&byte) if byte < 0x80 => byte.into(),
        _ => BinaryReader::new(immediates, 0).read_var_u32().unwrap_or(u32::MAX),
    }
}

/// Returns whether the instruction that starts with `opcode` can move more than a constant number
/// of operands. Its opcode then is one of those below.
pub(super) fn has_arity(opcode: u8) -> bool {
    matches!(opcode, BLOCK..=IF | BR..=RETURN_CALL_INDIRECT)
}

/// Returns whether the instruction that starts with `opcode` starts a block.
pub(super) fn is_block(opcode: u8) -> bool {
    matches!(opcode, BLOCK..=IF)
}

/// Returns the number of operands that the guard of a bulk instruction moves: those of two blocks
/// with three parameters each. `height` is the height of the operand stack.
pub(super) fn of_guard(height: u32) -> u64 {
    2 * (BLOCK_PARTS * 6 + u64::from(height))
}

/// The operands of a block are counted for its start, its `else` and its end.
const BLOCK_PARTS: u64 = 3;
/// The encoded block type without parameters and results.
const EMPTY_BLOCK: u8 = 0x40;

// The opcodes of the Wasm core specification, "Instructions" of the binary format.
const BLOCK: u8 = 0x02;
const LOOP: u8 = 0x03;
const IF: u8 = 0x04;
const BR: u8 = 0x0c;
const BR_IF: u8 = 0x0d;
const BR_TABLE: u8 = 0x0e;
const RETURN: u8 = 0x0f;
const CALL: u8 = 0x10;
const CALL_INDIRECT: u8 = 0x11;
const RETURN_CALL: u8 = 0x12;
const RETURN_CALL_INDIRECT: u8 = 0x13;
