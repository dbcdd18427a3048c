//! Frames of the binary protocol: whatever the bytes are, they come behind a header that has its magic.

#![no_main]

/// Bytes of an input that say how it is cut.
const CUTS: usize = 8;

/// Bytes of a frame's header.
const HEADER: usize = 24;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = data.to_vec();
    if let Some(magic) = input.get_mut(CUTS) {
        *magic = 0x80;
    }
    litecached_fuzz::hold(&input);
    // The same with a body that is as long as what came, so that values need not be found by chance.
    if let Some(body) = input.len().checked_sub(CUTS + HEADER) {
        let length = u32::try_from(body).expect("a short input").to_be_bytes();
        input[CUTS + 8..CUTS + 12].copy_from_slice(&length);
        litecached_fuzz::hold(&input);
    }
});
