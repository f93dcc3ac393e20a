//! Bytes that are parsed before a guest runs: archives of files, requests, and reports.
//!
//! An archive is refused or becomes a directory tree. The boot archive is read as the kernel does.
//! A request or a report that can be read is written and read back without a change.

use arbitrary::{Arbitrary, Result, Unstructured};
use palimpsest_protocol::{Measurements, Report, Request, TestList, console::TestsComplete};
use palimpsest_wasi::Wasi;
use serde_json::{from_slice, to_vec};
use std::fmt::Debug;
use tar_no_std::TarArchiveRef;

/// Bytes of a block of a tar archive.
const BLOCK_BYTES: usize = 512;

/// Runs the target.
///
/// # Panics
///
/// Panics if a parser does, or if what was read is not read back.
pub fn run(data: &[u8]) {
    let mut data = Unstructured::new(data);
    match data.int_in_range(0..=3) {
        Ok(0) => text(data.take_rest()),
        Ok(1) => archive(data.take_rest()),
        _ => {
            if let Ok(archive) = generated(&mut data) {
                self::archive(&archive);
            }
        }
    }
}

fn text(json: &[u8]) {
    round_trip::<Request>(json);
    round_trip::<Report>(json);
    round_trip::<TestList>(json);
    round_trip::<Measurements>(json);
    let count = str::from_utf8(json).ok().and_then(TestsComplete::find);
    assert_eq!(count, count.and_then(|count| TestsComplete::find(&count.to_string())));
}

fn round_trip<T: Debug + serde::Serialize + serde::de::DeserializeOwned>(json: &[u8]) {
    let Ok(value) = from_slice::<T>(json) else { return };
    let written = to_vec(&value).expect("what was read can be written");
    let again = from_slice::<T>(&written).expect("what was written can be read");
    assert_eq!(format!("{value:?}"), format!("{again:?}"));
}

fn archive(bytes: &[u8]) {
    if let Ok(archive) = TarArchiveRef::new(bytes) {
        let names = archive.entries().map(|entry| (entry.filename().as_str().is_ok(), entry.data().len()));
        let bytes_of_files: usize = names.map(|(_, len)| len).sum();
        assert!(bytes_of_files <= bytes.len(), "files do not overlap");
    }
    let leaked: *mut [u8] = Box::into_raw(bytes.into());
    // SAFETY: the bytes are valid until they are freed below, and nothing writes to them.
    let wasi = Wasi::builder().archive("/", unsafe { &*leaked }).map(|builder| builder.build());
    drop(wasi);
    // SAFETY: the block came from `into_raw`. The world that referred to the bytes was dropped, and
    // an error of the parser does not borrow them.
    drop(unsafe { Box::from_raw(leaked) });
}

/// An entry of an archive: which name and link target it has, its type, and how the header lies.
#[derive(Arbitrary)]
struct Entry {
    name: u8,
    target: u8,
    kind: u8,
    content: Vec<u8>,
    /// Bytes that are changed before the checksum is computed.
    changes: Vec<(u16, u8)>,
    has_checksum: bool,
}

const NAMES: [&str; 12] =
    ["a", "b", "a/b", "./c", "a/", "..", "/d", "a/b/c", "e/../f", "", "a//g", "very/long/name/of/an/entry"];

/// The types of the POSIX standard, then extended headers, then those of GNU tar.
const KINDS: [u8; 12] = *b"0\x001234567xgL";

fn generated(data: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for entry in data.arbitrary_iter::<Entry>()? {
        append(&mut archive, &entry?);
    }
    archive.resize(archive.len() + 2 * BLOCK_BYTES, 0);
    Ok(archive)
}

fn append(archive: &mut Vec<u8>, entry: &Entry) {
    let mut header = [0; BLOCK_BYTES];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, NAMES[usize::from(entry.name) % NAMES.len()].as_bytes());
    put(100, b"0000644\0");
    put(124, format!("{:011o}\0", entry.content.len()).as_bytes());
    put(136, b"00000000010\0");
    put(148, b"        ");
    put(156, &[KINDS[usize::from(entry.kind) % KINDS.len()]]);
    put(157, NAMES[usize::from(entry.target) % NAMES.len()].as_bytes());
    put(257, b"ustar\x0000");
    for (at, byte) in &entry.changes {
        header[usize::from(*at) % BLOCK_BYTES] = *byte;
    }
    if entry.has_checksum {
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive.extend(header);
    archive.extend(&entry.content);
    archive.resize(archive.len().next_multiple_of(BLOCK_BYTES), 0);
}
