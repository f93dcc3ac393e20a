//! Random memories that grow, are cleared, lend and are dropped, compared with plain byte vectors.
//!
//! Every memory and every lent slice is compared with its model after each step, so that two that
//! share a byte are found.

use palimpsest_engine::{Config, Engine, Fixed, Lent, Memory, MemoryType, Store, WasmPageSize};
use proptest::{
    prelude::{Strategy, any},
    prop_assert_eq, prop_oneof, proptest,
    test_runner::{Config as Cases, RngSeed, TestCaseError},
};
use std::{boxed::Box, vec, vec::Vec};

const SLICE_BYTES: usize = 1_024;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create { bytes: usize, more: usize },
    Drop { guest: usize },
    Grow { guest: usize, by: usize },
    Fill { guest: usize, byte: u8 },
    Clear { guest: usize, start: usize, len: usize },
    Lend { guest: usize, start: usize, len: usize },
    Return { lent: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let guest = any::<usize>;
    let range = || (any::<usize>(), 0_usize..400, 0_usize..400);
    let step = prop_oneof![
        4 => (0_usize..400, 0_usize..400).prop_map(|(bytes, more)| Step::Create { bytes, more }),
        2 => guest().prop_map(|guest| Step::Drop { guest }),
        2 => (guest(), 0_usize..300).prop_map(|(guest, by)| Step::Grow { guest, by }),
        3 => (guest(), 1_u8..).prop_map(|(guest, byte)| Step::Fill { guest, byte }),
        4 => range().prop_map(|(guest, start, len)| Step::Clear { guest, start, len }),
        2 => range().prop_map(|(guest, start, len)| Step::Lend { guest, start, len }),
        1 => guest().prop_map(|lent| Step::Return { lent }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// A store with one memory, and what the memory must contain.
struct Guest {
    store: Store<()>,
    memory: Memory,
    expected: Vec<u8>,
}

impl Guest {
    /// Returns the part of the range that is inside the memory.
    fn clip(&self, start: usize, len: usize) -> (usize, usize) {
        let start = start.min(self.expected.len());
        (start, len.min(self.expected.len() - start))
    }
}

#[derive(Default)]
struct World {
    guests: Vec<Guest>,
    lent: Vec<(Lent, u8)>,
}

impl World {
    fn guest(&mut self, number: usize) -> Option<&mut Guest> {
        let count = self.guests.len();
        (count > 0).then(|| &mut self.guests[number % count])
    }

    fn step(&mut self, engine: &Engine, step: Step) {
        match step {
            Step::Create { bytes, more } => {
                let mut store = Store::new(engine, ());
                let [bytes, most] = [bytes, bytes + more].map(|bytes| bytes.try_into().unwrap());
                let ty = MemoryType::new(bytes, Some(most)).with_page_size(WasmPageSize::BYTE);
                if let Ok(memory) = Memory::new(&mut store, ty) {
                    let expected = vec![0; usize::try_from(bytes).unwrap()];
                    self.guests.push(Guest { store, memory, expected });
                }
            }
            Step::Drop { guest } if !self.guests.is_empty() => {
                let number = guest % self.guests.len();
                drop(self.guests.swap_remove(number));
            }
            Step::Return { lent } if !self.lent.is_empty() => {
                let number = lent % self.lent.len();
                drop(self.lent.swap_remove(number));
            }
            Step::Drop { .. } | Step::Return { .. } => {}
            Step::Grow { guest, by } => {
                let Some(guest) = self.guest(guest) else { return };
                if guest.memory.grow(&mut guest.store, by as u64).is_ok() {
                    guest.expected.resize(guest.expected.len() + by, 0);
                }
            }
            Step::Fill { guest, byte } => {
                let Some(guest) = self.guest(guest) else { return };
                let bytes = guest.memory.data_mut(&mut guest.store);
                bytes.fill(byte);
                guest.expected[..bytes.len()].fill(byte);
            }
            Step::Clear { guest, start, len } => {
                let Some(guest) = self.guest(guest) else { return };
                let (start, len) = guest.clip(start, len);
                guest.memory.clear_pages(&mut guest.store, start as u64, len as u64).unwrap();
                guest.expected[start..start + len].fill(0);
            }
            Step::Lend { guest, start, len } => {
                let Some(guest) = self.guest(guest) else { return };
                let (start, len) = guest.clip(start, len);
                let lent = guest.memory.lend_pages(&mut guest.store, start as u64, len as u64);
                if let Ok(mut lent) = lent {
                    guest.expected[start..start + len].fill(0);
                    assert!(lent.iter().all(|byte| *byte == 0));
                    lent.fill(0xff);
                    self.lent.push((lent, 0xff));
                } else if guest.memory.data(&guest.store).len() == guest.expected.len() {
                    // It was refused after the range was zeroed, for want of a granule.
                    guest.expected[start..start + len].fill(0);
                }
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (lent, byte) in &self.lent {
            prop_assert_eq!(lent.iter().find(|found| *found != byte), None);
        }
        // Reading takes pages back, so only one guest is read between two steps.
        if let Some(guest) = self.guests.last() {
            let bytes = guest.memory.data(&guest.store);
            prop_assert_eq!(bytes, &guest.expected[..bytes.len()]);
        }
        Ok(())
    }
}

fn cases() -> Cases {
    let cases = if cfg!(miri) { 2 } else { 400 };
    Cases { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Cases::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn memories_and_lent_slices_share_no_byte(steps in steps()) {
        let [first, second] = [(); 2].map(|()| Box::leak(Box::<[u8]>::new_uninit_slice(SLICE_BYTES)));
        let backing = Fixed::new(first).and(second);
        let free = (backing.free_bytes(), backing.largest_free_bytes());
        let engine = Engine::new(Config::default(), backing.clone()).unwrap();
        let mut world = World::default();
        for step in steps {
            world.step(&engine, step);
            world.check()?;
        }
        for guest in &world.guests {
            let bytes = guest.memory.data(&guest.store);
            prop_assert_eq!(bytes, &guest.expected[..bytes.len()]);
        }
        drop(world);
        prop_assert_eq!((backing.free_bytes(), backing.largest_free_bytes()), free);
    }
}
