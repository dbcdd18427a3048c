//! What can be imported.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litecached_fuzz::target("records")(data));
