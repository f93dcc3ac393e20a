//! An image without an MMU: bytes on the heap, which are copied into each memory.

use alloc::{boxed::Box, vec::Vec};
use core::{any::Any, ops::ControlFlow};

use super::super::{DataImage, ImageCharge, ImagePart, LiveBytes, PageBytes};
use crate::units::{FRAME_BYTES, FRAME_LEN};

/// Pieces of a memory. Later ones overwrite earlier ones, and the bytes between them are zero.
#[derive(Debug)]
pub(super) struct CopiedImage {
    parts: Vec<Part>,
    /// The charge for the pages of a memory that were copied. The bytes of a module's segments are
    /// not charged.
    charge: Option<ImageCharge>,
}

/// Bytes, and their distance from the start of the memory.
#[derive(Debug)]
struct Part {
    offset: u64,
    bytes: Box<[u8]>,
}

impl CopiedImage {
    pub(super) fn of_parts(parts: &[ImagePart<'_>]) -> Self {
        let copy = |part: &ImagePart<'_>| Part { offset: part.offset, bytes: part.bytes.into() };
        Self { parts: parts.iter().map(copy).collect(), charge: None }
    }

    /// Copies all pages of a memory that are not zero, for which `charge` is. Returns `None` if the
    /// heap has no room.
    pub(super) fn of_bytes(live: &mut LiveBytes<'_>, charge: ImageCharge) -> Option<Self> {
        let mut parts = Vec::new();
        let mut offset = 0;
        for page in live.pages() {
            if !is_zero(page) {
                parts.try_reserve(1).ok()?;
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(page.len()).ok()?;
                bytes.extend_from_slice(page);
                parts.push(Part { offset, bytes: bytes.into() });
            }
            offset += page.len() as u64;
        }
        Some(Self { parts, charge: Some(charge) })
    }

    /// The image that is known as a [`DataImage`].
    ///
    /// # Panics
    ///
    /// Panics if another backing made it.
    pub(super) fn of(image: &dyn DataImage) -> &Self {
        let any: &dyn Any = image;
        any.downcast_ref().expect("an image is made by the engine's own backing")
    }

    /// Copies the image into a memory, which reads as zero.
    ///
    /// # Panics
    ///
    /// Panics if the image ends past the memory.
    pub(super) fn write_to(&self, live: &mut LiveBytes<'_>) {
        for Part { offset, bytes } in &self.parts {
            assert!(live.write(*offset, bytes), "an image is not larger than its memory");
        }
    }

    /// Returns whether the image has these bytes, which are at most a page, at `offset`.
    pub(super) fn contains(&self, offset: u64, bytes: &[u8]) -> bool {
        self.page(offset).starts_with(bytes)
    }

    /// Returns the bytes of a page that starts at `offset`.
    fn page(&self, offset: u64) -> PageBytes {
        let mut page = [0; FRAME_LEN];
        let page_end = offset + FRAME_BYTES;
        for part in &self.parts {
            let start = part.offset.max(offset);
            let end = part.end().min(page_end);
            if start < end {
                let within = |at: u64, base: u64| usize::try_from(at - base).expect("it is on the heap");
                let bytes = &part.bytes[within(start, part.offset)..within(end, part.offset)];
                page[within(start, offset)..within(end, offset)].copy_from_slice(bytes);
            }
        }
        page
    }

    fn end(&self) -> u64 {
        self.parts.iter().map(Part::end).max().unwrap_or(0)
    }
}

impl Part {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl DataImage for CopiedImage {
    fn frames(&self) -> u64 {
        self.charge.as_ref().map_or(0, ImageCharge::frames)
    }

    fn each_change(
        &self,
        base: Option<&dyn DataImage>,
        visit: &mut dyn FnMut(u64, &PageBytes) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let base = base.map(Self::of);
        let end = self.end().max(base.map_or(0, Self::end));
        for offset in (0..end).step_by(FRAME_LEN) {
            let page = self.page(offset);
            let before = base.map_or([0; FRAME_LEN], |base| base.page(offset));
            if page != before {
                visit(offset, &page)?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// Returns whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use alloc::{sync::Arc, vec};

    use super::*;
    use crate::backing::ImageBudget;

    fn changes(image: &CopiedImage, base: Option<&CopiedImage>) -> Vec<(u64, u8)> {
        let mut changes = Vec::new();
        let base = base.map(|base| -> &dyn DataImage { base });
        let visited = image.each_change(base, &mut |offset, page| {
            changes.push((offset, page[7]));
            ControlFlow::Continue(())
        });
        assert_eq!(visited, ControlFlow::Continue(()));
        changes
    }

    fn image(parts: &[(u64, &[u8])]) -> CopiedImage {
        let parts: Vec<_> = parts.iter().map(|&(offset, bytes)| ImagePart { offset, bytes }).collect();
        CopiedImage::of_parts(&parts)
    }

    #[test]
    fn a_copy_has_the_bytes_of_the_memory_and_no_page_of_zeros() {
        let mut memory = vec![0; 3 * 4096 + 16];
        memory[4096 + 7] = 1;
        memory[3 * 4096 + 7] = 3;
        let charge = Arc::new(ImageBudget::new(2)).charge(2).expect("2 frames are left");
        let copy = CopiedImage::of_bytes(&mut LiveBytes::all(&mut memory), charge);
        let copy = copy.expect("the host has heap");
        assert_eq!(copy.frames(), 2);
        assert_eq!(copy.parts.iter().map(|part| part.offset).collect::<Vec<_>>(), [4096, 3 * 4096]);
        let mut other = vec![0; memory.len()];
        copy.write_to(&mut LiveBytes::all(&mut other));
        assert_eq!(other, memory);
        assert_eq!(changes(&copy, None), [(4096, 1), (3 * 4096, 3)]);
    }

    #[test]
    fn the_changes_are_the_pages_that_differ_from_the_base_and_those_that_it_has_alone() {
        let base = image(&[(0, &[1; 4096]), (4096, &[2; 4096]), (8192, &[3; 4096])]);
        // The later part overwrites a part of the earlier one.
        let changed = image(&[(0, &[1; 8192]), (4096, &[2; 4096]), (5, &[1; 5]), (12288 + 7, &[4])]);
        assert_eq!(changes(&changed, Some(&base)), [(8192, 0), (12288, 4)]);
        assert_eq!(changes(&base, Some(&base)), []);
    }

    #[test]
    fn a_visit_that_breaks_is_the_last_one() {
        let image = image(&[(0, &[1; 3 * 4096])]);
        let mut visits = 0;
        let visited = image.each_change(None, &mut |_, _| {
            visits += 1;
            if visits == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((visited, visits), (ControlFlow::Break(()), 2));
    }
}
