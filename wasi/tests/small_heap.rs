//! What files and descriptors take of the kernel's heap, at most.
//!
//! This is a separate binary because its allocator counts.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

#[path = "wasi/preview1.rs"]
mod preview1;
#[expect(dead_code, reason = "the other tests need more of it")]
#[path = "wasi/support.rs"]
mod support;
#[expect(dead_code, reason = "the other tests need more of it")]
#[path = "wasi/world.rs"]
mod world;

use palimpsest_counting::CountingHeap;
use palimpsest_wasi::Wasi;

use crate::{support::Guest, world::Pool};

#[global_allocator]
static HEAP: CountingHeap = CountingHeap::new();

/// What the guest fills its directory with.
#[derive(Clone, Copy, Debug)]
enum Fill {
    /// Empty files, all of them open as long as possible.
    Files,
    /// One file with a byte in each block.
    Blocks,
    /// Directories inside each other.
    Directories,
}

fn peak_of(bytes: usize, fill: Fill) -> usize {
    let builder = Wasi::builder().scratch("/tmp", Pool::of(u64::MAX)).for_heap(bytes);
    let mut guest = Guest::new(builder);
    // Translates the functions, so that only the files are measured.
    let fd = guest.create(3, "first").unwrap();
    guest.write(fd, b"x").unwrap();
    guest.seek(fd, 4096, 0).unwrap();
    guest.at_path("path_create_directory", 3, "d").unwrap();
    let (growth, ()) = HEAP.measure(|| {
        let mut path = String::from("d");
        for number in 0.. {
            let done = match fill {
                Fill::Files => match guest.create(3, &format!("a-file-with-a-long-name-{number}")) {
                    Err(errno) if errno == wasip1::ERRNO_MFILE.raw() => guest.close(3 + 1 + number % 4),
                    other => other.map(drop),
                },
                Fill::Blocks => {
                    guest.seek(fd, i64::from(number) * 4096, 0).and_then(|_| guest.write(fd, b"x")).map(drop)
                }
                Fill::Directories => {
                    path += "/d";
                    guest.at_path("path_create_directory", 3, &path)
                }
            };
            if done.is_err() || number > 20_000 {
                assert!(number > 0, "{done:?}");
                break;
            }
        }
    });
    growth.peak
}

#[test]
fn files_fit_the_heap_that_they_are_limited_for() {
    for bytes in [16 << 10, 64 << 10, 1 << 20] {
        for fill in [Fill::Files, Fill::Blocks, Fill::Directories] {
            let peak = peak_of(bytes, fill);
            println!("{bytes} {fill:?}: {peak}");
            assert!(peak <= bytes, "{peak} bytes for {fill:?} instead of {bytes}");
        }
    }
}
