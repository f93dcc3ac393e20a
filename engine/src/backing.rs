//! The seam between the engine and memory: what linear memories are made of.
//!
//! A [`Provider`] opens one [`Arena`] for each store, and the arena reserves a [`LinearRegion`] for
//! each linear memory. [`Paged`] maps pages when they are touched and releases the frames of
//! cleared pages. [`Fixed`] divides byte slices, for firmware without an MMU and for tests on a
//! host.
//!
//! The traits are unsafe to implement because wasmi reads and writes through the pointer that
//! [`LinearRegion::establish`] passes on. They are private to the crate: an embedder passes a
//! [`Backing`] and implements nothing. `Debug` is not required of implementations, because their
//! vtables would keep its code in every program, which is 5 KB of flash.

mod error;
mod figures;
mod fixed;
mod image_budget;
mod live;
#[cfg(all(feature = "paging", target_arch = "x86_64"))]
mod paged;

use alloc::{boxed::Box, sync::Arc};
use core::{any::Any, fmt, ops::ControlFlow, ptr::NonNull, sync::atomic::AtomicU8};
use spin::Mutex;

#[cfg(all(feature = "paging", target_arch = "x86_64"))]
use self::image_budget::Payers;
#[cfg(feature = "snapshots")]
pub use self::image_budget::SnapshotBudget;
#[cfg(all(feature = "paging", target_arch = "x86_64"))]
pub use self::paged::Paged;
pub use self::{
    error::{BackingError, FrameShortage},
    figures::{Cleared, MemoryResidency},
    fixed::{Fixed, GuardedPages, LendError, Lent, PageGuard},
};
pub(crate) use self::{
    error::{FreezeRefused, LimitRefused},
    figures::{Health, Shares, Standing},
    image_budget::{ImageBudget, ImageCharge},
    live::LiveBytes,
};
use crate::{
    config::{Commit, Strategy},
    units::{FRAME_LEN, Span},
};

/// The provider of an engine's linear memories, made from a [`Fixed`] or a `Paged`.
#[derive(Clone, Debug)]
pub struct Backing(Arc<dyn Provider>);

impl Backing {
    pub(crate) fn new(provider: impl Provider + 'static) -> Self {
        Self(Arc::new(provider))
    }

    pub(crate) fn provider(&self) -> &dyn Provider {
        &*self.0
    }
}

/// Where linear memories come from. Shared by all stores of an engine.
///
/// # Safety
///
/// Every arena that it opens keeps the contract of [`Arena`].
#[allow(unsafe_code, reason = "its regions are what wasmi points into")]
pub(crate) unsafe trait Provider: Send + Sync {
    /// Opens the share of one store, which may hold `cap_frames` frames at most, table frames
    /// included. The arena sets [`LOST`] in `flags` when the store is not valid any more, and
    /// [`WANTED`] when the store should [yield](Presence::Yield) frames.
    fn open(&self, cap_frames: u64, commit: Commit, flags: &Arc<AtomicU8>) -> Box<dyn Arena>;

    /// Returns what one store may have by default.
    fn shares(&self) -> Shares;

    /// Returns whether several CPUs use the backing.
    fn has_many_cpus(&self) -> bool {
        false
    }

    /// Returns the number of the calling CPU.
    fn cpu(&self) -> usize {
        0
    }

    /// Returns whether memories share the frames of an image. If not, it is a copy on the heap.
    fn shares_images(&self) -> bool {
        false
    }

