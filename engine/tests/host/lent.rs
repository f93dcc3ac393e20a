//! Cleared pages of stopped guests, which others use meanwhile. Miri runs those without a guest.

use palimpsest_engine::{
    AsContextMut, Caller, Commit, Config, Engine, EntryError, Extern, Fixed, Fuel, LendError, Linker, Memory,
    MemoryAccessError, MemoryType, Module, Poll, Store, StoreOptions, Strategy, Task,
};
use std::{boxed::Box, vec::Vec};

const WASM_PAGE: usize = 65_536;

/// Returns an engine over `len` bytes that start at a multiple of 16.
fn engine(len: usize) -> (Engine, Fixed) {
    let bytes = Box::leak(Box::<[u8]>::new_uninit_slice(len + 16));
    let start = bytes.as_ptr().align_offset(16);
    let backing = Fixed::new(&mut bytes[start..start + len]);
    (Engine::new(Config::default(), backing.clone()).unwrap(), backing)
}

fn memory(store: &mut Store<()>, wasm_pages: u32) -> Memory {
    Memory::new(store, MemoryType::new(wasm_pages, Some(wasm_pages))).unwrap()
}

mod without_a_guest {
    use super::*;

    fn sixteen(engine: &Engine) -> (Vec<Store<()>>, Vec<Memory>) {
        let mut stores: Vec<_> = (0..16).map(|_| Store::new(engine, ())).collect();
        let memories = stores.iter_mut().map(|store| memory(store, 1)).collect();
        (stores, memories)
    }

    /// Under Miri a read of the lent bytes would end the use of the slice.
    #[test]
    fn what_a_memory_has_written_is_found_without_a_look_at_lent_bytes() {
        let (engine, _) = engine(1 << 20);
        let mut store = Store::new(&engine, ());
        let memory = memory(&mut store, 4);
        let written = |store: &mut Store<()>| {
            let mut found = Vec::new();
            memory.each_written(store, |pages| found.push((pages.start, pages.end)));
            found
        };
        memory.write(&mut store, 3 * WASM_PAGE, b"after").unwrap();
        let mut lent = memory.lend_pages(&mut store, 1, 1).unwrap();
        let slice = &mut lent[..];
        slice[0] = 1;
        assert_eq!(written(&mut store), [(1, 2), (3, 4)], "the lent page was cleared");
        slice[1] = 2;
        assert_eq!(slice[..3], [1, 2, 0]);
        drop(lent);
        assert_eq!(written(&mut store), [(3, 4)]);
    }

    #[test]
    fn fourteen_more_guests_fit_when_fifteen_of_sixteen_are_cleared() {
        let (engine, backing) = engine(1 << 20);
        let (mut stores, memories) = sixteen(&engine);
        assert_eq!(backing.free_bytes(), 0);
        memories[0].data_mut(&mut stores[0]).fill(1);
        for (store, memory) in stores.iter_mut().zip(&memories).skip(1) {
            memory.data_mut(&mut *store).fill(2);
            let cleared = memory.clear_pages(&mut *store, 0, 1).unwrap();
            assert!(cleared.is_released() && cleared.frames_released == 16);
            let report = store.report();
            assert_eq!((report.held_frames, report.lent_frames, report.resident_frames), (0, 16, 0));
        }
        assert_eq!((backing.free_bytes(), backing.largest_free_bytes()), (15 * 65_536, 65_536));
        let mut more: Vec<_> = (0..14).map(|_| Store::new(&engine, ())).collect();
        for store in &mut more {
            let memory = memory(store, 1);
            assert_eq!(memory.data(&*store), [0; WASM_PAGE]);
            memory.data_mut(store).fill(3);
        }
        assert_eq!(memories[0].data(&stores[0]), [1; WASM_PAGE]);
        drop(more);
        for (store, memory) in stores.iter().zip(&memories).skip(1) {
            assert_eq!(memory.data(store), [0; WASM_PAGE]);
        }
        assert_eq!(backing.free_bytes(), 0);
    }

