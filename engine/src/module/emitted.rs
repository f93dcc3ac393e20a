//! Bounds the bytes that wasmi translates each operator to.
//!
//! wasmi translates most operators to at most one instruction, and copies operands to stack slots
//! where later code expects them there. The bytes in [`emitted`] are those of the largest
//! instruction of wasmi 2.0.0 that the operator can become: a pointer to its handler and its
//! operands, rounded up to the alignment of a pointer. Copies are bounded as follows. An operand is
//! copied once, because it is in its slot then.
//!
//! - Each kind of accumulator has one operand. An operator with a result in an accumulator copies
//!   the operand that is there: [`REGISTER`] bytes, unless the operator takes all operands.
//! - A local on the operand stack is copied to a slot before it is written, and at the start of a
//!   block: [`LOCAL`] bytes. At most all operands on the stack are locals.
//! - Calls copy their operands: [`PARAMETER`] bytes for each. Branches, returns and blocks copy the
//!   operands that they pass on: [`PASSED`] bytes for each. A branch that is not taken leaves
//!   constants as they are, so the next one copies them again.
//! - Other operators copy operands that they need in slots. That is part of their own bytes, except
//!   for a 128-bit constant, whose copy is counted where it is pushed.
//!
//! With indirect dispatch, and on targets of 32 bits, all instructions are smaller.

/// The bytes of a copy from an accumulator to a slot.
pub(super) const REGISTER: u64 = 16;
/// The bytes of a copy from a local to a slot.
pub(super) const LOCAL: u64 = 16;
/// The bytes of a copy of any operand but a 128-bit constant.
pub(super) const PARAMETER: u64 = 24;
/// The bytes of a copy of any operand.
pub(super) const PASSED: u64 = 32;
/// The bytes of the instruction that consumes fuel, at the start of a function, a loop, and both
/// parts of an `if`.
pub(super) const FUEL: u64 = 16;
/// The bytes of a function without an operator, with the return at its end. Its allocation has the
/// alignment of a pointer.
pub(super) const FUNCTION: u64 = 48;
/// The bytes of a branch, and of a branch that compares.
pub(super) const BRANCH: u64 = 16;
pub(super) const COMPARING_BRANCH: u64 = 24;
/// The bytes of a branch table without its targets, with the copy of its index and padding.
pub(super) const TABLE: u64 = 56;
/// The bytes of a target in a branch table.
pub(super) const TARGET: u64 = 8;
/// The bytes of a call, and of a call through a table with the copy of its index.
pub(super) const CALL: u64 = 24;
pub(super) const CALL_INDIRECT: u64 = 32 + 24;
/// The bytes of `return`.
pub(super) const RETURN: u64 = 8;
/// The bytes of a write of a local.
pub(super) const SET: u64 = 24;
/// The bytes of a call of the host in place of an operator, with its operands.
pub(super) const HOST_CALL: u64 = 256;
/// The bytes of a bulk operator, with the copies of its operands.
pub(super) const BULK: u64 = 96;
/// The bytes for each byte of code that the splice adds.
pub(super) const PER_ADDED_BYTE: u64 = 16;

/// The bytes of an operator on vectors. `opcode` follows the prefix; that of an operator with an
/// opcode of two bytes is its first byte.
#[cfg(feature = "simd")]
pub(super) fn of_vector_operator(opcode: u8) -> u64 {
    match opcode {
        // `v128.const`, with the copy of the constant.
        0x0c => PASSED,
        // Loads and stores, some of which load to an accumulator first.
        0x00..=0x0b | 0x54..=0x5d => 64,
        _ => 40,
    }
}

/// Returns the bytes of an operator's instruction, and the number of operands that it takes if its
/// result is in an accumulator: `emitted!(Operator (annotation))`. An annotation of `wasmparser`
/// describes the operands. Operators with 0 bytes either emit nothing, or are counted by `before`.
#[rustfmt::skip] // It is a table.
macro_rules! emitted {
    (Nop $_:tt) => { (0, u32::MAX) };
    (Drop $_:tt) => { (0, u32::MAX) };
    (End $_:tt) => { (0, u32::MAX) };
    (LocalGet $_:tt) => { (0, u32::MAX) };
    (RefNull $_:tt) => { (0, u32::MAX) };
    (Block $_:tt) => { (0, u32::MAX) };
    (Loop $_:tt) => { (0, u32::MAX) };
    (If $_:tt) => { (0, u32::MAX) };
    (Br $_:tt) => { (0, u32::MAX) };
    (BrIf $_:tt) => { (0, u32::MAX) };
    (BrTable $_:tt) => { (0, u32::MAX) };
    (Return $_:tt) => { (0, u32::MAX) };
    (Call $_:tt) => { (0, u32::MAX) };
    (CallIndirect $_:tt) => { (0, u32::MAX) };
    (ReturnCall $_:tt) => { (0, u32::MAX) };
    (ReturnCallIndirect $_:tt) => { (0, u32::MAX) };
    (MemoryGrow $_:tt) => { (0, u32::MAX) };
    (MemoryDiscard $_:tt) => { (0, u32::MAX) };
    (TableGrow $_:tt) => { (0, u32::MAX) };
    (MemoryFill $_:tt) => { (0, u32::MAX) };
    (MemoryCopy $_:tt) => { (0, u32::MAX) };
    (MemoryInit $_:tt) => { (0, u32::MAX) };
    (LocalSet $_:tt) => { (0, u32::MAX) };
    (LocalTee $_:tt) => { (0, u32::MAX) };
    (Unreachable $_:tt) => { (16, u32::MAX) };
    (Else $_:tt) => { ($crate::module::emitted::BRANCH + $crate::module::emitted::FUEL, u32::MAX) };
    (Select $_:tt) => { (32, 3) };
    (TypedSelect $_:tt) => { (32, 3) };
    (GlobalGet $_:tt) => { (16, 0) };
    (GlobalSet $_:tt) => { (24, u32::MAX) };
    (MemorySize $_:tt) => { (16, 0) };
    (TableSize $_:tt) => { (16, 0) };
    (RefFunc $_:tt) => { (16, 0) };
    (RefIsNull $_:tt) => { (16, 1) };
    // Constants.
    ($_:ident (push $($__:tt)*)) => { (0, u32::MAX) };
    ($_:ident (load $($__:tt)*)) => { (24, 1) };
    ($_:ident (store $($__:tt)*)) => { (32, u32::MAX) };
    // These have an immediate operand of 32 bits at most.
    ($_:ident (unary $($__:tt)*)) => { (16, 1) };
    ($_:ident (conversion $($__:tt)*)) => { (16, 1) };
    ($_:ident (test i32)) => { (16, 1) };
    ($_:ident (cmp i32)) => { (16, 2) };
    ($_:ident (cmp f32)) => { (16, 2) };
    ($_:ident (binary i32)) => { (16, 2) };
    ($_:ident (binary f32)) => { (16, 2) };
    // These have one of 64 bits.
    ($_:ident (test $($__:tt)*)) => { (24, 1) };
    ($_:ident (cmp $($__:tt)*)) => { (24, 2) };
    ($_:ident (binary $($__:tt)*)) => { (24, 2) };
    // All others: four operands that may be copied to slots, and the largest instruction.
    ($_:ident $__:tt) => { (128, 0) };
}

pub(super) use emitted;
