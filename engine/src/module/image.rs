//! Selects the active data segments that go into images, so that no instance has to write them.
//!
//! A segment at a constant offset of a memory that the module defines leaves the same bytes in
//! every instance. Such segments together are the image of the memory, which is made once for a
//! module.
//!
//! Segments are applied in order, and one that does not fit ends the instantiation. Therefore only
//! the segments before the first one of another kind go into images.

use alloc::{collections::BinaryHeap, vec::Vec};
use core::{cmp::Reverse, ops::Range};
#[cfg(feature = "splice")]
use wasm_encoder::SectionId;
#[cfg(feature = "splice")]
use wasmparser::{
    BinaryReader, ConstExpr, DataKind, DataSectionReader, ElementKind, ElementSectionReader, Operator,
};

#[cfg(feature = "splice")]
use super::scan::Scan;
use super::{MemoryImages, MemoryType};
use crate::{backing::ImagePart, engine::Engine, units::FRAME_BYTES};

/// The images of a module may have this many frames, plus four times the frames that their bytes
/// would fill.
///
/// The bound is needed because no store is charged for these frames. Segments of a few bytes each,
/// a page apart, would otherwise take one frame each.
const MIN_IMAGE_FRAMES: u64 = 16;

/// The active segments of a module that are in images, or that are kept outside of the code of a
/// prepared one.
#[derive(Debug, Default)]
pub(super) struct Imaged<'a> {
    /// The memory index and the bytes of each segment, in order.
    parts: Vec<(usize, ImagePart<'a>)>,
    /// The index of the first segment that is not in an image.
    #[cfg(feature = "splice")]
    end: u32,
    /// The number of segments at the start that wasmi does not get. Only code that names segments
    /// by their indices needs those in images.
    #[cfg(feature = "splice")]
    omitted: u32,
}

#[cfg(feature = "splice")]
impl<'a> Imaged<'a> {
    /// Selects the segments of `scan` that can be in images.
    pub(super) fn of(scan: &Scan<'a>) -> Self {
        let imaged = Self::select(scan, |ty| ty.can_have_image());
        if imaged.is_sparse() { Self::default() } else { imaged }
    }

    /// Selects the segments of `scan` at constant offsets, which a prepared module keeps outside of
    /// the code. The engine that loads it decides which of them go into images.
    pub(super) fn constant(scan: &Scan<'a>) -> Self {
        Self::select(scan, |_| true)
    }

    fn select(scan: &Scan<'a>, is_possible: impl Fn(MemoryType) -> bool) -> Self {
        let mut imaged = Self::default();
        let Some(contents) = scan.contents(SectionId::Data) else { return imaged };
        if writes_imported_tables(scan) {
            return imaged;
        }
        for data in DataSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED) {
            let data = data.expect(VALIDATED);
            if let DataKind::Active { memory_index, offset_expr } = &data.kind {
                let memory = *memory_index as usize;
                let part = part(scan, memory, offset_expr, data.data);
                let Some(part) = part.filter(|_| is_possible(scan.memories[memory])) else { break };
                imaged.parts.push((memory, part));
            }
            imaged.end += 1;
        }
        if !scan.names_data {
            imaged.omitted = imaged.end;
        }
        imaged
    }

    /// Returns the number of segments at the start that are left out of the spliced module.
    pub(super) fn omitted(&self) -> u32 {
        self.omitted
    }

    /// Returns whether the segment with this index, if it is active, is in an image.
    pub(super) fn contains(&self, segment: u32) -> bool {
        segment < self.end
    }

    /// Returns the memory index and the bytes of each segment, in order.
    pub(super) fn parts(&self) -> &[(usize, ImagePart<'a>)] {
        &self.parts
    }
}