    #[test]
    fn nine_hundred_kilobytes_can_be_lent() {
        let (engine, backing) = engine(1 << 20);
        let (mut stores, memories) = sixteen(&engine);
        let pairs = stores.iter_mut().zip(&memories).skip(1);
        let mut lent: Vec<_> = pairs.map(|(store, memory)| memory.lend_pages(store, 0, 1).unwrap()).collect();
        assert!(lent.iter().map(|lent| lent.len()).sum::<usize>() >= 900_000);
        for lent in &mut lent {
            assert_eq!(**lent, [0; WASM_PAGE]);
            lent.fill(4);
        }
        memories[0].data_mut(&mut stores[0]).fill(1);
        assert_eq!(backing.free_bytes(), 0);
        assert!(lent.iter().all(|lent| **lent == [4; WASM_PAGE]));
    }

    #[test]
    fn the_other_bytes_of_a_lender_stay() {
        let (engine, backing) = engine(4 * WASM_PAGE);
        let mut store = Store::new(&engine, ());
        let lender = memory(&mut store, 4);
        lender.data_mut(&mut store).fill(1);
        let mut lent = lender.lend_pages(&mut store, 1, 2).unwrap();
        lent.fill(2);
        assert_eq!(lender.data(&store), [1; WASM_PAGE]);
        lender.write(&mut store, 0, &[3]).unwrap();
        let past = lender.read(&store, WASM_PAGE, &mut [0]).unwrap_err();
        let expected = MemoryAccessError::OutOfBounds { offset: WASM_PAGE, len: 1, size: WASM_PAGE };
        assert_eq!(past, expected);
        assert!(lender.grow(&mut store, 0).is_ok() && lender.size(&store) == 4);
        // A clear zeroes what is there.
        let cleared = lender.clear_pages(&mut store, 0, 4).unwrap();
        assert_eq!((cleared.frames_released, cleared.frames_retained), (0, 64));
        assert_eq!(*lent, [2; 2 * WASM_PAGE]);
        let again = lender.lend_pages(&mut store, 3, 1);
        assert_eq!(again.unwrap_err(), LendError::Lent { bytes: 2 * 65_536 });
        drop(lent);
        assert_eq!(lender.data(&store), [0; 4 * WASM_PAGE]);
        assert_eq!(backing.free_bytes(), 0);
    }

    #[test]
    fn lent_pages_outlive_their_store() {
        let (engine, backing) = engine(2 * WASM_PAGE);
        let mut store = Store::new(&engine, ());
        let mut lent = memory(&mut store, 1).lend_pages(&mut store, 0, 1).unwrap();
        lent.fill(5);
        drop(store);
        let mut other = Store::new(&engine, ());
        memory(&mut other, 1).data_mut(&mut other).fill(6);
        assert_eq!(*lent, [5; WASM_PAGE]);
        assert_eq!(backing.free_bytes(), 0);
        drop(lent);
        assert_eq!(backing.free_bytes(), 65_536);
        drop(other);
        assert_eq!(backing.largest_free_bytes(), 2 * 65_536);
    }

    #[test]
    fn cleared_ranges_that_touch_are_lent_together() {
        let (engine, backing) = engine(4 * WASM_PAGE);
        let mut store = Store::new(&engine, ());
        let lender = memory(&mut store, 4);
        for page in [1, 2, 3] {
            lender.clear_pages(&mut store, page, 1).unwrap();
        }
        assert_eq!(backing.largest_free_bytes(), 3 * 65_536);
        lender.clear_pages_with(&mut store, 0, 4, Strategy::ZeroNow).unwrap();
        assert_eq!(backing.free_bytes(), 0, "the memory has them again");
        let mut reserved = Store::with_options(
            &engine,
            (),
            StoreOptions { commit: Commit::Reserved, ..StoreOptions::default() },
        );
        drop(store);
        let kept = memory(&mut reserved, 1);
        assert!(!kept.clear_pages(&mut reserved, 0, 1).unwrap().is_released());
        assert_eq!(backing.free_bytes(), 3 * 65_536);
    }
}

const GUEST: &str = r#"(module
  (import "palimpsest" "clear_pages" (func $clear (param i32 i32) (result i32)))
  (import "host" "call" (func $host))
  (memory (export "memory") 2 2)
  (func (export "clear") (result i32) (call $clear (i32.const 1) (i32.const 1)))
  (func (export "clear_and_write") (result i32)
    (i32.store (i32.const 65536) (call $clear (i32.const 1) (i32.const 1)))
    (i32.load (i32.const 65536)))
  (func (export "host") (call $host))
  (func (export "load") (result i32) (i32.load (i32.const 65536))))"#;

