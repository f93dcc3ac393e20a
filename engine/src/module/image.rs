//! Selects the active data segments that go into images, so that no instance has to write them.
//!
//! A segment at a constant offset of a memory that the module defines leaves the same bytes in
//! every instance. Such segments together are the image of the memory, which is made once for a
//! module.
//!
//! Segments are applied in order, and one that does not fit ends the instantiation. Therefore only
//! the segments before the first one of another kind go into images.

use alloc::{collections::BTreeSet, vec::Vec};
use wasm_encoder::SectionId;
use wasmparser::{
    BinaryReader, ConstExpr, DataKind, DataSectionReader, ElementKind, ElementSectionReader, Operator,
};

use super::scan::Scan;
use crate::{backing::ImagePart, units::FRAME_BYTES};

/// The images of a module may have this many frames, plus four times the frames that their bytes
/// would fill.
///
/// The bound is needed because no store is charged for these frames. Segments of a few bytes each,
/// a page apart, would otherwise take one frame each.
const MIN_IMAGE_FRAMES: u64 = 16;

/// The active segments of a module that are in images.
#[derive(Debug, Default)]
pub(super) struct Imaged<'a> {
    /// The memory index and the bytes of each segment, in order.
    parts: Vec<(usize, ImagePart<'a>)>,
    /// The index of the first segment that is not in an image.
    end: u32,
}

impl<'a> Imaged<'a> {
    /// Selects the segments of `scan` that can be in images.
    pub(super) fn of(scan: &Scan<'a>) -> Self {
        let mut imaged = Self::default();
        let Some(contents) = scan.contents(SectionId::Data) else { return imaged };
        if writes_imported_tables(scan) {
            return imaged;
        }
        for data in DataSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED) {
            let data = data.expect(VALIDATED);
            if let DataKind::Active { memory_index, offset_expr } = &data.kind {
                let memory = *memory_index as usize;
                let Some(part) = part(scan, memory, offset_expr, data.data) else { break };
                imaged.parts.push((memory, part));
            }
            imaged.end += 1;
        }
        if imaged.is_sparse() { Self::default() } else { imaged }
    }

    /// Returns whether the segment with this index, if it is active, is in an image.
    pub(super) fn contains(&self, segment: u32) -> bool {
        segment < self.end
    }

    /// Returns the parts of the image of a memory. Later parts overwrite earlier ones.
    pub(super) fn parts_of(&self, memory: usize) -> Vec<ImagePart<'a>> {
        let parts = self.parts.iter().filter(|(of, part)| *of == memory && !part.bytes.is_empty());
        parts.map(|(_, part)| *part).collect()
    }

    /// Returns the number of frames that the image of a memory takes at most.
    pub(super) fn frames_of(&self, memory: usize) -> u64 {
        let frames = |part: &ImagePart<'_>| {
            let end = part.offset + part.bytes.len() as u64;
            part.offset / FRAME_BYTES..end.div_ceil(FRAME_BYTES)
        };
        let parts = self.parts.iter().filter(|(of, _)| *of == memory);
        let frames: BTreeSet<_> = parts.flat_map(|(_, part)| frames(part)).collect();
        frames.len() as u64
    }

    fn is_sparse(&self) -> bool {
        let bytes: u64 = self.parts.iter().map(|(_, part)| part.bytes.len() as u64).sum();
        let memories: BTreeSet<_> = self.parts.iter().map(|(memory, _)| *memory).collect();
        let frames: u64 = memories.into_iter().map(|memory| self.frames_of(memory)).sum();
        frames > MIN_IMAGE_FRAMES + bytes / FRAME_BYTES * 4
    }
}

/// Returns the segment as a part of an image, if its offset is constant and it fits into a memory
/// that the module defines.
///
/// A memory whose pages are smaller than a frame has no image. The guest may clear a part of a
/// frame there, and if the frame were shared, that would take another one.
fn part<'a>(
    scan: &Scan<'a>,
    memory: usize,
    offset: &ConstExpr<'_>,
    bytes: &'a [u8],
) -> Option<ImagePart<'a>> {
    let is_own = memory >= scan.imported_memories;
    let ty = scan.memories.get(memory).filter(|ty| is_own && ty.page_size().bytes() >= FRAME_BYTES)?;
    let offset = constant(offset)?;
    let end = offset.checked_add(bytes.len() as u64)?;
    (end <= ty.initial_bytes()).then_some(ImagePart { offset, bytes })
}

/// Returns the value of an expression that consists of one constant.
fn constant(expression: &ConstExpr<'_>) -> Option<u64> {
    let mut operators = expression.get_operators_reader();
    let first = operators.read().ok()?;
    let value = if let Operator::I32Const { value } = first {
        u64::from(value.cast_unsigned())
    } else if let Operator::I64Const { value } = first {
        value.cast_unsigned()
    } else {
        return None;
    };
    matches!(operators.read(), Ok(Operator::End)).then_some(value)
}

/// Returns whether an active element segment writes to an imported table.
///
/// Element segments are applied before data segments. If one does not fit, functions that the
/// segments before it put into an imported table can still be called, and must find the memory
/// without data.
fn writes_imported_tables(scan: &Scan<'_>) -> bool {
    let Some(contents) = scan.contents(SectionId::Element) else { return false };
    let reader = ElementSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED);
    reader.into_iter().any(|element| match element.expect(VALIDATED).kind {
        ElementKind::Active { table_index, .. } => (table_index.unwrap_or(0) as usize) < scan.imported_tables,
        ElementKind::Passive | ElementKind::Declared => false,
    })
}

const VALIDATED: &str = "the section has been validated";
