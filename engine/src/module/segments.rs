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
use wasm_encoder::{BlockType, Encode, Function, SectionId, ValType};
use wasmparser::{
    BinaryReader, ConstExpr, DataKind, DataSectionReader, ElementItems, ElementKind, ElementSectionReader,
};

use super::{
    image::Imaged,
    instruction::Instruction,
    recorded::Segment,
    recording::{self, Recording},
    scan::Scan,
};

/// Flags of a passive element segment with function indices (Wasm core specification, "Element
/// Section").
const PASSIVE_INDICES: u8 = 1;
/// Flags of a segment that only declares functions.
const DECLARED_INDICES: u8 = 3;
/// Flags of a passive element segment with expressions.
const PASSIVE_EXPRESSIONS: u8 = 5;
/// Flags of a passive data segment (Wasm core specification, "Data Section").
const PASSIVE_DATA: u8 = 1;
/// The element kind of function references.
const FUNCTIONS: u8 = 0;

/// What becomes of the segments of a module, all of which become passive. Their bytes are copied
/// once, when [`write_elements`] and [`write_data`] write them.
pub(super) struct Segments {
    /// The number of data segments that wasmi gets.
    pub(super) data: u32,
    /// The function that applies the segments that were active, if there are any.
    pub(super) initializer: Option<Function>,
}

impl Segments {
    /// Plans for the segments of `scan`. Those in `imaged` are not applied.
    pub(super) fn of(scan: &Scan<'_>, imaged: &Imaged<'_>) -> Self {
        let mut init = Function::new([]);
        let empty = init.byte_len();
        apply_elements(scan.contents(SectionId::Element), &mut init);
        let data = apply_data(scan.contents(SectionId::Data), imaged, &mut init);
        let initializer = (init.byte_len() > empty).then(|| {
            Instruction::End.append_to(&mut init);
            init
        });
        Self { data, initializer }
    }
}

/// Returns the function that prepares the segments of a fork, if there is something to do.
///
/// The memories of a fork have the bytes of the snapshot, so its active data segments are dropped
/// and not applied. Its tables get recorded elements, or they get what they had at the start.
pub(super) fn restorer(scan: &Scan<'_>, imaged: &Imaged<'_>, recording: &Recording) -> Option<Function> {
    let mut restorer = Function::new([]);
    let empty = restorer.byte_len();
    if recording.recorded.has_tables {
        for segment in recording::active_elements(scan) {
            Instruction::ElemDrop(segment).append_to(&mut restorer);
        }
    } else {
        apply_elements(scan.contents(SectionId::Element), &mut restorer);
    }
    drop_data(scan.contents(SectionId::Data), imaged, &mut restorer);
    for (segment, flag) in &recording.flags {
        Instruction::GlobalGet(*flag).append_to(&mut restorer);
        Instruction::If(BlockType::Empty).append_to(&mut restorer);
        match *segment {
            Segment::Data(index) => Instruction::DataDrop(index).append_to(&mut restorer),
            Segment::Elements(index) => Instruction::ElemDrop(index).append_to(&mut restorer),
        }
        Instruction::End.append_to(&mut restorer);
    }
    (restorer.byte_len() > empty).then(|| {
        Instruction::End.append_to(&mut restorer);
        restorer
    })
}

/// Adds the instructions that drop the active data segments which are not in `imaged`.
fn drop_data(contents: Option<&[u8]>, imaged: &Imaged<'_>, restorer: &mut Function) {
    let Some(contents) = contents else { return };
    let reader = DataSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED);
    for (index, data) in (0..).zip(reader) {
        let is_active = matches!(data.expect(VALIDATED).kind, DataKind::Active { .. });
        if is_active && !imaged.contains(index) {
            Instruction::DataDrop(index - imaged.omitted()).append_to(restorer);
        }
    }
}

/// Writes the contents of an element section, with passive segments in place of active ones, and
/// with one that declares `functions` if there are any.
pub(super) fn write_elements(contents: Option<&[u8]>, functions: &[u32], out: &mut Vec<u8>) {
    const EMPTY: &[u8] = &[0];
    let contents = contents.unwrap_or(EMPTY);
    let reader = ElementSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED);
    (reader.count() + u32::from(!functions.is_empty())).encode(out);
    write_segments(reader, contents, out);
    if !functions.is_empty() {
        out.extend([DECLARED_INDICES, FUNCTIONS]);
        functions.encode(out);
    }
}

