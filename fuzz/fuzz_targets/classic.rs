//! memcached's classic text commands and the short `set`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litecached_fuzz::hold(data));
