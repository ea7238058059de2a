//! acequia.toml.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| acequia::fuzzing::configuration(bytes));
