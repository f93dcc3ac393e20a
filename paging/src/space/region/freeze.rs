//! Freezing a region: what it contains becomes an image, in place.
//!
//! The frames of the region move from its tables to the image, and the region shows the image from
//! then on. So no byte is copied. The image shares with the one before it all clusters of which the
//! region has changed no page.
//!
//! A freeze has three steps. It finds the pages that own a frame, one level-1 table at a time. Then
//! it prepares the image with all heap that it needs, for which it may fail. Then it sweeps the
//! tables and puts the frames into the image, which cannot fail. The heap is used with no lock
//! held.

use alloc::sync::Arc;
use alloc::vec::{self, Vec};
use core::mem;
use core::sync::atomic::Ordering;

use x86_64::structures::paging::Page;

use super::super::{FreezeError, Image};
use super::{RELEASE_BATCH, Region};
use crate::frame::FrameRun;
use crate::pages::ENTRIES;
use crate::platform::Platform;
use crate::record::{Attached, CLUSTER_PAGES, Cluster, Share, Taken, each_bit, ones, words};

/// The most frames that one batch of a sweep takes out of the tables: less than one table more than
/// [`RELEASE_BATCH`].
const MOST_AT_ONCE: usize = 8192 + ENTRIES;
const _: () = assert!(MOST_AT_ONCE as u64 >= RELEASE_BATCH + ENTRIES as u64);

/// The pages of a cluster that own a frame: the number of the cluster, and a bit for each.
type Owned = (u64, u64);

impl<'a, P: Platform> Region<'a, P> {
    /// Returns the number of frames that [`freeze`](Self::freeze) makes those of an image, or a
    /// larger one, because it counts frames that were committed ahead.
    #[must_use]
    pub fn freezable_frames(&self) -> u64 {
        self.with_mapping(|mapping| mapping.record.figures.mapped_frames)
    }

    /// Makes an image of what the region contains, which the region shows from then on. No byte is
    /// copied, and none changes.
    ///
    /// The frames of the pages that the region has written become the image's, and its account is
    /// not charged for them any more. A reserved account stays charged for the frames that the
    /// pages may need. The first write to a page takes a frame again, as in every other region that
    /// the image is attached to. Pages of an image that the region had before, and has neither
    /// written nor cleared, are those of the new image too.
    ///
    /// Frames of deferred pages, and those that were committed ahead and never written, are
    /// released. It takes time for the pages that were written or read since the last freeze, for
    /// the tables that they need, and for each cluster of 64 pages of the image.
    ///
    /// # Errors
    ///
    /// - [`FreezeError::OutOfHeap`]: the heap has no room for the books of the image.
    /// - [`FreezeError::Unreserved`]: the account is reserved, and the frame source cannot reserve
    ///   frames in place of those that would become the image's.
    ///
    /// After an error the pages own the same frames as before.
    pub fn freeze(&mut self) -> Result<Frozen<'a, P>, FreezeError> {
        self.with_recalled(|mut mapping| mapping.demote_ahead());
        self.reclaim(u64::MAX);
        // Nothing touches the region meanwhile, so the fault path does not miss the record's part.
        let attached = self.with_mapping(|mapping| mapping.record.image.take());
        let drafted = match self.draft(attached.as_ref()) {
            Ok(Some(draft)) => return Ok(self.put_in_place(draft, attached)),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.with_mapping(|mapping| mapping.record.image = attached);
        drafted?;
        let space = self.space;
        let image = self.image.get_or_insert_with(|| Arc::new(Image::new(space)));
        Ok(Frozen { image: Arc::clone(image), frames_moved: 0 })
    }

