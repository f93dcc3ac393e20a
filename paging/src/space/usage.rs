//! The resources that an address space uses, and has used.
//!
//! The figures of one shard fit together, because they are read with its lock held. If other CPUs
//! are at work, the figures of different shards are those of different moments.

use core::sync::atomic::Ordering;

use super::AddressSpace;
use crate::platform::Platform;
use crate::state::Mapping;
use crate::table::Sink;

impl<P: Platform> AddressSpace<P> {
    /// Returns the resources that all regions use together.
    ///
    /// It takes time for the regions, and for the pages that were committed ahead, because it reads
    /// their dirty bits.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage {
            fixed_frames: self.fixed_frames(),
            image_frames: self.env.image_frames.load(Ordering::Relaxed),
            waiting_table_frames: self.env.cpus.tables(&self.env.platform).0,
            ..Usage::default()
        };
        for shard in self.directory.open_shards() {
            self.env.lock(shard, |state| {
                usage.shared_table_frames += state.tables.shared_frames();
                state.each_mapping(&self.env.platform, |mapping| usage.add(mapping));
            });
        }
        usage
    }

    /// Returns what the space has taken from the frame source and released to it.
    ///
    /// It takes time for the regions, but for no page.
    pub fn turnover(&self) -> Turnover {
        // Single frames are not counted: what was taken is what is held and what was released. The
        // past comes first, so that a region that ends meanwhile is not counted twice.
        let (waiting, waited) = self.env.cpus.tables(&self.env.platform);
        let mut released_frames = self.env.past_released.load(Ordering::Relaxed) + waited;
        let mut held = self.fixed_frames() + self.env.image_frames.load(Ordering::Relaxed) + waiting;
        for shard in self.directory.open_shards() {
            self.env.lock(shard, |state| {
                held += state.tables.shared_frames();
                released_frames += state.tables.shared_released();
                state.each_mapping(&self.env.platform, |mapping| {
                    held += mapping.record.figures.held();
                    released_frames += mapping.record.figures.released();
                });
            });
        }
        Turnover { taken_frames: held + released_frames, released_frames }
    }

    /// Frames that the space keeps until it is dropped.
    fn fixed_frames(&self) -> u64 {
        self.env.window.level3_frames() + 1 + self.env.sinks.len() as u64 * Sink::FRAMES
    }
}

/// The resources that an address space uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Regions that are alive.
    pub regions: u64,
    /// Bytes of the regions' capacities together.
    pub reserved_bytes: u64,
    /// Data frames of pages that were written, in all regions.
    pub resident_frames: u64,
    /// Data frames that were committed ahead and never written, in all regions.
    pub ahead_frames: u64,
    /// Data frames of deferred pages.
    pub deferred_frames: u64,
    /// Table frames that belong to one region each.
    pub owned_table_frames: u64,
    /// Table frames that small regions share. They are released with the last of their regions.
    pub shared_table_frames: u64,
    /// Table frames of no region any more, which are released when other CPUs have flushed their
    /// TLBs.
    pub waiting_table_frames: u64,
    /// Frames of images, each counted once, even if many regions show it.
    pub image_frames: u64,
    /// Frames that the space keeps until it is dropped: the zero frame, the sinks and the
    /// level-3 tables.
    pub fixed_frames: u64,
}

/// The frames that an address space has taken from its frame source, and those that it has released
/// to it, since it was made.
///
/// A source that gives fewer and fewer frames although most of them were released does not use
/// again what is released to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turnover {
    /// Frames that the source gave.
    pub taken_frames: u64,
    /// Frames of these that were released to the source.
    pub released_frames: u64,
}

impl Usage {
    /// Adds the frames of a region.
    fn add<P: Platform>(&mut self, mut mapping: Mapping<'_, P>) {
        let held = mapping.residency();
        self.regions += 1;
        self.reserved_bytes += mapping.record.pages.size();
        self.resident_frames += held.resident_frames;
        self.ahead_frames += held.ahead_frames;
        self.deferred_frames += held.deferred_frames;
        self.owned_table_frames += held.table_frames;
    }
}

impl Turnover {
    /// The frames that the space holds.
    #[must_use]
    pub const fn held_frames(&self) -> u64 {
        self.taken_frames - self.released_frames
    }
}