    /// Makes an image of `parts`. Later parts overwrite earlier ones, and the bytes between them
    /// are zero.
    ///
    /// The image keeps `charge` if it holds frames.
    ///
    /// Returns `None` if the frames are not available. Memories are then written when they are
    /// created.
    fn image(&self, parts: &[ImagePart<'_>], charge: ImageCharge) -> Option<Arc<dyn DataImage>>;
}

/// The flag of a store that is not valid any more. It is never cleared.
pub(crate) const LOST: u8 = 1 << 0;

/// The flag of a store that should [yield](Presence::Yield) frames to another CPU.
pub(crate) const WANTED: u8 = 1 << 1;

/// Bytes that memories start with, shared by those of all stores. Freed with the last one that uses
/// it.
pub(crate) trait DataImage: Any + Send + Sync {
    /// Returns the number of frames that the image holds.
    fn frames(&self) -> u64;

    /// Visits the pages of 4 KiB whose bytes differ from those of `base`, or from zeros if there is
    /// none, until a visit breaks. Each comes with its distance from the start of the memory, in
    /// bytes and in ascending order.
    ///
    /// # Panics
    ///
    /// Panics if `base` was made by another backing.
    #[cfg_attr(not(feature = "snapshots"), allow(dead_code, reason = "snapshots are written by it"))]
    fn each_change(
        &self,
        base: Option<&dyn DataImage>,
        visit: &mut dyn FnMut(u64, &PageBytes) -> ControlFlow<()>,
    ) -> ControlFlow<()>;
}

/// The bytes of a page.
pub(crate) type PageBytes = [u8; FRAME_LEN];

/// Bytes of an image, and where in the memory they start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImagePart<'a> {
    /// Bytes from the start of the memory.
    pub(crate) offset: u64,
    pub(crate) bytes: &'a [u8],
}

/// One store's share of a backing.
///
/// # Safety
///
/// Every region that it reserves keeps the contract of [`LinearRegion`] for as long as the region
/// lives, even after the arena is dropped.
#[allow(unsafe_code, reason = "its regions are what wasmi points into")]
pub(crate) unsafe trait Arena: Send + Sync {
    /// Reserves a region of at least `size.initial` bytes that may grow to `size.maximum` bytes as
    /// far as there is room. The limit of the new region is `size.initial`.
    ///
    /// # Errors
    ///
    /// See [`BackingError`]. Nothing stays reserved then.
    fn reserve(&self, size: Reservation) -> Result<SharedRegion, BackingError>;

    /// Returns the frames that the store holds, and its health.
    fn standing(&self) -> Standing;

    /// Returns the same share once more.
    fn again(&self) -> Box<dyn Arena>;

    /// Returns whether several CPUs use the backing, so that [`attend`](Self::attend) must be
    /// called.
    fn has_many_cpus(&self) -> bool {
        false
    }

    /// Prepares the calling CPU for what it is about to do with the memories, or has done.
    fn attend(&self, _presence: Presence) {}
}

/// A region that the engine's record and the wasmi store own together.
pub(crate) type SharedRegion = Arc<Mutex<dyn LinearRegion>>;

/// What the calling CPU does with the memories of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is about to read and write them, and no other CPU is.
    Enter,
    /// It is about to read them, as other CPUs may be.
    Look,
    /// It has stopped using them.
    Leave,
    /// It continues what another CPU did with them.
    Migrate,
    /// It may release frames that another CPU has requested.
    Yield,
}

/// The region of one linear memory.
///
/// # Safety
///
/// 1. [`establish`](Self::establish) passes on memory that stays where it is. While `make` runs, it
///    has no other user. Afterwards and until the region is dropped, bytes below the limit have no
///    other user and can be read and written at any time. The limit never rises over bytes that had
///    another user since.
/// 2. After [`attach`](Self::attach) the bytes of the image read as in the image, and all others as
///    before.
///    After [`freeze`](Self::freeze) every byte reads as before. The image keeps its bytes when the
///    region is written later.
/// 3. After [`clear`](Self::clear) every byte of the span reads 0 under every strategy, and no byte
///    outside the span has changed.
#[allow(unsafe_code, reason = "wasmi reads and writes through the pointer that `establish` passes on")]
pub(crate) unsafe trait LinearRegion: Send {
    /// Returns the number of bytes that the region may grow to. It is final once the region is
    /// established, except that another region of a [`Fixed`] backing may reduce it.
    fn capacity(&self) -> u64;

    /// Passes the whole range, of [`capacity`](Self::capacity) bytes, to `make`, which writes zeros
    /// over the first `initial` bytes and nothing else. Called once, with the limit at `initial`.
    fn establish(&mut self, initial: u64, make: &mut dyn FnMut(NonNull<[u8]>));