    /// Prepares an image for the pages that own a frame, and the rest of the one that is attached.
    /// Returns `None` if nothing has changed since that was attached.
    fn draft(&self, attached: Option<&Attached>) -> Result<Option<Draft<'a, P>>, FreezeError> {
        let owned = self.owned()?;
        let is_changed = |attached: &Attached| !owned.is_empty() || attached.next_forgotten(0).is_some();
        if attached.is_some_and(|attached| !is_changed(attached)) {
            return Ok(None);
        }
        let mut draft = Draft::new(Image::new(self.space));
        let before = attached.map_or(0, Attached::cluster_count);
        reserve(draft.image_mut().originals_mut().clusters_mut(), before + owned.len())?;
        let mut taken = attached.into_iter().flat_map(Attached::clusters).peekable();
        let mut owned = owned.into_iter().peekable();
        loop {
            let numbers = [taken.peek().map(|taken| taken.number), owned.peek().map(|owned| owned.0)];
            let Some(number) = numbers.into_iter().flatten().min() else { break };
            let taken = taken.next_if(|taken| taken.number == number);
            let own = owned.next_if(|owned| owned.0 == number).map_or(0, |owned| owned.1);
            draft.add(number, own, taken)?;
        }
        let words = words(draft.image.originals().frame_count());
        reserve(&mut draft.room, words)?;
        reserve(&mut draft.runs, draft.own_frames.min(MOST_AT_ONCE))?;
        let own_frames = draft.own_frames as u64;
        self.space.env.lock(self.shard, |state| {
            let mapping = state.mapping(self.base(), &self.space.env.platform).expect(super::HAS_RECORD);
            mapping.supply().reserve_again(own_frames)
        })?;
        Ok(Some(draft))
    }

    /// The clusters with pages that own a frame, in ascending order.
    fn owned(&self) -> Result<Vec<Owned>, FreezeError> {
        let mut owned = Vec::new();
        let mut from = 0;
        while let Some((first, bits)) = self.with_mapping(|mut mapping| mapping.next_owned(from)) {
            for (cluster, bits) in (first / CLUSTER_PAGES..).zip(bits) {
                if bits != 0 {
                    reserve(&mut owned, 1)?;
                    owned.push((cluster, bits));
                }
            }
            from = first + ENTRIES as u64;
        }
        Ok(owned)
    }

    /// Moves the frames into the draft, and makes the region show it.
    fn put_in_place(&mut self, mut draft: Draft<'a, P>, attached: Option<Attached>) -> Frozen<'a, P> {
        let env = &self.space.env;
        let mut rest = self.pages;
        while !rest.is_empty() {
            self.with_mapping(|mut mapping| {
                let end = mapping.batch_end(rest, RELEASE_BATCH);
                mapping.take_frames(Page::range(rest.start, end), &mut draft.runs);
                rest.start = end;
            });
            draft.place_frames();
        }
        let frames_moved = draft.own_frames as u64;
        env.image_frames.fetch_add(frames_moved, Ordering::Relaxed);
        let Draft { image, room, .. } = draft;
        let shown = Attached::with_room(image.originals(), room);
        self.with_mapping(|mapping| mapping.record.image = Some(shown));
        // The image before may end here, and its record must end before it.
        drop(attached);
        self.image = Some(Arc::clone(&image));
        Frozen { image, frames_moved }
    }
}

/// The result of a freeze.
#[derive(Debug)]
pub struct Frozen<'a, P: Platform> {
    /// The image, which the region shows.
    pub image: Arc<Image<'a, P>>,
    /// The number of the image's frames that were the region's. No other image has them yet.
    pub frames_moved: u64,
}

/// An image that lacks the frames of the region.
struct Draft<'a, P: Platform> {
    image: Arc<Image<'a, P>>,
    /// The clusters that frames are missing in, in ascending order.
    pending: Vec<Pending>,
    /// The number of `pending` clusters that are complete.
    placed: usize,
    own_frames: usize,
    /// Frames on their way from the tables to the clusters.
    runs: Vec<FrameRun>,
    /// Room for the bits of the region's record.
    room: Vec<u64>,
}

/// A cluster that has only those frames of the region's old image that the new one keeps.
struct Pending {
    /// Its index in the image.
    index: usize,
    /// The pages that get a frame of the region.
    own: u64,
    /// Room for all of its frames.
    room: Cluster,
}

