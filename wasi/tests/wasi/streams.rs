//! Standard input, output and error.

use crate::support::{Guest, errno};
use crate::world::Written;
use palimpsest_wasi::{Empty, Wasi};

/// Writes vectors to address 0, for example `(100, 3)`, `(200, 0)`, `(103, 4)`.
const VECTORS: [u32; 6] = [100, 3, 200, 0, 103, 4];

fn put_vectors(guest: &mut Guest, words: &[u32]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    guest.put(0, &bytes);
}

#[test]
fn output_is_written_vector_by_vector_to_its_own_stream() {
    let (stdout, stderr) = (Written::default(), Written::default());
    let mut guest = Guest::new(Wasi::builder().stdout(stdout.clone()).stderr(stderr.clone()));
    guest.put(100, b"one two");
    put_vectors(&mut guest, &VECTORS);
    guest.call("fd_write", &[1, 0, 3, 40]).unwrap();
    assert_eq!(guest.u32_at(40), 7);
    guest.call("fd_write", &[2, 0, 1, 40]).unwrap();
    assert_eq!((stdout.text().as_str(), stderr.text().as_str()), ("one two", "one"));
}

#[test]
fn one_write_to_a_stream_is_at_most_64_kib() {
    let stdout = Written::default();
    let mut guest = Guest::new(Wasi::builder().stdout(stdout.clone()));
    put_vectors(&mut guest, &[0, 131_072, 0, 131_072]);
    guest.call("fd_write", &[1, 0, 2, 40]).unwrap();
    assert_eq!((guest.u32_at(40), stdout.text().len()), (65_536, 65_536));
}

#[test]
fn input_comes_in_parts_and_then_ends() {
    let mut guest = Guest::new(Wasi::builder().stdin(b"hello".as_slice()));
    let parts: Vec<_> = (0..3).map(|_| guest.read(0, 3).unwrap()).collect();
    assert_eq!(parts, [b"hel".to_vec(), b"lo".to_vec(), Vec::new()]);
    let mut guest = Guest::new(Wasi::builder().stdin(Empty));
    assert_eq!(guest.read(0, 3), Ok(Vec::new()));
}

#[test]
fn input_may_overwrite_the_vectors_that_it_was_asked_with() {
    let mut guest = Guest::new(Wasi::builder().stdin(b"ABCDEFGHIJKL".as_slice()));
    put_vectors(&mut guest, &[4, 8, 100, 4]);
    guest.call("fd_read", &[0, 0, 2, 8]).unwrap();
    // The result is written last, over the data.
    assert_eq!(guest.get(4, 8), b"ABCD\x08\0\0\0");
}

#[test]
fn streams_have_a_direction_and_no_position() {
    let mut guest = Guest::new(Wasi::builder());
    assert_eq!(guest.write(0, b"x"), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(guest.read(1, 1), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(guest.seek(1, 0, 1), errno(wasip1::ERRNO_SPIPE));
    assert_eq!(guest.call("fd_tell", &[0, 8]), errno(wasip1::ERRNO_SPIPE));
    assert_eq!(guest.call("fd_pwrite", &[1, 0, 0, 0, 8]), errno(wasip1::ERRNO_SPIPE));
}

#[test]
fn output_looks_like_a_terminal_and_input_does_not() {
    let mut guest = Guest::new(Wasi::builder());
    let filetypes = [0, 1, 2].map(|fd: u64| {
        guest.call("fd_fdstat_get", &[fd, 0]).unwrap();
        guest.get(0, 1)[0]
    });
    let terminal = wasip1::FILETYPE_CHARACTER_DEVICE.raw();
    assert_eq!(filetypes, [wasip1::FILETYPE_UNKNOWN.raw(), terminal, terminal]);
    // The `isatty` of wasi-libc checks both: the type, and that the right to seek is missing.
    let rights = guest.u64_at(8);
    assert_eq!(rights & (wasip1::RIGHTS_FD_SEEK | wasip1::RIGHTS_FD_TELL), 0);
}

#[test]
fn a_closed_stream_is_gone_and_its_number_is_the_next_one() {
    let stderr = Written::default();
    let mut guest = Guest::new(Wasi::builder().stderr(stderr.clone()));
    guest.close(1).unwrap();
    assert_eq!(guest.write(1, b"x"), errno(wasip1::ERRNO_BADF));
    assert_eq!(guest.close(1), errno(wasip1::ERRNO_BADF));
    // Both numbers must be open. 1 is closed, 0 is open.
    assert_eq!(guest.call("fd_renumber", &[2, 1]), errno(wasip1::ERRNO_BADF));
    guest.call("fd_renumber", &[2, 0]).unwrap();
    assert_eq!(guest.write(0, b"moved"), Ok(5));
    assert_eq!(stderr.text(), "moved");
}

#[test]
fn a_descriptor_is_renumbered_to_itself() {
    let mut guest = Guest::new(Wasi::builder());
    guest.call("fd_renumber", &[1, 1]).unwrap();
    assert_eq!(guest.write(1, b"still here"), Ok(10));
}
