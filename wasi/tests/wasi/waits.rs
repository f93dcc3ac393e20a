//! Polls and yields, outside a task and in one.

use crate::support::{Guest, engine, errno, linker};
use crate::world::{Counting, ManualClock};
use palimpsest_engine::{Config, Fuel, Limits, Module, Pause, Poll, Store, Task, Val};
use palimpsest_wasi::{Wait, Wasi};
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};

/// The addresses of subscriptions and of events.
const IN: u32 = 0;
const OUT: u32 = 1000;
const COUNT: u32 = 2000;

/// Encodes a subscription to a clock.
fn clock(userdata: u64, id: u32, timeout_ns: u64, flags: u16) -> Vec<u8> {
    let mut record = vec![0; 48];
    record[..8].copy_from_slice(&userdata.to_le_bytes());
    record[16..20].copy_from_slice(&id.to_le_bytes());
    record[24..32].copy_from_slice(&timeout_ns.to_le_bytes());
    record[40..42].copy_from_slice(&flags.to_le_bytes());
    record
}

/// Encodes a subscription to a descriptor.
fn descriptor(userdata: u64, tag: u8, fd: u32) -> Vec<u8> {
    let mut record = vec![0; 48];
    record[..8].copy_from_slice(&userdata.to_le_bytes());
    record[8] = tag;
    record[16..20].copy_from_slice(&fd.to_le_bytes());
    record
}

/// Polls, and returns the user data, error and type of each event.
fn poll(guest: &mut Guest, subscriptions: &[Vec<u8>]) -> Result<Vec<(u64, u16, u8)>, u16> {
    guest.put(IN, &subscriptions.concat());
    let count = subscriptions.len() as u64;
    guest.call("poll_oneoff", &[IN.into(), OUT.into(), count, COUNT.into()])?;
    Ok(events(guest))
}

fn events(guest: &Guest) -> Vec<(u64, u16, u8)> {
    let event = |at| {
        let error = u16::from_le_bytes(guest.get(at + 8, 2).try_into().unwrap());
        (guest.u64_at(at), error, guest.get(at + 10, 1)[0])
    };
    (0..guest.u32_at(COUNT)).map(|index| event(OUT + 32 * index)).collect()
}

fn guest() -> (Guest, Arc<AtomicU64>) {
    let clock = ManualClock::new(1000, Wait::Done);
    let now = Arc::clone(&clock.now);
    (Guest::new(Wasi::builder().clock(clock)), now)
}

#[test]
fn a_poll_waits_for_the_first_of_its_times() {
    let (mut guest, now) = guest();
    let happened = poll(&mut guest, &[clock(1, 1, 900, 0), clock(2, 1, 300, 0), clock(3, 1, 301, 0)]);
    assert_eq!((happened, now.load(Ordering::Relaxed)), (Ok(vec![(2, 0, 0)]), 1300));
}

#[test]
fn absolute_times_are_those_of_their_clock() {
    let (mut guest, now) = guest();
    let happened = poll(&mut guest, &[clock(1, 0, ManualClock::EPOCH_NS + 1500, 1), clock(2, 1, 1600, 1)]);
    assert_eq!((happened, now.load(Ordering::Relaxed)), (Ok(vec![(1, 0, 0)]), 1500));
    let happened = poll(&mut guest, &[clock(1, 0, 5, 1), clock(2, 1, 5, 1), clock(3, 1, 1, 0)]);
    assert_eq!((happened, now.load(Ordering::Relaxed)), (Ok(vec![(1, 0, 0), (2, 0, 0)]), 1500));
}

#[test]
fn a_descriptor_is_ready_at_once_so_the_time_is_not_waited_for() {
    let (mut guest, now) = guest();
    let happened = poll(&mut guest, &[clock(1, 1, 900, 0), descriptor(2, 2, 1), descriptor(3, 1, 0)]);
    assert_eq!((happened, now.load(Ordering::Relaxed)), (Ok(vec![(2, 0, 2), (3, 0, 1)]), 1000));
}

#[test]
fn an_invalid_subscription_is_an_event_with_its_error() {
    let (mut guest, _) = guest();
    let (bad, incapable) = (wasip1::ERRNO_BADF.raw(), wasip1::ERRNO_NOTCAPABLE.raw());
    let happened = poll(&mut guest, &[descriptor(1, 1, 77), descriptor(2, 2, 0), clock(3, 9, 1, 0)]);
    assert_eq!(happened, Ok(vec![(1, bad, 1), (2, incapable, 2), (3, wasip1::ERRNO_INVAL.raw(), 0)]));
}

#[test]
fn polls_without_or_with_too_many_subscriptions_or_of_no_kind_are_invalid() {
    let (mut guest, _) = guest();
    assert_eq!(poll(&mut guest, &[]), errno(wasip1::ERRNO_INVAL));
    assert_eq!(poll(&mut guest, &[descriptor(1, 3, 1)]), errno(wasip1::ERRNO_INVAL));
    assert_eq!(guest.call("poll_oneoff", &[0, 0, 1025, 0]), errno(wasip1::ERRNO_INVAL));
}

#[test]
fn events_may_take_the_place_of_their_subscriptions() {
    let (mut guest, _) = guest();
    guest.put(OUT, &[clock(1, 1, 0, 0), clock(2, 1, 0, 0)].concat());
    guest.call("poll_oneoff", &[OUT.into(), OUT.into(), 2, COUNT.into()]).unwrap();
    assert_eq!(events(&guest), [(1, 0, 0), (2, 0, 0)]);
}

