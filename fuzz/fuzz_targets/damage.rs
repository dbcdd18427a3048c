//! Database files that are damaged.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litecached_fuzz::target("damage")(data));
