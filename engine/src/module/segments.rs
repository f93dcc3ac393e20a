//! Turns active segments into passive ones and an instruction sequence that applies them.
//!
//! The specification defines instantiation in this way: `memory.init` and `table.init` for each
//! active segment, in a frame of the new instance (Wasm core specification, "Instantiation"). wasmi
//! applies active segments before the instance exists. If a later segment does not fit, functions
//! of an instance that was never completed stay in an imported table, and calling one panics. Here
//! the sequence is in a function of the module, which the engine calls before any other, so the
//! instance is complete even if a segment does not fit.

use alloc::vec::Vec;
use core::ops::Range;
use wasm_encoder::{DataSection, ElementSection, Encode, Function, Instruction, SectionId, ValType};
use wasmparser::{
    BinaryReader, ConstExpr, DataKind, DataSectionReader, ElementItems, ElementKind, ElementSectionReader,
};

use super::{image::Imaged, scan::Scan};

/// Flags of a passive element segment with function indices (Wasm core specification, "Element
/// Section").
const PASSIVE_INDICES: u8 = 1;
/// Flags of a passive element segment with expressions.
const PASSIVE_EXPRESSIONS: u8 = 5;
/// The element kind of function references.
const FUNCTIONS: u8 = 0;

/// The segments of a module, all of them passive.
pub(super) struct Segments {
    pub(super) elements: ElementSection,
    pub(super) data: DataSection,
    /// The function that applies the segments that were active, if there are any.
    pub(super) initializer: Option<Function>,
}

impl Segments {
    /// Converts the segments of `scan`. Those in `imaged` become empty, so that the indices of the
    /// others stay.
    pub(super) fn of(scan: &Scan<'_>, imaged: &Imaged<'_>) -> Self {
        let mut init = Function::new([]);
        let empty = init.byte_len();
        let elements = elements(scan.contents(SectionId::Element), &mut init);
        let data = data(scan.contents(SectionId::Data), imaged, &mut init);
        let initializer = (init.byte_len() > empty).then(|| {
            init.instruction(&Instruction::End);
            init
        });
        Self { elements, data, initializer }
    }
}

fn elements(contents: Option<&[u8]>, init: &mut Function) -> ElementSection {
    let mut section = ElementSection::new();
    let Some(contents) = contents else { return section };
    let reader = ElementSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED);
    for element in reader {
        let element = element.expect(VALIDATED);
        let elem_index = section.len();
        if let ElementKind::Active { table_index, offset_expr } = &element.kind {
            let items = match &element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            push_offset_and_len(init, offset_expr, items);
            init.instruction(&Instruction::TableInit { elem_index, table: table_index.unwrap_or(0) });
            init.instruction(&Instruction::ElemDrop(elem_index));
            section.raw(&passive(&element.items, contents));
        } else {
            section.raw(slice(contents, element.range));
        }
    }
    section
}

/// Encodes a passive segment with the same items.
fn passive(items: &ElementItems<'_>, contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let range = match items {
        ElementItems::Functions(items) => {
            bytes.extend([PASSIVE_INDICES, FUNCTIONS]);
            items.range()
        }
        ElementItems::Expressions(ty, items) => {
            bytes.push(PASSIVE_EXPRESSIONS);
            let ty = if ty.is_extern_ref() { ValType::EXTERNREF } else { ValType::FUNCREF };
            ty.encode(&mut bytes);
            items.range()
        }
    };
    bytes.extend_from_slice(slice(contents, range));
    bytes
}

fn data(contents: Option<&[u8]>, imaged: &Imaged<'_>, init: &mut Function) -> DataSection {
    let mut section = DataSection::new();
    let Some(contents) = contents else { return section };
    for data in DataSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED) {
        let data = data.expect(VALIDATED);
        let data_index = section.len();
        if let DataKind::Active { memory_index, offset_expr } = &data.kind {
            if imaged.contains(data_index) {
                // An active segment is dropped after it was applied, which leaves it empty.
                section.passive([]);
                continue;
            }
            let len = u32::try_from(data.data.len()).expect("the format counts a segment's bytes in 32 bits");
            push_offset_and_len(init, offset_expr, len);
            init.instruction(&Instruction::MemoryInit { mem: *memory_index, data_index });
            init.instruction(&Instruction::DataDrop(data_index));
        }
        section.passive(data.data.iter().copied());
    }
    section
}

/// Pushes the operands of an `init` instruction: the destination, the source offset 0 and the
/// length.
fn push_offset_and_len(init: &mut Function, offset: &ConstExpr<'_>, len: u32) {
    let mut reader = offset.get_binary_reader();
    let bytes = reader.read_bytes(reader.bytes_remaining()).expect("these are the bytes that remain");
    // The expression without its `end`.
    init.raw(bytes.split_last().map_or(&[][..], |(_, rest)| rest).iter().copied());
    init.instruction(&Instruction::I32Const(0)).instruction(&Instruction::I32Const(len.cast_signed()));
}

fn slice(contents: &[u8], range: Range<usize>) -> &[u8] {
    contents.get(range).expect("the ranges of a reader lie in the bytes that it reads")
}

const VALIDATED: &str = "the section has been validated";
