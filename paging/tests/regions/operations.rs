//! Operations on a machine whose frame source fails, whose accounts have caps, and whose regions
//! start with images, compared with the bytes that every page must contain.
//!
//! The operations are plain data, so that a test can generate and shrink them, and a fuzzer can
//! read them from bytes. In contrast to the model of frames in `model`, frames may
//! run out here: what a lost account's regions contain is not compared, everything else is, and at
//! the end no frame is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use palimpsest_paging::x86_64::structures::paging::page::PageRange;
use palimpsest_paging::{Account, FaultAround, Image, LimitError, NotOurs, Policies, ZeroStores};

use crate::world::{
    Entry, Machine, PAGE, REP_STOSB, REP_STOSQ, StringStore, TestRegion, World, address, pages,
};

/// The capacities of regions, in pages.
const CAPACITIES: [u64; 4] = [1, 40, 600, 300_000];

/// The maximum number of regions at a time.
const REGIONS: usize = 4;

/// Frames of the machine.
const FRAMES: usize = 512;

/// The pages that the image has bytes for, and the byte.
const IMAGE: [(u64, u8); 3] = [(0, 20), (3, 30), (511, 40)];

/// An operation: what is done, to which region and page, and a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation(pub(crate) [u8; 4]);

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reserve,
    Drop,
    Attach,
    Write,
    WriteRun,
    Read,
    ZeroFill,
    Decommit,
    Recommit,
    ZeroInPlace,
    Defer,
    Reclaim,
    ReclaimAll,
    SetLimit,
    /// The next allocations succeed, the others fail.
    Fail,
    /// The rest of the kernel takes frames, or releases some.
    Hoard,
    Policies,
}

const KINDS: [Kind; 24] = [
    Kind::Write,
    Kind::Read,
    Kind::Reserve,
    Kind::WriteRun,
    Kind::Decommit,
    Kind::Write,
    Kind::Drop,
    Kind::Attach,
    Kind::ZeroFill,
    Kind::Recommit,
    Kind::WriteRun,
    Kind::ZeroInPlace,
    Kind::Defer,
    Kind::Read,
    Kind::Reclaim,
    Kind::ReclaimAll,
    Kind::SetLimit,
    Kind::Fail,
    Kind::Hoard,
    Kind::Policies,
    Kind::Write,
    Kind::Read,
    Kind::Decommit,
    Kind::Defer,
];

impl Operation {
    fn kind(self) -> Kind {
        KINDS[usize::from(self.0[0]) % KINDS.len()]
    }

    /// A page: near the borders of tables, or one of the first.
    fn page(self, page_count: u64) -> u64 {
        let near = [0, 0, 0, 509, 1022, 262_142, page_count - 1, page_count / 2];
        (near[usize::from(self.0[1] >> 5)] + u64::from(self.0[2] % 8)) % page_count
    }

    fn number(self) -> u64 {
        self.0[3].into()
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.kind(), self.0)
    }
}

/// A region, and the byte that each page contains that does not contain zeros.
struct Known<'a> {
    region: TestRegion<'a>,
    account: Arc<Account>,
    limit_pages: u64,
    bytes: BTreeMap<u64, u8>,
    is_new: bool,
    has_image: bool,
}