/// Writes the segments of `reader`, which reads `contents`, with passive ones in place of active
/// ones.
fn write_segments(reader: ElementSectionReader<'_>, contents: &[u8], out: &mut Vec<u8>) {
    for element in reader {
        let element = element.expect(VALIDATED);
        match element.kind {
            ElementKind::Active { .. } => write_passive(&element.items, contents, out),
            ElementKind::Passive | ElementKind::Declared => {
                out.extend_from_slice(slice(contents, element.range));
            }
        }
    }
}

/// Writes a passive segment with the same items.
fn write_passive(items: &ElementItems<'_>, contents: &[u8], out: &mut Vec<u8>) {
    let range = match items {
        ElementItems::Functions(items) => {
            out.extend([PASSIVE_INDICES, FUNCTIONS]);
            items.range()
        }
        ElementItems::Expressions(ty, items) => {
            out.push(PASSIVE_EXPRESSIONS);
            let ty = if ty.is_extern_ref() { ValType::EXTERNREF } else { ValType::FUNCREF };
            ty.encode(out);
            items.range()
        }
    };
    out.extend_from_slice(slice(contents, range));
}

/// Writes the contents of a data section, with passive segments in place of active ones. If the
/// guest's code names segments, those in `imaged` become empty, so that the indices of the others
/// stay. If not, they are left out, because each takes heap in every instance.
pub(super) fn write_data(contents: &[u8], imaged: &Imaged<'_>, out: &mut Vec<u8>) {
    let reader = DataSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED);
    (reader.count() - imaged.omitted()).encode(out);
    for (index, data) in (0..).zip(reader).skip(imaged.omitted() as usize) {
        let data = data.expect(VALIDATED);
        let is_active = matches!(data.kind, DataKind::Active { .. });
        // An active segment is dropped after it was applied, which leaves it empty.
        let bytes = if is_active && imaged.contains(index) { &[] } else { data.data };
        out.push(PASSIVE_DATA);
        bytes.encode(out);
    }
}

/// Adds the instructions that apply the active element segments.
fn apply_elements(contents: Option<&[u8]>, init: &mut Function) {
    let Some(contents) = contents else { return };
    let reader = ElementSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED);
    for (elem_index, element) in (0..).zip(reader) {
        let element = element.expect(VALIDATED);
        if let ElementKind::Active { table_index, offset_expr } = &element.kind {
            let items = match &element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            push_offset_and_len(init, offset_expr, items);
            Instruction::TableInit { elem_index, table: table_index.unwrap_or(0) }.append_to(init);
            Instruction::ElemDrop(elem_index).append_to(init);
        }
    }
}

/// Adds the instructions that apply the active data segments which are not in `imaged`. Returns the
/// number of segments that wasmi gets.
fn apply_data(contents: Option<&[u8]>, imaged: &Imaged<'_>, init: &mut Function) -> u32 {
    let Some(contents) = contents else { return 0 };
    let reader = DataSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED);
    let count = reader.count() - imaged.omitted();
    for (index, data) in (0..).zip(reader) {
        let data = data.expect(VALIDATED);
        if let DataKind::Active { memory_index, offset_expr } = &data.kind
            && !imaged.contains(index)
        {
            let data_index = index - imaged.omitted();
            let len = u32::try_from(data.data.len()).expect("the format counts a segment's bytes in 32 bits");
            push_offset_and_len(init, offset_expr, len);
            Instruction::MemoryInit { mem: *memory_index, data_index }.append_to(init);
            Instruction::DataDrop(data_index).append_to(init);
        }
    }
    count
}

/// Pushes the operands of an `init` instruction: the destination, the source offset 0 and the
/// length.
fn push_offset_and_len(init: &mut Function, offset: &ConstExpr<'_>, len: u32) {
    let mut reader = offset.get_binary_reader();
    let bytes = reader.read_bytes(reader.bytes_remaining()).expect("these are the bytes that remain");
    // The expression without its `end`.
    init.raw(bytes.split_last().map_or(&[][..], |(_, rest)| rest).iter().copied());
    Instruction::I32Const(0).append_to(init);
    Instruction::I32Const(len.cast_signed()).append_to(init);
}

fn slice(contents: &[u8], range: Range<usize>) -> &[u8] {
    contents.get(range).expect("the ranges of a reader lie in the bytes that it reads")
}

const VALIDATED: &str = "the section has been validated";
