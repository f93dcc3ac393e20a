//! Passes the linker scripts to the linker.

fn main() {
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    // The script of the runtime crate, which includes `memory.x`.
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
}
