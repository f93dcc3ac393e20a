//! The frames of an image, in clusters of 64 pages that images share.
//!
//! An image that is made of a region with an image has in common with that one all clusters of
//! which the region has changed no page. So the new image costs what has changed, and a pointer for
//! each cluster. A cluster has frames for the pages that have content, and no room for the others.
//! They are in a [`Bundle`].

use alloc::sync::Arc;
use alloc::vec::Vec;

use x86_64::structures::paging::PhysFrame;

use super::Share;
use super::bundle::{BUNDLE_CLUSTERS, BUNDLE_PAGES, Bundle, BundleBits, place_in_bundle};
use crate::frame::Frame;

/// The number of pages of a cluster: one for each bit of a word.
pub(crate) const CLUSTER_PAGES: u64 = 64;

/// The frames of an image, each with its page's number in a region.
#[derive(Debug, Default)]
pub(crate) struct Originals {
    /// In ascending order.
    clusters: Vec<Placed>,
    frame_count: usize,
}

/// A cluster, and where it is in an image.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The number of its first page, divided by [`CLUSTER_PAGES`].
    pub(crate) number: u64,
    /// The number of frames of the clusters before it.
    rank: usize,
    /// A bit for each page that has a frame.
    pub(crate) present: u64,
    pub(crate) bundle: Arc<Bundle>,
    /// The place of its first frame in the bundle.
    first: usize,
}

impl Placed {
    /// The index of the frame of the page with this bit, among those of the cluster.
    fn place(&self, bit: u64) -> Option<usize> {
        (self.present & 1 << bit != 0).then(|| rank_of(bit, self.present))
    }

    /// The frame of the page with this bit.
    pub(crate) fn frame(&self, bit: u64) -> Option<PhysFrame> {
        Some(self.bundle.shares().get(self.first + self.place(bit)?)?.frame())
    }

    /// The frames, in the order of their pages.
    pub(crate) fn shares(&self) -> &[Share] {
        &self.bundle.shares()[self.first..self.first + ones(self.present)]
    }

    /// Visits the frames of the `kept` pages, and the shares that the same pages have in a cluster
    /// with frames for `kept` and `own` pages. They come in runs of the same length.
    pub(crate) fn each_kept(
        &self,
        kept: u64,
        own: u64,
        to: &[Share],
        mut visit: impl FnMut(&[Share], &[Share]),
    ) {
        let (present, shares) = (kept | own, self.shares());
        let (mut old, mut new) = (0, 0);
        // A run ends before a page that one of the clusters lacks.
        for bit in each_bit(self.present & !kept | own) {
            let [old_end, new_end] = [self.present, present].map(|present| rank_of(bit, present));
            visit(&shares[old..old_end], &to[new..new_end]);
            old = old_end + usize::from(self.present & 1 << bit != 0);
            new = new_end + usize::from(present & 1 << bit != 0);
        }
        visit(&shares[old..], &to[new..ones(present)]);
    }

    /// The index of its first frame among those of the image.
    pub(crate) const fn rank(&self) -> usize {
        self.rank
    }
}

impl Originals {
    /// An image of these frames, which are in the order of their pages' numbers.
    pub(crate) fn of_frames(frames: impl IntoIterator<Item = (u64, Frame)>) -> Self {
        let mut originals = Self::default();
        let mut frames = frames.into_iter().peekable();
        while let Some((first, _)) = frames.peek() {
            let number = first / BUNDLE_PAGES;
            let (mut present, mut shares) = (BundleBits::default(), Vec::new());
            while let Some((page, frame)) = frames.next_if(|(page, _)| page / BUNDLE_PAGES == number) {
                present[place_in_bundle(page / CLUSTER_PAGES)] |= 1 << (page % CLUSTER_PAGES);
                shares.push(frame.into());
            }
            let (bundle, mut first) = (Arc::new(Bundle::new(shares, 0)), 0);
            for (cluster, present) in (number * BUNDLE_CLUSTERS as u64..).zip(present) {
                first = originals.push(cluster, present, &bundle, first);
            }
        }
        originals
    }

    /// Adds a cluster after all others, unless no page is present. The frames are those of a bundle
    /// from place `first` on. Returns the place after them.
    pub(crate) fn push(&mut self, number: u64, present: u64, bundle: &Arc<Bundle>, first: usize) -> usize {
        if present == 0 {
            return first;
        }
        bundle.add_user(number);
        self.clusters.push(Placed {
            number,
            rank: self.frame_count,
            present,
            bundle: Arc::clone(bundle),
            first,
        });
        let frames = ones(present);
        self.frame_count += frames;
        first + frames
    }

    /// Adds clusters of another image, which follow each other there, after all others.
    pub(crate) fn share(&mut self, clusters: &[Placed]) {
        let (Some(first), Some(last)) = (clusters.first(), clusters.last()) else { return };
        let rank = self.frame_count;
        self.clusters.extend(clusters.iter().map(|placed| {
            placed.bundle.add_user(placed.number);
            let bundle = Arc::clone(&placed.bundle);
            Placed { rank: rank + (placed.rank - first.rank), bundle, ..*placed }
        }));
        self.frame_count += last.rank - first.rank + ones(last.present);
    }

