//! The model of a region: which pages have a frame, and what they contain.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use palimpsest_paging::Account;

use crate::world::{GIB, KIB, MIB, PAGE, TestRegion, World, account, reserved_account};

/// A xorshift generator: the same numbers on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }
}

/// What a page contains that is not absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A frame, with the byte that was written last.
    Resident(u8),
    Deferred,
}

/// How the frames of a region compare with the pages that were touched.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counting {
    /// One for each.
    Exact,
    /// Pages that were committed ahead come on top.
    AtLeast,
}

impl Counting {
    pub(super) fn check(self, actual: u64, expected: u64, seed: u64) {
        match self {
            Self::Exact => assert_eq!(actual, expected, "seed {seed}"),
            Self::AtLeast => assert!(actual >= expected, "{actual} below {expected}, seed {seed}"),
        }
    }
}

/// A region, and what each of its pages must contain.
pub(super) struct Modelled<'a> {
    pub(super) counting: Counting,
    pub(super) seed: u64,
    pub(super) region: TestRegion<'a>,
    pub(super) account: Arc<Account>,
    pub(super) limit_pages: u64,
    pub(super) pages: BTreeMap<u64, Content>,
}

const SIZES: [u64; 7] = [PAGE, 64 * KIB, MIB, 2 * MIB, 5 * MIB, 900 * MIB, 4 * GIB];

/// Up to this size a region may have a reserved account: the machine has frames for all of them.
const RESERVED_BYTES: u64 = 5 * MIB;

impl<'a> Modelled<'a> {
    pub(super) fn new(world: &'a World, random: &mut Random, counting: Counting, seed: u64) -> Self {
        let bytes = SIZES[random.index(SIZES.len())];
        let is_reserved = bytes <= RESERVED_BYTES && random.below(2) == 0;
        let account = if is_reserved { reserved_account() } else { account() };
        let region = world.region_of(bytes, &account);
        Self { counting, seed, region, account, limit_pages: bytes / PAGE, pages: BTreeMap::new() }
    }

    pub(super) fn page_count(&self) -> u64 {
        self.region.capacity_bytes() / PAGE
    }

    /// Pages that are worth touching: near borders of tables, and a few others.
    pub(super) fn some_page(&self, random: &mut Random) -> u64 {
        let near = [0, 511, 512, 1023, 262_143, 262_144, self.page_count() / 2, self.page_count() - 1];
        (near[random.index(near.len())] + random.below(4)) % self.page_count()
    }

    pub(super) fn some_range(&self, random: &mut Random) -> Range<u64> {
        let start = self.some_page(random);
        start..start + 1 + random.below(self.page_count() - start)
    }

    pub(super) fn count(&self, range: &Range<u64>, is_wanted: impl Fn(Content) -> bool) -> u64 {
        self.pages.range(range.clone()).filter(|(_, content)| is_wanted(**content)).count() as u64
    }

    pub(super) fn residents(&self, range: &Range<u64>) -> u64 {
        self.count(range, |content| content != Content::Deferred)
    }

    /// Replaces the content of the resident pages of the range.
    pub(super) fn replace_residents(&mut self, range: Range<u64>, by: Content) {
        let residents = self.pages.range_mut(range).filter(|(_, content)| **content != Content::Deferred);
        residents.for_each(|(_, content)| *content = by);
    }

    /// Removes the lowest deferred pages, up to `most`, and returns their number.
    pub(super) fn forget_deferred(&mut self, most: u64) -> u64 {
        let deferred = self.pages.iter().filter(|(_, content)| **content == Content::Deferred);
        let wanted = usize::try_from(most).unwrap_or(usize::MAX);
        let lowest: Vec<u64> = deferred.map(|(page, _)| *page).take(wanted).collect();
        self.pages.retain(|page, _| !lowest.contains(page));
        lowest.len() as u64
    }

    pub(super) fn count_as(&self, actual: u64, expected: u64) {
        self.counting.check(actual, expected, self.seed);
    }

    pub(super) fn check(&self) {
        let all = 0..self.page_count();
        let (residency, seed) = (self.region.residency(), self.seed);
        self.count_as(residency.resident_frames, self.residents(&all));
        self.count_as(residency.deferred_frames, self.count(&all, |held| held == Content::Deferred));
        let data = residency.resident_frames + residency.ahead_frames + residency.deferred_frames;
        let held = residency.table_frames + data;
        assert_eq!(self.account.held_frames(), held, "seed {seed}");
        assert!(!self.account.is_lost(), "seed {seed}");
    }
}