fn guest(engine: &Engine) -> (Store<()>, palimpsest_engine::Instance) {
    let module = Module::new(engine, &wat::parse_str(GUEST).unwrap()).unwrap();
    let mut linker = Linker::new();
    linker
        .func_wrap("host", "call", |mut caller: Caller<'_, ()>| {
            let memory = caller.get_export("memory").and_then(Extern::into_memory).unwrap();
            assert_eq!(memory.lend_pages(&mut caller, 1, 1).unwrap_err(), LendError::Running);
            assert!(!memory.clear_pages(caller.as_context_mut(), 1, 1).unwrap().is_released());
        })
        .unwrap();
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

fn call(store: &mut Store<()>, instance: &palimpsest_engine::Instance, name: &str) -> i32 {
    instance.get_typed_func::<(), i32>(&*store, name).unwrap().call(store, ()).unwrap()
}

#[test]
fn what_a_guest_clears_is_lent_when_it_has_stopped() {
    let (engine, backing) = engine(2 * WASM_PAGE);
    let (mut store, instance) = guest(&engine);
    assert_eq!(call(&mut store, &instance, "clear"), 1, "retained while it runs");
    assert_eq!(backing.free_bytes(), 65_536);
    assert_eq!(call(&mut store, &instance, "load"), 0);
    assert_eq!(backing.free_bytes(), 0, "taken back for the call");
    assert_eq!(call(&mut store, &instance, "clear_and_write"), 1);
    assert_eq!(backing.free_bytes(), 0, "the guest has written there since");
    instance.get_typed_func::<(), ()>(&store, "host").unwrap().call(&mut store, ()).unwrap();
    assert_eq!(backing.free_bytes(), 65_536);
}

#[test]
fn a_guest_is_not_called_while_its_pages_are_in_use() {
    let (engine, _) = engine(2 * WASM_PAGE);
    let (mut store, instance) = guest(&engine);
    call(&mut store, &instance, "clear");
    let mut other = Store::new(&engine, ());
    memory(&mut other, 1).data_mut(&mut other).fill(7);
    let load = instance.get_typed_func::<(), i32>(&store, "load").unwrap();
    let refused = load.call(&mut store, ()).unwrap_err();
    assert_eq!(refused.downcast_ref(), Some(&EntryError::Lent { bytes: 65_536 }));
    assert!(store.report().lost.is_none());
    drop(other);
    assert_eq!(load.call(&mut store, ()).unwrap(), 0);
}

#[test]
fn a_task_lends_when_it_is_over_and_waits_for_what_is_in_use() {
    let bytes = Box::leak(Box::<[u8]>::new_uninit_slice(2 * WASM_PAGE + 16));
    let backing = Fixed::new(bytes);
    let engine = Engine::new(Config::default().fuel(Fuel::Metered), backing.clone()).unwrap();
    let (store, instance) = guest(&engine);
    let clear = instance.get_func(&store, "clear").unwrap();
    let mut task = Task::new(store, clear, &[]).unwrap();
    let memory = instance.get_memory(task.store(), "memory").unwrap();
    let lent = memory.lend_pages(task.store_mut(), 0, 1).unwrap();
    let Poll::Failed(refused) = task.run(1_000) else { panic!("the page is in use") };
    assert_eq!(refused.downcast_ref(), Some(&EntryError::Lent { bytes: 65_536 }));
    assert!(!task.is_over());
    drop(lent);
    while !task.is_over() {
        assert!(matches!(task.run(1_000), Poll::Runnable | Poll::Returned(_)));
    }
    assert!(backing.largest_free_bytes() >= 65_536);
}

/// Pages that stay lent while their guest runs. No test touches closed pages, so that its guard has
/// to stop no access.
mod guarded {
    use super::*;
    use palimpsest_engine::{GuardedPages, LentPageTouched, Lost, PageGuard};
    use std::{
        ops::Range,
        sync::{Arc, Mutex},
        vec,
    };

    /// A closed range, and its slot.
    type Closed = (usize, Range<usize>);

    /// Records what is closed. It can close whole Wasm pages.
    #[derive(Clone, Debug, Default)]
    struct Recorder(Arc<Mutex<Vec<Closed>>>);

    impl Recorder {
        fn closed(&self) -> Vec<Range<usize>> {
            self.0.lock().unwrap().iter().map(|(_, range)| range.clone()).collect()
        }
    }

