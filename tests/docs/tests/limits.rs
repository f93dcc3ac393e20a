//! Checks that the limits that a request can set are those of the engine.

use palimpsest_engine::Limits;
use palimpsest_protocol::Limit;

#[test]
fn every_limit_of_the_engine_is_an_option() {
    let limits = format!("{:?}", Limits::default());
    let fields = limits.trim_start_matches("Limits {").trim_end_matches('}').split(',');
    let fields: Vec<_> = fields.filter_map(|field| Some(field.split_once(':')?.0.trim())).collect();
    let options: Vec<_> = Limit::ALL.iter().map(|limit| limit.name()).collect();
    assert_eq!(fields, options);
}
