//! Assembles the guest.

fn main() {
    palimpsest_kernel_build::assemble(&["guests"]);
}