    // SAFETY: the guests of these tests access no page that they have lent.
    unsafe impl PageGuard for Recorder {
        fn can_close(&self, slot: usize, range: &Range<usize>) -> bool {
            assert!(slot < GuardedPages::MOST);
            range.len().is_multiple_of(WASM_PAGE)
        }

        fn close(&self, slot: usize, range: &Range<usize>) {
            let mut closed = self.0.lock().unwrap();
            assert!(closed.iter().all(|(other, _)| *other != slot), "a slot is closed once");
            closed.push((slot, range.clone()));
        }

        fn open(&self, slot: usize) {
            let mut closed = self.0.lock().unwrap();
            let index = closed.iter().position(|(other, _)| *other == slot).expect("the slot is closed");
            closed.remove(index);
        }
    }

    fn engine(pages: usize) -> (Engine, Fixed, Recorder) {
        let recorder = Recorder::default();
        let bytes = Box::leak(Box::<[u8]>::new_uninit_slice(pages * WASM_PAGE + 16));
        let start = bytes.as_ptr().align_offset(16);
        let backing = Fixed::new(&mut bytes[start..start + pages * WASM_PAGE]).guarded_by(recorder.clone());
        (Engine::new(Config::default(), backing.clone()).unwrap(), backing, recorder)
    }

