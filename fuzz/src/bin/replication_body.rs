//! Events of the log's stream, and rows of a query that hold them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| acequia::fuzzing::replication_body(bytes));
