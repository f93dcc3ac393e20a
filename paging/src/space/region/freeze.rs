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
use core::slice;
use core::sync::atomic::Ordering;

use x86_64::structures::paging::Page;

use super::super::{FreezeError, Image};
use super::{RELEASE_BATCH, Region};
use crate::pages::ENTRIES;
use crate::platform::Platform;
use crate::record::{
    Attached, BUNDLE_CLUSTERS, BUNDLE_PAGES, Bundle, BundleBits, Originals, Placed, Vacancies, ones,
    place_in_bundle, words,
};

/// The pages that own a frame, of those whose frames may be in one bundle: the number of the first
/// page divided by [`BUNDLE_PAGES`], and a bit for each page.
type Owned = (u64, BundleBits);

impl<'a, P: Platform> Region<'a, P> {
    /// Returns the number of frames that [`freeze`](Self::freeze) makes those of an image.
    ///
    /// It releases what is not among them, as a freeze does: frames of deferred pages, and those
    /// that were committed ahead and never written.
    #[must_use]
    pub fn freezable_frames(&mut self) -> u64 {
        self.release_unwritten();
        self.with_mapping(|mapping| mapping.record.figures.mapped_frames)
    }

    /// Releases frames of deferred pages, and those that were committed ahead and never written.
    fn release_unwritten(&mut self) {
        self.with_recalled(|mut mapping| mapping.demote_ahead());
        self.reclaim(u64::MAX);
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
        self.release_unwritten();
        // Nothing touches the region meanwhile, so the fault path does not miss the record's part.
        let attached = self.with_mapping(|mapping| mapping.record.image.take());
        let drafted = match self.draft(attached.as_ref().unwrap_or(&Attached::default()), payer) {
            Ok(Some(draft)) => return Ok(self.put_in_place(draft, attached)),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.with_mapping(|mapping| mapping.record.image = attached);
        drafted?;
        self.cleared = None;
        let space = self.space;
        let image = self.image.get_or_insert_with(|| Arc::new(Image::new(space)));
        Ok(Frozen { image: Arc::clone(image), frames_moved: 0 })
    }

    /// Prepares an image for the pages that own a frame, whose frames get this payer, and the rest
    /// of the one that is attached. Returns `None` if nothing has changed since that was attached.
    fn draft(&self, attached: &Attached, payer: u32) -> Result<Option<Draft<'a, P>>, FreezeError> {
        let owned = self.owned()?;
        if owned.is_empty() && attached.next_forgotten(0).is_none() {
            return Ok(None);
        }
        let mut rest = attached.clusters();
        let own_clusters = owned.iter().flat_map(|(_, bits)| bits).filter(|bits| **bits != 0).count();
        let mut draft = Draft::new(Image::new(self.space), rest.len() + own_clusters, owned.len())?;
        let mut owned = owned.into_iter().peekable();
        let mut forgotten = attached.forgotten().map(|cluster| cluster / BUNDLE_CLUSTERS as u64).peekable();
        loop {
            let numbers = [owned.peek().map(|owned| owned.0), forgotten.peek().copied()];
            let Some(number) = numbers.into_iter().flatten().min() else { break };
            let own = owned.next_if(|owned| owned.0 == number).map_or([0; _], |owned| owned.1);
            while forgotten.next_if_eq(&number).is_some() {}
            let clusters = [number, number + 1].map(|number| number * BUNDLE_CLUSTERS as u64);
            let [start, end] = clusters.map(|number| rest.partition_point(|placed| placed.number < number));
            draft.originals_mut().share(&rest[..start]);
            draft.add(number, own, attached, &rest[start..end], payer)?;
            rest = &rest[end..];
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

    /// The pages that own a frame, in ascending order.
    fn owned(&self) -> Result<Vec<Owned>, FreezeError> {
        let mut owned = Vec::new();
        let mut from = 0;
        while let Some((first, bits)) = self.with_mapping(|mut mapping| mapping.next_owned(from)) {
            let (bundles, _) = bits.as_chunks::<BUNDLE_CLUSTERS>();
            reserve(&mut owned, bundles.len())?;
            let bundles = (first / BUNDLE_PAGES..).zip(bundles.iter().copied());
            owned.extend(bundles.filter(|(_, bits)| *bits != [0; _]));
            from = first + ENTRIES as u64;
        }
        Ok(owned)
    }

    /// Moves the frames into the draft, and makes the region show it.
    fn put_in_place(&mut self, draft: Draft<'a, P>, attached: Option<Attached>) -> Frozen<'a, P> {
        let env = &self.space.env;
        let Draft { image, pending, own_frames, room } = draft;
        let mut vacancies = Vacancies::of(&pending);
        let mut rest = self.pages;
        while !rest.is_empty() {
            self.with_mapping(|mut mapping| {
                let end = mapping.batch_end(rest, RELEASE_BATCH);
                mapping.take_frames(Page::range(rest.start, end), |frames| vacancies.fill(frames));
                rest.start = end;
            });
        }
        let frames_moved = own_frames as u64;
        env.image_frames.fetch_add(frames_moved, Ordering::Relaxed);
        let shown = Attached::with_room(image.originals(), room);
        self.with_mapping(|mapping| mapping.record.image = Some(shown));
        // The image before may end here, and its record must end before it.
        drop(attached);
        self.image = Some(Arc::clone(&image));
        self.cleared = None;
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
    /// The bundles that frames are missing in, in ascending order, each with their number.
    pending: Vec<(Arc<Bundle>, usize)>,
    own_frames: usize,
    /// Room for the bits of the region's record.
    room: Vec<u64>,
}

impl<'a, P: Platform> Draft<'a, P> {
    /// A draft with room for this number of clusters, and of bundles that lack frames.
    fn new(image: Image<'a, P>, clusters: usize, bundles: usize) -> Result<Self, FreezeError> {
        let (image, pending, room) = (Arc::new(image), Vec::new(), Vec::new());
        let mut draft = Self { image, pending, own_frames: 0, room };
        reserve(draft.originals_mut().clusters_mut(), clusters)?;
        reserve(&mut draft.pending, bundles)?;
        Ok(draft)
    }

    fn originals_mut(&mut self) -> &mut Originals {
        Arc::get_mut(&mut self.image).expect("the draft has the only reference").originals_mut()
    }

    /// Adds the clusters of the bundle with this number: those with pages that own a frame, and
    /// those that the region still takes from the image before, in which they were `before`.
    fn add(
        &mut self,
        number: u64,
        own: BundleBits,
        attached: &Attached,
        before: &[Placed],
        payer: u32,
    ) -> Result<(), FreezeError> {
        let (mut places, mut kept) = ([None; BUNDLE_CLUSTERS], BundleBits::default());
        for placed in before {
            let cluster = place_in_bundle(placed.number);
            places[cluster] = Some(placed);
            kept[cluster] = attached.taken_of(placed) & !own[cluster];
        }
        // A cluster that has not changed stays where it is.
        let unchanged = |cluster: usize| {
            places[cluster].filter(|placed| own[cluster] == 0 && kept[cluster] == placed.present)
        };
        let changed = (0..BUNDLE_CLUSTERS).filter(|cluster| unchanged(*cluster).is_none());
        let frames = changed.map(|cluster| ones(own[cluster] | kept[cluster])).sum();
        let bundle = Bundle::vacant(frames, payer).map_err(|bytes| FreezeError::OutOfHeap { bytes })?;
        let (bundle, mut first) = (Arc::new(bundle), 0);
        let space = self.image.space();
        let originals = self.originals_mut();
        for (cluster, own) in own.into_iter().enumerate() {
            if let Some(placed) = unchanged(cluster) {
                originals.share(slice::from_ref(placed));
                continue;
            }
            let (kept, before) = (kept[cluster], places[cluster]);
            if let Some(before) = before.filter(|_| kept != 0) {
                space.share_frames(before, kept, own, &bundle.shares()[first..])?;
            }
            let number = number * BUNDLE_CLUSTERS as u64 + cluster as u64;
            first = originals.push(number, own | kept, &bundle, first);
        }
        let own_frames = own.into_iter().map(ones).sum();
        if own_frames > 0 {
            self.own_frames += own_frames;
            self.pending.push((bundle, own_frames));
        }
        Ok(())
    }
}

/// Makes room for `more` elements.
fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), FreezeError> {
    let bytes = (list.len() + more) * size_of::<T>();
    list.try_reserve(more).map_err(|_| FreezeError::OutOfHeap { bytes })
}
