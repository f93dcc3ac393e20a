//! Finds the sequences of instructions that wasmi 2.0.0 translates wrongly.
//!
//! The splice inserts instructions without an effect before the last one of such a sequence, so
//! that wasmi translates it correctly.
//!
//! - A `select` after a comparison of a local with zero or null. wasmi drops the comparison, and
//!   then tests its accumulator instead of the local, so the guest computes with the wrong operand.
//! - A store of an integer whose address and value are the same local, in a memory other than 0 or
//!   with an offset above 65,535. wasmi has no instruction for a value that is in the accumulator
//!   together with its address, and panics.
//! - A block with parameters above a local on the operand stack. wasmi keeps such a local as a
//!   reference until the local is written. It must copy all of them to slots before control flow
//!   can split, but it leaves out one for each parameter of the block, also where that parameter
//!   is not a local itself. A write of the local inside the block then makes the copy on one path
//!   only, and on the other paths the slot contains a stale value. If the local is a reference,
//!   the guest could call what the slot happens to contain. A block without parameters leaves out
//!   none.

use alloc::vec::Vec;
use wasm_encoder::{BlockType, Encode, Instruction, ValType};
use wasmparser::{BinaryReader, MemArg, Operator};

/// What the splice inserts before an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// `i32.const 0; i32.or`, or the same for `i64`. The last operand, of this type, becomes the
    /// result of an instruction, with the same value.
    Recompute(ValType),
    /// `block; end`. All locals on the operand stack are copied to slots.
    CopyLocals,
}

/// The bytes of the instructions that a repair inserts.
pub(super) const REPAIR_BYTES: usize = 3;

/// The maximum number of bytes that are searched for two occurrences of a local. In a longer
/// sequence the search assumes that there are two, so that its time is linear.
const SEARCHED_BYTES: usize = 64;

/// How the search treats an instruction, by the first byte of its opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// wasmi emits no code for it.
    Silent,
    /// `i32.eqz`, `i32.eq`, `i32.ne`, and `ref.is_null`, which wasmi translates like `i32.eqz`.
    Comparison,
    /// Both forms of `select`.
    Select,
    /// `block`, `loop` and `if`.
    Block,
    /// A store of an integer.
    Store,
    /// It is certain to change the accumulator: calls, and loads of integers.
    Changing,
    Other,
}

/// The class of each first byte. A table, because all instructions of a module are looked up.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut opcode = 0;
    while opcode < classes.len() {
        classes[opcode] = match opcode {
            // `nop`, `drop`, `local.get` and constants.
            0x01 | 0x1a | 0x20 | 0x41..=0x44 | 0xd0 => Class::Silent,
            0x45..=0x47 | 0xd1 => Class::Comparison,
            0x1b | 0x1c => Class::Select,
            0x02..=0x04 => Class::Block,
            0x36 | 0x37 | 0x3a..=0x3e => Class::Store,
            0x10 | 0x11 | 0x28 | 0x29 | 0x2c..=0x35 => Class::Changing,
            _ => Class::Other,
        };
        opcode += 1;
    }
    classes
};

/// Follows the instructions of a function body.
#[derive(Debug)]
pub(super) struct Search {
    /// The offset of the last instruction that is not [`Class::Silent`].
    last: usize,
    /// The offset of the last comparison.
    compared: Option<usize>,
    /// The offset of the last instruction that has changed the accumulator, or of the first one.
    changed: usize,
}

impl Search {
    /// Starts before the first instruction, which is at the offset `first` of the body.
    pub(super) fn new(first: usize) -> Self {
        Self { last: first, compared: None, changed: first }
    }

    /// Takes the next instruction, which starts with `opcode` at `offset` of the body `code`.
    /// Returns what must be inserted before it.
    #[inline]
    pub(super) fn next(&mut self, opcode: u8, code: &[u8], offset: usize) -> Option<Repair> {
        let class = CLASSES[usize::from(opcode)];
        if class == Class::Silent {
            return None;
        }
        let last = core::mem::replace(&mut self.last, offset);
        match class {
            Class::Silent | Class::Other => None,
            Class::Changing => {
                self.changed = offset;
                None
            }
            Class::Comparison => {
                self.compared = Some(offset);
                None
            }
            Class::Select => (self.compared == Some(last)).then_some(Repair::Recompute(ValType::I32)),
            // A block that has parameters has the index of a type.
            Class::Block => has_type_index(*code.get(offset + 1)?).then_some(Repair::CopyLocals),
            Class::Store => {
                let (ty, memarg) = stored(code.get(offset..)?)?;
                let is_far = memarg.memory != 0 || memarg.offset > u64::from(u16::MAX);
                let is_found = is_far && self.may_repeat_a_local(code, offset);
                is_found.then_some(Repair::Recompute(ty))
            }
        }
    }

    /// Returns whether a local may have been pushed twice since the accumulator has changed. The
    /// first one may be the address of the store at `offset`, and the second one its value.
    fn may_repeat_a_local(&self, code: &[u8], offset: usize) -> bool {
        let sequence = code.get(self.changed..offset).filter(|sequence| sequence.len() <= SEARCHED_BYTES);
        let Some(sequence) = sequence else { return true };
        let mut reader = BinaryReader::new(sequence, 0);
        let mut locals = [None; SEARCHED_BYTES];
        for place in 0.. {
            let local = match reader.read_operator() {
                Ok(Operator::LocalGet { local_index } | Operator::LocalTee { local_index }) => local_index,
                Ok(_) => continue,
                Err(_) => return !reader.eof(),
            };
            if locals.contains(&Some(local)) {
                return true;
            }
            if let Some(free) = locals.get_mut(place) {
                *free = Some(local);
            }
        }
        false
    }
}

