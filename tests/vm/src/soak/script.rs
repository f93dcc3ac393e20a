//! A random script, as a module and as its result.
//!
//! A script works on words at the starts of 4 KiB pages, so its result can be computed with one
//! number for each page.

use alloc::vec;
use alloc::vec::Vec;

use crate::encode::{DROP, END, Encoder, FUNC, I32, VOID, counted, number, signed, vector};
use crate::random::Random;

const I64: u8 = 0x7e;

/// Pages of 4 KiB in a Wasm page.
const PAGES_OF_WASM_PAGE: u32 = 16;

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// It returns the sum of what it read.
    Returns,
    /// It traps.
    Traps,
    /// It loops without an access to its memory.
    Loops,
    /// It recurses until the stack is used up.
    Recurses,
    /// It writes to pages until its frames are used up.
    Devours,
}

/// An operation on pages.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// Adds the word of a page to the sum.
    Add {
        page: u32,
    },
    Store {
        page: u32,
        word: u32,
    },
    Fill {
        page: u32,
        count: u32,
        byte: u8,
    },
    Copy {
        to: u32,
        from: u32,
        count: u32,
    },
    /// Clears Wasm pages through the engine's import.
    Clear {
        wasm_page: u32,
        count: u32,
    },
    /// The same in bytes.
    Discard {
        wasm_page: u32,
        count: u32,
    },
    /// Grows the memory by Wasm pages that are not used.
    Grow {
        wasm_pages: u32,
    },
}

/// A random program.
#[derive(Clone, Debug)]
pub(super) struct Script {
    wasm_pages: u32,
    ops: Vec<Op>,
    repeats: u32,
    /// A page whose word is in a data segment.
    initial: (u32, u64),
    pub(super) finish: Finish,
}

impl Script {
    pub(super) fn random(random: &mut Random) -> Self {
        let most = 1 << random.below(6);
        let wasm_pages = 1 + random.below(most);
        let pages = wasm_pages * PAGES_OF_WASM_PAGE;
        let count = 1 + random.below(40);
        let finish = match random.below(16) {
            0 => Finish::Traps,
            1..4 => Finish::Loops,
            4 => Finish::Recurses,
            5 => Finish::Devours,
            _ => Finish::Returns,
        };
        Self {
            wasm_pages,
            ops: (0..count).map(|_| Op::random(random, pages)).collect(),
            // A memory that devours frames must not grow before.
            repeats: if finish == Finish::Devours { 1 } else { 1 + random.below(20) },
            initial: (random.below(pages), random.next()),
            finish,
        }
    }

    /// The size of its memory at the start, in pages of 4 KiB.
    pub(super) fn pages(&self) -> u32 {
        self.wasm_pages * PAGES_OF_WASM_PAGE
    }

    /// Returns the word of each page, and the sum, after all operations.
    pub(super) fn outcome(&self) -> (Vec<u64>, u64) {
        let mut pages = vec![0; self.pages() as usize];
        pages[self.initial.0 as usize] = self.initial.1;
        let (mut sum, mut size) = (0, u64::from(self.wasm_pages));
        for _ in 0..self.repeats {
            self.ops.iter().for_each(|op| op.apply(&mut pages, &mut sum, &mut size));
        }
        (pages, sum)
    }

    /// Encodes the script as a module that exports `run`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let types = vec![
            [&[FUNC, 0][..], &counted(&[I64])].concat(),
            [&[FUNC][..], &counted(&[I32, I32]), &counted(&[I32])].concat(),
            vec![FUNC, 0, 0],
        ];
        let import = |module: &str, name: &str, ty| {
            [&counted(module.as_bytes())[..], &counted(name.as_bytes()), &[0, ty]].concat()
        };
        let imports = [
            import("palimpsest", "clear_pages", 1),
            import("palimpsest", "discard", 1),
            import("host", "settled", 2),
        ];
        let memory = [&[1, 1][..], &number(self.wasm_pages), &number(MOST_WASM_PAGES)].concat();
        let (page, word) = self.initial;
        let segment = [&[0, 0x41][..], &signed(page << 12), &[END], &counted(&word.to_le_bytes())].concat();
        let module = Encoder::new().types(&types).section(2, &vector(imports.iter())).functions(&[0, 2]);
        let module = module.section(5, &memory);
        // The exports `run` and `memory`.
        let exports =
            [[&counted(b"run")[..], &[0, RUN]].concat(), [&counted(b"memory")[..], &[2, 0]].concat()];
        let module = module.section(7, &vector(exports.iter()));
        let recurse = vec![0, 0x10, RECURSE, END];
        module.code(&[self.body(), recurse]).section(11, &vector([segment].iter())).finish()
    }

    /// The function `run`, with its locals: the sum, and a counter.
    fn body(&self) -> Vec<u8> {
        let mut code = vec![2, 1, I64, 1, I32];
        // (loop <operations>
        //   (br_if 0 (i32.lt_u (local.tee 1 (i32.add (local.get 1) 1)) <repeats>)))
        code.extend([0x03, VOID]);
        self.ops.iter().for_each(|op| op.encode(&mut code));
        code.extend([0x20, 1, 0x41, 1, 0x6a, 0x22, 1, 0x41]);
        code.extend(signed(self.repeats));
        code.extend([0x49, 0x0d, 0, END]);
        match self.finish {
            Finish::Returns => {}
            Finish::Traps => code.push(0x00),
            Finish::Loops => code.extend([0x10, SETTLED, 0x03, VOID, 0x0c, 0, END]),
            Finish::Recurses => code.extend([0x10, RECURSE]),
            Finish::Devours => {
                // (drop (memory.grow <rest>)), and then a word into each page, again and again.
                code.push(0x41);
                code.extend(signed(DEVOURED_BYTES >> 16));
                code.extend([0x40, 0, DROP, 0x03, VOID, 0x20, 1, 0x41, 1, 0x36, 2, 0]);
                code.extend([0x20, 1, 0x41]);
                code.extend(signed(4096));
                code.extend([0x6a, 0x41]);
                code.extend(signed(DEVOURED_BYTES - 1));
                code.extend([0x71, 0x21, 1, 0x0c, 0, END]);
            }
        }
        code.extend([0x20, 0, END]);
        code
    }
}

