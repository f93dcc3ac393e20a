//! Links the kernel and assembles its guests.

fn main() {
    palimpsest_kernel_build::link();
    palimpsest_kernel_build::assemble(&["guests"]);
}
