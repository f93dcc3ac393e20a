//! Links the kernel and assembles the tour's guests.

fn main() {
    palimpsest_kernel_build::link();
    palimpsest_kernel_build::assemble(&["guests", "guests/cpus"]);
}
