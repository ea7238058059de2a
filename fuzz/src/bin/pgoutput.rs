//! Messages of the output plugin.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| acequia::fuzzing::pgoutput(bytes));
