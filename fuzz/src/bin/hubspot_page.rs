//! Pages of HubSpot's records.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| acequia::fuzzing::hubspot_page(bytes));
