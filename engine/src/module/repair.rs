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
//! - A block with parameters above a local on the operand stack. wasmi keeps a reference to such a
//!   local until the local is written. It must copy all of these locals to slots before control
//!   flow can split. However, it skips as many as the block has parameters, even if the parameters
//!   are not locals. A write of a skipped local inside the block makes the copy on one path only,
//!   and on the other paths the slot contains a stale value. If the local is a reference, the guest
//!   could call any function that the slot contains. Blocks without parameters are not affected.

use alloc::vec::Vec;
use wasm_encoder::ValType;
use wasmparser::{BinaryReader, BlockType, MemArg, Operator};

use super::instruction::Instruction;

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

/// Follows the instructions of a function body, except those for which wasmi emits no code: `nop`,
/// `drop`, `local.get` and constants. Each method takes the next one, and returns what must be
/// inserted before it.
#[derive(Debug)]
pub(super) struct Search {
    /// Whether the last instruction is a comparison.
    is_compared: bool,
    /// The offset of the last instruction that has changed the accumulator, or of the first one.
    changed: usize,
}

impl Search {
    /// Starts before the first instruction, which is at the offset `first` of the body.
    pub(super) fn new(first: usize) -> Self {
        Self { is_compared: false, changed: first }
    }

    /// Takes an instruction that has no other method.
    #[inline]
    pub(super) fn other(&mut self) {
        self.is_compared = false;
    }

    /// Takes an instruction that is certain to change the accumulator: a call or a load of an
    /// integer, at `offset`.
    #[inline]
    pub(super) fn changing(&mut self, offset: usize) {
        self.is_compared = false;
        self.changed = offset;
    }

    /// Takes `i32.eqz`, `i32.eq`, `i32.ne`, or `ref.is_null`, which wasmi translates like
    /// `i32.eqz`.
    #[inline]
    pub(super) fn comparison(&mut self) {
        self.is_compared = true;
    }

    /// Takes either form of `select`.
    pub(super) fn select(&mut self) -> Option<Repair> {
        core::mem::take(&mut self.is_compared).then_some(Repair::Recompute(ValType::I32))
    }

    /// Takes `block`, `loop` or `if`.
    pub(super) fn block(&mut self, ty: BlockType) -> Option<Repair> {
        self.is_compared = false;
        // Only a block whose type is an index can have parameters.
        matches!(ty, BlockType::FuncType(_)).then_some(Repair::CopyLocals)
    }

    /// Takes a store of an integer of type `ty`, at `offset` of the body `code`.
    pub(super) fn store(
        &mut self,
        ty: ValType,
        memarg: MemArg,
        code: &[u8],
        offset: usize,
    ) -> Option<Repair> {
        self.is_compared = false;
        let is_far = memarg.memory != 0 || memarg.offset > u64::from(u16::MAX);
        (is_far && self.may_repeat_a_local(code, offset)).then_some(Repair::Recompute(ty))
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

/// Writes the instructions that `repair` inserts.
pub(super) fn write(repair: Repair, out: &mut Vec<u8>) {
    let inserted = match repair {
        Repair::Recompute(ValType::I64) => [Instruction::I64Const(0), Instruction::I64Or],
        Repair::Recompute(_) => [Instruction::I32Const(0), Instruction::I32Or],
        Repair::CopyLocals => [Instruction::Block(wasm_encoder::BlockType::Empty), Instruction::End],
    };
    inserted.iter().for_each(|instruction| instruction.encode(out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        module::{body::SiteOp, loading::Loading, scan},
    };
    use alloc::{format, string::String};

    const I64: Option<Repair> = Some(Repair::Recompute(ValType::I64));

    /// Returns what is found in a function of these instructions. They start with any operands on
    /// the stack.
    fn found(instructions: &str) -> Option<Repair> {
        let text = format!(
            "(module
                (memory i64 1) (memory i64 1)
                (func $nothing)
                (func (local $c i32) (local $x i64) (local $y i64) (local $r externref) {}
                    unreachable {instructions} unreachable))",
            "(local i64)".repeat(300)
        );
        let wasm = wat::parse_str(text).expect("the text is a module");
        let scan =
            scan::scan(&wasm, &Config::default(), &mut Loading::new(None)).expect("the module is valid");
        let sites = &scan.bodies[1].sites;
        assert!(sites.len() <= 1, "{sites:?}");
        sites.first().map(|site| match site.op {
            SiteOp::Repair(repair) => repair,
            SiteOp::Host(_) | SiteOp::Bulk(_) | SiteOp::Drop(_) | SiteOp::Surcharge(_) => {
                unreachable!("{site:?}")
            }
        })
    }

    #[test]
    fn a_select_after_a_comparison_is_found() {
        let comparisons = [
            "local.get $c i32.eqz",
            "local.get $c local.get $c i32.eq",
            "local.get $c local.get $c i32.ne",
            "local.get $r ref.is_null",
        ];
        for compare in comparisons {
            for select in ["select", "(select (result i64))"] {
                let sequence = format!("local.get $x local.get $y {compare} nop {select}");
                assert_eq!(found(&sequence), Some(Repair::Recompute(ValType::I32)), "{sequence}");
            }
            for other in ["i32.clz", "local.set $c local.get $c", "drop v128.any_true"] {
                assert_eq!(found(&format!("{compare} {other} select")), None, "{other}");
            }
        }
        assert_eq!(found("local.get $c i32.const 2 i32.lt_s select"), None);
    }

    #[test]
    fn a_store_whose_operands_may_be_one_local_is_found() {
        for store in ["i64.store16 offset=0x10000", "i64.store 1"] {
            for first in ["local.get $x", "local.tee $x"] {
                assert_eq!(found(&format!("{first} local.get $x {store}")), I64, "{first} {store}");
                let between = "local.get $y f32.load drop";
                assert_eq!(found(&format!("{first} {between} local.get $x nop {store}")), I64, "{store}");
            }
            for between in ["local.get $y", "local.get $x i64.load32_u", "call $nothing local.get $x"] {
                assert_eq!(found(&format!("local.get $x {between} {store}")), None, "{between} {store}");
            }
        }
        assert_eq!(found("local.get $x local.get $x i64.store offset=0xffff"), None);
        assert_eq!(found("local.get $x local.get $c i32.store8 1"), None);
    }

    #[test]
    fn a_long_sequence_is_taken_to_repeat_a_local() {
        let sequence =
            |locals: u32| -> String { (10..10 + locals).map(|i| format!("local.get {i} ")).collect() };
        assert_eq!(found(&(sequence(40) + "i64.store 1")), I64);
        assert_eq!(found(&(sequence(20) + "i64.store 1")), None);
    }

    #[test]
    fn a_block_whose_type_is_an_index_is_found() {
        for block in ["block", "loop", "if"] {
            assert_eq!(found(&format!("{block} (param i32) (result i32) end")), Some(Repair::CopyLocals));
            for ty in ["i32", "f64", "v128", "funcref", "externref"] {
                assert_eq!(found(&format!("block (result {ty}) unreachable end")), None);
            }
            assert_eq!(found(&format!("{block} end")), None);
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