impl Known<'_> {
    fn page_count(&self) -> u64 {
        self.region.capacity_bytes() / PAGE
    }

    /// Pages from the operation's page on, at least one and none past the limit.
    fn range(&self, operation: Operation) -> (u64, u64) {
        let page = operation.page(self.page_count());
        let count = if operation.number() >= 250 { u64::MAX } else { operation.number() % 20 + 1 };
        (page, count.min(self.page_count() - page))
    }

    fn pages(&self, (page, count): (u64, u64)) -> PageRange {
        pages(&self.region, page, count)
    }

    fn forget(&mut self, (page, count): (u64, u64)) {
        self.bytes.retain(|held, _| !(page..page + count).contains(held));
    }

    fn check(&self, world: &World, page: u64) {
        let read = world.cpu.read(world.space(), address(&self.region, page) + 77);
        if page >= self.limit_pages {
            self.check_beyond_limit(page, read.map(drop));
            return;
        }
        let byte = read.expect("the page is below the limit");
        if !self.account.is_lost() {
            assert_eq!(byte, self.bytes.get(&page).copied().unwrap_or(0), "page {page}");
        }
    }

    /// A lost account's region may show the sink past its limit, because one table of the sink
    /// covers 2 MiB.
    fn check_beyond_limit(&self, page: u64, access: Result<(), NotOurs>) {
        let is_refused = access == Err(NotOurs::BeyondLimit);
        assert!(is_refused || (access.is_ok() && self.account.is_lost()), "page {page}: {access:?}");
    }

    fn write(&mut self, world: &World, page: u64, byte: u8) {
        let written = world.cpu.write(world.space(), address(&self.region, page) + 77, byte);
        if page >= self.limit_pages {
            self.check_beyond_limit(page, written);
            return;
        }
        written.expect("the page is below the limit");
        self.bytes.insert(page, byte);
    }
}

/// Runs the operations, checks all contents, and drops everything.
pub(crate) fn run(operations: impl IntoIterator<Item = Operation>) {
    let world = World::with(2 << 40, FRAMES);
    let image = image(&world);
    let mut regions = Vec::new();
    for operation in operations {
        step(&world, &image, &mut regions, operation);
    }
    world.source.allow(None);
    world.source.unhoard(usize::MAX);
    for known in &regions {
        known.bytes.keys().for_each(|page| known.check(&world, *page));
    }
    let accounts: Vec<_> = regions.iter().map(|known| Arc::clone(&known.account)).collect();
    drop(regions);
    for account in accounts {
        assert_eq!(account.held_frames(), 0, "an account holds frames after its regions");
    }
    drop(image);
}

#[expect(clippy::arc_with_non_send_sync, reason = "the machine of the tests has one thread")]
fn image(world: &World) -> Arc<Image<'_, Machine>> {
    let bytes = IMAGE.map(|(_, byte)| [byte; 4096]);
    let parts = IMAGE.iter().zip(&bytes).map(|((page, _), bytes)| (page * PAGE, bytes.as_slice()));
    Arc::new(world.space().image(parts).expect("the machine has frames for the image"))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an operation that cannot be done has no effect")]
fn step<'a>(
    world: &'a World,
    image: &Arc<Image<'a, Machine>>,
    regions: &mut Vec<Known<'a>>,
    operation: Operation,
) {
    match operation.kind() {
        Kind::Reserve => return reserve(world, regions, operation),
        _ if regions.is_empty() => return reserve(world, regions, operation),
        Kind::ReclaimAll => drop(world.space().reclaim(operation.number())),
        Kind::Fail => {
            let credit = operation.number();
            world.source.allow((credit < 128).then_some(credit / 4));
        }
        Kind::Hoard if operation.number() < 128 => world.source.hoard(operation.number()),
        Kind::Hoard => world.source.unhoard(usize::from(operation.0[3])),
        Kind::Policies => world.space().set_policies(policies(operation)),
        _ => {}
    }
    let index = usize::from(operation.0[1]) % regions.len();
    let known = &mut regions[index];
    let (page, count) = known.range(operation);
    let range = known.pages((page, count));
    let was_new = std::mem::replace(&mut known.is_new, false);
    match operation.kind() {
        Kind::Drop => drop(regions.swap_remove(index)),
        Kind::Attach if was_new && known.limit_pages > 511 => {
            known.region.attach(image).expect("the region is new, and larger than the image");
            known.bytes.extend(IMAGE);
            known.has_image = true;
        }
        Kind::Write => known.write(world, page, operation.0[3]),
        Kind::WriteRun => (page..page + count.min(64)).for_each(|page| known.write(world, page, 7)),
        Kind::Read => known.check(world, page),
        Kind::ZeroFill => zero_fill(world, known, operation),
        Kind::Decommit => {
            known.region.decommit(range).expect("the range is inside");
            known.forget((page, count));
        }
        Kind::Recommit => {
            known.region.recommit(range).expect("the range is inside");
            known.forget((page, count));
        }
        Kind::ZeroInPlace => {
            known.region.zero_in_place(range).expect("the range is inside");
            known.forget((page, count));
        }
        Kind::Defer => {
            known.region.defer(range).expect("the range is inside");
            known.forget((page, count));
        }
        Kind::Reclaim => drop(known.region.reclaim(operation.number())),
        // Pages that show an image are not resident, so they would be given up.
        Kind::SetLimit if !known.has_image => set_limit(known, operation),
        _ => known.is_new = was_new,
    }
}