impl<'a> Imaged<'a> {
    /// Selects those of the `parts` of a prepared module that can be in images. `memories` are the
    /// module's.
    pub(super) fn of_parts(
        parts: impl Iterator<Item = (usize, ImagePart<'a>)>,
        memories: &[MemoryType],
    ) -> Self {
        let parts = parts.filter(|(memory, _)| memories.get(*memory).is_some_and(MemoryType::can_have_image));
        let mut imaged = Self::default();
        imaged.parts.extend(parts);
        if imaged.is_sparse() { Self::default() } else { imaged }
    }

    /// Makes the images of all memories. Returns `None` if one of them cannot be made.
    pub(super) fn make(&self, engine: &Engine) -> Option<MemoryImages> {
        let images = self.memories().filter_map(|memory| {
            let parts = self.parts_of(memory);
            (!parts.is_empty()).then(|| {
                let charge = engine.images().charge(self.frames_of(memory))?;
                Some((memory, engine.backing().image(&parts, charge)?))
            })
        });
        images.collect()
    }

    /// Returns the parts of the image of a memory. Later parts overwrite earlier ones.
    fn parts_of(&self, memory: usize) -> Vec<ImagePart<'a>> {
        let parts = self.parts.iter().filter(|(of, part)| *of == memory && !part.bytes.is_empty());
        parts.map(|(_, part)| *part).collect()
    }

    /// Returns the number of frames that the image of a memory takes at most.
    fn frames_of(&self, memory: usize) -> u64 {
        let frames = |part: &ImagePart<'_>| {
            let end = part.offset + part.bytes.len() as u64;
            Reverse((part.offset / FRAME_BYTES, end.div_ceil(FRAME_BYTES)))
        };
        let parts = self.parts.iter().filter(|(of, _)| *of == memory);
        // Sorts with less code than `collect` of a `BTreeSet`, which is much of a small program.
        let mut ranges: BinaryHeap<_> = parts.map(|(_, part)| frames(part)).collect();
        let mut frames = 0;
        let mut counted = 0;
        while let Some(Reverse((first, end))) = ranges.pop() {
            frames += end.saturating_sub(first.max(counted));
            counted = counted.max(end);
        }
        frames
    }

    /// Returns the indices up to the last memory that has parts.
    fn memories(&self) -> Range<usize> {
        0..self.parts.iter().map(|(memory, _)| memory + 1).max().unwrap_or(0)
    }

    fn is_sparse(&self) -> bool {
        let bytes: u64 = self.parts.iter().map(|(_, part)| part.bytes.len() as u64).sum();
        let frames: u64 = self.memories().map(|memory| self.frames_of(memory)).sum();
        frames > MIN_IMAGE_FRAMES + bytes / FRAME_BYTES * 4
    }
}

/// Returns the segment as a part of an image, if its offset is constant and it fits into a memory
/// that the module defines.
#[cfg(feature = "splice")]
fn part<'a>(
    scan: &Scan<'a>,
    memory: usize,
    offset: &ConstExpr<'_>,
    bytes: &'a [u8],
) -> Option<ImagePart<'a>> {
    let is_own = memory >= scan.imported_memories;
    let ty = scan.memories.get(memory).filter(|_| is_own)?;
    let offset = constant(offset)?;
    let end = offset.checked_add(bytes.len() as u64)?;
    (end <= ty.initial_bytes()).then_some(ImagePart { offset, bytes })
}

/// Returns the value of an expression that consists of one constant.
#[cfg(feature = "splice")]
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
#[cfg(feature = "splice")]
fn writes_imported_tables(scan: &Scan<'_>) -> bool {
    let Some(contents) = scan.contents(SectionId::Element) else { return false };
    let reader = ElementSectionReader::new(BinaryReader::new(contents, 0)).expect(VALIDATED);
    reader.into_iter().any(|element| match element.expect(VALIDATED).kind {
        ElementKind::Active { table_index, .. } => (table_index.unwrap_or(0) as usize) < scan.imported_tables,
        ElementKind::Passive | ElementKind::Declared => false,
    })
}

#[cfg(feature = "splice")]
const VALIDATED: &str = "the section has been validated";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_that_parts_touch_is_counted_once() {
        let part = |offset, bytes| ImagePart { offset, bytes };
        let imaged = Imaged {
            parts: [
                // Frames 2 and 3, then 0, twice a part of 2, and 0 to 3.
                (1, part(3 * FRAME_BYTES - 1, &[0; 2][..])),
                (1, part(7, &[0])),
                (1, part(2 * FRAME_BYTES, &[0; 5])),
                (1, part(2 * FRAME_BYTES + 9, &[0; 5])),
                (3, part(1, &[0; 3 * 4096])),
                (3, part(0, &[])),
            ]
            .into(),
            ..Imaged::default()
        };
        assert_eq!([0, 1, 2, 3].map(|memory| imaged.frames_of(memory)), [0, 3, 0, 4]);
        assert_eq!(imaged.memories(), 0..4);
        assert_eq!(Imaged::default().memories(), 0..0);
    }
}
