//! Configuration: flags, variables, a file.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litecached_fuzz::target("settings")(data));
