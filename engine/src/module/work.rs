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
    BlockType, CompositeInnerType, FrameKind,
    types::{CoreTypeId, TypesRef},
};

/// The number of parameters and results of a function type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arity {
    pub(super) params: u32,
    pub(super) results: u32,
}

impl Arity {
    pub(super) fn sum(self) -> u64 {
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

    /// Returns the arity of the type with this index, or zeros if there is none.
    pub(super) fn of_type(&self, index: u32) -> Arity {
        self.types.get(index as usize).copied().unwrap_or_default()
    }

    /// Returns the arity of the function with this index, or zeros if there is none.
    pub(super) fn of_function(&self, index: u32) -> Arity {
        self.functions.get(index as usize).copied().unwrap_or_default()
    }

    /// Returns the number of operands that a block takes and returns.
    pub(super) fn moved_by_block(&self, ty: BlockType) -> u64 {
        match ty {
            BlockType::Empty => 0,
            BlockType::Type(_) => 1,
            BlockType::FuncType(index) => self.of_type(index).sum(),
        }
    }

    /// Returns the number of operands that a block moves at its start, its `else` and its end.
    ///
    /// At the start of a block with parameters, translation also searches the whole operand stack,
    /// of `height` operands, for locals.
    pub(super) fn of_block(&self, ty: BlockType, height: u32) -> u64 {
        let BlockType::FuncType(index) = ty else { return BLOCK_PARTS * self.moved_by_block(ty) };
        let arity = self.of_type(index);
        let searched = if arity.params > 0 { u64::from(height) } else { 0 };
        BLOCK_PARTS * arity.sum() + searched
    }

    /// Returns the number of operands that a branch to the label of a block carries.
    pub(super) fn of_label(&self, ty: BlockType, kind: FrameKind) -> u64 {
        let is_loop = kind == FrameKind::Loop;
        match ty {
            BlockType::Empty => 0,
            BlockType::Type(_) => u64::from(!is_loop),
            BlockType::FuncType(index) => {
                let Arity { params, results } = self.of_type(index);
                u64::from(if is_loop { params } else { results })
            }
        }
    }
}

/// Returns the number of operands that the guard of a bulk instruction moves: those of two blocks
/// with three parameters each. `height` is the height of the operand stack.
pub(super) fn of_guard(height: u32) -> u64 {
    2 * (BLOCK_PARTS * 6 + u64::from(height))
}

/// The operands of a block are counted for its start, its `else` and its end.
pub(super) const BLOCK_PARTS: u64 = 3;