/// Returns whether a block type that starts with this byte is the index of a type.
///
/// The other block types are negative numbers of one byte, as signed LEB128 (Wasm core
/// specification, "Instructions" of the binary format).
fn has_type_index(first_byte: u8) -> bool {
    first_byte & 0xc0 != 0x40
}

/// Decodes the store of an integer at the start of `code`.
fn stored(code: &[u8]) -> Option<(ValType, MemArg)> {
    let operator = BinaryReader::new(code, 0).read_operator().ok()?;
    if let Operator::I32Store { memarg } | Operator::I32Store8 { memarg } | Operator::I32Store16 { memarg } =
        operator
    {
        return Some((ValType::I32, memarg));
    }
    if let Operator::I64Store { memarg }
    | Operator::I64Store8 { memarg }
    | Operator::I64Store16 { memarg }
    | Operator::I64Store32 { memarg } = operator
    {
        return Some((ValType::I64, memarg));
    }
    None
}

/// Writes the instructions that `repair` inserts.
pub(super) fn write(repair: Repair, out: &mut Vec<u8>) {
    let inserted = match repair {
        Repair::Recompute(ValType::I64) => [Instruction::I64Const(0), Instruction::I64Or],
        Repair::Recompute(_) => [Instruction::I32Const(0), Instruction::I32Or],
        Repair::CopyLocals => [Instruction::Block(BlockType::Empty), Instruction::End],
    };
    inserted.iter().for_each(|instruction| instruction.encode(out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::MemArg as Place;

    const FAR: Place = Place { offset: 1 << 16, align: 0, memory_index: 0 };
    const NEAR: Place = Place { offset: u16::MAX as u64, align: 0, memory_index: 0 };
    const OTHER: Place = Place { offset: 0, align: 0, memory_index: 1 };

    /// Returns what the search finds at the last of the instructions.
    fn found(instructions: &[Instruction<'_>]) -> Option<Repair> {
        let mut code = Vec::new();
        let mut starts = Vec::new();
        for instruction in instructions {
            starts.push(code.len());
            instruction.encode(&mut code);
        }
        let mut search = Search::new(0);
        starts.into_iter().fold(None, |_, start| search.next(code[start], &code, start))
    }

    #[test]
    fn a_select_after_a_comparison_is_found() {
        let (get, two) = (Instruction::LocalGet(0), Instruction::I32Const(2));
        for compare in [Instruction::I32Eqz, Instruction::I32Eq, Instruction::I32Ne, Instruction::RefIsNull] {
            let sequence = [get.clone(), compare, Instruction::Nop, Instruction::Select];
            assert_eq!(found(&sequence), Some(Repair::Recompute(ValType::I32)));
        }
        assert_eq!(
            found(&[get.clone(), Instruction::I32Eqz, Instruction::I32Clz, Instruction::Select]),
            None
        );
        assert_eq!(found(&[get, two, Instruction::I32LtS, Instruction::Select]), None);
    }

    #[test]
    fn a_store_whose_operands_may_be_one_local_is_found() {
        let (get, tee) = (Instruction::LocalGet(300), Instruction::LocalTee(300));
        for place in [FAR, OTHER] {
            let store = Instruction::I64Store16(place);
            for first in [&get, &tee] {
                let between = Instruction::F32Load(NEAR);
                assert_eq!(
                    found(&[first.clone(), get.clone(), store.clone()]),
                    Some(Repair::Recompute(ValType::I64))
                );
                assert_eq!(
                    found(&[first.clone(), between, get.clone(), Instruction::Nop, store.clone()]),
                    Some(Repair::Recompute(ValType::I64))
                );
            }
            assert_eq!(found(&[Instruction::LocalGet(1), get.clone(), store.clone()]), None);
            assert_eq!(found(&[get.clone(), Instruction::I32Load(NEAR), get.clone(), store.clone()]), None);
            assert_eq!(found(&[get.clone(), Instruction::Call(9), get.clone(), store]), None);
        }
        assert_eq!(found(&[get.clone(), get, Instruction::I32Store(NEAR)]), None);
    }

    #[test]
    fn a_long_sequence_is_taken_to_repeat_a_local() {
        let mut sequence: Vec<_> = (0..40).map(Instruction::LocalGet).collect();
        sequence.push(Instruction::I32Store(FAR));
        assert_eq!(found(&sequence), Some(Repair::Recompute(ValType::I32)));
        assert_eq!(found(&sequence[20..]), None);
    }

    #[test]
    fn a_block_whose_type_is_an_index_is_found() {
        type Block = fn(BlockType) -> Instruction<'static>;
        for block in [Instruction::Block as Block, Instruction::Loop, Instruction::If] {
            for index in [0, 63, 64, 128, 19_999] {
                assert_eq!(found(&[block(BlockType::FunctionType(index))]), Some(Repair::CopyLocals));
            }
            for ty in [ValType::I32, ValType::F64, ValType::V128, ValType::FUNCREF, ValType::EXTERNREF] {
                assert_eq!(found(&[block(BlockType::Result(ty))]), None);
            }
            assert_eq!(found(&[block(BlockType::Empty)]), None);
        }
    }

    #[test]
    fn repairs_have_their_length() {
        for repair in [Repair::Recompute(ValType::I32), Repair::Recompute(ValType::I64), Repair::CopyLocals] {
            let mut out = Vec::new();
            write(repair, &mut out);
            assert_eq!(out.len(), REPAIR_BYTES);
        }
    }
}
