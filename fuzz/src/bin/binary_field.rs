//! Fields in binary form, of every type.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| acequia::fuzzing::binary_field(bytes));