fn reserve<'a>(world: &'a World, regions: &mut Vec<Known<'a>>, operation: Operation) {
    if regions.len() >= REGIONS {
        return;
    }
    let account = Arc::new(match operation.number() {
        cap @ ..64 => Account::new(Some(cap * 2)),
        64..128 => Account::reserved(None),
        _ => Account::new(None),
    });
    let capacity = CAPACITIES[usize::from(operation.0[2]) % CAPACITIES.len()];
    // It fails if there are no frames for the tables.
    let Ok(mut region) = world.space().reserve(capacity * PAGE, &account) else { return };
    let limit_pages = if region.set_limit(capacity * PAGE).is_ok() { capacity } else { 0 };
    regions.push(Known {
        region,
        account,
        limit_pages,
        bytes: BTreeMap::new(),
        is_new: true,
        has_image: false,
    });
}

/// Writes zeros under the guard, as wasmi does where a memory grows: where the model has zeros.
fn zero_fill(world: &World, known: &mut Known<'_>, operation: Operation) {
    let (page, count) = known.range(operation);
    let count = count.min(known.limit_pages.saturating_sub(page)).min(64);
    if count == 0 || known.bytes.range(page..page + count).next().is_some() {
        return;
    }
    let range = known.pages((page, count));
    let start = address(&known.region, page);
    let guard = known.region.zero_fill(range).expect("the range is inside");
    let entry = if operation.0[2].is_multiple_of(2) { Entry::Plain } else { Entry::WithRegisters };
    let (code, element_bytes) =
        if operation.0[2] % 4 < 2 { (REP_STOSB.as_slice(), 1) } else { (REP_STOSQ.as_slice(), 8) };
    let store = StringStore { code, element_bytes, value: 0, start, count: count * PAGE / element_bytes };
    world.cpu.string_store(world.space(), entry, store).expect("the range is below the limit");
    drop(guard);
}

fn set_limit(known: &mut Known<'_>, operation: Operation) {
    let limit_pages = operation.page(known.page_count() + 1);
    match known.region.set_limit(limit_pages * PAGE) {
        Ok(()) => {
            known.limit_pages = limit_pages;
            assert!(
                known.account.is_lost() || known.bytes.range(limit_pages..).all(|(_, byte)| *byte == 0),
                "pages past the limit were given up"
            );
        }
        Err(LimitError::Resident { page }) => {
            assert!(page - known.region.pages().start >= limit_pages, "the page is past the limit");
        }
        // There are no frames to reserve.
        Err(_) => {}
    }
}

fn policies(operation: Operation) -> Policies {
    let [_, _, first, second] = operation.0;
    let zero_stores = if first.is_multiple_of(2) { ZeroStores::Off } else { ZeroStores::StepOver };
    let fault_around = match second % 3 {
        0 => FaultAround::Off,
        1 => FaultAround::Adaptive { limit_pages: 16 },
        _ => FaultAround::Adaptive { limit_pages: 512 },
    };
    Policies { fault_around, zero_stores }
}
