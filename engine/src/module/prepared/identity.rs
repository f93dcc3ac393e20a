//! The identity of the splice that writes a prepared module.
//!
//! The rest of the engine must agree with what the splice has written: on names, on slots, on what
//! is charged. So an engine loads only what its own splice has prepared. Two splices are the same
//! if their sources are.

/// A hash of the version of the crate and of the sources that determine what the splice writes, and
/// of those beside them.
pub(super) const SPLICE: u64 = {
    let sources: [&[u8]; 22] = [
        env!("CARGO_PKG_VERSION").as_bytes(),
        include_bytes!("../../config.rs"),
        include_bytes!("../../module.rs"),
        include_bytes!("../body.rs"),
        include_bytes!("../bounds.rs"),
        include_bytes!("../bulk.rs"),
        include_bytes!("../counts.rs"),
        include_bytes!("../error.rs"),
        include_bytes!("../host_op.rs"),
        include_bytes!("../image.rs"),
        include_bytes!("../loading.rs"),
        include_bytes!("../memory_type.rs"),
        include_bytes!("../prepare.rs"),
        include_bytes!("../prepared.rs"),
        include_bytes!("../repair.rs"),
        include_bytes!("../resources.rs"),
        include_bytes!("../scan.rs"),
        include_bytes!("../segments.rs"),
        include_bytes!("../splice.rs"),
        include_bytes!("../surcharge.rs"),
        include_bytes!("../validate.rs"),
        include_bytes!("../work.rs"),
    ];
    let mut hash = OFFSET_BASIS;
    let mut index = 0;
    while index < sources.len() {
        hash = hashed(hash, sources[index]);
        index += 1;
    }
    hash
};

/// The constants of FNV-1a for 64 bits.
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// Continues the hash FNV-1a with `bytes`.
const fn hashed(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(PRIME);
        index += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "it reads a directory")]
    fn the_identity_covers_all_sources_of_modules() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/module");
        for entry in std::fs::read_dir(directory).expect("the sources are here") {
            let name = entry.expect("the directory is readable").file_name();
            let name = name.to_str().expect("the names are text");
            let is_covered = include_str!("identity.rs").contains(&std::format!("(\"../{name}\")"));
            assert!(is_covered || !name.ends_with(".rs"), "{name}");
        }
    }

    #[test]
    fn the_hash_is_that_of_its_authors() {
        assert_eq!(hashed(OFFSET_BASIS, b""), OFFSET_BASIS);
        assert_eq!(hashed(OFFSET_BASIS, b"foobar"), 0x8594_4171_f739_67e8);
    }
}
