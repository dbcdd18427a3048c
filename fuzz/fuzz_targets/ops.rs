//! Operations beside the reference model.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litecached_fuzz::target("ops")(data));
