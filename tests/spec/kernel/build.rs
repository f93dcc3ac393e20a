//! Links the kernel.

fn main() {
    palimpsest_kernel_build::link();
}
