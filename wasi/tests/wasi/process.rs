//! Arguments, environment, clocks and random numbers.

use crate::support::{Guest, MEMORY_BYTES, errno};
use crate::world::{Counting, ManualClock};
use palimpsest_wasi::{NoRandom, Random, Wait, Wasi};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[test]
fn arguments_and_environment_are_strings_with_pointers_to_them() {
    let mut guest = Guest::new(Wasi::builder().arg("tool").args(["-v", ""]).env("HOME", "/").env("A", "b=c"));
    for (sizes, get, expected, starts) in [
        ("args_sizes_get", "args_get", b"tool\0-v\0\0".as_slice(), [1000, 1005, 1008].as_slice()),
        ("environ_sizes_get", "environ_get", b"HOME=/\0A=b=c\0", &[1000, 1007]),
    ] {
        guest.call(sizes, &[100, 104]).unwrap();
        assert_eq!(
            [guest.u32_at(100), guest.u32_at(104)].map(|size| size as usize),
            [starts.len(), expected.len()]
        );
        guest.call(get, &[200, 1000]).unwrap();
        assert_eq!(guest.get(1000, expected.len()), expected);
        for (at, start) in (200..).step_by(4).zip(starts) {
            assert_eq!(guest.u32_at(at), *start);
        }
    }
}

#[test]
fn arguments_that_do_not_fit_change_nothing() {
    let mut guest = Guest::new(Wasi::builder().arg("tool"));
    let end = u64::from(MEMORY_BYTES);
    guest.put(MEMORY_BYTES - 8, b"12345678");
    assert_eq!(guest.call("args_get", &[0, end - 4]), errno(wasip1::ERRNO_FAULT));
    assert_eq!(guest.call("args_get", &[end - 3, end - 8]), errno(wasip1::ERRNO_FAULT));
    assert_eq!(guest.get(MEMORY_BYTES - 8, 8), b"12345678");
    assert_eq!(guest.u32_at(0), 0);
    guest.call("args_get", &[0, end - 5]).unwrap();
    assert_eq!(guest.get(MEMORY_BYTES - 8, 8), b"123tool\0");
}

#[test]
fn both_clocks_return_the_embedders_time_and_others_are_invalid() {
    let mut guest = Guest::new(Wasi::builder().clock(ManualClock::new(500, Wait::Done)));
    for (id, expected) in [(0, 500 + ManualClock::EPOCH_NS), (1, 500)] {
        guest.call("clock_time_get", &[id, 1, 8]).unwrap();
        assert_eq!(guest.u64_at(8), expected);
        guest.call("clock_res_get", &[id, 16]).unwrap();
        assert_eq!(guest.u64_at(16), 7);
    }
    for id in [2, 3, 4, u64::from(u32::MAX)] {
        assert_eq!(guest.call("clock_time_get", &[id, 1, 8]), errno(wasip1::ERRNO_INVAL));
        assert_eq!(guest.call("clock_res_get", &[id, 8]), errno(wasip1::ERRNO_INVAL));
    }
}

#[test]
fn functions_that_need_a_missing_provider_return_enosys() {
    let mut guest = Guest::new(Wasi::builder());
    for (name, arguments) in [
        ("clock_time_get", [1, 1, 8].as_slice()),
        ("clock_res_get", &[1, 8]),
        ("random_get", &[0, 8]),
        ("sched_yield", &[]),
    ] {
        assert_eq!(guest.call(name, arguments), errno(wasip1::ERRNO_NOSYS), "{name}");
    }
}

#[test]
fn random_numbers_fill_the_buffer_and_nothing_else() {
    let mut guest = Guest::new(Wasi::builder().random(Counting(0)));
    guest.call("random_get", &[1, 3]).unwrap();
    assert_eq!(guest.get(0, 5), [0, 1, 2, 3, 0]);
}

#[test]
fn random_numbers_fill_the_whole_memory_in_pieces() {
    let largest = Arc::new(AtomicUsize::new(0));
    let mut guest = Guest::new(Wasi::builder().random(Recording(Counting(0), Arc::clone(&largest))));
    guest.call("random_get", &[0, MEMORY_BYTES.into()]).unwrap();
    let expected = (1..=u8::MAX).chain([0]).cycle();
    assert!(guest.get(0, MEMORY_BYTES as usize).iter().copied().eq(expected.take(MEMORY_BYTES as usize)));
    assert_eq!(largest.load(Ordering::Relaxed), 64 << 10);
    assert_eq!(guest.call("random_get", &[1, MEMORY_BYTES.into()]), errno(wasip1::ERRNO_FAULT));
}

/// Random numbers, and the largest number of bytes that was requested at once.
struct Recording(Counting, Arc<AtomicUsize>);

impl Random for Recording {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        self.1.fetch_max(bytes.len(), Ordering::Relaxed);
        self.0.fill(bytes)
    }
}