    /// The list of clusters, to be given capacity.
    pub(crate) const fn clusters_mut(&mut self) -> &mut Vec<Placed> {
        &mut self.clusters
    }

    /// The clusters, in ascending order.
    pub(crate) fn clusters(&self) -> &[Placed] {
        &self.clusters
    }

    /// The number of frames.
    pub(crate) const fn frame_count(&self) -> usize {
        self.frame_count
    }

    /// The numbers of the pages, in ascending order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.clusters
            .iter()
            .flat_map(|placed| each_bit(placed.present).map(move |bit| placed.number * CLUSTER_PAGES + bit))
    }

    /// The cluster with this number.
    pub(crate) fn cluster(&self, number: u64) -> Option<&Placed> {
        let index = self.clusters.binary_search_by_key(&number, |placed| placed.number).ok()?;
        self.clusters.get(index)
    }

    /// The frame of the page with this number, and its index.
    pub(crate) fn find(&self, number: u64) -> Option<(usize, PhysFrame)> {
        let placed = self.cluster(number / CLUSTER_PAGES)?;
        let place = placed.place(number % CLUSTER_PAGES)?;
        Some((placed.rank + place, placed.bundle.shares().get(placed.first + place)?.frame()))
    }

    /// The index of the first frame whose page has this number or a greater one.
    pub(crate) fn index_from(&self, number: u64) -> usize {
        let cluster = number / CLUSTER_PAGES;
        let after = self.clusters.partition_point(|placed| placed.number < cluster);
        match self.clusters.get(after) {
            Some(placed) if placed.number == cluster => {
                placed.rank + rank_of(number % CLUSTER_PAGES, placed.present)
            }
            Some(placed) => placed.rank,
            None => self.frame_count(),
        }
    }

    /// The number of the page of the frame with this index.
    pub(crate) fn number_at(&self, index: usize) -> Option<u64> {
        let after = self.clusters.partition_point(|placed| placed.rank <= index);
        let placed = self.clusters.get(after.checked_sub(1)?)?;
        let bit = each_bit(placed.present).nth(index - placed.rank)?;
        Some(placed.number * CLUSTER_PAGES + bit)
    }

    /// One more than the number of the last page.
    pub(crate) fn end_number(&self) -> u64 {
        let end = |last: &Placed| {
            last.number * CLUSTER_PAGES + CLUSTER_PAGES - u64::from(last.present.leading_zeros())
        };
        self.clusters.last().map_or(0, end)
    }
}

/// The number of bits that are set below this one.
pub(crate) const fn rank_of(bit: u64, bits: u64) -> usize {
    ones(bits & ((1 << bit) - 1))
}

/// The number of bits that are set.
pub(crate) const fn ones(bits: u64) -> usize {
    bits.count_ones() as usize
}

/// The numbers of the bits that are set, in ascending order.
pub(crate) fn each_bit(bits: u64) -> impl Iterator<Item = u64> {
    let mut rest = bits;
    core::iter::from_fn(move || {
        let bit = (rest != 0).then(|| u64::from(rest.trailing_zeros()))?;
        rest &= rest - 1;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use core::mem::ManuallyDrop;

    use super::*;

    /// An image of frames that do not exist, so they must not be dropped.
    pub(crate) fn originals(numbers: &[u64]) -> ManuallyDrop<Originals> {
        // SAFETY: the frames are not accessed, and their owners are never dropped.
        let frame = |number: &u64| (*number, unsafe { Frame::from_phys(PhysFrame::from_pfn(number + 1)) });
        ManuallyDrop::new(Originals::of_frames(numbers.iter().map(frame)))
    }

    const NUMBERS: [u64; 8] = [3, 63, 64, 65, 127, 300, 319, 1000];

    #[test]
    fn each_page_is_found_with_its_index_and_no_other() {
        let originals = originals(&NUMBERS);
        for number in 0..1100 {
            let index = NUMBERS.iter().position(|at| *at == number);
            let expected = index.map(|index| (index, PhysFrame::from_pfn(number + 1)));
            assert_eq!(originals.find(number), expected, "{number}");
            let from = NUMBERS.iter().position(|at| *at >= number).unwrap_or(NUMBERS.len());
            assert_eq!(originals.index_from(number), from, "{number}");
        }
    }

    #[test]
    fn indices_and_numbers_agree() {
        let originals = originals(&NUMBERS);
        assert!(originals.numbers().eq(NUMBERS));
        assert!(
            (0..9).map(|index| originals.number_at(index)).eq(NUMBERS.map(Some).into_iter().chain([None]))
        );
        assert_eq!((originals.frame_count(), originals.end_number()), (8, 1001));
        assert_eq!((Originals::default().end_number(), Originals::default().number_at(0)), (0, None));
    }
}
