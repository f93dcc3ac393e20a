//! Finds the instructions whose last operand must be the result of an instruction.
//!
//! wasmi 2.0.0 translates two sequences wrongly. The splice inserts `i32.const 0; i32.or` before
//! the instruction that ends such a sequence, which leaves the operand's value as it is.
//!
//! - A `select` after a comparison of a local with zero. wasmi drops the comparison, and then tests
//!   its accumulator instead of the local, so the guest computes with the wrong operand.
//! - A store of an integer whose address and value are the same local, in a memory other than 0 or
//!   with an offset above 65,535. wasmi has no instruction for a value that is in the accumulator
//!   together with its address, and panics.

use alloc::vec::Vec;
use wasm_encoder::{Encode, Instruction, ValType};
use wasmparser::{BinaryReader, MemArg, Operator};

/// The bytes of the inserted instructions.
pub(super) const RECOMPUTE_BYTES: usize = 3;

/// The maximum number of bytes that are searched for two occurrences of a local. In a longer
/// sequence the search assumes that there are two, so that its time is linear.
const SEARCHED_BYTES: usize = 64;

/// Follows the instructions of a function body.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Whether a comparison may be the last instruction for which wasmi has emitted code.
    is_compared: bool,
    /// The offset of the first instruction after the last one that is certain to have changed the
    /// accumulator.
    since: usize,
    /// Whether the last instruction is certain to have changed the accumulator.
    is_changed: bool,
}

impl Search {
    /// Takes the next instruction, at `offset` of `code`. Returns the type of its last operand if
    /// that must be the result of an instruction.
    pub(super) fn next(&mut self, code: &[u8], offset: usize) -> Option<ValType> {
        let is_compared = self.is_compared;
        self.is_compared = false;
        if core::mem::take(&mut self.is_changed) {
            self.since = offset;
        }
        match code.get(offset)? {
            // Comparisons: `i32.eqz`, `i32.eq`, `i32.ne`.
            0x45..=0x47 => self.is_compared = true,
            // wasmi emits no code for `nop`, `drop`, `local.get` and constants.
            0x01 | 0x1a | 0x20 | 0x41..=0x44 => self.is_compared = is_compared,
            // Both forms of `select`.
            0x1b | 0x1c => return is_compared.then_some(ValType::I32),
            // Calls, and loads of integers.
            0x10 | 0x11 | 0x28 | 0x29 | 0x2c..=0x35 => self.is_changed = true,
            // Stores of integers.
            0x36 | 0x37 | 0x3a..=0x3e => {
                let (ty, memarg) = stored(code.get(offset..)?)?;
                let is_far = memarg.memory != 0 || memarg.offset > u64::from(u16::MAX);
                return (is_far && self.may_repeat_a_local(code, offset)).then_some(ty);
            }
            _ => {}
        }
        None
    }

    /// Returns whether a local may have been pushed twice since the accumulator has changed. The
    /// first one may be the address of the store at `offset`, and the second one its value.
    fn may_repeat_a_local(&self, code: &[u8], offset: usize) -> bool {
        let sequence = code.get(self.since..offset).filter(|sequence| sequence.len() <= SEARCHED_BYTES);
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

/// Writes the instructions that compute the last operand, of type `ty`, again.
pub(super) fn write(ty: ValType, out: &mut Vec<u8>) {
    let [zero, or] = if ty == ValType::I64 {
        [Instruction::I64Const(0), Instruction::I64Or]
    } else {
        [Instruction::I32Const(0), Instruction::I32Or]
    };
    zero.encode(out);
    or.encode(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::MemArg as Place;

    const FAR: Place = Place { offset: 1 << 16, align: 0, memory_index: 0 };
    const NEAR: Place = Place { offset: u16::MAX as u64, align: 0, memory_index: 0 };
    const OTHER: Place = Place { offset: 0, align: 0, memory_index: 1 };

    /// Returns what the search finds at the last of the instructions.
    fn found(instructions: &[Instruction<'_>]) -> Option<ValType> {
        let mut code = Vec::new();
        let mut starts = Vec::new();
        for instruction in instructions {
            starts.push(code.len());
            instruction.encode(&mut code);
        }
        let mut search = Search::default();
        starts.into_iter().fold(None, |_, start| search.next(&code, start))
    }

    #[test]
    fn a_select_after_a_comparison_is_found() {
        let (get, two) = (Instruction::LocalGet(0), Instruction::I32Const(2));
        for compare in [Instruction::I32Eqz, Instruction::I32Eq, Instruction::I32Ne] {
            let sequence = [get.clone(), compare, Instruction::Nop, Instruction::Select];
            assert_eq!(found(&sequence), Some(ValType::I32));
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
                assert_eq!(found(&[first.clone(), get.clone(), store.clone()]), Some(ValType::I64));
                assert_eq!(
                    found(&[first.clone(), between, get.clone(), Instruction::Nop, store.clone()]),
                    Some(ValType::I64)
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
        assert_eq!(found(&sequence), Some(ValType::I32));
        assert_eq!(found(&sequence[20..]), None);
    }
}
