//! Frames as plain memory of the kernel: 4 KiB blocks out of the pool.
//!
//! Owns the one way in which this kernel reads and writes a frame that is mapped in no region. A [`Block`]
//! owns its frame: it is zeroed when it is allocated, and back in the pool when the block is dropped. Used
//! for what guests keep in files.

use palimpsest_paging::Frame;
use x86_64::VirtAddr;
use x86_64::structures::paging::{PageSize, Size4KiB};

use super::{PHYSICAL_OFFSET, pool};

/// Size of a block in bytes: a frame's.
pub const BLOCK_BYTES: usize = 4096;

const _: () = assert!(BLOCK_BYTES as u64 == Size4KiB::SIZE);

/// A frame of the pool whose bytes can be reached.
#[derive(Debug)]
pub struct Block {
    /// There until the block is dropped.
    frame: Option<Frame>,
    bytes: VirtAddr,
}

impl Block {
    /// A block of zeros, or `None` if no frame is free.
    #[must_use]
    pub fn allocate() -> Option<Self> {
        let frame = pool().allocate_frame()?;
        let bytes = PHYSICAL_OFFSET + frame.phys().start_address().as_u64();
        let mut block = Self { frame: Some(frame), bytes };
        block.bytes_mut().fill(0);
        Some(block)
    }

    /// The content.
    #[must_use]
    pub fn bytes(&self) -> &[u8; BLOCK_BYTES] {
        let content = self.bytes.as_ptr::<[u8; BLOCK_BYTES]>();
        // SAFETY: 1. every frame of the pool is mapped at PHYSICAL_OFFSET for good, and is BLOCK_BYTES long.
        // 2. The block owns the frame, and `self` is borrowed: nobody writes to it meanwhile. 3. Any byte is
        // a `u8`, and `allocate` has written all of them.
        unsafe { &*content }
    }

    /// The content, to be written.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8; BLOCK_BYTES] {
        let content = self.bytes.as_mut_ptr::<[u8; BLOCK_BYTES]>();
        // SAFETY: 1. every frame of the pool is mapped at PHYSICAL_OFFSET, writable, for good, and is
        // BLOCK_BYTES long. 2. The block owns the frame, and `self` is borrowed exclusively. 3. Any byte is a
        // `u8`; what a frame holds before it is zeroed is RAM that its last owner or the firmware has written.
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
