//! Manifests of loads.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| acequia::fuzzing::manifest(bytes));
