//! Calls every function with arguments that no correct program passes. Each call returns an error
//! code, does not panic, and leaves a world that still works.

use crate::{
    preview1::FUNCTIONS,
    support::{Guest, MEMORY_BYTES},
    world::{Counting, ManualClock, Pool, Written, tar_of},
};
use palimpsest_wasi::{Wait, Wasi};

/// The number of combinations of arguments that are tried for each function, if it has as many.
const TRIES: u64 = 1000;

/// The highest number of an error code.
const ERRNO_MAX: u16 = wasip1::ERRNO_NOTCAPABLE.raw();

/// The address of a vector that refers to itself, followed by one with a length near 2^32.
const SELF_VECTOR: u32 = 1024;
/// The address of a path.
const PATH: u32 = 2048;

/// The values for a parameter of 32 bits: descriptors, counts, flags, pointers and lengths alike.
const WORDS: [u32; 19] = [
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    SELF_VECTOR,
    SELF_VECTOR + 1,
    PATH,
    MEMORY_BYTES - 8,
    MEMORY_BYTES - 1,
    MEMORY_BYTES,
    MEMORY_BYTES + 1,
    1 << 31,
    (1 << 31) - 1,
    0xFFFF_FFF0,
    0xFFFF_FFF8,
    u32::MAX,
];

/// The values for a parameter of 64 bits: offsets, sizes, times and rights.
const LONGS: [u64; 9] =
    [0, 1, 4095, 1 << 31, 1 << 32, i64::MAX as u64, i64::MIN.cast_unsigned(), u64::MAX - 1, u64::MAX];

fn guest() -> Guest {
    let tar = tar_of(&[("file", b"content"), ("dir/file", b"")]);
    let wasi = Wasi::builder()
        .arg("program")
        .env("KEY", "value")
        .stdin(b"input".as_slice())
        .stdout(Written::default())
        .clock(ManualClock::new(0, Wait::Done))
        .random(Counting(0))
        .scratch("/tmp", Pool::of(64))
        .archive("/", tar)
        .unwrap();
    let mut guest = Guest::new(wasi);
    guest.create(3, "file").unwrap();
    let words = [SELF_VECTOR, 16, 0, u32::MAX, SELF_VECTOR + 4, 8];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    guest.put(SELF_VECTOR, &bytes);
    guest.put(PATH, b"file/../dir/./file");
    guest
}

/// Returns the combination of arguments with the number `index`.
fn arguments(params: &[&str], mut index: u64) -> Vec<u64> {
    let mut argument = |param: &&str| {
        let choices = if *param == "i64" { LONGS.len() } else { WORDS.len() };
        let choice = usize::try_from(index % choices as u64).unwrap();
        index /= choices as u64;
        if *param == "i64" { LONGS[choice] } else { WORDS[choice].into() }
    };
    params.iter().map(&mut argument).collect()
}

/// Returns the number of combinations.
fn combinations(params: &[&str]) -> u64 {
    params.iter().map(|param| if *param == "i64" { LONGS.len() } else { WORDS.len() } as u64).product()
}

#[test]
fn no_arguments_do_more_than_return_an_error_code() {
    for (name, params) in FUNCTIONS {
        let all = combinations(params);
        let mut guest = guest();
        for index in 0..all.min(TRIES) {
            // The stride and the number of combinations are coprime, so all indexes are different.
            let index = if all <= TRIES { index } else { index.wrapping_mul(0x9E37_79B9_7F4A_7C15) % all };
            let arguments = arguments(params, index);
            let answer = guest.try_call(name, &arguments);
            assert!(answer.is_ok_and(|errno| errno <= ERRNO_MAX), "{name}{arguments:x?}");
        }
        assert_alive(&mut guest, name);
    }
}

/// Checks that the world works: what was closed can be opened, written and read again.
fn assert_alive(guest: &mut Guest, name: &str) {
    guest.call("args_sizes_get", &[0, 4]).unwrap();
    assert_eq!((guest.u32_at(0), guest.u32_at(4)), (1, 8), "after {name}");
    // These have closed the preopened directories, or taken all of their rights.
    if ["fd_close", "fd_renumber", "fd_fdstat_set_rights"].contains(&name) {
        return;
    }
    for fd in 6..64 {
        // Most of them are not open.
        let _ = guest.close(fd);
    }
    let file = guest.create(3, "alive").unwrap();
    assert_eq!(guest.write(file, b"alive"), Ok(5), "after {name}");
    assert_eq!(guest.content(3, "alive"), Ok(b"alive".to_vec()), "after {name}");
    assert_eq!(guest.content(4, "file"), Ok(b"content".to_vec()), "after {name}");
}

#[test]
fn results_near_the_end_of_memory_are_written_whole_or_not_at_all() {
    let mut guest = guest();
    for (name, before, bytes) in [
        ("fd_fdstat_get", [3].as_slice(), 24),
        ("fd_filestat_get", &[3], 64),
        ("fd_prestat_get", &[3], 8),
        ("clock_time_get", &[0, 0], 8),
    ] {
        let end = MEMORY_BYTES - bytes;
        let whole = bytes as usize;
        guest.put(end, &vec![0xEE; whole]);
        let at = |at: u32| [before, &[at.into()]].concat();
        assert_eq!(guest.call(name, &at(end + 1)), Err(wasip1::ERRNO_FAULT.raw()), "{name}");
        assert!(guest.get(end, whole).iter().all(|byte| *byte == 0xEE), "{name}");
        guest.call(name, &at(end)).unwrap();
        assert!(guest.get(end, whole).iter().any(|byte| *byte != 0xEE), "{name}");
    }
}

#[test]
fn a_result_that_cannot_be_written_keeps_the_effect_from_happening() {
    let stdout = Written::default();
    let pool = Pool::of(4);
    let mut guest = Guest::new(Wasi::builder().stdout(stdout.clone()).scratch("/tmp", pool.clone()));
    let (fault, outside) = (Err(wasip1::ERRNO_FAULT.raw()), u64::from(MEMORY_BYTES) - 3);
    let file = guest.create(3, "file").unwrap();
    guest.put(0, &[0, 1, 0, 0, 4, 0, 0, 0]);
    for fd in [1, file.into()] {
        assert_eq!(guest.call("fd_write", &[fd, 0, 1, outside]), fault);
        // The second vector is out of bounds, so the first one is not written either.
        guest.put(8, &[0xF0; 8]);
        assert_eq!(guest.call("fd_write", &[fd, 0, 2, 64]), fault);
    }
    guest.put(0, b"new");
    let open = [3, 0, 0, 3, u64::from(wasip1::OFLAGS_CREAT), u64::MAX, u64::MAX, 0, outside];
    assert_eq!(guest.call("path_open", &open), fault);
    assert_eq!((stdout.text().as_str(), pool.left()), ("", 4));
    assert_eq!(guest.stat(3, "new"), Err(wasip1::ERRNO_NOENT.raw()));
    assert_eq!(guest.create(3, "next"), Ok(file + 1));
}
