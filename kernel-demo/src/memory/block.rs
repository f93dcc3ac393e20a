//! Frames as blocks of memory for the kernel.
//!
//! A [`Block`] is the only way in which this kernel accesses a frame that is not mapped in a
//! region. It is zeroed when it is allocated, and dropping it releases the frame. Guests' files
//! consist of blocks.

use palimpsest_paging::Frame;
use x86_64::VirtAddr;
use x86_64::structures::paging::{PageSize, Size4KiB};

use super::{PHYSICAL_OFFSET, pool};

/// The size of a block in bytes: one frame.
pub const BLOCK_BYTES: usize = 4096;

const _: () = assert!(BLOCK_BYTES as u64 == Size4KiB::SIZE);

/// A frame whose bytes can be accessed.
#[derive(Debug)]
pub struct Block {
    /// None only while the block is dropped.
    frame: Option<Frame>,
    bytes: VirtAddr,
}

impl Block {
    /// Allocates a zeroed block. Returns None if no frame is free.
    #[must_use]
    pub fn allocate() -> Option<Self> {
        let frame = pool().allocate_frame()?;
        let bytes = PHYSICAL_OFFSET + frame.phys().start_address().as_u64();
        let mut block = Self { frame: Some(frame), bytes };
        block.bytes_mut().fill(0);
        Some(block)
    }

    /// Returns the bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; BLOCK_BYTES] {
        let content = self.bytes.as_ptr::<[u8; BLOCK_BYTES]>();
        // SAFETY: 1. Every frame of the pool is always mapped at `PHYSICAL_OFFSET`, and has
        // `BLOCK_BYTES` bytes. 2. The block owns the frame and is borrowed, so no code writes to
        // it. 3. Every byte is a valid `u8`, and `allocate` initialized all of them.
        unsafe { &*content }
    }

    /// Returns the bytes for writing.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8; BLOCK_BYTES] {
        let content = self.bytes.as_mut_ptr::<[u8; BLOCK_BYTES]>();
        // SAFETY: 1. Every frame of the pool is always mapped at `PHYSICAL_OFFSET`, writable, and
        // has `BLOCK_BYTES` bytes. 2. The block owns the frame and is borrowed exclusively. 3.
        // Every byte is a valid `u8`. Before a frame is zeroed, it contains what its last owner or
        // the firmware wrote.
        unsafe { &mut *content }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            pool().release_frame(frame);
        }
    }
}
