//! Links the kernels and assembles its guests.

fn main() {
    palimpsest_kernel_build::link();
    palimpsest_kernel_build::assemble(&[
        "guests",
        "guests/hostile",
        "guests/soak",
        "../../kernel-demo/guests/cpus",
    ]);
}
