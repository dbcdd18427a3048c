//! Frames of the binary protocol.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litecached_fuzz::target("binary")(data));
