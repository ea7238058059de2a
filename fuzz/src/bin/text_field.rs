//! Fields in text form, of every type; decimal numbers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| acequia::fuzzing::text_field(bytes));