#[test]
fn outside_of_a_task_a_pause_is_an_error_after_the_events_are_written() {
    let mut guest = Guest::new(Wasi::builder().clock(ManualClock::new(1000, Wait::Pause)));
    guest.put(IN, &clock(9, 1, 500, 0));
    let error = guest.try_call("poll_oneoff", &[IN.into(), OUT.into(), 1, COUNT.into()]).unwrap_err();
    assert!(error.downcast_ref::<Pause>().is_some(), "{error}");
    assert_eq!(events(&guest), [(9, 0, 0)]);
}

#[test]
fn random_numbers_of_any_length_come_in_turns() {
    const LEN: u32 = 5 << 16;
    const PIECE: u32 = 1 << 16;
    let engine = engine(Config::default().fuel(Fuel::Metered));
    // The memory that the guest exports is not the first one.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory 1) (memory (export "memory") 6)
        (func (export "run") (param i32 i32) (result i32) (call $random (local.get 0) (local.get 1))))"#;
    let module = Module::new(&engine, &wat::parse_str(text).unwrap()).unwrap();
    let expected: Vec<u8> = (1..=LEN).map(|number| number.to_le_bytes()[0]).collect();
    for fuel in [10, 3_000, 1_000_000] {
        let mut store = Store::new(&engine, Wasi::builder().random(Counting(0)).build());
        let instance = linker().instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&store, "memory").unwrap();
        memory.data_mut(&mut store)[5..5 + LEN as usize].fill(0);
        let run = instance.get_func(&store, "run").unwrap();
        let mut task = Task::new(store, run, &[Val::I32(5), Val::I32(LEN.cast_signed())]).unwrap();
        let mut turns = 0;
        let results = loop {
            turns += 1;
            // The pieces that a turn fills, counted by their last byte, which is not zero.
            let filled = |task: &Task<Wasi>| {
                let bytes = &memory.data(task.store())[5..];
                (1..=5).filter(|piece| bytes[piece * PIECE as usize - 2] != 0).count() as u64
            };
            let (before, units) = (filled(&task), task.fuel_used());
            let poll = task.run(fuel);
            let (pieces, units) = (filled(&task) - before, task.fuel_used() - units);
            let piece_units = u64::from(PIECE) / 64;
            assert!(pieces <= fuel / piece_units + 1, "{pieces} pieces in a slice of {fuel}");
            assert!(units <= fuel + piece_units + 20, "{units} units in a slice of {fuel}");
            match poll {
                Poll::Runnable => {}
                Poll::Returned(results) => break results,
                other @ (Poll::Waiting { .. } | Poll::Failed(_)) => panic!("{other:?}"),
            }
        };
        assert!(matches!(results[..], [Val::I32(0)]));
        assert!(memory.data(task.store())[5..5 + LEN as usize] == expected);
        assert!(task.fuel_used() >= u64::from(LEN) / 64);
        assert!(turns >= u64::from(LEN) / 64 * 3 / 4 / fuel, "{turns} turns of {fuel}");
    }
}

#[test]
fn a_guest_that_is_killed_between_two_pieces_leaves_no_memory_to_later_calls() {
    let engine = engine(Config::default().fuel(Fuel::Metered));
    let mut guest = Guest::with_engine(&engine, Wasi::builder().random(Counting(0)));
    let random = guest.instance.get_func(&guest.store, "random_get").unwrap();
    let other = Store::new(&engine, Wasi::builder().build());
    let store = core::mem::replace(&mut guest.store, other);
    let mut task = Task::new(store, random, &[Val::I32(0), Val::I32(131_072)]).unwrap();
    assert!(matches!(task.run(100), Poll::Runnable));
    guest.store = task.kill();
    assert!(guest.get(0, 65_536) != [0; 65_536] && guest.get(65_536, 65_536) == [0; 65_536]);
    guest.store.set_fuel(10_000).unwrap();
    guest.call("random_get", &[100_000, 4]).unwrap();
    assert_eq!(guest.get(99_999, 6), [0, 1, 2, 3, 4, 0]);
}

#[test]
fn a_task_is_resumed_with_success_after_its_waits() {
    let mut limits = Limits::default();
    limits.fuel = Some(1_000_000);
    let engine = engine(Config::default().fuel(Fuel::Metered).limits(limits));
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
        (memory (export "memory") 1)
        (func (export "run") (result i32 i32 i32)
            (i32.store (i32.const 16) (i32.const 1))
            (i64.store (i32.const 24) (i64.const 500))
            (call $yield)
            (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200))
            (i32.load (i32.const 200))))"#;
    let module = Module::new(&engine, &wat::parse_str(wat).unwrap()).unwrap();
    let store = Store::new(&engine, Wasi::builder().clock(ManualClock::new(1000, Wait::Pause)).build());
    let mut task = Task::instantiate(store, &linker(), &module, "run", &[]).unwrap();
    assert!(matches!(task.run(10_000), Poll::Runnable));
    assert!(matches!(task.run(10_000), Poll::Waiting { until_ns: 1500 }));
    let Poll::Returned(values) = task.run(10_000) else { panic!("the task has not returned") };
    assert_eq!(values.iter().filter_map(Val::i32).collect::<Vec<_>>(), [0, 0, 1]);
}
