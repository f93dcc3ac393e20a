//! The identity of the splice that writes a prepared module.
//!
//! The rest of the engine must agree with what the splice has written: on names, on slots, on what
//! is charged. So an engine loads only what its own splice has prepared. Two splices are the same
//! if their sources are.

use super::hash::{START, hashed};

/// A hash of the version of the crate and of the sources that determine what the splice writes, and
/// of those beside them.
pub(super) const SPLICE: u64 = {
    let sources: [&[u8]; 26] = [
        env!("CARGO_PKG_VERSION").as_bytes(),
        include_bytes!("../../config.rs"),
        include_bytes!("../../module.rs"),
        include_bytes!("../body.rs"),
        include_bytes!("../bounds.rs"),
        include_bytes!("../bulk.rs"),
        include_bytes!("../counts.rs"),
        include_bytes!("../emitted.rs"),
        include_bytes!("../error.rs"),
        include_bytes!("../host_op.rs"),
        include_bytes!("../image.rs"),
        include_bytes!("../instruction.rs"),
        include_bytes!("../loading.rs"),
        include_bytes!("../memory_type.rs"),
        include_bytes!("../prepare.rs"),
        include_bytes!("../prepared.rs"),
        include_bytes!("../recorded.rs"),
        include_bytes!("../recording.rs"),
        include_bytes!("../repair.rs"),
        include_bytes!("../resources.rs"),
        include_bytes!("../scan.rs"),
        include_bytes!("../segments.rs"),
        include_bytes!("../splice.rs"),
        include_bytes!("../surcharge.rs"),
        include_bytes!("../validate.rs"),
        include_bytes!("../work.rs"),
    ];
    let mut hash = START;
    let mut index = 0;
    while index < sources.len() {
        hash = hashed(hash, sources[index]);
        index += 1;
    }
    hash
};

#[cfg(test)]
mod tests {
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
}