/// The indices of the imported functions, and of the two after them.
const CLEAR: u8 = 0;
const DISCARD: u8 = 1;
const SETTLED: u8 = 2;
const RUN: u8 = 3;
const RECURSE: u8 = 4;

/// The maximum of a script's memory, in Wasm pages. A script starts with up to 32, and has up to 40
/// operations that add one, up to 20 times.
const MOST_WASM_PAGES: u32 = 1024;

/// Where a script that devours frames begins anew: a power of two.
const DEVOURED_BYTES: u32 = 1 << 25;

/// The most pages that one operation fills or copies.
const MOST_MOVED_PAGES: u32 = 64;

impl Op {
    fn random(random: &mut Random, pages: u32) -> Self {
        let page = random.below(pages);
        let count = (random.below(pages - page) + 1).min(MOST_MOVED_PAGES);
        match random.below(12) {
            0..4 => Self::Add { page },
            4..7 => Self::Store { page, word: random.below(u32::MAX) },
            7 => Self::Fill { page, count, byte: random.below(4).to_le_bytes()[0] },
            8 => {
                let to = random.below(pages);
                Self::Copy { to, from: page, count: count.min(pages - to) }
            }
            9 | 10 => {
                let wasm_page = page / PAGES_OF_WASM_PAGE;
                let count = random.below(pages / PAGES_OF_WASM_PAGE - wasm_page) + 1;
                if random.one_in(2) {
                    Self::Clear { wasm_page, count }
                } else {
                    Self::Discard { wasm_page, count }
                }
            }
            _ => Self::Grow { wasm_pages: random.below(2) },
        }
    }

    fn apply(self, pages: &mut [u64], sum: &mut u64, size: &mut u64) {
        let range = |page: u32, count: u32| page as usize..(page + count) as usize;
        match self {
            Self::Add { page } => *sum = sum.wrapping_add(pages[page as usize]),
            Self::Store { page, word } => pages[page as usize] = u64::from(word),
            Self::Fill { page, count, byte } => pages[range(page, count)].fill(u64::from_le_bytes([byte; 8])),
            Self::Copy { to, from, count } => pages.copy_within(range(from, count), to as usize),
            Self::Clear { wasm_page, count } | Self::Discard { wasm_page, count } => {
                let pages_of = |wasm_pages| wasm_pages * PAGES_OF_WASM_PAGE;
                pages[range(pages_of(wasm_page), pages_of(count))].fill(0);
            }
            Self::Grow { wasm_pages } => {
                *sum = sum.wrapping_add(*size);
                *size += u64::from(wasm_pages);
            }
        }
    }

    fn encode(self, code: &mut Vec<u8>) {
        let mut constants = |values: &[u32]| {
            values.iter().for_each(|value| {
                code.push(0x41);
                code.extend(signed_word(*value));
            });
        };
        match self {
            Self::Add { page } => {
                code.extend([0x20, 0]);
                code.push(0x41);
                code.extend(signed_word(page << 12));
                // (local.set 0 (i64.add (local.get 0) (i64.load <page>)))
                code.extend([0x29, 3, 0, 0x7c, 0x21, 0]);
            }
            Self::Store { page, word } => {
                constants(&[page << 12, word]);
                // (i64.store <page> (i64.extend_i32_u <word>))
                code.extend([0xad, 0x37, 3, 0]);
            }
            Self::Fill { page, count, byte } => {
                constants(&[page << 12, u32::from(byte), count << 12]);
                code.extend([0xfc, 0x0b, 0]);
            }
            Self::Copy { to, from, count } => {
                constants(&[to << 12, from << 12, count << 12]);
                code.extend([0xfc, 0x0a, 0, 0]);
            }
            Self::Clear { wasm_page, count } => {
                constants(&[wasm_page, count]);
                code.extend([0x10, CLEAR, DROP]);
            }
            Self::Discard { wasm_page, count } => {
                constants(&[wasm_page << 16, count << 16]);
                code.extend([0x10, DISCARD, DROP]);
            }
            Self::Grow { wasm_pages } => {
                code.extend([0x20, 0, 0x41]);
                code.extend(signed_word(wasm_pages));
                // (local.set 0
                //   (i64.add (local.get 0) (i64.extend_i32_u (memory.grow <wasm_pages>))))
                code.extend([0x40, 0, 0xad, 0x7c, 0x21, 0]);
            }
        }
    }
}

/// The bytes of the signed number with the bits of `value`, in LEB128.
fn signed_word(value: u32) -> Vec<u8> {
    let (mut rest, mut bytes) = (value.cast_signed(), Vec::new());
    loop {
        let byte = rest.to_le_bytes()[0] & 0x7f;
        rest >>= 7;
        let is_last = (rest == 0 && byte & 0x40 == 0) || (rest == -1 && byte & 0x40 != 0);
        if is_last {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}