impl<'a, P: Platform> Draft<'a, P> {
    fn new(image: Image<'a, P>) -> Self {
        let image = Arc::new(image);
        Self { image, pending: Vec::new(), placed: 0, own_frames: 0, runs: Vec::new(), room: Vec::new() }
    }

    fn image_mut(&mut self) -> &mut Image<'a, P> {
        Arc::get_mut(&mut self.image).expect("the draft has the only reference")
    }

    /// Adds a cluster with pages that own a frame, and with those that are still taken from the
    /// image before.
    fn add(&mut self, number: u64, own: u64, before: Option<Taken<'_>>) -> Result<(), FreezeError> {
        let (present, taken) = before.as_ref().map_or((0, 0), |before| (before.present, before.taken));
        let kept = taken & !own;
        if let Some(before) = before.as_ref().filter(|_| own == 0 && kept == present) {
            let shared = Arc::clone(before.cluster);
            self.image_mut().originals_mut().push(number, present, shared);
            return Ok(());
        }
        if own | kept == 0 {
            return Ok(());
        }
        let mut cluster = Cluster::new();
        reserve(&mut cluster, ones(kept))?;
        if own != 0 {
            let mut room = Cluster::new();
            reserve(&mut room, ones(own | kept))?;
            reserve(&mut self.pending, 1)?;
            let index = self.image.originals().clusters().len();
            self.pending.push(Pending { index, own, room });
            self.own_frames += ones(own);
        }
        let space = self.image.space();
        if let Some(before) = before {
            space.share_frames(kept, present, before.cluster, &mut cluster)?;
        }
        self.image_mut().originals_mut().push(number, own | kept, Arc::new(cluster));
        Ok(())
    }

    /// Moves frames into their clusters, whose pages they were taken from in ascending order.
    fn place_frames(&mut self) {
        let originals =
            Arc::get_mut(&mut self.image).expect("the draft has the only reference").originals_mut();
        let mut frames = Frames { runs: self.runs.drain(..), front: None };
        while !frames.is_empty() {
            let Pending { index, own, room } = &mut self.pending[self.placed];
            let placed = &mut originals.clusters_mut()[*index];
            let cluster = Arc::get_mut(&mut placed.cluster).expect("no other image has a new cluster");
            let kept = mem::replace(cluster, mem::take(room));
            merge(*own, placed.present, kept.into_iter(), &mut frames, cluster);
            self.placed += 1;
        }
    }
}

/// Frames that were taken out of the tables, in the order of their pages.
struct Frames<'a> {
    runs: vec::Drain<'a, FrameRun>,
    /// What is left of the run that was taken last.
    front: Option<FrameRun>,
}

impl Frames<'_> {
    fn is_empty(&mut self) -> bool {
        self.front = self.front.take().filter(|run| run.len() > 0).or_else(|| self.runs.next());
        self.front.is_none()
    }

    /// Moves `count` frames to a cluster, which has capacity for them.
    fn move_to(&mut self, count: usize, cluster: &mut Cluster) {
        let end = cluster.len() + count;
        while cluster.len() < end && !self.is_empty() {
            let run = self.front.as_mut().map(|run| run.take_front((end - cluster.len()) as u64));
            if let Some(run) = run {
                cluster.extend(Share::of_run(run));
            }
        }
        debug_assert_eq!(cluster.len(), end, "each page that owns a frame has given it");
    }
}

/// Merges the frames of `own` pages and those of the other pages that are `present`.
fn merge(
    own: u64,
    present: u64,
    mut kept: vec::IntoIter<Share>,
    frames: &mut Frames<'_>,
    cluster: &mut Cluster,
) {
    if own == present {
        return frames.move_to(ones(own), cluster);
    }
    for bit in each_bit(present) {
        if own & 1 << bit == 0 {
            cluster.extend(kept.next());
        } else {
            frames.move_to(1, cluster);
        }
    }
}

/// Makes room for `more` elements.
fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), FreezeError> {
    let bytes = (list.len() + more) * size_of::<T>();
    list.try_reserve(more).map_err(|_| FreezeError::OutOfHeap { bytes })
}
