//! Every allocation of a guest's life fails once, and from every one on the heap is full.
//!
//! This is a separate binary because of its global allocator. It has one test, because the
//! allocator counts the allocations of all threads.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_counting::lift_at_panics;
use palimpsest_engine::{Config, Engine, Fixed, HeapBudget, Instance, Linker, Module, Store};
use palimpsest_exhaustion::{End, Failing, Failure, live, live_in_forks};
use std::{alloc::System, collections::BTreeMap, mem::MaybeUninit};

#[global_allocator]
static HEAP: HeapBudget<Failing<System>> = HeapBudget::new(Failing::new(System));

/// Bytes of the reserve. The script takes less in all.
const RESERVE_BYTES: usize = 1 << 20;

/// Bytes of the fixed backing: the memories of a life, and those of its neighbour.
const BACKING_BYTES: usize = 16 << 20;

/// A guest that lives next to all others.
const NEIGHBOUR: &str = r#"(module (memory (export "memory") 1)
    (func (export "count") (result i32)
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (i32.load (i32.const 0))))"#;

struct Neighbour {
    store: Store<()>,
    instance: Instance,
}

impl Neighbour {
    fn start(backing: &Fixed) -> Self {
        let engine = Engine::new(Config::default().heap(&HEAP), backing.clone()).unwrap();
        let module = Module::new(&engine, &wat::parse_str(NEIGHBOUR).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Linker::new().instantiate(&mut store, &module).unwrap();
        Self { store, instance }
    }

    fn count(&mut self) -> u32 {
        let count = self.instance.get_typed_func::<(), u32>(&self.store, "count").unwrap();
        count.call(&mut self.store, ()).unwrap()
    }
}

/// A script, and the steps at which some of its lives must run out of heap.
struct Script {
    run: fn(Config, Fixed) -> Result<(), End>,
    steps: &'static [&'static str],
}

const SCRIPTS: [Script; 2] = [
    Script {
        run: live,
        steps: &["loading a module", "instantiating", "grow", "blocks", "files", "running a task"],
    },
    Script { run: live_in_forks, steps: &["files", "making a snapshot", "forking a snapshot"] },
];

/// Lives once with this failure. Returns the step at which the heap ran out, if it did.
fn live_with(script: &Script, backing: &Fixed, failure: Failure) -> Option<&'static str> {
    let before = HEAP.inner().used_bytes();
    HEAP.inner().arm(failure);
    let life = (script.run)(Config::default().heap(&HEAP), backing.clone());
    HEAP.inner().disarm();
    let end = match life {
        Ok(()) => None,
        Err(End::OutOfHeap { doing }) => Some(doing),
        Err(wrong @ End::Wrong { .. }) => panic!("{failure:?}: {wrong}"),
    };
    assert!(HEAP.has_reserve(), "{failure:?}: the reserve is missing after {end:?}");
    assert_eq!(HEAP.inner().used_bytes(), before, "{failure:?}: bytes in use after {end:?}");
    end
}

#[test]
fn every_allocation_fails_once_and_only_its_guest_ends() {
    lift_at_panics(|| HEAP.inner().disarm());
    HEAP.set_reserve(RESERVE_BYTES).unwrap();
    let bytes = Box::leak(vec![MaybeUninit::uninit(); BACKING_BYTES].into_boxed_slice());
    let backing = Fixed::new(bytes);
    let mut neighbour = Neighbour::start(&backing);
    for script in &SCRIPTS {
        assert_eq!(live_with(script, &backing, Failure::Never), None);
        let allocations = HEAP.inner().allocations();
        let free_bytes = backing.free_bytes();
        println!("{allocations} allocations");
        for fails in [Failure::Once as fn(usize) -> Failure, Failure::From] {
            let mut ends = BTreeMap::new();
            for number in 0..allocations {
                *ends.entry(live_with(script, &backing, fails(number))).or_insert(0) += 1;
                assert_eq!(backing.free_bytes(), free_bytes, "{:?}", fails(number));
                assert!(neighbour.count() > 0);
            }
            println!("{ends:?}");
            for step in script.steps {
                assert!(ends.contains_key(&Some(*step)), "nothing failed while {step}");
            }
        }
    }
}
