//! The price of instructions that move many values.
//!
//! wasmi charges one unit of fuel for most instructions, for any number of operands. But a call
//! zeroes the locals of its callee, of which there can be 10,000, a return copies up to 1,000
//! results, and a branch or a block as many operands. So a metered guest pays for these in
//! addition. The splice inserts `nop`s, which wasmi translates to nothing, and whose price it adds
//! to that of the block that contains them. A call is charged at the start of its callee, and a
//! branch even if it is not taken.
//!
//! The numbers are known when the module is loaded, and so are the prices. Functions with few
//! locals and instructions that move few operands are not changed.

use alloc::vec::Vec;

use crate::config::NOP_FUEL;

/// The operands that an instruction moves for its own unit of fuel, and then for each unit of a
/// `nop`. Copying one takes about as long as an instruction of the guest.
const OPERANDS_PER_NOP: u64 = NOP_FUEL as u64;

/// The locals that a call zeroes for its own unit of fuel, and then for each `nop`. Zeroing one
/// takes one instruction of the CPU, and a unit of fuel about eight.
const LOCALS_PER_NOP: u64 = 8 * NOP_FUEL as u64;

/// The encoded `nop`.
const NOP: u8 = 0x01;

/// `nop`s that are inserted before an instruction, or at the start of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Surcharge {
    nops: u16,
}

impl Surcharge {
    /// Returns the surcharge for moving `operands` operands, if there is one.
    pub(super) fn of_operands(operands: u64) -> Option<Self> {
        Self::of(operands.saturating_sub(1) / OPERANDS_PER_NOP)
    }

    /// Returns the surcharge of a function for zeroing `locals` locals, which parameters are not,
    /// and for copying its results.
    pub(super) fn of_function(locals: u64, results: u64) -> Option<Self> {
        Self::of(locals / LOCALS_PER_NOP + results.saturating_sub(1) / OPERANDS_PER_NOP)
    }

    fn of(nops: u64) -> Option<Self> {
        // A type has 1,000 results at most, and a function 10,000 locals.
        let nops = u16::try_from(nops).unwrap_or(u16::MAX);
        (nops > 0).then_some(Self { nops })
    }

    /// Returns the number of bytes that are inserted.
    pub(super) fn bytes(self) -> usize {
        self.nops.into()
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.resize(out.len() + self.bytes(), NOP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_values_cost_more() {
        let nops = |surcharge: Option<Surcharge>| surcharge.map_or(0, Surcharge::bytes);
        assert_eq!(
            [0, 1, 16, 17, 32, 1_000].map(|count| nops(Surcharge::of_operands(count))),
            [0, 0, 0, 1, 1, 62]
        );
        assert_eq!([0, 127, 128, 10_000].map(|count| nops(Surcharge::of_function(count, 0))), [0, 0, 1, 78]);
        assert_eq!(nops(Surcharge::of_function(10_000, 1_000)), 78 + 62);
    }
}
