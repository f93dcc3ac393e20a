//! The target `snapshot` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| palimpsest_fuzz::snapshot::run(data));
