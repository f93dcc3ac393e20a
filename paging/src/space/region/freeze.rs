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
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use x86_64::structures::paging::Page;

use super::super::{FreezeError, Image};
use super::{RELEASE_BATCH, Region};
use crate::frame::FrameRun;
use crate::pages::ENTRIES;
use crate::platform::Platform;
use crate::record::{Attached, CLUSTER_PAGES, Cluster, Originals, Placed, ones, words};

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
        self.freeze_for(0)
    }

    /// As [`freeze`](Self::freeze). The frames that the image gets from the region have this payer,
    /// for [`Image::release`].
    ///
    /// The numbers of payers mean nothing to this crate. Frames of an image that was made of bytes
    /// have payer 0.
    ///
    /// # Errors
    ///
    /// As for [`freeze`](Self::freeze).
    pub fn freeze_for(&mut self, payer: u32) -> Result<Frozen<'a, P>, FreezeError> {
        self.with_recalled(|mut mapping| mapping.demote_ahead());
        self.reclaim(u64::MAX);
        // Nothing touches the region meanwhile, so the fault path does not miss the record's part.
        let attached = self.with_mapping(|mapping| mapping.record.image.take());
        let drafted = match self.draft(attached.as_ref().unwrap_or(&Attached::default())) {
            Ok(Some(draft)) => return Ok(self.put_in_place(draft, attached, payer)),
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
    fn draft(&self, attached: &Attached) -> Result<Option<Draft<'a, P>>, FreezeError> {
        let owned = self.owned()?;
        if owned.is_empty() && attached.next_forgotten(0).is_none() {
            return Ok(None);
        }
        let mut rest = attached.clusters();
        let mut draft = Draft::new(Image::new(self.space), rest.len() + owned.len(), owned.len())?;
        let mut owned = owned.into_iter().peekable();
        let mut forgotten = attached.forgotten().peekable();
        loop {
            let numbers = [owned.peek().map(|owned| owned.0), forgotten.peek().copied()];
            let Some(number) = numbers.into_iter().flatten().min() else { break };
            let own = owned.next_if(|owned| owned.0 == number).map_or(0, |owned| owned.1);
            forgotten.next_if_eq(&number);
            let (unchanged, changed) = rest.split_at(rest.partition_point(|placed| placed.number < number));
            draft.originals_mut().share(unchanged);
            rest = changed;
            let before = rest.first().filter(|before| before.number == number);
            let before = before.map(|before| (before, attached.taken_of(before) & !own));
            rest = &rest[usize::from(before.is_some())..];
            draft.add(number, own, before)?;
        }
        draft.originals_mut().share(rest);
        let words = words(draft.image.originals().frame_count());
        reserve(&mut draft.room, words)?;
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
            reserve(&mut owned, bits.len())?;
            let clusters = (first / CLUSTER_PAGES..).zip(bits);
            owned.extend(clusters.filter(|(_, bits)| *bits != 0));
            from = first + ENTRIES as u64;
        }
        Ok(owned)
    }

    /// Moves the frames into the draft, and makes the region show it.
    fn put_in_place(
        &mut self,
        mut draft: Draft<'a, P>,
        attached: Option<Attached>,
        payer: u32,
    ) -> Frozen<'a, P> {
        let env = &self.space.env;
        let mut rest = self.pages;
        while !rest.is_empty() {
            self.with_mapping(|mut mapping| {
                let end = mapping.batch_end(rest, RELEASE_BATCH);
                mapping.take_frames(Page::range(rest.start, end), |frames| draft.place(frames, payer));
                rest.start = end;
            });
        }
        debug_assert_eq!(draft.placed, draft.pending.len(), "each page that owns a frame has given it");
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
    /// Room for the bits of the region's record.
    room: Vec<u64>,
}

/// A cluster that lacks frames of the region. It has capacity for them.
struct Pending {
    /// Its index in the image.
    index: usize,
    /// The pages whose frames it lacks.
    missing: u64,
}

impl<'a, P: Platform> Draft<'a, P> {
    /// A draft with room for this number of clusters, of which some lack frames.
    fn new(image: Image<'a, P>, clusters: usize, pending: usize) -> Result<Self, FreezeError> {
        let image = Arc::new(image);
        let mut draft = Self { image, pending: Vec::new(), placed: 0, own_frames: 0, room: Vec::new() };
        reserve(draft.originals_mut().clusters_mut(), clusters)?;
        reserve(&mut draft.pending, pending)?;
        Ok(draft)
    }

    fn originals_mut(&mut self) -> &mut Originals {
        Arc::get_mut(&mut self.image).expect("the draft has the only reference").originals_mut()
    }

    /// Adds a cluster with pages that own a frame, and with `kept` pages of a cluster of the image
    /// before.
    fn add(&mut self, number: u64, own: u64, kept: Option<(&Placed, u64)>) -> Result<(), FreezeError> {
        let present = own | kept.map_or(0, |(_, kept)| kept);
        if present == 0 {
            return Ok(());
        }
        let (mut cluster, frames) = (Cluster::new(), ones(present));
        reserve(&mut cluster, frames)?;
        if let Some((before, kept)) = kept {
            self.image.space().share_frames(kept, before, &mut cluster)?;
        }
        if own != 0 {
            let index = self.image.originals().clusters().len();
            self.pending.push(Pending { index, missing: own });
            self.own_frames += frames - cluster.len();
        }
        self.originals_mut().push(number, present, Arc::new(cluster));
        Ok(())
    }

    /// Puts frames into their clusters, whose pages they were taken from in ascending order. It
    /// uses no heap.
    fn place(&mut self, mut frames: FrameRun, payer: u32) {
        let originals =
            Arc::get_mut(&mut self.image).expect("the draft has the only reference").originals_mut();
        while frames.len() > 0 {
            let Pending { index, missing } = &mut self.pending[self.placed];
            *missing = originals.clusters_mut()[*index].fill(*missing, &mut frames, payer);
            self.placed += usize::from(*missing == 0);
        }
    }
}

/// Makes room for `more` elements.
fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), FreezeError> {
    let bytes = (list.len() + more) * size_of::<T>();
    list.try_reserve(more).map_err(|_| FreezeError::OutOfHeap { bytes })
}