    /// A guest of two Wasm pages, whose host function runs `host` with the guest's memory.
    fn guest(
        engine: &Engine,
        host: impl Fn(&mut Caller<'_, ()>, Memory) + Clone + Send + Sync + 'static,
    ) -> (Store<()>, palimpsest_engine::Instance, Memory) {
        let text = r#"(module
          (import "host" "call" (func $host))
          (memory (export "memory") 2 2)
          (func (export "run") (result i32) (call $host) (call $host) (i32.load (i32.const 0)))
          (func (export "load") (result i32) (i32.load (i32.const 65536))))"#;
        let module = Module::new(engine, &wat::parse_str(text).unwrap()).unwrap();
        let mut linker = Linker::new();
        linker
            .func_wrap("host", "call", move |mut caller: Caller<'_, ()>| {
                let memory = caller.get_export("memory").and_then(Extern::into_memory).unwrap();
                host(&mut caller, memory);
            })
            .unwrap();
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&store, "memory").unwrap();
        (store, instance, memory)
    }

    fn address(pages: &GuardedPages) -> usize {
        pages.as_ptr().cast::<u8>().addr().get()
    }

    #[test]
    fn a_guest_runs_while_its_pages_are_lent_and_closed() {
        let (engine, backing, recorder) = engine(2);
        let seen = recorder.clone();
        let (mut store, instance, memory) = guest(&engine, move |caller, memory| {
            assert_eq!(seen.closed().len(), 1);
            assert_eq!(memory.data(&*caller).len(), 2 * WASM_PAGE);
            assert_eq!(memory.lend_guarded(caller, 0, 1).unwrap_err(), LendError::Running);
        });
        let pages = memory.lend_guarded(&mut store, 1, 1).unwrap();
        // SAFETY: no call of the store runs, and the reference ends with the statement.
        unsafe { pages.as_ptr().as_mut() }.fill(9);
        assert_eq!(memory.data(&store).len(), WASM_PAGE);
        assert_eq!(call(&mut store, &instance, "run"), 0);
        assert!(recorder.closed().is_empty(), "the embedder uses the pages now");
        // SAFETY: as above.
        assert_eq!(unsafe { pages.as_ptr().as_ref() }, [9; WASM_PAGE]);
        assert_eq!(backing.free_bytes(), 0);
        drop(pages);
        assert_eq!(call(&mut store, &instance, "load"), 0);
        assert_eq!(memory.data(&store).len(), 2 * WASM_PAGE);
    }

    #[test]
    fn a_guest_that_touches_closed_pages_ends_with_the_offset() {
        let (engine, backing, recorder) = engine(2);
        let lent = Arc::new(Mutex::new(0));
        let (start, fixed) = (Arc::clone(&lent), backing.clone());
        let calls = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&calls);
        let (mut store, instance, memory) = guest(&engine, move |caller, memory| {
            *counter.lock().unwrap() += 1;
            let start = *start.lock().unwrap();
            assert!(!fixed.handle_fault(start - 1) && !fixed.handle_fault(start + WASM_PAGE));
            assert!(fixed.handle_fault(start + 5) && fixed.handle_fault(start + 7));
            assert_eq!(memory.data(&*caller).len(), 2 * WASM_PAGE, "a host function has the bytes");
            memory.write(&mut *caller, 0, &[1]).unwrap();
        });
        let pages = memory.lend_guarded(&mut store, 1, 1).unwrap();
        *lent.lock().unwrap() = address(&pages);
        let run = instance.get_typed_func::<(), i32>(&store, "run").unwrap();
        let touched = LentPageTouched { offset: 65_541 };
        for _ in 0..2 {
            let ended = run.call(&mut store, ()).unwrap_err();
            assert_eq!(ended.downcast_ref(), Some(&touched));
            assert!(recorder.closed().is_empty());
        }
        assert_eq!(*calls.lock().unwrap(), 1, "nothing leaves a store that is lost");
        let lost = Lost::LentPageTouched(touched);
        assert_eq!(memory.data(&store), []);
        assert_eq!(memory.data_mut(&mut store), []);
        assert_eq!(memory.data_and_store_mut(&mut store), (&mut [][..], &mut ()));
        let mut buffer = [7];
        assert_eq!(memory.read(&store, 0, &mut buffer), Err(MemoryAccessError::Lost(lost)));
        assert_eq!(memory.write(&mut store, 0, &buffer), Err(MemoryAccessError::Lost(lost)));
        assert_eq!((buffer, memory.size_bytes(&store)), ([7], 2 * 65_536));
        assert_eq!(store.report().lost, Some(Lost::LentPageTouched(touched)));
        drop(store);
        assert!(!backing.handle_fault(address(&pages)), "the pages are not a guest's any more");
        drop(pages);
        assert_eq!(backing.free_bytes(), 2 * 65_536);
    }

    #[test]
    fn pages_that_are_dropped_during_a_call_stay_closed_until_it_ends() {
        let (engine, _, recorder) = engine(2);
        let lent = Arc::new(Mutex::new(None));
        let (taken, seen) = (Arc::clone(&lent), recorder.clone());
        let (mut store, instance, memory) = guest(&engine, move |caller, memory| {
            drop(taken.lock().unwrap().take());
            assert_eq!(seen.closed().len(), 1);
            assert!(!memory.clear_pages(&mut *caller, 0, 2).unwrap().is_released());
            assert_eq!(seen.closed().len(), 1);
        });
        let pages = memory.lend_guarded(&mut store, 1, 1).unwrap();
        // SAFETY: no call of the store runs, and the reference ends with the statement.
        unsafe { pages.as_ptr().as_mut() }.fill(9);
        *lent.lock().unwrap() = Some(pages);
        assert_eq!(call(&mut store, &instance, "run"), 0);
        assert!(recorder.closed().is_empty());
        assert_eq!(call(&mut store, &instance, "load"), 0);
    }

    #[test]
    fn what_no_guard_can_close_is_not_lent() {
        let (engine, backing, recorder) = engine(2 + GuardedPages::MOST);
        let mut stores: Vec<_> = (0..=GuardedPages::MOST).map(|_| Store::new(&engine, ())).collect();
        let memories: Vec<_> = stores.iter_mut().map(|store| memory(store, 1)).collect();
        let mut pairs = stores.iter_mut().zip(&memories);
        let lent: Vec<_> = pairs
            .by_ref()
            .take(GuardedPages::MOST)
            .map(|(store, memory)| memory.lend_guarded(store, 0, 1).unwrap())
            .collect();
        let (store, memory) = pairs.next().unwrap();
        assert_eq!(memory.lend_guarded(&mut *store, 0, 1).unwrap_err(), LendError::Unguarded);
        assert_eq!(memory.data(&*store).len(), WASM_PAGE, "the memory has its pages");
        drop(lent);
        assert_eq!(memories[0].data(&stores[0]).len(), WASM_PAGE);
        assert!(memories[1].lend_guarded(&mut stores[1], 0, 1).is_ok());
        drop(stores);
        assert_eq!((backing.free_bytes(), recorder.closed()), (backing.largest_free_bytes(), vec![]));

        let (engine, _) = super::engine(WASM_PAGE);
        let mut store = Store::new(&engine, ());
        let lender = super::memory(&mut store, 1);
        assert_eq!(lender.lend_guarded(&mut store, 0, 1).unwrap_err(), LendError::Unguarded);
    }
}
