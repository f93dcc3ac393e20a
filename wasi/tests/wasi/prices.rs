//! What a metered guest pays for, other than the bytes that it reads and writes.

use crate::support::{Guest, engine, errno};
use crate::world::{Pool, tar_of};
use palimpsest_engine::{Config, Fuel, Limits};
use palimpsest_wasi::{Wasi, WasiBuilder};

/// The descriptor of the scratch directory.
const ROOT: u32 = 3;

/// The price of one step from directory to directory, in units of fuel.
const STEP: u64 = 8;

fn metered(wasi: WasiBuilder) -> Guest {
    let mut limits = Limits::default();
    limits.fuel = Some(1 << 40);
    Guest::with_engine(&engine(Config::default().fuel(Fuel::Metered).limits(limits)), wasi)
}

fn guest() -> Guest {
    metered(Wasi::builder().scratch("/tmp", Pool::of(1000)))
}

/// Returns the fuel that `call` uses.
fn price<T>(guest: &mut Guest, call: impl FnOnce(&mut Guest) -> T) -> u64 {
    let before = guest.store.get_fuel().unwrap();
    call(guest);
    before - guest.store.get_fuel().unwrap()
}

/// Creates `depth` directories inside each other, and returns a descriptor of the last.
fn nest(guest: &mut Guest, depth: usize) -> u32 {
    let mut at = ROOT;
    for _ in 0..depth {
        guest.at_path("path_create_directory", at, "d").unwrap();
        let next = guest.open(at, "d", wasip1::OFLAGS_DIRECTORY).unwrap();
        if at != ROOT {
            guest.close(at).unwrap();
        }
        at = next;
    }
    at
}

#[test]
fn a_path_costs_by_its_components_even_if_they_lead_nowhere() {
    let mut guest = guest();
    guest.at_path("path_create_directory", ROOT, "d").unwrap();
    for piece in ["./", "d/../"] {
        let count = piece.matches('/').count() as u64;
        let of = |guest: &mut Guest, times: usize| {
            let path = piece.repeat(times);
            // The call fails with `ENOENT` in the last component.
            price(guest, |guest| guest.stat(ROOT, &format!("{path}none")).unwrap_err())
        };
        let (one, many) = (of(&mut guest, 1), of(&mut guest, 500));
        let bytes = 499 * piece.len() as u64;
        assert!(many - one >= 499 * count * STEP, "{piece}: {one}, {many}");
        assert!(many - one <= 499 * count * STEP + bytes / 64 + 1, "{piece}: {one}, {many}");
    }
}

#[test]
fn a_path_through_links_costs_by_the_components_of_the_links() {
    let mut tar = tar::Builder::new(Vec::new());
    let target = ["."; 40].join("/");
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_path("link").unwrap();
    // `append_link` would shorten the target.
    header.set_link_name_literal(&target).unwrap();
    header.set_cksum();
    tar.append(&header, std::io::empty()).unwrap();
    let wasi = Wasi::builder().archive("/", tar.into_inner().unwrap().leak()).unwrap();
    let mut guest = metered(wasi);
    let direct = price(&mut guest, |guest| guest.stat(ROOT, "./none").unwrap_err());
    let linked = price(&mut guest, |guest| guest.stat(ROOT, "link/none").unwrap_err());
    assert_eq!(linked - direct, 40 * STEP);
}

#[test]
fn creating_and_moving_a_directory_costs_by_the_directories_above_it() {
    let mut guest = guest();
    guest.at_path("path_create_directory", ROOT, "x").unwrap();
    let mut prices = Vec::new();
    for depth in [10, 500] {
        let last = nest(&mut guest, depth);
        let created = price(&mut guest, |guest| guest.at_path("path_create_directory", last, "e").unwrap());
        let moved = price(&mut guest, |guest| guest.rename(ROOT, "x", last, "x").unwrap());
        prices.push((created, moved));
        guest.rename(last, "x", ROOT, "x").unwrap();
        guest.close(last).unwrap();
        guest.rename(ROOT, "d", ROOT, &format!("nested-{depth}")).unwrap();
    }
    assert_eq!((prices[1].0 - prices[0].0, prices[1].1 - prices[0].1), (490 * STEP, 490 * STEP));
}

#[test]
fn directories_nest_up_to_1024_and_none_is_put_deeper() {
    let mut guest = guest();
    let last = nest(&mut guest, 1024);
    let too_deep = errno(wasip1::ERRNO_NAMETOOLONG);
    assert_eq!(guest.at_path("path_create_directory", last, "d"), too_deep);
    guest.at_path("path_create_directory", ROOT, "x").unwrap();
    assert_eq!(guest.rename(ROOT, "x", last, "x"), errno(wasip1::ERRNO_NAMETOOLONG));
    // A file can be there.
    let file = guest.create(last, "f").unwrap();
    assert_eq!(guest.write(file, b"x"), Ok(1));
    // A directory that is moved may take others below the limit. They can still be left.
    guest.rename(ROOT, "d", ROOT, "x").unwrap();
    guest.at_path("path_create_directory", ROOT, "y").unwrap();
    guest.rename(ROOT, "x", ROOT, "y/x").unwrap();
    assert_eq!(guest.at_path("path_create_directory", last, "d"), errno(wasip1::ERRNO_NAMETOOLONG));
    guest.at_path("path_create_directory", ROOT, "z").unwrap();
    assert_eq!(guest.rename(ROOT, "z", last, "z"), errno(wasip1::ERRNO_NAMETOOLONG));
    guest.rename(last, "f", ROOT, "f").unwrap();
}

#[test]
fn blocks_are_paid_for_when_they_are_allocated_and_freed() {
    let mut guest = guest();
    let file = guest.create(ROOT, "f").unwrap();
    let again = |guest: &mut Guest| {
        guest.seek(file, 0, wasip1::WHENCE_SET.raw()).unwrap();
        price(guest, |guest| guest.write(file, b"x").unwrap())
    };
    let (new, old) = (again(&mut guest), again(&mut guest));
    assert_eq!(new - old, 4096 / 64);
    let set_size = |guest: &mut Guest, size: u64| {
        price(guest, |guest| guest.call("fd_filestat_set_size", &[file.into(), size]).unwrap())
    };
    guest.seek(file, 0, wasip1::WHENCE_SET.raw()).unwrap();
    guest.write(file, &[7; 30_000]).unwrap();
    let nothing = set_size(&mut guest, 30_000);
    assert_eq!(set_size(&mut guest, 4096) - nothing, 7 * STEP);
    guest.at_path("path_unlink_file", ROOT, "f").unwrap();
    let closed = price(&mut guest, |guest| guest.close(file).unwrap());
    let other = price(&mut guest, |guest| guest.close(0).unwrap());
    assert_eq!(closed - other, STEP);
}

#[test]
fn one_call_moves_at_most_1_mib_of_a_file() {
    let tar = tar_of(&[("f", &vec![7; 3 << 20])]);
    let mut guest = Guest::new(Wasi::builder().archive("/", tar).unwrap());
    let file = guest.open(ROOT, "f", 0).unwrap();
    // 1024 vectors of the same 4096 bytes, and then of 512 bytes.
    for (len, expected) in [(4096_u32, 1 << 20), (512, 512 << 10)] {
        let vector = [20_000_u32.to_le_bytes(), len.to_le_bytes()].concat();
        guest.put(0, &vector.repeat(1024));
        guest.call("fd_pread", &[file.into(), 0, 1024, 0, 10_000]).unwrap();
        assert_eq!(guest.u32_at(10_000), expected);
    }
}