    /// Takes lent pages back, and moves the limit, below which the region may be touched, to
    /// `bytes` from the start.
    ///
    /// # Errors
    ///
    /// [`LimitRefused`] if the frames cannot be reserved, the region is smaller, or a lent page is
    /// in use. The limit has not moved then.
    fn set_limit(&mut self, bytes: u64) -> Result<(), LimitRefused>;

    /// Returns how long [`grow`](Self::grow) takes.
    fn fill_time(&self) -> FillTime;

    /// Moves the limit from the start of `span` to its end, and runs `fill`, which writes zeros
    /// over `span`. Where the bytes read as zero already, the region absorbs the writes, so that
    /// they take no frame.
    ///
    /// # Errors
    ///
    /// Those of [`set_limit`](Self::set_limit). `fill` has not run then.
    fn grow(&mut self, span: Span, fill: &mut dyn FnMut()) -> Result<(), LimitRefused>;

    /// Gives the region the bytes of `image`. The region reads as zero before.
    ///
    /// `live` is the whole region below the limit, by wasmi's own pointer.
    ///
    /// # Panics
    ///
    /// Panics if `image` was made by another backing, or ends past the limit.
    fn attach(&mut self, image: &Arc<dyn DataImage>, live: LiveBytes<'_>);

    /// Returns the number of frames that [`freeze`](Self::freeze) makes those of an image. The
    /// image must be charged for them. `live` is as for `freeze`.
    #[cfg_attr(not(feature = "snapshots"), allow(dead_code, reason = "snapshots are made by it"))]
    fn freezable_frames(&mut self, live: LiveBytes<'_>) -> u64;

    /// Makes an image of the bytes below the limit, which the region shows from then on as after
    /// [`attach`](Self::attach). No byte changes, and on page tables none is copied.
    ///
    /// `charge` is for as many frames as [`freezable_frames`](Self::freezable_frames) returns. The
    /// image keeps it for those that it is the first to hold, and refunds each when no image has it
    /// any more.
    /// `live` is the whole region below the limit, by wasmi's own pointer. The guest does not run,
    /// and nothing is lent.
    ///
    /// # Errors
    ///
    /// See [`FreezeRefused`]. No byte has changed then.
    #[cfg_attr(not(feature = "snapshots"), allow(dead_code, reason = "snapshots are made by it"))]
    fn freeze(
        &mut self,
        charge: ImageCharge,
        live: LiveBytes<'_>,
    ) -> Result<Arc<dyn DataImage>, FreezeRefused>;

    /// Visits the pages whose bytes may differ from those of the region's image, or from zeros if
    /// it has none, in ascending order. A page that was written or cleared since the image was made
    /// is among them.
    ///
    /// `live` is the whole region below the limit, by wasmi's own pointer.
    #[cfg_attr(
        not(feature = "snapshots"),
        allow(dead_code, reason = "the pages that a memory has written are found by it")
    )]
    fn each_written(&self, live: LiveBytes<'_>, visit: &mut dyn FnMut(Span));

    /// Begins to record which pages are written and accessed.
    #[cfg_attr(
        not(feature = "snapshots"),
        allow(dead_code, reason = "the pages that a memory has written are found by it")
    )]
    fn mark(&mut self) {}

    /// Visits the pages that were written or cleared since the last [`mark`](Self::mark), and maybe
    /// others, in ascending order. A region that does not record its writes visits all of `live`,
    /// which is as for [`each_written`](Self::each_written).
    #[cfg_attr(
        not(feature = "snapshots"),
        allow(dead_code, reason = "the pages that a memory has written are found by it")
    )]
    fn each_written_since_mark(&self, live: LiveBytes<'_>, visit: &mut dyn FnMut(Span)) {
        visit(Span::growth(0, live.len()));
    }

    /// As [`each_written_since_mark`](Self::each_written_since_mark), for pages that were read or
    /// written. A page that was cleared since, and not used again, may be missing.
    #[cfg_attr(
        not(feature = "snapshots"),
        allow(dead_code, reason = "the working set of a memory is estimated by it")
    )]
    fn each_accessed_since_mark(&self, live: LiveBytes<'_>, visit: &mut dyn FnMut(Span)) {
        visit(Span::growth(0, live.len()));
    }

    /// Returns the first piece of `span` that one turn of a metered guest clears: all of it, or a
    /// part with a bounded number of frames.
    ///
    /// A piece ends at a page of 4 KiB, or with the span.
    fn first_piece(&self, span: Span, strategy: Strategy) -> Span;

    /// Zeroes `span`, and treats its frames as `strategy` requires, as far as the backing can.
    ///
    /// `live` is the same range, by wasmi's own pointer.
    fn clear(&mut self, span: Span, strategy: Strategy, live: LiveBytes<'_>, guest: Guest) -> Cleared;

    /// Returns whether the region ever lends pages, which does not change. If it does not, the
    /// methods about loans need not be called after a clear.
    fn can_lend(&self) -> bool {
        false
    }

    /// Returns whether pages may be lent. Their bytes have another user until
    /// [`recall`](Self::recall) succeeds. The guest must not run meanwhile, unless they are closed.
    fn has_loan(&self) -> bool {
        false
    }

    /// Takes lent pages back, unless they are closed. They read as zero then.
    ///
    /// # Errors
    ///
    /// Fails if one of them is in use. Nothing has changed then.
    fn recall(&mut self) -> Result<(), LentSpan> {
        Ok(())
    }

    /// Returns whether lent pages are guarded, so that the guest can be called after
    /// [`close`](Self::close) even if they are in use.
    fn is_guarded(&self) -> bool {
        false
    }

    /// Closes guarded pages to the CPU. The guest is called next.
    fn close(&mut self) {}

    /// Opens closed pages. The guest has stopped.
    fn open(&mut self) {}

    /// Returns whether [`settle`](Self::settle) must be called when the guest has stopped.
    fn must_settle(&self) -> bool {
        false
    }

    /// Lends the pages that the guest has cleared while it ran, if they still read as zero.
    ///
    /// `live` is the whole region below the limit, by wasmi's own pointer.
    fn settle(&mut self, _live: LiveBytes<'_>) {}

    /// Zeroes `live`, which is by wasmi's own pointer, and lends it. The guest does not run.
    ///
    /// # Errors
    ///
    /// See [`LendError`].
    fn lend(&mut self, _live: LiveBytes<'_>) -> Result<Lent, LendError> {
        Err(LendError::Unsupported)
    }

    /// As [`lend`](Self::lend), for pages that stay lent while the guest runs.
    ///
    /// # Errors
    ///
    /// See [`LendError`].
    fn lend_guarded(&mut self, _live: LiveBytes<'_>) -> Result<GuardedPages, LendError> {
        Err(LendError::Unsupported)
    }

    /// Releases up to `budget_frames` of the frames that [`Strategy::Deferred`] has left.
    fn reclaim(&mut self, budget_frames: u64) -> Cleared;

    /// Returns what the region holds and has done.
    fn residency(&self) -> MemoryResidency;
}

/// Whether a call of the guest has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    /// wasmi may use every byte of the memory when the host function returns.
    Running,
    /// wasmi uses no byte of the memory.
    Stopped,
}

/// Bytes of a memory that are lent and in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LentSpan {
    /// Bytes from the start of the memory.
    pub(crate) start: u64,
    /// The number of bytes.
    pub(crate) len: u64,
}

/// The time that a fill of zeros takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FillTime {
    /// A time that the backing bounds.
    Bounded,
    /// Time for each byte. No memory starts with more than [`MOST_FILLED_BYTES`] or grows by more.
    ByteByByte,
}

/// The most bytes of a fill that takes time for each byte: 64 MiB. Nothing else can run meanwhile.
pub(crate) const MOST_FILLED_BYTES: u64 = 64 << 20;

/// The size of a new region, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The initial size of the memory.
    pub(crate) initial: u64,
    /// The size to which the memory may grow. Never below `initial`.
    pub(crate) maximum: u64,
}

impl fmt::Debug for dyn Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}

impl fmt::Debug for dyn DataImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataImage")
    }
}

impl fmt::Debug for dyn Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arena")
    }
}

impl fmt::Debug for dyn LinearRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinearRegion")
    }
}
