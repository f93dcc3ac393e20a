//! Steps over a load or store that the memory protection unit has stopped.
//!
//! A store is left out, and a load gets zeros. The interpreter accesses a guest's memory byte by
//! byte from the compiler's view, so these are loads and stores of the core's registers, which may
//! be unaligned, and `memcpy` and its like add those of several registers. Encodings are those of
//! the ARMv7-M Architecture Reference Manual, chapters A5 and A7.

/// The registers of the interrupted code, as the exception and the entry of the handler have saved
/// them.
pub(super) struct Registers<'a> {
    /// r0 to r3, r12, lr, the address of the instruction, and xPSR.
    pub(super) frame: &'a mut [u32; 8],
    /// r3, which `frame` has as well, r4 to r11, and the handler's own return address.
    pub(super) pushed: &'a mut [u32; 10],
}

const PC: usize = 6;
const XPSR: usize = 7;

impl Registers<'_> {
    /// Returns the address of the instruction.
    pub(super) fn pc(&self) -> u32 {
        self.frame[PC]
    }

    /// Returns the place of a register, unless it is the stack pointer or the program counter.
    fn register(&mut self, number: usize) -> Option<&mut u32> {
        match number {
            0..=3 => Some(&mut self.frame[number]),
            4..=11 => Some(&mut self.pushed[number - 3]),
            12 => Some(&mut self.frame[4]),
            14 => Some(&mut self.frame[5]),
            _ => None,
        }
    }

    /// Steps over the instruction. Returns whether it could; if not, nothing has changed.
    #[must_use]
    pub(super) fn step_over(&mut self) -> bool {
        let [first, second] = [0, 2].map(|offset| {
            // SAFETY: the CPU has fetched the instruction there, or its first half. After the first
            //         half there is more code, because no function ends with a load or store.
            unsafe { ((self.pc() + offset) as *const u16).read() }
        });
        let Some(access) = Access::decode(first, second) else {
            return false;
        };
        let loaded = (0..16).filter(|register| access.loads >> register & 1 == 1);
        if loaded.clone().any(|register| self.register(register).is_none()) {
            return false;
        }
        if let Some((base, bytes)) = access.writeback {
            let Some(base) = self.register(base) else {
                return false;
            };
            *base = base.wrapping_add_signed(bytes);
        }
        for register in loaded {
            if let Some(register) = self.register(register) {
                *register = 0;
            }
        }
        self.frame[PC] += access.len;
        self.frame[XPSR] = after_instruction(self.frame[XPSR]);
        true
    }
}

/// What a load or store does to the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Access {
    /// The registers that it loads, a bit for each.
    loads: u16,
    /// The base register that it changes, and by how many bytes.
    writeback: Option<(usize, i32)>,
    /// The length of the instruction, in bytes.
    len: u32,
}

impl Access {
    /// Decodes the instruction of these halfwords. Returns `None` if it is not a load or store of
    /// the kinds above.
    fn decode(first: u16, second: u16) -> Option<Self> {
        if first >> 11 >= 0b11101 { Self::decode_wide(first, second) } else { Self::decode_narrow(first) }
    }

    fn decode_narrow(first: u16) -> Option<Self> {
        let register = 1 << (first & 7);
        let is_load = match first >> 12 {
            // An offset in a register: three stores, then five loads.
            0b0101 => (first >> 9 & 7) >= 3,
            // An immediate offset.
            0b0110..=0b1000 => first & 1 << 11 != 0,
            0b1100 => return Some(Self { len: 2, ..Self::decode_narrow_multiple(first) }),
            _ => return None,
        };
        Some(Self { loads: if is_load { register } else { 0 }, writeback: None, len: 2 })
    }

    fn decode_narrow_multiple(first: u16) -> Self {
        let (base, list) = (usize::from(first >> 8 & 7), first & 0xff);
        let is_load = first & 1 << 11 != 0;
        let keeps_base = is_load && list >> base & 1 == 1;
        let bytes = 4 * list.count_ones().cast_signed();
        Self {
            loads: if is_load { list } else { 0 },
            writeback: (!keeps_base).then_some((base, bytes)),
            len: 2,
        }
    }

    fn decode_wide(first: u16, second: u16) -> Option<Self> {
        let base = usize::from(first & 15);
        let is_load = first & 1 << 4 != 0;
        let changes_base = first & 1 << 5 != 0;
        let immediate = u32::from(second & 0xff);
        let [target, other] = [12, 8].map(|shift| 1_u16 << (second >> shift & 15));
        let (registers, writeback) = match first & 0xfe40 {
            // One register. Bit 6 of the first halfword is a part of the size.
            0xf800 | 0xf840 => {
                let has_long_offset = first & 1 << 7 != 0;
                let has_short_offset = !has_long_offset && second & 1 << 11 != 0;
                let has_register = !has_long_offset && second & 0xfc0 == 0;
                if !(has_long_offset || has_short_offset || has_register) {
                    return None;
                }
                let bytes = signed(immediate, second & 1 << 9 != 0);
                (target, (has_short_offset && second & 1 << 8 != 0).then_some((base, bytes)))
            }
            // Two registers. Exclusive accesses and table branches have neither bit 8 nor bit 5.
            0xe840 if first & (1 << 8 | 1 << 5) != 0 => {
                let bytes = signed(4 * immediate, first & 1 << 7 != 0);
                (target | other, changes_base.then_some((base, bytes)))
            }
            // Several registers, upward or downward.
            0xe800 if (first >> 7 & 3 == 1) || (first >> 7 & 3 == 2) => {
                let bytes = signed(4 * second.count_ones(), first & 1 << 7 != 0);
                (second, changes_base.then_some((base, bytes)))
            }
            _ => return None,
        };
        Some(Self { loads: if is_load { registers } else { 0 }, writeback, len: 4 })
    }
}

fn signed(bytes: u32, is_positive: bool) -> i32 {
    if is_positive { bytes.cast_signed() } else { -bytes.cast_signed() }
}

/// Returns xPSR after an instruction, which may be one of those that an `IT` makes conditional. The
/// bits count what is left of them, or registers of an interrupted load of several (B1.4.2).
fn after_instruction(xpsr: u32) -> u32 {
    const BITS: u32 = 3 << 25 | 0x3f << 10;
    let state = (xpsr >> 25 & 3) | (xpsr >> 10 & 0x3f) << 2;
    let next = if state & 7 == 0 { 0 } else { (state & 0xe0) | (state << 1 & 0x1f) };
    (xpsr & !BITS) | (next & 3) << 25 | (next >> 2) << 10
}
