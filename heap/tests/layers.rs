//! A source file imports only from its own layer and from those below it.

#[test]
fn imports_point_to_lower_layers_in_the_order_of_the_documentation() {
    palimpsest_layers::check(env!("CARGO_MANIFEST_DIR"));
}
